"""Checkpoints of every known layout (see `checkpoint_layouts`), read and written strictly.

`load_checkpoint` turns each into our names. `load_from_local` gives MMEngine's runner the same reading, and
`adapt_state_dict` does it for a colorizer's own `load_state_dict`, so that nothing is ever loaded in part unnoticed.
"""

import os
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .layouts import (
    MMAGIC_PREFIXES,
    NETWORKS,
    PUBLISHED_FILES,
    CheckpointError,
    StateDict,
    common_width,
    describe,
    find_resemblance,
    identify,
    networks_of,
    require_fit,
    shapes_of,
    to_published,
    without_module,
)

SUFFIXES = ('.pth', '.safetensors')

# Releases that were converted from the Caffe model, which does not centre the hint mask. Names and shapes are those of
# the others, so only the file's name tells them apart.
UNCENTRED_RELEASES = ('siggraph17', 'caffemodel')

# Stage 3 trains few rows of the fusion network; the others stay the full-image network's. A `.safetensors` whose header
# says so holds those once.
COPY, ORIGIN = 'fusion_net.', 'image_net.'
STORED_ONCE = 'stored_once'


@dataclass(frozen=True)
class Checkpoint:
    """Weights in our names.

    Attributes:
        state_dict: {our name: tensor} on the CPU; floating-point tensors are float32, whatever the file holds.
        networks: the networks it holds, a part of `NETWORKS` in that order.
        width: factor on the channels of every row; 1.0 is the published size.
        layout: which of `LAYOUTS` the file has.
        path: where it was read from; for several files given by name, their folder.
        metadata: what the file says about itself: the header of a `.safetensors`, or the text and number entries of
            `meta` in a `.pth`.
    """

    state_dict: StateDict = field(repr=False)
    networks: tuple[str, ...]
    width: float
    layout: str
    path: Path
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def mask_centre(self) -> float:
        """What these weights want taken off the hint mask (see `network_input`): 0.5 or, for two releases, 0.

        The metadata's `mask_centre` decides where there is one, then the file's name (see `UNCENTRED_RELEASES`).
        """
        if 'mask_centre' in self.metadata:
            return float(self.metadata['mask_centre'])
        return 0.0 if self.layout == 'siggraph17' and self.path.stem.startswith(UNCENTRED_RELEASES) else 0.5


def load_checkpoint(path: str | Path | Sequence[str | Path]) -> Checkpoint:
    """Reads a checkpoint of any layout.

    Args:
        path: a `.pth` or `.safetensors` file, a folder with the paper's files, or those files one by one. A lone trunk
            of 107 entries is the full-image network; in a folder, and among several files, the names decide.

    Returns:
        The weights in our names, complete and of the right shapes.

    Raises:
        CheckpointError: there is nothing to read, the file is damaged or holds code, or its entries are not exactly
            those of the layout it resembles most.
    """
    if isinstance(path, str | Path):
        path = Path(path).expanduser()
        if not path.is_dir():
            return _load_file(path)
        files = _published_files(path)
    else:
        files = _named_files([Path(name).expanduser() for name in path])
        path = next(iter(files.values())).parent
    parts = [_load_file(file, network) for network, file in files.items()]
    state_dict = {name: value for part in parts for name, value in part.state_dict.items()}
    widths = {network: part.width for network, part in zip(files, parts, strict=True)}
    metadata = {key: value for part in parts for key, value in part.metadata.items()}
    return Checkpoint(state_dict, tuple(files), common_width(widths, path), 'instacolorization', path, metadata)


def save_checkpoint(
    state_dict: Mapping[str, Tensor],
    path: str | Path,
    layout: str = 'ours',
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
) -> list[Path]:
    """Writes weights in our names to a checkpoint; what is there already is replaced, and only by whole files.

    Args:
        state_dict: {our name: tensor}, whole networks.
        path: a `.pth` or `.safetensors` file; for `instacolorization` a folder. A `.safetensors` holds
            once what the fusion and the full-image network have in common.
        layout: `ours`, `instacolorization` or `mmagic`. The unused fusion of the two published layouts is written as
            zeros, so that their own code finds every entry it builds.
        metadata: kept in the file and returned by `load_checkpoint`; the paper's bare `.pth` files cannot hold any.
        half: whether to store weights as float16. The variances that batch norms measured stay float32: they grow with
            the square of the features, past what float16 holds.

    Returns:
        The files written.

    Raises:
        CheckpointError: the entries are not those of whole networks, the file's ending is unknown, or a value does not
            fit into float16.
    """
    path = Path(path).expanduser()
    if layout not in ('ours', 'instacolorization', 'mmagic'):
        raise CheckpointError(
            f"the layout to write must be 'ours', 'instacolorization' or 'mmagic', but got {layout!r}"
        )
    weights = identify(dict(state_dict), 'the state dict to save', only=('ours',)).state_dict
    stored = {name: _stored(name, value, half) for name, value in weights.items()}
    networks = networks_of(stored)
    if layout == 'instacolorization':
        # The published code loads GF into its data-parallel wrapper, the other two into the network inside.
        wrapped = {network: 'module.' if network == 'fusion_net' else '' for network in networks}
        return [
            _write(path / f'{PUBLISHED_FILES[network]}.pth', to_published(stored, network, layout, prefix))
            for network, prefix in wrapped.items()
        ]
    if layout == 'mmagic':
        parts = [to_published(stored, network, layout, f'{MMAGIC_PREFIXES[network]}.') for network in networks]
        stored = {name: value for part in parts for name, value in part.items()}
    return [_write(path, stored, dict(metadata or {}))]


def load_into(model: nn.Module, checkpoint: Checkpoint, networks: Sequence[str] | None = None) -> None:
    """Copies a checkpoint's weights into a model: all of them, or none and an error.

    Args:
        model: a colorizer.
        checkpoint: what to copy.
        networks: which networks to copy; the model's and the checkpoint's others are left alone. None for all, and then
            both must have the same ones.

    Raises:
        CheckpointError: a network is lacking on either side, or an entry is missing, unknown or of another shape.
    """
    shapes, weights = shapes_of(model.state_dict()), checkpoint.state_dict
    if networks is not None:
        for owner, held in ((str(checkpoint.path), checkpoint.networks), (type(model).__name__, networks_of(shapes))):
            if lacking := [network for network in networks if network not in held]:
                raise CheckpointError(f'cannot load {" and ".join(lacking)}: {owner} has only {", ".join(held)}')
        prefixes = tuple(f'{network}.' for network in networks)
        shapes = {name: shape for name, shape in shapes.items() if name.startswith(prefixes)}
        weights = {name: value for name, value in weights.items() if name.startswith(prefixes)}
    require_fit(shapes, weights, str(checkpoint.path), type(model).__name__)
    for network in networks_of(weights):
        prefix = f'{network}.'
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        getattr(model, network).load_state_dict(own)
    if getattr(model, 'mask_centre', checkpoint.mask_centre) != checkpoint.mask_centre:
        warnings.warn(
            f'{checkpoint.path} was trained with mask_centre={checkpoint.mask_centre:g}, but the model has '
            f'{model.mask_centre:g}; set model.mask_centre unless this is the start of a training',
            stacklevel=2,
        )


def adapt_state_dict(
    model: nn.Module, state_dict: MutableMapping[str, Any], prefix: str, local_metadata: Mapping[str, Any]
) -> None:
    """Renames a published layout's entries to ours, in place, and insists that they fit; for `_load_from_state_dict`.

    MMEngine's loaders log what does not fit and go on. Neither they nor torch tell a module about `strict=False`, so a
    colorizer is strict always; `load_into(..., networks=...)` loads a part on purpose. The checkpoint of the training
    stage before the model's fits as well: the network that it lacks begins as a copy (`Colorizer.derived`).

    Args:
        model: the colorizer that is about to load.
        state_dict: {prefix + name: tensor}; entries without the prefix are left alone.
        prefix: where the model sits in a larger module; '' when it is loaded by itself.
        local_metadata: the state dict's metadata of this module; `load_from_local` notes the file there.

    Raises:
        CheckpointError: an entry is missing, unknown or of another shape.
    """
    source = str(local_metadata.get('source', 'the state dict'))
    entries = {name.removeprefix(prefix): name for name in state_dict if name.startswith(prefix)}
    weights = without_module({name: state_dict[full] for name, full in entries.items()})
    kind = find_resemblance(weights)
    if kind is None or kind.table.layout != 'ours':
        weights = identify(weights, source).state_dict
    own = model.state_dict()
    weights = _with_derived(model, own, weights, source)
    require_fit(shapes_of(own), weights, source, type(model).__name__)
    for full in entries.values():
        del state_dict[full]
    state_dict.update({prefix + name: value for name, value in weights.items()})


def _with_derived(model: nn.Module, own: StateDict, weights: StateDict, source: str) -> StateDict:
    """Weights with which the model can begin its training stage, from those that the stage before it wrote."""
    derived: Mapping[str, str] = getattr(model, 'derived', {})
    wanted, held = networks_of(own), networks_of(weights)
    start = tuple(network for network in wanted if network not in derived)
    if held == wanted or not derived:
        return weights
    if held != start:
        raise CheckpointError(
            f'{source} holds {describe(held)}, but {type(model).__name__} starts from {describe(start)} '
            f'or goes on from {describe(wanted)}'
        )
    copies = {}
    for network, origin in derived.items():
        for name, value in own.items():
            if name.startswith(f'{network}.'):
                copies[name] = weights.get(f'{origin}.{name.removeprefix(f"{network}.")}', value)
    return {**weights, **copies}


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> dict:
    """MMEngine's reader of local files, which also reads folders, `.safetensors` and the published layouts.

    It takes the place of MMEngine's own reader for paths without a scheme, so that `load_from`, `resume` and
    `init_cfg=dict(type='Pretrained', ...)` take whatever `load_checkpoint` takes. Any other model's file is returned
    as it is. Files are read with `weights_only=True`; unlike MMEngine's reader it knows the runner's own bookkeeping,
    so that a run can be resumed.

    Args:
        filename: file or folder.
        map_location: where to put the tensors; see `torch.load`.

    Returns:
        {'state_dict': ..., 'meta': ..., ...}, or what the file holds if that is another model's.

    Raises:
        CheckpointError: see `load_checkpoint`.
    """
    path = Path(filename).expanduser()
    if path.is_dir():
        return _for_runner(load_checkpoint(path))
    content = _read(path, map_location)
    entries = _entries(content)
    if entries is None:
        return content
    kind = find_resemblance(without_module(entries))
    if kind is not None and 2 * kind.shared > len(entries):
        if kind.table.layout != 'ours':
            return _for_runner(load_checkpoint(path))
        content = content if 'state_dict' in content else {'state_dict': content}
    noted = _noting_source(entries, path)
    return {**content, 'state_dict': noted} if 'state_dict' in content else noted


def _for_runner(checkpoint: Checkpoint) -> dict:
    return {'state_dict': _noting_source(checkpoint.state_dict, checkpoint.path), 'meta': dict(checkpoint.metadata)}


def _noting_source(entries: Mapping[str, Any], path: Path) -> OrderedDict:
    """A state dict whose metadata of the outermost module name the file, for `adapt_state_dict`."""
    metadata = dict(getattr(entries, '_metadata', {}))
    noted = OrderedDict(entries)
    noted._metadata = {**metadata, '': {**metadata.get('', {}), 'source': str(path)}}  # type: ignore[attr-defined]
    return noted


def _load_file(path: Path, network: str | None = None) -> Checkpoint:
    """Reads one file; `network` is what a folder's file names say it is."""
    content = _read(path)
    entries = _entries(content)
    if entries is None:
        raise CheckpointError(f'{path} holds no weights, but a {type(content).__name__}')
    found = identify(dict(entries), str(path), network)
    meta = content.get('meta')
    plain = meta.items() if isinstance(meta, dict) else ()
    metadata = {str(key): str(value) for key, value in plain if isinstance(value, str | int | float)}
    state_dict = {name: v.float() if v.is_floating_point() else v for name, v in found.state_dict.items()}
    return Checkpoint(state_dict, networks_of(state_dict), found.width, found.layout, path, metadata)


def _published_files(folder: Path) -> dict[str, Path]:
    """The paper's files in a folder, by network: all three, or the full-image network's alone."""
    files = {}
    for network, stem in PUBLISHED_FILES.items():
        found = [folder / f'{stem}{suffix}' for suffix in SUFFIXES if (folder / f'{stem}{suffix}').is_file()]
        if len(found) > 1:
            raise CheckpointError(f'{folder} holds both {found[0].name} and {found[1].name}; remove one of them')
        if found:
            files[network] = found[0]
    if not files:
        names = ', '.join(f'{stem}.pth' for stem in PUBLISHED_FILES.values())
        raise CheckpointError(f'{folder} holds no checkpoint: expected {names} (or .safetensors), found none of them')
    missing = [f'{stem}.pth' for network, stem in PUBLISHED_FILES.items() if network not in files]
    if missing and tuple(files) != ('image_net',):
        present = ', '.join(path.name for path in files.values())
        raise CheckpointError(
            f'{folder} holds {present} but lacks {" and ".join(missing)}; '
            'to use one file as the full-image network, give its path instead of the folder'
        )
    return files


def _named_files(paths: Sequence[Path]) -> dict[str, Path]:
    """The network of each of several files, by their names."""
    stems = {stem: network for network, stem in PUBLISHED_FILES.items()}
    files: dict[str, Path] = {}
    for path in paths:
        network = stems.get(path.stem)
        if network is None:
            expected = ', '.join(stems)
            raise CheckpointError(
                f'among several files the names decide which network each holds ({expected}), but got {path}'
            )
        if network in files:
            raise CheckpointError(f'{files[network]} and {path} are both named as the {network}')
        files[network] = path
    if not files:
        raise CheckpointError('no checkpoint was given')
    return {network: files[network] for network in NETWORKS if network in files}


def _read(path: Path, map_location: Any = 'cpu') -> Any:
    """What a file holds, tensors and plain data only; `{'state_dict', 'meta'}` for a `.safetensors`."""
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
    if meta.pop(STORED_ONCE, None):
        copies = {COPY + name.removeprefix(ORIGIN): v for name, v in entries.items() if name.startswith(ORIGIN)}
        entries = {**copies, **entries}
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


def _write(path: Path, entries: StateDict, metadata: dict[str, str] | None = None) -> Path:
    """Writes one file; with `metadata` None a `.pth` is the bare dict of the published files."""
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f'a checkpoint must end in {" or ".join(SUFFIXES)}, but got {path.name!r}')
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import save

            distinct = _without_copies(entries)
            said = {STORED_ONCE: f'{COPY}* that are equal to {ORIGIN}*'} if len(distinct) < len(entries) else {}
            # Not its `save_file`, whose files nobody but their owner may read.
            partial.write_bytes(save(distinct, metadata={**(metadata or {}), **said} or None))
        else:
            torch.save(OrderedDict(entries) if metadata is None else {'state_dict': entries, 'meta': metadata}, partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _without_copies(entries: StateDict) -> StateDict:
    """Leaves out what the fusion network has in common with the full-image network."""

    def is_copy(name: str, value: Tensor) -> bool:
        origin = entries.get(ORIGIN + name.removeprefix(COPY)) if name.startswith(COPY) else None
        return origin is not None and origin.dtype == value.dtype and torch.equal(origin, value)

    return {name: value for name, value in entries.items() if not is_copy(name, value)}


def _stored(name: str, value: Tensor, half: bool) -> Tensor:
    # A copy of its own: `.safetensors` refuses tensors that share memory or are laid out channels last.
    value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if not half or not value.is_floating_point() or name.endswith('running_var'):
        return value
    halved = value.half()
    if torch.isfinite(value).all() and not torch.isfinite(halved).all():
        raise CheckpointError(f'{name} reaches {value.abs().max().item():g}, which float16 cannot hold')
    return halved


def _entries(content: Any) -> Mapping[str, Tensor] | None:
    """The named tensors of what `torch.load` returned, or None."""
    entries = content.get('state_dict', content) if isinstance(content, dict) else None
    return entries if isinstance(entries, dict) and entries and all(isinstance(name, str) for name in entries) else None
