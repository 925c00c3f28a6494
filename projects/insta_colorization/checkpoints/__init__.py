"""Checkpoints of every known family and layout, read and written strictly."""

from .arithmetic import averaged, rebased, require_same_settings
from .families import FAMILIES, Checkpoint, Family, Layout, TrainingStage
from .io import load_checkpoint, load_into, save_checkpoint
from .runner import adapt_state_dict, load_from_local, register_reader
from .safe_load import CheckpointError
