"""Reads and writes checkpoint files of every known layout (see `families`), strictly."""

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from insta_colorization.fileio.files import write_whole
from insta_colorization.utils.errors import printable

from .families import (
    Checkpoint,
    Family,
    StateDict,
    common_sizes,
    families,
    identify,
    recognize,
    require_family,
    require_fit,
    shapes_of,
)
from .safe_load import STORED_ONCE, CheckpointError, read_file

SUFFIXES = ('.pth', '.safetensors')
# Of files in a folder that their entries tell apart; `.pth.tar` is only a name.
_FOLDER_SUFFIXES = (*SUFFIXES, '.pt', '.tar')
# Under which name files hold their weights, where they hold anything else.
WRAPPERS = ('state_dict', 'model', 'module', 'G')


def load_checkpoint(path: str | Path | Sequence[str | Path]) -> Checkpoint:
    """Reads a checkpoint of any layout of any family.

    Args:
        path: a `.pth` or `.safetensors` file, a folder with a method's published files, or those files one by one. A
            file by itself is recognized by its entries; in a folder, and among several files, the names say which of
            the family's networks each holds.

    Returns:
        The weights in our names, complete and of the right shapes; floating-point tensors are float32 and on the CPU.

    Raises:
        CheckpointError: there is nothing to read, the file is damaged, holds code or is of no known family, its entries
            are not exactly those of its layout, or the files are those of two families.
    """
    if not isinstance(path, str | Path):
        files = [Path(name).expanduser() for name in path]
        if not files:
            raise CheckpointError('no checkpoint was given')
        return _load_files(files[0].parent, files)
    path = Path(path).expanduser()
    return _load_folder(path) if path.is_dir() else _checkpoint(path, *_read(path))


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
        path: a `.pth` or `.safetensors` file; for a layout of several files a folder. A `.safetensors` holds once what
            two networks have in common (see `Family.copies`).
        layout: `ours`, or one of the family's. Entries that no model reads are written as zeros, so that the published
            code finds every entry it builds.
        metadata: kept in the file and returned by `load_checkpoint`; a layout of several files cannot hold any.
        half: whether to store weights as float16. The variances that batch norms measured stay float32: they grow with
            the square of the features, past what float16 holds.

    Returns:
        The files written.

    Raises:
        CheckpointError: the entries are not those of whole networks, the file's ending or the layout is unknown, or a
            value does not fit into float16.
    """
    found = identify(dict(state_dict), 'the state dict to save')
    target = found.family.layout_to_write(layout)
    stored = {name: _stored(name, value, half) for name, value in found.state_dict.items()}
    written = []
    for file, networks in target.targets(Path(path).expanduser(), found.networks).items():
        entries: StateDict = {}
        for network in networks:
            wrapper, prefix = 'module.' if network in target.wrapped else '', f'{network}.'
            own = {name: value for name, value in stored.items() if name.startswith(prefix)}
            unused = target.unused_shapes(network, found.sizes)
            dtype = next(iter(own.values())).dtype
            entries |= {wrapper + target.spell(*name.split('.', 1)): value for name, value in own.items()}
            entries |= {wrapper + name: torch.zeros(shape, dtype=dtype) for name, shape in unused.items()}
        said = None if target.files else dict(metadata or {})
        written.append(_write(file, entries, said, found.family.copies, target.wrapper))
    return written


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
    shapes, weights, family = shapes_of(model.state_dict()), checkpoint.state_dict, checkpoint.family
    if networks is not None:
        owners = {str(checkpoint.path): checkpoint.networks, type(model).__name__: family.networks_of(shapes)}
        for owner, held in owners.items():
            if lacking := [network for network in networks if network not in held]:
                raise CheckpointError(f'cannot load {" and ".join(lacking)}: {owner} has only {", ".join(held)}')
        prefixes = tuple(f'{network}.' for network in networks)
        shapes = {name: shape for name, shape in shapes.items() if name.startswith(prefixes)}
        weights = {name: value for name, value in weights.items() if name.startswith(prefixes)}
    require_fit(shapes, weights, str(checkpoint.path), type(model).__name__, family)
    for network in family.networks_of(weights):
        prefix = f'{network}.'
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        getattr(model, network).load_state_dict(own)
    for name, value in checkpoint.settings.items():
        if getattr(model, name, value) != value:
            warnings.warn(
                f'{checkpoint.path} was trained with {name}={value:g}, but the model has {getattr(model, name):g}; '
                f'set model.{name} unless this is the start of a training',
                stacklevel=2,
            )


def find_entries(content: Any) -> Mapping[str, Any] | None:
    """The named tensors in what a file holds, bare or under one of `WRAPPERS`; None where there are none."""
    if not isinstance(content, dict):
        return None
    entries = next((content[key] for key in WRAPPERS if isinstance(content.get(key), dict)), content)
    return entries if entries and all(isinstance(name, str) for name in entries) else None


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, str]]:
    """A file's entries and metadata."""
    content = read_file(path)
    entries = find_entries(content)
    if entries is None:
        raise CheckpointError(f'{path} holds no weights, but a {type(content).__name__}')
    for name, value in entries.items():
        if isinstance(value, Tensor) and (value.layout != torch.strided or value.is_quantized or value.is_nested):
            raise CheckpointError(f'{path} cannot be used: its entry {printable(name)} is no dense tensor')
    meta = content.get('meta')
    plain = meta.items() if isinstance(meta, dict) else ()
    return entries, {str(key): str(value) for key, value in plain if isinstance(value, str | int | float)}


def _checkpoint(
    path: Path, entries: Mapping[str, Any], metadata: dict[str, str], network: str | None = None
) -> Checkpoint:
    found = identify(entries, path, network)
    state_dict = {name: v.float() if v.is_floating_point() else v for name, v in found.state_dict.items()}
    if wrong := [name for name, value in state_dict.items() if not value.isfinite().all()]:
        raise CheckpointError(f'{path} cannot be used: its entry {wrong[0]} has values that are not finite')
    return replace(found, state_dict=state_dict, metadata=metadata)


def _load_folder(folder: Path) -> Checkpoint:
    stems = _stems(families())
    found = [file for stem in stems for suffix in SUFFIXES if (file := folder / f'{stem}{suffix}').is_file()]
    if not found:
        others = (file for file in sorted(folder.iterdir()) if file.suffix in _FOLDER_SUFFIXES and file.is_file())
        if (joined := _load_told_apart(folder, list(others))) is not None:
            return joined
        names = ', '.join(f'{stem}.pth' for stem in stems)
        raise CheckpointError(f'{folder} holds no checkpoint: expected {names} (or .safetensors), found none of them')
    for first, second in pairwise(found):
        if first.stem == second.stem:
            raise CheckpointError(f'{folder} holds both {first.name} and {second.name}; remove one of them')
    checkpoint = _load_files(folder, found)
    family = checkpoint.family
    if family.usable(checkpoint.networks) != checkpoint.networks:
        lacking = [f'{stem}.pth' for stem, network in _stems([family]).items() if network not in checkpoint.networks]
        raise CheckpointError(
            f'{folder} holds {", ".join(file.name for file in found)} but lacks {" and ".join(lacking)}; '
            f'to use one file as the {family.networks[0]}, give its path instead of the folder'
        )
    return checkpoint


def _load_files(folder: Path, paths: Sequence[Path]) -> Checkpoint:
    """Joins files that each hold the network that their name or, where that says nothing, their entries say."""
    stems = _stems(families())
    if not any(path.stem in stems for path in paths) and (joined := _load_told_apart(folder, paths)) is not None:
        return joined
    _require_named(paths, stems)
    contents = {path: _read(path) for path in paths}
    owners = {path: require_family(entries, path).family for path, (entries, _) in contents.items()}
    family, *others = dict.fromkeys(owners.values())
    if others:
        listed = ', '.join(f'{path.name} ({owner.name})' for path, owner in owners.items())
        raise CheckpointError(f'{folder} holds files of different families: {listed}; give the path of what is meant')
    stems = _stems([family])
    _require_named(paths, stems)
    files: dict[str, Path] = {}
    for path in paths:
        network = stems[path.stem]
        if network in files:
            raise CheckpointError(f'{files[network]} and {path} are both named as the {network}')
        files[network] = path
    return _joined(folder, {n: _checkpoint(files[n], *contents[files[n]], n) for n in family.networks if n in files})


def _load_told_apart(folder: Path, paths: Sequence[Path]) -> Checkpoint | None:
    """Joins files whose entries say which network of a family each holds; None if there is none, others are left alone.

    Raises:
        CheckpointError: a file cannot be read, two hold the same network, or one that prediction needs lacks.
    """
    contents = {path: _read(path) for path in paths}
    matches = {path: recognize(entries) for path, (entries, _) in contents.items()}
    files: dict[str, Path] = {}
    for path, match in matches.items():
        if match is None or not match.layout.by_entries:
            continue
        if match.network in files:
            raise CheckpointError(
                f'{folder} holds two files of the {match.network}, {files[match.network].name} and {path.name}; '
                'remove one of them'
            )
        files[match.network], family = path, match.family
    if not files:
        return None
    if family.usable(files) is None:
        held = ', '.join(f'{path.name} ({network})' for network, path in files.items())
        lacking = [network for network in family.stages[-1].networks if network not in files]
        raise CheckpointError(f'{folder} holds {held} but lacks a file of the {" and of the ".join(lacking)}')
    return _joined(folder, {n: _checkpoint(files[n], *contents[files[n]]) for n in family.networks if n in files})


def _joined(folder: Path, parts: Mapping[str, Checkpoint]) -> Checkpoint:
    """The checkpoint of a folder, from that of each of its networks."""
    first = next(iter(parts.values()))
    return Checkpoint(
        {name: value for part in parts.values() for name, value in part.state_dict.items()},
        first.family,
        tuple(parts),
        common_sizes({network: part.sizes for network, part in parts.items()}, folder),
        first.layout,
        folder,
        {key: value for part in parts.values() for key, value in part.metadata.items()},
    )


def _stems(known: Iterable[Family]) -> dict[str, str]:
    """{name of a file in a folder, without its ending: the network it holds} of these families."""
    files = [f.folder.files for f in known if f.folder is not None and not f.folder.by_entries]
    return {stem: network for names in files for network, stem in names.items()}


def _require_named(paths: Sequence[Path], stems: Mapping[str, str]) -> None:
    if other := [path for path in paths if path.stem not in stems]:
        expected = ', '.join(stems)
        raise CheckpointError(
            f'among several files the names decide which network each holds ({expected}), but got {other[0]}'
        )


def _write(
    path: Path, entries: StateDict, metadata: dict[str, str] | None, copies: Mapping[str, str], wrapper: str = ''
) -> Path:
    """Writes one file; a `.pth` has the entries under `wrapper` or, without one, bare or beside its `metadata`."""
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f'a checkpoint must end in {" or ".join(SUFFIXES)}, but got {path.name!r}')
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.safetensors':
        from safetensors.torch import save

        distinct = {name: value for name, value in entries.items() if not _is_copy(name, entries, copies)}
        held = {name.split('.', 1)[0] for name in entries}
        named = {copy: origin for copy, origin in copies.items() if copy.split('.', 1)[0] in held}
        shared = ', '.join(f'{copy}.* that are equal to {origin}.*' for copy, origin in named.items())
        said = {STORED_ONCE: shared} if len(distinct) < len(entries) else {}
        # Not its `save_file`, whose files nobody but their owner may read.
        data = save(distinct, metadata={**(metadata or {}), **said} or None)
    else:
        buffer = BytesIO()
        plain: dict[str, Any] = {wrapper: OrderedDict(entries)} if wrapper else OrderedDict(entries)
        if metadata is not None:
            plain = {wrapper or 'state_dict': entries, 'meta': metadata}
        torch.save(plain, buffer)
        data = buffer.getvalue()
    write_whole(data, path)
    return path


def _is_copy(name: str, entries: StateDict, copies: Mapping[str, str]) -> bool:
    copy = next((copy for copy in copies if name.startswith(f'{copy}.')), None)
    origin = None if copy is None else entries.get(copies[copy] + name.removeprefix(copy))
    return origin is not None and origin.dtype == entries[name].dtype and torch.equal(origin, entries[name])


def _stored(name: str, value: Tensor, half: bool) -> Tensor:
    # A copy of its own: `.safetensors` refuses tensors that share memory or are laid out channels last.
    value = value.detach().cpu().clone(memory_format=torch.contiguous_format)
    if not half or not value.is_floating_point() or name.endswith('running_var'):
        return value
    halved = value.half()
    if torch.isfinite(value).all() and not torch.isfinite(halved).all():
        raise CheckpointError(f'{name} reaches {value.abs().max().item():g}, which float16 cannot hold')
    return halved
