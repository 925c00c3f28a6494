"""Checkpoints of every known layout, read and written strictly."""

from .io import Checkpoint, adapt_state_dict, load_checkpoint, load_from_local, load_into, save_checkpoint
from .layouts import CheckpointError

__all__ = [
    'Checkpoint',
    'CheckpointError',
    'adapt_state_dict',
    'load_checkpoint',
    'load_from_local',
    'load_into',
    'save_checkpoint',
]
