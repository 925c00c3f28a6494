"""Hooks of the training recipes, one a file."""

from .checkpoint import WholeCheckpointHook, WholeFileBackend
from .ema import RecalibratedEMAHook, live_batch_norms, measured_batch_norm
from .invalid_loss import InvalidLossHook
from .mean_loss import MeanLossHook
from .step_seed import StepSeedHook
from .visualization import ColorizationVisualizationHook, result_sheet
