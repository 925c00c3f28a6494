import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared'

os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(scope='session')
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder `shared` beside the checkout, which holds photos and a detector that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip('there is no folder ../shared beside the checkout')
    return SHARED
