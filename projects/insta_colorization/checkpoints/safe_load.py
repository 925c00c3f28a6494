"""Reads checkpoint files without running code from them: tensors, plain data and the runner's own bookkeeping."""

import pickle
import re
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
        code = re.search(r'GLOBAL ([\w.]+) (?:was|whose)', str(error))
        if isinstance(error, pickle.UnpicklingError) and code:
            raise CheckpointError(f'{path} is refused: it holds code ({code[1]}), not only tensors') from error
        if 'TorchScript' in str(error):
            raise CheckpointError(f'{path} is refused: it is a TorchScript program, not only tensors') from error
        raise CheckpointError(f'{path} ({path.stat().st_size} bytes) is truncated, damaged or no checkpoint') from error


def _read_safetensors(path: Path) -> dict:
    from safetensors import safe_open

    with safe_open(path, framework='pt') as file:
        entries, meta = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    for copy, origin in re.findall(r'(\w+)\.\* that are equal to (\w+)\.\*', meta.pop(STORED_ONCE, '')):
        own = {name.removeprefix(f'{origin}.'): v for name, v in entries.items() if name.startswith(f'{origin}.')}
        entries = {**{f'{copy}.{name}': value for name, value in own.items()}, **entries}
    return {'state_dict': entries, 'meta': meta}


def numpy_globals() -> list[Any]:
    """What `torch.serialization.safe_globals` takes so that arrays and numbers of numpy may stand beside tensors."""
    rebuild_array, rebuild_scalar = np.zeros(1).__reduce__()[0], np.float64().__reduce__()[0]
    renamed = [  # numpy 2 moved these two, and files name the place they were written from
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for function, name in ((rebuild_array, '_reconstruct'), (rebuild_scalar, 'scalar'))
    ]
    return [np.ndarray, np.dtype, *(type(np.dtype(code)) for code in '?bhilqBHILQefd'), *renamed]


@contextmanager
def _runner_bookkeeping() -> Iterator[None]:
    """Within it `weights_only` lets through what MMEngine's runner writes beside the weights: histories of numbers."""
    methods = [(_history_method, f'{module}.getattr') for module in ('builtins', '__builtin__')]
    with torch.serialization.safe_globals([HistoryBuffer, *numpy_globals(), *methods]):
        yield


def _history_method(owner: Any, name: str) -> Any:
    """Stands in for `getattr`, with which a history refers to its statistics `min`, `max`, `current` and `mean`."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'current', 'mean'):
        raise pickle.UnpicklingError(f'GLOBAL getattr was asked for {name!r} of {owner!r}')
    return getattr(owner, name)
