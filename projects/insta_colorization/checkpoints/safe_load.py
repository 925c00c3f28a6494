"""Reads checkpoint files without running code from them: tensors, plain data and the runner's own bookkeeping."""

import pickle
import re
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# A `.safetensors` whose header has this holds once what two of its networks share: 'a.* that are equal to b.*'.
STORED_ONCE = 'stored_once'


class CheckpointError(ValueError):
    """A checkpoint cannot be read, is of another model, or does not fit; says which file and which entries."""


def read_file(path: Path, map_location: Any = 'cpu') -> Any:
    """What a file holds; `{'state_dict', 'meta'}` for a `.safetensors`.

    Args:
        path: a `.safetensors`, or anything that `torch.save` wrote.
        map_location: where to put the tensors of the latter; see `torch.load`.

    Raises:
        CheckpointError: there is no such file, it is empty or damaged, or it holds code.
    """
    if not path.is_file():
        raise CheckpointError(f'checkpoint {path} does not exist')
    if not path.stat().st_size:
        raise CheckpointError(f'checkpoint {path} is empty (0 bytes)')
    try:
        if path.suffix == '.safetensors':
            return _read_safetensors(path)
        with _runner_bookkeeping():
            return torch.load(path, map_location=map_location, weights_only=True)
    # A damaged file fails in many ways: zip, pickle, safetensors and torch each have their own errors.
    except Exception as error:
        code = re.search(r'GLOBAL (?:builtins\.)?([\w.]+) (?:was|whose)', str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise CheckpointError(f'{path} is refused: it holds code ({code[1]}), not only tensors') from error
        if 'TorchScript' in str(error):
            raise CheckpointError(f'{path} is refused: it is a TorchScript program, not only tensors') from error
        raise CheckpointError(f'{path} ({path.stat().st_size} bytes) is truncated, damaged or no checkpoint') from error


def _read_safetensors(path: Path) -> dict:
    from safetensors import safe_open

    with safe_open(path, framework='pt') as file:
        entries, meta = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    for copy, origin in re.findall(r'([\w.]+)\.\* that are equal to ([\w.]+)\.\*', meta.pop(STORED_ONCE, '')):
        own = {name.removeprefix(f'{origin}.'): v for name, v in entries.items() if name.startswith(f'{origin}.')}
        entries = {**{f'{copy}.{name}': value for name, value in own.items()}, **entries}
    return {'state_dict': entries, 'meta': meta}


def numpy_globals() -> list[Any]:
    """What `torch.serialization.safe_globals` takes so that arrays and numbers of numpy may stand beside tensors.

    Files get stand-ins for what numpy's own pickles call: a dtype takes no state from a file, which could make a
    pointer of its bytes, and an array no size but that of the values that follow, or it would show foreign memory.
    """
    codes = '?bhilqBHILQefd'
    rebuild_scalar = np.float64().__reduce__()[0]
    renamed = [  # numpy 2 moved these two, and files name the place they were written from
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for function, name in ((_empty_array, '_reconstruct'), (rebuild_scalar, 'scalar'))
    ]
    own = [(_Array, 'numpy.ndarray'), (_plain_dtype, 'numpy.dtype')]
    return [*own, *(type(np.dtype(code)) for code in codes), *renamed]


class _Array(np.ndarray):
    """An array that is empty until a file's values are put into it, and that is numpy's own in the next file."""

    def __new__(cls, *args: Any) -> '_Array':
        return super().__new__(cls, 0)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)


def _empty_array(*args: Any) -> _Array:
    return _Array()


def _plain_dtype(code: Any, *args: Any) -> np.dtype:
    dtype = np.dtype(code) if isinstance(code, str) else np.dtype(object)
    if dtype.kind not in 'biuf':
        raise pickle.UnpicklingError(f'GLOBAL numpy.dtype was asked for {code!r}')
    return dtype  # numpy's shared one, which ignores the state that pickle gives it


@contextmanager
def _runner_bookkeeping() -> Iterator[None]:
    """Within it `weights_only` lets through what stands beside weights: the runner's histories, a command's options."""
    methods = [(_history_method, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    with torch.serialization.safe_globals([HistoryBuffer, Namespace, *numpy_globals(), *methods]):
        yield


def _history_method(owner: Any, name: str) -> Any:
    """Stands in for `getattr`, with which a history refers to its statistics `min`, `max`, `current` and `mean`."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'GLOBAL getattr was asked for {name!r} of {owner!r}')
    return getattr(owner, name)
