"""How L-CoIns sorts patches into groups, the instances that it learns without boxes.

Shape legend: N photos, T patches, G groups, D channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .blocks import MLP, attend, check_heads, layer_norm


class Groups(NamedTuple):
    """Which patch is in which group.

    Attributes:
        soft: (N, G, T), the share that each group has of a patch; those of a patch add up to 1.
        hard: (N, G, T), 1 for the group of a patch and 0 for the others.
        features: (N, G, D) of the groups.
        centres: (N, G, 2) the mean place of a group's patches in pixels, the vertical first; (0, 0) without any.
    """

    soft: Tensor
    hard: Tensor
    features: Tensor
    centres: Tensor


class _Linears(nn.Module):
    """What attention to other tokens and the assignment of patches have in common."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.proj = (nn.Linear(channels, channels) for _ in range(4))


class _CrossAttention(_Linears):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels)
        check_heads(channels, heads)
        self.heads = heads

    def forward(self, tokens: Tensor, patches: Tensor) -> Tensor:
        return self.proj(attend(self.q_proj(tokens), self.k_proj(patches), self.v_proj(patches), self.heads))


class _CrossBlock(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attn = _CrossAttention(channels, heads)
        self.norm2 = layer_norm(channels)
        self.mlp = MLP(channels, 4 * channels)
        self.norm_post = layer_norm(channels)

    def forward(self, tokens: Tensor, patches: Tensor) -> Tensor:
        tokens = tokens + self.attn(tokens, patches)
        return self.norm_post(tokens + self.mlp(self.norm2(tokens)))


class Grouping(nn.Module):
    """Assigns patches to groups.

    Args:
        channels: D.
        groups: G.
        heads: of the attention of groups to patches.
        patch: side of a patch in pixels.
    """

    def __init__(self, channels: int, groups: int, heads: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.norm_tokens, self.norm_x = layer_norm(channels), layer_norm(channels)
        self.mlp_inter = MLP(groups, channels // 2)
        self.norm_post_tokens = layer_norm(channels)
        self.pre_assign_attn = _CrossBlock(channels, heads)
        self.assign = _Linears(channels)
        self.norm_new_x = layer_norm(channels)
        self.mlp_channels = MLP(channels, 4 * channels)

    def forward(self, patches: Tensor, tokens: Tensor, width: int) -> Groups:
        """Groups of patches (N, T, D), row by row of a grid of this width, and group tokens (N, G, D)."""
        patches = self.norm_x(patches)
        tokens = self.mlp_inter(self.norm_tokens(tokens).transpose(1, 2)).transpose(1, 2)
        tokens = self.pre_assign_attn(self.norm_post_tokens(tokens), patches)
        scores = self.assign.q_proj(tokens) @ self.assign.k_proj(patches).transpose(1, 2) * tokens.shape[-1] ** -0.5
        if self.training:
            scores = scores - torch.empty_like(scores).exponential_().log()  # Gumbel noise
        soft = scores.softmax(dim=1)
        chosen = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1)
        hard = chosen + soft - soft.detach()  # the gradient is that of the shares
        weights = hard / (hard.sum(dim=2, keepdim=True) + 1)
        tokens = tokens + self.assign.proj(weights @ self.assign.v_proj(patches))
        features = tokens + self.mlp_channels(self.norm_new_x(tokens))
        return Groups(soft, chosen if not self.training else hard, features, self._centres(hard, width))

    def _centres(self, hard: Tensor, width: int) -> Tensor:
        number = torch.arange(hard.shape[2], device=hard.device)
        places = torch.stack([number // width, number % width], dim=1) * self.patch + self.patch / 2
        return hard / hard.sum(dim=2, keepdim=True).clamp(min=1) @ places.to(hard.dtype)
