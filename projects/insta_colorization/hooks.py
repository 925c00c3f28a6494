"""Forwards to `insta_colorization.engine.hooks`: the `custom_imports` of saved configs name this module."""

from insta_colorization.engine.hooks import (
    ColorizationVisualizationHook,
    InvalidLossHook,
    MeanLossHook,
    RecalibratedEMAHook,
    WholeCheckpointHook,
)
from insta_colorization.engine.optim_wrapper import BFloat16OptimWrapper
