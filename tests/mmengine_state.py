"""What MMEngine keeps for a whole process."""

from collections import OrderedDict

import pytest
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader


def isolate_mmengine(patch: pytest.MonkeyPatch) -> None:
    """Takes back, with the patch, the default scope that configs leave behind and the readers that runs register."""
    patch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    patch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
