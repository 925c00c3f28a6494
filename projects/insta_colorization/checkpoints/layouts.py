"""The names and shapes of every known checkpoint layout, as tables, and the strict translation between them.

The layouts (`LAYOUTS`) hold the same weights under different names:

- `ours`: one file, entries as a colorizer's `state_dict()` names them; any subset of the three networks.
- `instacolorization`: the paper's three files, which a folder holds under the names in `PUBLISHED_FILES`.
- `mmagic`: one file, 489 entries.
- `siggraph17`: one trunk in a file of its own, as Zhang et al. 2017 released it; it becomes the full-image network.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from insta_colorization.registry import SCOPE

StateDict = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

LAYOUTS = ('ours', 'instacolorization', 'mmagic', 'siggraph17')
PUBLISHED_FILES = {'image_net': 'latest_net_GComp', 'instance_net': 'latest_net_G', 'fusion_net': 'latest_net_GF'}
MMAGIC_PREFIXES = {'image_net': 'image_model', 'instance_net': 'instance_model', 'fusion_net': 'fusion_model'}
NETWORKS = tuple(PUBLISHED_FILES)
# What the checkpoints of the three training stages hold.
STAGES = {NETWORKS[:count]: f'stage {count}' for count in (1, 2, 3)}


class PublishedNames(NamedTuple):
    """How the two published layouts name one of our modules."""

    instacolorization: str
    mmagic: str


MODULES = {
    'stages.conv1': PublishedNames('model1', 'model1'),
    'stages.conv2': PublishedNames('model2', 'model2'),
    'stages.conv3': PublishedNames('model3', 'model3'),
    'stages.conv4': PublishedNames('model4', 'model4'),
    'stages.conv5': PublishedNames('model5', 'model5'),
    'stages.conv6': PublishedNames('model6', 'model6'),
    'stages.conv7': PublishedNames('model7', 'model7'),
    'stages.up8.up': PublishedNames('model8up.0', 'model8up'),
    'stages.up8.skip': PublishedNames('model3short8.0', 'model3short8'),
    'stages.conv8': PublishedNames('model8', 'model8'),
    'stages.up9.up': PublishedNames('model9up.0', 'model9up'),
    'stages.up9.skip': PublishedNames('model2short9.0', 'model2short9'),
    'stages.conv9': PublishedNames('model9', 'model9'),
    'stages.up10.up': PublishedNames('model10up.0', 'model10up'),
    'stages.up10.skip': PublishedNames('model1short10.0', 'model1short10'),
    'stages.conv10': PublishedNames('model10', 'model10'),
    'class_head': PublishedNames('model_class.0', 'model_class'),
    'ab_head.0': PublishedNames('model_out.0', 'model_out.0'),
}
FUSIONS = {
    'conv1': 'weight_layer',
    'conv2': 'weight_layer2',
    'conv3': 'weight_layer3',
    'conv4': 'weight_layer4',
    'conv5': 'weight_layer5',
    'conv6': 'weight_layer6',
    'conv7': 'weight_layer7',
    'up8': 'weight_layer8_1',
    'conv8': 'weight_layer8_2',
    'up9': 'weight_layer9_1',
    'conv9': 'weight_layer9_2',
    'up10': 'weight_layer10_1',
    'conv10': 'weight_layer10_2',
}
WEIGHT_NETS = {'crop_weight': 'simple_instance_conv', 'image_weight': 'simple_bg_conv'}
# A fourteenth fusion, of the two output channels. The published code builds it and never calls it.
UNUSED_FUSION, UNUSED_CHANNELS = 'weight_layerout', 2


class CheckpointError(ValueError):
    """A checkpoint cannot be read, is of another model, or does not fit; says which file and which entries."""


class Table(NamedTuple):
    """The names of one kind of file: theirs to ours, and those that are dropped."""

    layout: str
    names: dict[str, str]
    dropped: frozenset[str]


class Resemblance(NamedTuple):
    """A table, and how many of a file's entries it knows."""

    table: Table
    shared: int


class Identified(NamedTuple):
    """A file's weights in our names, complete and of the right shapes."""

    state_dict: StateDict
    layout: str
    width: float


@cache
def _our_shapes(network: str, width: float = 1.0, inner_channels: int = 16) -> Shapes:
    """{our name: shape} of a network, from the modules themselves."""
    from insta_colorization.models import (  # which import this module, through the colorizers
        ColorizationBackbone,
        FusionNetwork,
    )

    # A runner under another default scope would not find the fusion module's type.
    with torch.device('meta'), DefaultScope.overwrite_default_scope(SCOPE):
        if network == 'fusion_net':
            module: nn.Module = FusionNetwork(width=width, fusion={'inner_channels': inner_channels})
        else:
            module = ColorizationBackbone(width)
    return {f'{network}.{name}': tuple(value.shape) for name, value in module.state_dict().items()}


def published_name(name: str, layout: str) -> str:
    """A network's entry in our names without the network's prefix -> the published name."""
    if name.startswith('fusions.'):
        _, row, net, rest = name.split('.', 3)
        return f'{FUSIONS[row]}.{WEIGHT_NETS[net]}.{rest}'
    module = next(module for module in MODULES if name.startswith(f'{module}.'))
    return getattr(MODULES[module], layout) + name.removeprefix(module)


def _unused_shapes(inner_channels: int = 16) -> Shapes:
    """{published name: shape} of the fusion that is never called."""
    shapes: Shapes = {}
    sizes = {0: (inner_channels, UNUSED_CHANNELS), 2: (inner_channels, inner_channels), 4: (1, inner_channels)}
    for net in WEIGHT_NETS.values():
        for layer, size in sizes.items():
            shapes[f'{UNUSED_FUSION}.{net}.{layer}.weight'] = (*size, 3, 3)
            shapes[f'{UNUSED_FUSION}.{net}.{layer}.bias'] = size[:1]
    return shapes


@cache
def _tables() -> tuple[Table, ...]:
    """Every kind of file, the smaller before the larger that contains it."""
    published = {
        layout: {
            network: {published_name(name.removeprefix(f'{network}.'), layout): name for name in _our_shapes(network)}
            for network in NETWORKS
        }
        for layout in ('instacolorization', 'mmagic')
    }
    unused = frozenset(_unused_shapes())
    mmagic = {
        f'{MMAGIC_PREFIXES[network]}.{theirs}': ours
        for network, names in published['mmagic'].items()
        for theirs, ours in names.items()
    }
    return (
        Table('siggraph17', published['instacolorization']['image_net'], frozenset()),
        Table('instacolorization', published['instacolorization']['fusion_net'], unused),
        Table('mmagic', mmagic, frozenset(f'{MMAGIC_PREFIXES["fusion_net"]}.{name}' for name in unused)),
        Table('ours', {name: name for network in NETWORKS for name in _our_shapes(network)}, frozenset()),
    )


def find_resemblance(names: Iterable[str], layouts: Sequence[str] = LAYOUTS) -> Resemblance | None:
    """The kind of file that knows most of these names, or None where none knows any."""
    names = set(names)
    found = [
        Resemblance(table, len(names & (table.names.keys() | table.dropped)))
        for table in _tables()
        if table.layout in layouts
    ]
    best = max(found, key=lambda resemblance: resemblance.shared)
    return best if best.shared else None


def identify(
    entries: Mapping[str, Any], source: str, network: str | None = None, only: Sequence[str] = LAYOUTS
) -> Identified:
    """Translates a file's entries to our names.

    Args:
        entries: {name: tensor} as the file has them, with or without a leading `module.`.
        source: what to call the file in errors.
        network: which network the file holds by its name; None takes a trunk for the full-image network.
        only: the layouts to choose from.

    Raises:
        CheckpointError: the entries resemble no layout, or are not exactly those of the one they resemble most.
    """
    entries = without_module(entries)
    kind = find_resemblance(entries, only)
    if kind is None:
        raise CheckpointError(
            f'{source} is the checkpoint of another model: its {len(entries)} entries ({_first(entries)}) '
            f'resemble none of the layouts {", ".join(only)}'
        )
    layout, names = _chosen_names(kind.table, entries, source, network)
    weights = {ours: entries[theirs] for theirs, ours in names.items() if theirs in entries}
    # Files from before torch 0.4.1 have no such counters; nothing here reads their values.
    counters = {ours: torch.tensor(0) for ours in names.values() if ours.endswith('num_batches_tracked')}
    weights = {**counters, **weights}
    found = shapes_of(weights)
    widths = {held: _width(found, held) for held in networks_of(weights)}
    expected = {name: shape for held, width in widths.items() for name, shape in _expected(found, held, width).items()}
    unknown = [name for name in entries if name not in names and name not in kind.table.dropped]
    missing = [ours for ours in names.values() if ours not in weights]
    theirs_by_ours = {ours: theirs for theirs, ours in names.items()}
    if problems := _misfits(expected, weights, theirs_by_ours, unknown, missing):
        held = ', '.join(networks_of(names.values()))
        raise CheckpointError(f'{source} resembles the layout {layout!r} ({held}) most, but it {problems}')
    ordered = {ours: weights[ours] for ours in names.values()}
    return Identified(ordered, layout, common_width(widths, source))


def _chosen_names(
    table: Table, entries: Mapping[str, Any], source: str, network: str | None
) -> tuple[str, dict[str, str]]:
    """The layout and {their name: our name} of the networks that a file holds."""
    if table.layout in ('ours', 'mmagic'):
        held = networks_of(table.names[name] for name in entries if name in table.names)
        return table.layout, {theirs: ours for theirs, ours in table.names.items() if ours.split('.', 1)[0] in held}
    if network is None:
        return table.layout, table.names
    if (network == 'fusion_net') != (table.layout == 'instacolorization'):
        content = 'a trunk without fusions' if table.layout == 'siggraph17' else 'a fusion network'
        raise CheckpointError(f'{source} should hold the {network} by its name, but it holds {content}')
    names = {theirs: f'{network}.{ours.split(".", 1)[1]}' for theirs, ours in table.names.items()}
    return 'instacolorization', names


def _expected(found: Shapes, network: str, width: float) -> Shapes:
    inner = found.get(f'{network}.fusions.conv1.crop_weight.0.bias') or (16,)
    return _our_shapes(network, width, inner[0])


def _width(shapes: Shapes, network: str) -> float:
    """The width factor of a network, from its first four rows, which have the four different widths."""
    low, high, exact = 0.0, float('inf'), 1.0
    for row in ('conv1', 'conv2', 'conv3', 'conv4'):
        name = f'{network}.stages.{row}.0.weight'
        if shape := shapes.get(name):
            channels, published = shape[0], _our_shapes(network)[name][0]
            exact = channels / published
            low, high = max(low, (channels - 0.5) / published), min(high, (channels + 0.5) / published)
    # Channels are rounded, so any factor in between gives the same ones; the widest row's is the roundest number.
    return exact if low < exact < high or low >= high else (low + high) / 2


def common_width(widths: Mapping[str, float], source: str | Path) -> float:
    """The width factor of all of a file's networks.

    Raises:
        CheckpointError: they differ.
    """
    if len(set(widths.values())) > 1:
        listed = ', '.join(f'{network} {width:g}' for network, width in widths.items())
        raise CheckpointError(f'the networks of {source} are of different widths: {listed}')
    return next(iter(widths.values()))


def to_published(state_dict: StateDict, network: str, layout: str, prefix: str) -> StateDict:
    """One network's entries under their published names."""
    own = {name.removeprefix(f'{network}.'): v for name, v in state_dict.items() if name.startswith(f'{network}.')}
    entries = {prefix + published_name(name, layout): value for name, value in own.items()}
    if network == 'fusion_net':
        bias = own['fusions.conv1.crop_weight.0.bias']
        unused = _unused_shapes(len(bias))
        entries |= {prefix + name: torch.zeros(shape, dtype=bias.dtype) for name, shape in unused.items()}
    return entries


def require_fit(shapes: Shapes, weights: Mapping[str, Tensor], source: str, model: str) -> None:
    """Checks that weights are exactly a model's entries; only the counters of batch norms may lack.

    Args:
        shapes: {our name: shape} of the model.
        weights: {our name: tensor}.
        source: what to call the weights in errors.
        model: what to call the model in errors.

    Raises:
        CheckpointError: a network is lacking on either side, or an entry is missing, unknown or of another shape.
    """
    has, needs = networks_of(weights), networks_of(shapes)
    if lacking := [network for network in needs if network not in has]:
        raise CheckpointError(
            f'{source} has no {" and no ".join(lacking)}, which {model} needs (it has {describe(has)})'
        )
    if extra := [network for network in has if network not in needs]:
        raise CheckpointError(f'{source} also holds {" and ".join(extra)}, which {model} has no place for')
    for network in needs:
        here, there = _width(shapes_of(weights), network), _width(shapes, network)
        if here != there:
            raise CheckpointError(f'{network} of {source} has width {here:g}, but that of {model} has {there:g}')
    same = {name: name for name in (*shapes, *weights)}
    missing = [name for name in shapes if name not in weights and not name.endswith('num_batches_tracked')]
    unknown = [name for name in weights if name not in shapes]
    if problems := _misfits(shapes, weights, same, unknown, missing):
        raise CheckpointError(f'{source} does not fit {model}: it {problems}')


def _misfits(
    shapes: Shapes,
    weights: Mapping[str, Any],
    spelled: Mapping[str, str],
    unknown: Sequence[str],
    missing: Sequence[str],
) -> str:
    """What is wrong with a file's entries, or ''; `spelled` gives the names as the file has them."""
    found = shapes_of(weights)
    misshapen = [
        f'{spelled[name]} {found.get(name, type(value).__name__)} instead of {shapes[name]}'
        for name, value in weights.items()
        if name in shapes and found.get(name) != shapes[name]
    ]
    kinds = {'lacks': [spelled[name] for name in missing], 'has unknown': unknown, 'has misshapen': misshapen}
    return '; it '.join(f'{kind} {_first(names)}' for kind, names in kinds.items() if names)


def _first(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more


def shapes_of(state_dict: Mapping[str, Any]) -> Shapes:
    """{name: shape} of the entries that are tensors."""
    return {name: tuple(value.shape) for name, value in state_dict.items() if isinstance(value, Tensor)}


def networks_of(names: Iterable[str]) -> tuple[str, ...]:
    """Which networks our names belong to."""
    first = {name.split('.', 1)[0] for name in names}
    return tuple(network for network in NETWORKS if network in first)


def describe(networks: Sequence[str]) -> str:
    """Networks in words, with the training stage whose checkpoints hold just these."""
    stage = STAGES.get(tuple(networks))
    return ', '.join(networks) + (f' ({stage})' if stage else '')


def without_module(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Takes off the `module.` that torch's data-parallel wrapper puts before every name."""
    wrapped = all(name.startswith('module.') for name in entries)
    return {name.removeprefix('module.') if wrapped else name: value for name, value in entries.items()}
