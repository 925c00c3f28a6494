"""Transformer blocks as L-CoIns has them: norms before, exact GELU, no dropout.

Shape legend: N photos, T tokens, C channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6
_HEAD_CHANNELS = 64


def layer_norm(channels: int) -> nn.LayerNorm:
    """A layer norm with the published epsilon."""
    return nn.LayerNorm(channels, eps=EPS)


def check_heads(channels: int, heads: int) -> None:
    """Raises `ValueError` unless the heads divide the channels."""
    if heads < 1 or channels % heads:
        raise ValueError(f'the heads of attention must divide its channels, but got {heads} and {channels}')


def usual_heads(channels: int) -> int:
    """Heads of 64 channels, or one."""
    return channels // _HEAD_CHANNELS if channels % _HEAD_CHANNELS == 0 else 1


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """Attention of several heads, (N, T, C) each, without linears."""
    split = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)


class MLP(nn.Module):
    """Two linears with a GELU between them, over the last axis.

    Args:
        channels: of what comes in and goes out.
        inner: between the linears.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, inner)
        self.fc2 = nn.Linear(inner, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to the same."""
        return self.fc2(F.gelu(self.fc1(x)))


class SelfAttention(nn.Module):
    """All tokens attend to all.

    Args:
        channels: C.
        heads: a divisor of C.
        split_bias: whether queries and values have their biases apart and keys have none, as in the decoder.
    """

    def __init__(self, channels: int, heads: int, split_bias: bool = False) -> None:
        super().__init__()
        check_heads(channels, heads)
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=not split_bias)
        self.proj = nn.Linear(channels, channels)
        self.q_bias = nn.Parameter(torch.zeros(channels)) if split_bias else None
        self.v_bias = nn.Parameter(torch.zeros(channels)) if split_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) to the same."""
        bias: Tensor | None = self.qkv.bias
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        queries, keys, values = F.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)
        return self.proj(attend(queries, keys, values, self.heads))


class Block(nn.Module):
    """Attention and MLP, each added to what it reads; arguments as of `SelfAttention`.

    Args:
        drop_path: the share of the photos for which, in training, each of the two is left out.
    """

    def __init__(self, channels: int, heads: int, split_bias: bool = False, drop_path: float = 0.0) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = layer_norm(channels)
        self.attn = SelfAttention(channels, heads, split_bias)
        self.norm2 = layer_norm(channels)
        self.mlp = MLP(channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C) to the same."""
        x = x + self._dropped(self.attn(self.norm1(x)))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return x
        kept = 1 - self.drop_path
        return x * x.new_empty(len(x), 1, 1).bernoulli_(kept) / kept
