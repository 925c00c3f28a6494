"""Fills a network's parameters from a table of names and shapes, the same way everywhere.

Golden outputs beside this file were recorded from the published implementations with exactly
these weights, so a network that is filled by the same rule must give the same outputs.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch


def fill(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns the float32 (or int64) array for one entry of a checkpoint.

    Args:
        name: the entry's name as the *published* checkpoint spells it, without 'module.'.
        shape: its shape.
        seed: which set of weights; golden files name theirs.
    """
    rng = np.random.Generator(np.random.PCG64([zlib.crc32(name.encode()), seed]))
    leaf = name.rsplit('.', 1)[-1]
    if leaf == 'num_batches_tracked':
        return np.zeros(shape, np.int64)
    if leaf == 'running_var':
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if leaf == 'running_mean':
        return rng.normal(0.0, 0.1, shape).astype(np.float32)
    if len(shape) >= 2:  # convolution or linear weight, (out, in, ...) or a token table
        fan_in = int(np.prod(shape[1:]))
        return rng.normal(0.0, np.sqrt(1.6 / fan_in), shape).astype(np.float32)
    if leaf == 'weight':  # scale of a normalization layer
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    return rng.normal(0.0, 0.05, shape).astype(np.float32)  # biases and the rest


def state_dict(shapes: dict[str, list[int]], seed: int = 0) -> dict[str, np.ndarray]:
    """Returns `{name: array}` for a whole table (see the *_keys.json files)."""
    return {name: fill(name, tuple(shape), seed) for name, shape in shapes.items()}


def published(table: str, seed: int) -> dict[str, torch.Tensor]:
    """Returns the entries of a published checkpoint, whose names and shapes are in `{table}_keys.json`."""
    shapes = json.loads(Path(__file__).with_name(f'{table}_keys.json').read_text())
    return {name: torch.from_numpy(np.asarray(value)) for name, value in state_dict(shapes, seed).items()}
