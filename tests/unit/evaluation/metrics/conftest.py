import numpy as np
import pytest
import torch
from skimage.color import rgb2lab


@pytest.fixture
def photos() -> list[torch.Tensor]:
    """Three photos of soft colours (3, 48, 64) uint8; grey levels near the ends would clip."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(60, 200, (3, 3, 6, 8), dtype=np.uint8)
    return [torch.from_numpy(np.kron(photo, np.ones((1, 8, 8), np.uint8))) for photo in coarse]


@pytest.fixture
def noisy(photos) -> list[torch.Tensor]:
    """The same photos with noise."""
    generator = torch.Generator().manual_seed(0)
    return [(p + 12 * torch.randn(p.shape, generator=generator)).clamp(0, 255).byte() for p in photos]


@pytest.fixture
def true_ab():
    """A photo's own ab (2, H, W) in network units, by scikit-image."""

    def ab_of(photo: torch.Tensor) -> torch.Tensor:
        lab = rgb2lab(photo.movedim(0, -1).numpy())
        return torch.from_numpy(lab[..., 1:] / 110).movedim(-1, 0).float()

    return ab_of
