import gc
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from quick_configs import leave_configs_unformatted, read_recipes_once

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared'

os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
# Small tensors and two threads that share cores with other work: the second one costs more than it gives. The commands
# that tests start inherit it.
torch.set_num_threads(1)
os.environ.setdefault('OMP_NUM_THREADS', '1')
leave_configs_unformatted()
read_recipes_once()


def pytest_collection_finish() -> None:
    # Networks are thousands of objects that refer to one another; by default each would start a collection or two.
    gc.set_threshold(50_000)


@pytest.fixture(scope='module', autouse=True)
def _frozen() -> None:
    """Leaves what there is already out of collections of garbage, of which MMEngine's datasets start many."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    # Another one than the fixtures', or a test's first numbers would be theirs.
    seed(1)


def seed(number: int) -> None:
    """Starts the global generators anew, so that a test has the same random numbers whatever ran before it."""
    random.seed(number)
    np.random.seed(number)
    # For all devices it would take milliseconds, which count here.
    torch.default_generator.manual_seed(number)


@pytest.fixture
def own_mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a config or a run changes of MMEngine goes with the test."""
    from mmengine_state import isolate_mmengine

    isolate_mmengine(monkeypatch)


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


@pytest.fixture(scope='session')
def fused_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of all three networks, random, at a sixteenth of the width, for inputs of 64 x 64."""
    from insta_colorization.checkpoints import save_checkpoint

    path = tmp_path_factory.mktemp('weights') / 'fused.safetensors'
    save_checkpoint(random_networks().state_dict(), path, metadata={'input_size': '64'})
    return path


@pytest.fixture(scope='session')
def image_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the full-image network alone, otherwise like `fused_weights`."""
    from insta_colorization.checkpoints import save_checkpoint

    path = tmp_path_factory.mktemp('weights') / 'image.safetensors'
    weights = {name: value for name, value in random_networks().state_dict().items() if name.startswith('image_net.')}
    save_checkpoint(weights, path, metadata={'input_size': '64'})
    return path


def random_networks() -> torch.nn.Module:
    """A tiny `InstColorizer` whose colours are far from grey, so that a test notices where they come from."""
    from insta_colorization.models import InstColorizer

    with torch.random.fork_rng():
        torch.manual_seed(0)
        trunk = {'type': 'ColorizationBackbone', 'width': 1 / 16}
        model = InstColorizer(trunk, trunk, {'type': 'FusionNetwork', 'width': 1 / 16})
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=(1.6 / parameter[0].numel()) ** 0.5)
    return model
