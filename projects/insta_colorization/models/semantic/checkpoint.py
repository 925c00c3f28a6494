"""The checkpoints of semantic-driven colorization: two published files, told apart by their entries, and ours."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from insta_colorization.checkpoints import FAMILIES, Checkpoint, Family, Layout, TrainingStage
from insta_colorization.checkpoints.families import Sizes
from insta_colorization.models.backbones.lite import BOTTLENECK
from insta_colorization.models.backbones.lite import STEM_CHANNELS as LITE_STEM
from insta_colorization.models.decoders import default_decoder
from insta_colorization.registry import SCOPE
from insta_colorization.structures import NUM_CLASSES

from .network import ENCODER
from .segmenter import ROWS, STEM_CHANNELS

# {our name of a step through the grid: the published name, and where it comes from in rows and columns}
_STEPS = {
    'lateral': ('convSequence', 0, -1),
    'down': ('subSamplingSequence', -1, 0),
    'up': ('upSamplingSequence', 1, 0),
}
_OUTER = {'input_norm': 'batchNormInitial', 'stem': 'firstConv', 'head': 'lastConv', 'ab_head': 'final_conv'}


def published_name(name: str) -> str:
    """The published files' name of an entry of the segmenter or the colour network."""
    if step := re.fullmatch(r'(lateral|down|up)\.(\d)_(\d)\.(.+)', name):
        kind, row, column, rest = step.groups()
        sequence, rows, columns = _STEPS[kind]
        rest = rest.replace('conv1', 'convTranspose1') if kind == 'up' else rest
        place = f'{int(row) + rows}_{int(column) + columns}to{row}_{column}'
        return f'{sequence}{place}.{rest.replace("norm", "batch")}'
    first, _, rest = name.partition('.')
    if first in ('enc', 'dec'):
        return first + rest
    return f'{_OUTER.get(first, first)}.{rest.replace("norm", "batch")}'


@FAMILIES.register_module()
class SemanticFamily(Family):
    """Segmenter and colour network, published as two files that may be called anything."""

    name = 'semantic'
    signatures: ClassVar = {
        'segment_net': {'input_norm.weight': (1,), 'head.conv2.weight': (NUM_CLASSES, NUM_CLASSES, 3, 3)},
        'color_net': {'enc.1.conv1.weight': (None, 1, 3, 3), 'ab_head.weight': (2, None, 3, 3)},
    }
    stages = (
        TrainingStage(('segment_net',), 'SemanticSegmenter', predicts=False),
        TrainingStage(('segment_net', 'color_net'), 'SemanticColorizer'),
    )
    published: ClassVar[tuple[Layout, ...]] = (
        Layout(
            'semantic',
            {'segment_net': '', 'color_net': ''},
            published_name,
            files={'segment_net': 'seg_weights', 'color_net': 'color_weights'},
            by_entries=True,
            wrapper='G',
        ),
    )

    types: ClassVar = {'segment_net': 'GridSegmenter', 'color_net': 'SemanticColorNet'}

    def model_cfg(self, checkpoint: Checkpoint, model_cfg: Mapping[str, Any]) -> dict[str, Any]:
        """See `Family.model_cfg`; raises `ValueError` also where the config's networks are the other family's."""
        for network, own in self.types.items():
            kind = str(model_cfg.get(network, {}).get('type', own)).removeprefix(f'{SCOPE}.')
            if kind != own and kind in {*SemanticFamily.types.values(), *SemanticLiteFamily.types.values()}:
                raise ValueError(
                    f"the config's {network} is a {kind}, but {checkpoint.path} holds the weights of a {own}"
                )
        return super().model_cfg(checkpoint, model_cfg)

    def network_cfg(self, network: str, sizes: Sizes) -> dict[str, Any]:  # noqa: D102
        if network == 'segment_net':
            return {'type': 'GridSegmenter', 'width': sizes['segmenter_width']}
        return {'type': 'SemanticColorNet', 'width': sizes['width'], 'one_hot': sizes['map_code'] == 'one-hot'}

    def measure(  # noqa: D102
        self, network: str, shape_of: Callable[[str], tuple[int, ...] | None]
    ) -> dict[str, float | str]:
        if network == 'segment_net':
            widest = STEM_CHANNELS * 2 ** (ROWS - 1)
            return {'segmenter_width': _channels(shape_of(f'lateral.{ROWS - 1}_1.conv1.weight'), widest) / widest}
        code = 'number' if shape_of('map_conv.weight') is None else 'one-hot'
        return {
            'width': _channels(shape_of(f'enc.{len(ENCODER)}.conv1.weight'), ENCODER[-1]) / ENCODER[-1],
            'map_code': code,
        }


_LITE = {'encoder.stem.0.weight': (LITE_STEM, 3, 3, 3)}


@FAMILIES.register_module()
class SemanticLiteFamily(SemanticFamily):
    """Segmenter and colour network on one light encoder, in our names only."""

    name = 'semantic-lite'
    signatures: ClassVar = {
        'segment_net': {**_LITE, 'head.weight': (NUM_CLASSES, None, 1, 1)},
        'color_net': {**_LITE, 'map_code.weight': (NUM_CLASSES, None)},
    }
    published: ClassVar[tuple[Layout, ...]] = ()
    copies: ClassVar = {'color_net.encoder': 'segment_net.encoder'}
    types: ClassVar = {'segment_net': 'LiteSegmenter', 'color_net': 'LiteColorNet'}

    def network_cfg(self, network: str, sizes: Sizes) -> dict[str, Any]:  # noqa: D102
        # The checkpoint fills the networks: what they begin with is for training alone.
        encoder = {'type': 'EfficientNetLite', 'pretrained': False}
        cfg = {'type': self.types[network], 'weights': None, 'encoder': encoder}
        if network == 'segment_net':
            return {**cfg, 'width': sizes['segmenter_width']}
        return {**cfg, 'width': sizes['width'], 'codes': int(sizes['codes'])}

    def measure(  # noqa: D102
        self, network: str, shape_of: Callable[[str], tuple[int, ...] | None]
    ) -> dict[str, float | str]:
        width = _channels(shape_of('bottleneck.weight'), BOTTLENECK) / BOTTLENECK
        if network == 'segment_net':
            return {'segmenter_width': width}
        return {'width': width, 'codes': (shape_of('map_code.weight') or (NUM_CLASSES, 16))[1]}

    def metadata(self, model_cfg: Mapping[str, Any]) -> dict[str, str]:  # noqa: D102
        return {'decoder': json.dumps(default_decoder(model_cfg.get('decoder'), model_cfg.get('presets')))}


def _channels(shape: tuple[int, ...] | None, published: int) -> int:
    return shape[0] if shape else published
