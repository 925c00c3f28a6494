"""Levels: which parts of a photo are measured. A level that another method needs registers itself beside these."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from insta_colorization.structures import SEMANTIC_CLASSES, UNKNOWN, resize_map

# Truth and prediction, both 8-bit RGB (3, H, W); other parts than pictures say themselves what they are.
Pair = tuple[Any, ...]
# Shorter crops vanish in LPIPS' network, which halves them four times.
MIN_SIDE = 16


class Level:
    """Takes pairs of pictures from a photo.

    Attributes:
        name: what stands before the names of values, as in `image/PSNR`.
        single: whether every photo gives exactly one pair.
        parts: what its pairs are. Metrics measure the levels of their own kind of parts.
    """

    name = ''
    parts = 'pictures'
    single = False

    def pairs(self, sample: Mapping[str, Any], photo: Pair) -> tuple[Sequence[Pair], dict[str, int]]:
        """What is measured of one photo, and counts of what is and of what is left out.

        Args:
            sample: a predicted `ColorizationSample` or its dict.
            photo: truth and prediction, whole.
        """
        raise NotImplementedError

    def describe(self, counts: Mapping[str, int]) -> dict[str, Any]:
        """What a protocol says about the level, from the sums of the counts over all photos."""
        return {}


LEVELS: dict[str, Level] = {}
_L = TypeVar('_L', bound=Level)


def register_level(level: type[_L]) -> type[_L]:
    """Makes a level known by its name; metrics that are built later measure it unless their `levels` say otherwise.

    Raises:
        ValueError: another level has its name.
    """
    known = LEVELS.setdefault(level.name, level())
    if type(known) is not level:
        raise ValueError(f'{level.__name__} is named {level.name}, but so is {type(known).__name__}')
    return level


@register_level
class ImageLevel(Level):
    """Whole photos, as in the paper's Table 1."""

    name = 'image'
    single = True

    def pairs(self, sample: Mapping[str, Any], photo: Pair) -> tuple[Sequence[Pair], dict[str, int]]:  # noqa: D102
        return [photo], {}


@register_level
class InstanceLevel(Level):
    """What the true boxes cut out of both pictures, as in the paper's Table 2."""

    name = 'instance'

    def pairs(self, sample: Mapping[str, Any], photo: Pair) -> tuple[Sequence[Pair], dict[str, int]]:  # noqa: D102
        counts = {'measured': 0, 'small': 0, 'crowds': int(sample.get('crowds') or 0)}
        instances = sample.get('gt_instances')
        if instances is None:
            return [], counts
        boxes = instances.on_grid(tuple(photo[0].shape[-2:]))
        large = (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(dim=1)
        counts |= {'measured': int(large.sum()), 'small': int((~large).sum())}
        truth, prediction = photo
        places = [(..., slice(y0, y1), slice(x0, x1)) for x0, y0, x1, y1 in boxes[large].tolist()]
        return [(truth[place], prediction[place]) for place in places], counts

    def describe(self, counts: Mapping[str, int]) -> dict[str, Any]:  # noqa: D102
        return {
            'instance_level': (
                'both pictures cropped by the true boxes scaled to size, floored; mean over all instances'
            ),
            'num_instances': counts['measured'],
            'instances_left_out': {
                'crowds': counts['crowds'],
                'small': counts['small'],
                'small_means': f'a side under {MIN_SIDE} pixels at size',
            },
        }


@register_level
class SemanticLevel(Level):
    """The pixels of each class of the true map, for metrics of colours.

    Its pairs are truth and prediction, (3, 1, P) of the P pixels of a class, and the class's name.
    """

    name = 'semantic'
    parts = 'classes'

    def pairs(self, sample: Mapping[str, Any], photo: Pair) -> tuple[Sequence[Pair], dict[str, int]]:  # noqa: D102
        if sample.get('semantic_map') is None:
            return [], {'pixels': 0, 'unknown': 0}
        truth, prediction = photo
        ids = resize_map(sample['semantic_map'].ids, (truth.shape[-2], truth.shape[-1]))
        known = ids != UNKNOWN
        pairs = []
        for number in np.unique(ids[known]).tolist():
            where = torch.from_numpy(ids == number)
            pairs.append((truth[:, where][:, None], prediction[:, where][:, None], SEMANTIC_CLASSES[number]))
        return pairs, {'pixels': int(known.sum()), 'unknown': int((~known).sum())}

    def describe(self, counts: Mapping[str, int]) -> dict[str, Any]:  # noqa: D102
        return {
            'semantic_level': 'the pixels of each class of the true map, brought to size by nearest',
            'pixels_of_known_class': counts['pixels'],
            'pixels_of_unknown_class': counts['unknown'],
        }


@register_level
class MapLevel(Level):
    """True and predicted map of a photo, both (H, W) uint8 at the size of the true one."""

    name = 'map'
    single = True
    parts = 'maps'

    def pairs(self, sample: Mapping[str, Any], photo: Pair) -> tuple[Sequence[Pair], dict[str, int]]:  # noqa: D102
        if sample.get('semantic_map') is None or sample.get('pred_map') is None:
            return [], {}
        true = sample['semantic_map'].ids
        return [(true, resize_map(sample['pred_map'].numpy(), true.shape))], {}
