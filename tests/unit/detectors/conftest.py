from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from insta_colorization.registry import build_model


@pytest.fixture(scope='session')
def colour_weights(tmp_path_factory) -> Path:
    """Colour weights on the light backbone, cut down to a random encoder."""
    torch.manual_seed(0)
    entries = build_model({'type': 'EfficientNetLite'}).state_dict()
    path = tmp_path_factory.mktemp('colour') / 'colour.safetensors'
    save_file({f'image_net.encoder.{name}': value for name, value in entries.items()}, path)
    return path
