"""Families of checkpoints: whose weights a file holds, told by its signature, and the strict translation to our names.

A family is one method's networks. `models/<method>/checkpoint.py`, or any module that a config imports, registers it in
`FAMILIES`. Its weights may lie in files under other names (`Layout`); the layout `ours` has the names of a colorizer's
`state_dict()`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from mmengine.registry import Registry
from torch import Tensor

from insta_colorization.registry import MODELS, SCOPE, build_model

from .safe_load import CheckpointError

StateDict = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Sizes = Mapping[str, float | str]

FAMILIES = Registry('checkpoint family', scope=SCOPE, locations=[f'{SCOPE}.models'])
# What a config's model says about training alone.
_OF_TRAINING = ('type', 'init_cfg', 'losses', 'trainable', 'norm_eval')


class TrainingStage(NamedTuple):
    """What one stage of a method's training leaves.

    Attributes:
        networks: the networks in its checkpoint.
        model: the colorizer's type.
        predicts: whether these networks predict.
    """

    networks: tuple[str, ...]
    model: str
    predicts: bool = True


@dataclass(frozen=True)
class Layout:
    """How one kind of file names the entries of a family's networks.

    Attributes:
        name: what users call it.
        prefixes: {network: what all its names begin with}, for the networks that such a file can hold.
        rename: our name of an entry within its network -> the layout's, without the prefix.
        unused: {network: {name: shape}} of entries that no model reads: dropped, and written as zeros. A side may be
            one of the network's sizes, by name.
        files: {network: stem of its file} where each network has a file of its own; a folder holds them.
        ignored: further names that only some files have, which are never written.
        by_entries: whether the entries tell which network such a file holds, whatever it is called.
        wrapper: under which name such a file has its weights; '' for bare ones.
        wrapped: networks that are written with a leading `module.`.
        written: whether `save_checkpoint` writes it.
        common: whether other projects' models have these names too: MMEngine's loaders then get the file as it is, and
            our colorizers rename the entries themselves.
    """

    name: str
    prefixes: Mapping[str, str]
    rename: Callable[[str], str] = str
    unused: Mapping[str, Mapping[str, tuple[int | str, ...]]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    by_entries: bool = False
    wrapper: str = ''
    wrapped: frozenset[str] = frozenset()
    written: bool = True
    common: bool = False

    def spell(self, network: str, name: str) -> str:
        """The layout's name of a network's entry."""
        return self.prefixes[network] + self.rename(name)

    def unused_shapes(self, network: str, sizes: Sizes) -> Shapes:
        """{the layout's name: shape} of what no model reads of a network of these sizes."""
        return {
            self.prefixes[network] + name: tuple(int(sizes[side]) if isinstance(side, str) else side for side in shape)
            for name, shape in self.unused.get(network, {}).items()
        }

    def targets(self, path: Path, networks: Sequence[str]) -> dict[Path, tuple[str, ...]]:
        """{file: the networks that go into it} when these networks are written to a path."""
        if not self.files:
            return {path: tuple(networks)}
        return {path / f'{self.files[network]}.pth': (network,) for network in networks}


class Family:
    """One method's checkpoints. A subclass says which, and `FAMILIES.register_module` makes it known.

    `Family()` itself stands for weights of which nothing is known.

    Attributes:
        name: what users call it.
        signatures: {network: {our name of an entry within it: shape}}; a file with all of them holds this network.
            None is a side that varies. Where several signatures fit, the longest decides.
        stages: what each stage of the training leaves, in order.
        published: layouts besides our own.
        copies: {network, or a part of one: the one that it shares entries with}; `.safetensors` files hold those once.
    """

    name: ClassVar[str]
    signatures: ClassVar[Mapping[str, Mapping[str, tuple[int | None, ...]]]] = {}
    stages: ClassVar[tuple[TrainingStage, ...]] = ()
    published: ClassVar[tuple[Layout, ...]] = ()
    copies: ClassVar[Mapping[str, str]] = {}

    def network_cfg(self, network: str, sizes: Sizes) -> dict[str, Any]:
        """Config of a network of these sizes, with at least its type."""
        raise NotImplementedError

    def measure(self, network: str, shape_of: Callable[[str], tuple[int, ...] | None]) -> dict[str, float | str]:
        """A network's sizes, such as `width`, from the shapes of its entries; or names of parts that only some have.

        `shape_of` tells an entry's shape in the file by our name of it within the network; None where there is none.
        """
        return {}

    def settings(self, checkpoint: 'Checkpoint') -> dict[str, float]:
        """What else these weights want of a colorizer, by argument."""
        return {}

    def metadata(self, model_cfg: Mapping[str, Any]) -> dict[str, str]:
        """What prediction must know of the model that was trained, for a checkpoint's metadata; see `model_cfg`."""
        return {}

    def follows_hints(self, checkpoint: 'Checkpoint') -> bool:
        """Whether weights may have learned from hints; what our tools published says so by `hints` in its metadata."""
        return 'config' not in checkpoint.metadata or 'hints' in checkpoint.metadata

    @property
    def networks(self) -> tuple[str, ...]:
        """All its networks."""
        return tuple(self.signatures)

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """All its layouts; our own comes last."""
        return (*self.published, Layout('ours', {network: f'{network}.' for network in self.networks}))

    @property
    def folder(self) -> Layout | None:
        """The layout whose files make up a folder."""
        return next((layout for layout in self.published if layout.files), None)

    def layout_to_write(self, name: str) -> Layout:
        """The layout of this name.

        Raises:
            CheckpointError: there is none, or it can only be read.
        """
        written = {layout.name: layout for layout in self.layouts if layout.written}
        if name not in written:
            raise CheckpointError(f'the layout to write must be one of {", ".join(written)}, but got {name!r}')
        return written[name]

    def shapes(self, network: str, sizes: Sizes) -> Shapes:
        """{our name of an entry within the network: shape}, for a network of these sizes."""
        return _shapes(self, network, tuple(sorted(sizes.items())))

    def networks_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which networks our names belong to, in the family's order."""
        held = dict.fromkeys(name.split('.', 1)[0] for name in names)
        return tuple(dict.fromkeys(name for name in (*self.networks, *held) if name in held))

    def sizes_of(self, network: str, shapes: Shapes) -> dict[str, float | str]:
        """A network's sizes from {our name: shape}."""
        return self.measure(network, lambda name: shapes.get(f'{network}.{name}'))

    def usable(self, networks: Iterable[str]) -> tuple[str, ...] | None:
        """Of these networks as many as predict together, or None."""
        held = set(networks)
        return next((s.networks for s in reversed(self.stages) if s.predicts and held.issuperset(s.networks)), None)

    def describe(self, networks: Sequence[str]) -> str:
        """Networks in words, with the training stage whose checkpoints hold just these."""
        stages = {stage.networks: f' (stage {number})' for number, stage in enumerate(self.stages, 1)}
        return ', '.join(networks) + (stages.get(tuple(networks), '') if len(stages) > 1 else '')

    def model_cfg(self, checkpoint: 'Checkpoint', model_cfg: Mapping[str, Any]) -> dict[str, Any]:
        """Config of the colorizer that a checkpoint's networks make up, for prediction.

        Args:
            checkpoint: decides which networks there are, their sizes and, where its metadata says so, the settings.
            model_cfg: a config's `model`, of any training stage; decides the rest.

        Raises:
            CheckpointError: the checkpoint lacks networks that prediction needs.
            ValueError: the config's model is not one of this family, nor one that borrows its networks.
        """
        kind = str(model_cfg.get('type', '')).removeprefix(f'{SCOPE}.')
        stages = self._stages_of(kind)
        stage = next((stage for stage in stages if set(checkpoint.networks).issuperset(stage.networks)), None)
        if stage is None:
            needed = stages[-1].networks
            raise CheckpointError(
                f'{checkpoint.path} holds only {", ".join(checkpoint.networks)}; '
                f'prediction needs the {" and the ".join(needed)}'
            )
        others = {network for family in families() for network in family.networks}
        rest = {key: value for key, value in model_cfg.items() if key not in others.union(_OF_TRAINING)}
        for network in stage.networks:
            own = self.network_cfg(network, checkpoint.sizes)
            rest[network] = _merged({'type': own.pop('type'), **model_cfg.get(network, {})}, own)
        return {**rest, **checkpoint.settings, 'type': stage.model, 'losses': {}}

    def _stages_of(self, kind: str) -> list[TrainingStage]:
        """What a config's type of model can predict with, the most networks first.

        Raises:
            ValueError: the model is not one of this family and borrows none of its networks.
        """
        if any(stage.model == kind for stage in self.stages):
            return [stage for stage in reversed(self.stages) if stage.predicts]
        borrowed = getattr(MODELS.module_dict.get(kind), 'borrows', ())
        if stages := [TrainingStage(own, kind) for own in borrowed if set(self.networks).issuperset(own)]:
            return stages
        names = ', '.join(stage.model for stage in self.stages)
        raise ValueError(f"the config's model must be one of {names}, but is {kind or 'unnamed'}")


@dataclass(frozen=True)
class Checkpoint:
    """Weights in our names.

    Attributes:
        state_dict: {our name: tensor}, complete networks.
        family: whose weights they are.
        networks: the networks they make up, in the family's order.
        sizes: the networks' sizes, such as `width`, the factor on the channels (1.0 is the published size).
        layout: name of the layout they were found in.
        path: where they were read from; for several files given by name, their folder.
        metadata: what the file says about itself: the header of a `.safetensors`, or the text and number entries of
            `meta` in a `.pth`.
    """

    state_dict: StateDict = field(repr=False)
    family: Family
    networks: tuple[str, ...]
    sizes: dict[str, float | str]
    layout: str
    path: Path
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, float]:
        """What these weights want of a colorizer, by argument, such as `mask_centre`."""
        try:
            return self.family.settings(self)
        except ValueError as error:
            raise CheckpointError(f'the metadata of {self.path} cannot be used: {error}') from error

    @property
    def summary(self) -> str:
        """Its networks and their sizes in words."""
        return ', '.join(
            [*self.networks, *(f'{size.replace("_", " ")} {_shown(value)}' for size, value in self.sizes.items())]
        )


class Match(NamedTuple):
    """Whose entries these are: a network of a family, in one of its layouts."""

    family: Family
    layout: Layout
    network: str


def families() -> list[Family]:
    """All families, those of this package's methods among them."""
    FAMILIES.import_from_location()
    return [_made(family) for family in FAMILIES.module_dict.values()]


@cache
def _made(family: type[Family]) -> Family:
    return family()


@cache
def _shapes(family: Family, network: str, sizes: tuple[tuple[str, float | str], ...]) -> Shapes:
    MODELS.import_from_location()  # within the device what modules compute when imported would have no data, for ever
    with torch.device('meta'):
        return shapes_of(build_model(family.network_cfg(network, dict(sizes))).state_dict())


def recognize(entries: Mapping[str, Any]) -> Match | None:
    """Finds the family whose signature a file's entries have, with or without a leading `module.`."""
    return _recognize_shapes(shapes_of(without_module(entries)))


def _recognize_shapes(found: Shapes) -> Match | None:
    def fits(match: Match) -> bool:
        signature = match.family.signatures[match.network]
        shapes = {name: found.get(match.layout.spell(match.network, name), ()) for name in signature}
        return all(
            len(shapes[name]) == len(sides) and all(b in (None, a) for a, b in zip(shapes[name], sides, strict=True))
            for name, sides in signature.items()
        )

    known = [Match(f, layout, network) for f in families() for layout in f.layouts for network in layout.prefixes]
    return max(filter(fits, known), key=lambda match: len(match.family.signatures[match.network]), default=None)


def require_family(entries: Mapping[str, Any], source: str | Path) -> Match:
    """See `recognize`.

    Raises:
        CheckpointError: the entries are those of no family.
    """
    if match := recognize(entries):
        return match
    raise CheckpointError(
        f'{source} is the checkpoint of another model: its {len(entries)} entries ({_first(entries)}) '
        f'have the signature of no known family ({", ".join(family.name for family in families())})'
    )


def identify(entries: Mapping[str, Any], source: str | Path, network: str | None = None) -> Checkpoint:
    """Translates a file's entries to our names.

    Args:
        entries: {name: tensor} as the file has them, with or without a leading `module.`.
        source: the file, or what to call it in errors.
        network: which network the file holds by its name; None where the entries decide.

    Returns:
        The weights, complete and of the right shapes, without metadata.

    Raises:
        CheckpointError: the entries are those of no family, or not exactly those of the layout whose signature they
            have.
    """
    entries = without_module(entries)
    family, layout, held = _held(require_family(entries, source), entries, source, network)
    found = shapes_of(entries)
    sizes = {part: family.measure(part, lambda name: found.get(layout.spell(part, name))) for part in held}  # noqa: B023
    expected = {f'{part}.{name}': shape for part in held for name, shape in family.shapes(part, sizes[part]).items()}
    spelled = {ours: layout.spell(*ours.split('.', 1)) for ours in expected}
    known = {
        *layout.ignored,
        *spelled.values(),
        *(name for part in held for name in layout.unused_shapes(part, sizes[part])),
    }
    # Files from before torch 0.4.1 have no such counters; nothing here reads their values.
    counters = {theirs: torch.tensor(0) for theirs in spelled.values() if theirs.endswith('num_batches_tracked')}
    filled = {**counters, **entries}
    weights = {ours: filled[theirs] for ours, theirs in spelled.items() if theirs in filled}
    missing = [ours for ours in expected if ours not in weights]
    if problems := _misfits(expected, weights, spelled, [name for name in entries if name not in known], missing):
        raise CheckpointError(
            f'{source} resembles the layout {layout.name!r} ({", ".join(held)}) most, but it {problems}'
        )
    return Checkpoint(weights, family, held, common_sizes(sizes, source), layout.name, Path(source))


def _held(
    match: Match, entries: Mapping[str, Any], source: str | Path, network: str | None
) -> tuple[Family, Layout, tuple[str, ...]]:
    """The family, the layout and the networks of a file; `network` is what its name says it holds."""
    family, layout = match.family, match.layout
    if network is not None and family.folder is not None:
        if family.signatures[match.network] != family.signatures[network]:
            raise CheckpointError(
                f'{source} should hold the {network} by its name, but it holds a network like the {match.network}'
            )
        return family, family.folder, (network,)
    if layout.files:
        return family, layout, (match.network,)
    prefixes = layout.prefixes.items()
    return family, layout, tuple(part for part, prefix in prefixes if any(name.startswith(prefix) for name in entries))


def common_sizes(sizes: Mapping[str, Sizes], source: str | Path) -> dict[str, float | str]:
    """The sizes of all of a file's networks, from {network: its sizes}.

    Raises:
        CheckpointError: they differ.
    """
    common = {size: value for own in sizes.values() for size, value in own.items()}
    for size in common:
        values = {network: own[size] for network, own in sizes.items() if size in own}
        if len(set(values.values())) > 1:
            listed = ', '.join(f'{network} {_shown(value)}' for network, value in values.items())
            raise CheckpointError(f'the networks of {source} are of different {size}s: {listed}')
    return common


def require_fit(shapes: Shapes, weights: Mapping[str, Any], source: str, model: str, family: Family) -> None:
    """Checks that weights are exactly a model's entries; only the counters of batch norms may lack.

    Args:
        shapes: {our name: shape} of the model.
        weights: {our name: tensor}.
        source: what to call the weights in errors.
        model: what to call the model in errors.
        family: whose weights they are.

    Raises:
        CheckpointError: a network is lacking on either side, the families differ, or an entry is missing, unknown or of
            another shape.
    """
    has, needs = family.networks_of(weights), family.networks_of(shapes)
    if lacking := [network for network in needs if network not in has]:
        raise CheckpointError(
            f'{source} has no {" and no ".join(lacking)}, which {model} needs (it has {family.describe(has)})'
        )
    if extra := [network for network in has if network not in needs]:
        raise CheckpointError(f'{source} also holds {" and ".join(extra)}, which {model} has no place for')
    other = _recognize_shapes(shapes)
    if other is not None and type(family) not in (Family, type(other.family)):
        raise CheckpointError(
            f'{source} holds networks of the family {family.name!r}, but {model} has those of {other.family.name!r}'
        )
    for network in needs:
        here, there = family.sizes_of(network, shapes_of(weights)), family.sizes_of(network, shapes)
        for size in [size for size in here if here[size] != there[size]]:
            raise CheckpointError(
                f'{network} of {source} has {size} {_shown(here[size])}, but that of {model} has {_shown(there[size])}'
            )
    missing = [name for name in shapes if name not in weights and not name.endswith('num_batches_tracked')]
    unknown = [name for name in weights if name not in shapes]
    if problems := _misfits(shapes, weights, {name: name for name in (*shapes, *weights)}, unknown, missing):
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


def _shown(size: float | str) -> str:
    return size if isinstance(size, str) else f'{size:g}'


def _first(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    more = f' and {len(names) - count} more' if len(names) > count else ''
    return ', '.join(names[:count]) + more


def _merged(cfg: Mapping[str, Any], wins: Mapping[str, Any]) -> dict[str, Any]:
    """A config with the entries of another one, down to nested ones."""
    nested = {key: _merged(cfg.get(key) or {}, value) for key, value in wins.items() if isinstance(value, Mapping)}
    return {**cfg, **wins, **nested}


def shapes_of(state_dict: Mapping[str, Any]) -> Shapes:
    """{name: shape} of the entries that are tensors."""
    return {name: tuple(value.shape) for name, value in state_dict.items() if isinstance(value, Tensor)}


def without_module(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Takes off the `module.` that torch's data-parallel wrapper puts before every name."""
    wrapped = all(name.startswith('module.') for name in entries)
    return {name.removeprefix('module.') if wrapped else name: value for name, value in entries.items()}
