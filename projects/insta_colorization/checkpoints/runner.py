"""MMEngine's ways to load weights, made to take what `load_checkpoint` takes, and as strict.

Nothing here takes effect by being imported: `register_reader` does, where a run starts.
"""

from collections import OrderedDict
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from torch import nn

from .families import Checkpoint, Family, StateDict, identify, recognize, require_fit, shapes_of, without_module
from .io import WRAPPERS, find_entries, load_checkpoint
from .safe_load import CheckpointError, read_file


def register_reader() -> None:
    """Puts `load_from_local` in the place of MMEngine's own reader of local files, for the whole process.

    `load_from`, `resume` and `init_cfg=dict(type='Pretrained', ...)` then take whatever `load_checkpoint` takes.
    """
    # Here, because prediction imports this module, but needs no runner.
    from mmengine.runner import CheckpointLoader

    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """MMEngine's reader of local files, which also reads folders, `.safetensors` and every layout of every family.

    A file of no family is returned as it is. Files are read with `weights_only=True`; unlike MMEngine's reader it knows
    the runner's own bookkeeping, so that a run can be resumed.

    Args:
        filename: file or folder.
        map_location: where to put the tensors; see `torch.load`.

    Returns:
        {'state_dict': ..., 'meta': ..., ...}, or what the file holds if that is another model's.

    Raises:
        CheckpointError: the file cannot be read, or its entries are not exactly those of its published layout.
    """
    path = Path(filename).expanduser()
    if path.is_dir():
        return _for_runner(load_checkpoint(path))
    content = read_file(path, map_location)
    entries = find_entries(content)
    if entries is None:
        return content
    match = recognize(entries)
    if match is not None and match.layout.name != 'ours' and not match.layout.common:
        return _for_runner(load_checkpoint(path))
    wrapper = next((key for key in WRAPPERS if content.get(key) is entries), None)
    if match is None and wrapper not in (None, 'state_dict'):
        return content
    noted = _noting_source(entries, path)
    if wrapper is None:
        return noted if match is None else {'state_dict': noted}
    return {**{key: value for key, value in content.items() if key != wrapper}, 'state_dict': noted}


def _for_runner(checkpoint: Checkpoint) -> dict:
    return {'state_dict': _noting_source(checkpoint.state_dict, checkpoint.path), 'meta': dict(checkpoint.metadata)}


def _noting_source(entries: Mapping[str, Any], path: Path) -> OrderedDict:
    """A state dict whose metadata of the outermost module name the file, for `adapt_state_dict`."""
    metadata = dict(getattr(entries, '_metadata', {}))
    noted = OrderedDict(entries)
    noted._metadata = {**metadata, '': {**metadata.get('', {}), 'source': str(path)}}  # type: ignore[attr-defined]
    return noted


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
    weights, own = without_module({name: state_dict[full] for name, full in entries.items()}), model.state_dict()
    if not weights.keys() & own.keys():
        weights = identify(weights, source).state_dict
    match = recognize(weights)
    family = Family() if match is None else match.family
    weights = _with_derived(model, own, weights, source, family)
    require_fit(shapes_of(own), weights, source, type(model).__name__, family)
    for full in entries.values():
        del state_dict[full]
    state_dict.update({prefix + name: value for name, value in weights.items()})


def _with_derived(model: nn.Module, own: StateDict, weights: StateDict, source: str, family: Family) -> StateDict:
    """Weights with which the model can begin its training stage, from those that the stage before it wrote."""
    derived: Mapping[str, str | None] = getattr(model, 'derived', {})
    wanted, held = family.networks_of(own), family.networks_of(weights)
    start = tuple(network for network in wanted if network not in derived)
    if not derived or set(held) == set(wanted):
        return weights
    if set(held) != set(start):
        raise CheckpointError(
            f'{source} holds {family.describe(held)}, but {type(model).__name__} starts from {family.describe(start)} '
            f'or goes on from {family.describe(wanted)}'
        )
    copies = {}
    for network, origin in derived.items():
        for name, value in own.items():
            if name.startswith(f'{network}.'):
                copies[name] = weights.get(f'{origin}.{name.removeprefix(f"{network}.")}', value)
    return {**weights, **copies}
