"""The checkpoints of semantic-driven colorization: two published files, told apart by their entries, and ours."""

import re
from collections.abc import Callable
from typing import Any, ClassVar

from insta_colorization.checkpoints import FAMILIES, Family, Layout, TrainingStage
from insta_colorization.checkpoints.families import Sizes
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
    published = (
        Layout(
            'semantic',
            {'segment_net': '', 'color_net': ''},
            published_name,
            files={'segment_net': 'seg_weights', 'color_net': 'color_weights'},
            by_entries=True,
            wrapper='G',
        ),
    )

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


def _channels(shape: tuple[int, ...] | None, published: int) -> int:
    return shape[0] if shape else published
