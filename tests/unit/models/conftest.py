from collections.abc import Callable

import pytest
import torch
from torch import nn


def liven(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fills weights and batch-norm statistics so that signals keep their size and no two channels are alike."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.ndim >= 2 and value.is_floating_point():
            # Drawn apart, because a draw in place follows the layout in memory.
            value.copy_(torch.empty(value.shape).normal_(0, (1.6 / value[0].numel()) ** 0.5, generator=generator))
        elif name.endswith(('bias', 'running_mean')):
            value.normal_(0, 0.05, generator=generator)
    return model.eval()


@pytest.fixture(scope='session')
def lively() -> Callable[..., nn.Module]:
    return liven
