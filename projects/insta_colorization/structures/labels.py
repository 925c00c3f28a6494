"""The 60 classes of semantic maps: names, colours, and where COCO panoptic's categories belong.

They are PASCAL-Context's: background, VOC's 20 in VOC's order, then 39 more. Other lists of the same names have another
order, so classes are translated by name.
"""

from collections.abc import Mapping

import numpy as np

SEMANTIC_CLASSES = (
    *('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair'),
    *('cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train'),
    *('tvmonitor', 'bag', 'bed', 'bench', 'book', 'building', 'cabinet', 'ceiling', 'clothes', 'computer'),
    *('cup', 'door', 'fence', 'floor', 'flower', 'food', 'grass', 'ground', 'keyboard', 'light'),
    *('mountain', 'mouse', 'curtain', 'platform', 'sign', 'plate', 'road', 'rock', 'shelves', 'sidewalk'),
    *('sky', 'snow', 'bedcloth', 'track', 'tree', 'truck', 'wall', 'water', 'window', 'wood'),
)
NUM_CLASSES = len(SEMANTIC_CLASSES)
# What a true map has where nobody has said what there is.
UNKNOWN = 255

_BITS = 8


def _voc_colours(count: int) -> np.ndarray:
    """VOC's colours (count, 3) uint8: bits 0, 1, 2 of a number are the highest ones of R, G, B, and so on."""
    numbers = np.arange(count)[:, None] >> np.arange(0, 3 * _BITS, 3)
    bits = (numbers[:, None] >> np.arange(3)[:, None]) & 1
    return (bits << (_BITS - 1 - np.arange(_BITS))).sum(axis=-1).astype(np.uint8)


# (60, 3) RGB.
CLASS_COLOURS = _voc_colours(NUM_CLASSES)

# {class: COCO panoptic's categories}; all other categories are background. Two classes, plate and wood, have none.
_COCO_PANOPTIC: Mapping[str, tuple[int, ...]] = {
    **{'aeroplane': (5,), 'bicycle': (2,), 'bird': (16,), 'boat': (9,), 'bottle': (44,), 'bus': (6,), 'car': (3,)},
    **{'cat': (17,), 'chair': (62,), 'cow': (21,), 'diningtable': (67, 189), 'dog': (18,), 'horse': (19,)},
    **{'motorbike': (4,), 'person': (1,), 'pottedplant': (64,), 'sheep': (20,), 'sofa': (63,), 'train': (7,)},
    **{'tvmonitor': (72,), 'bag': (27, 31, 33), 'bed': (65,), 'bench': (15,), 'book': (84,)},
    **{'building': (128, 151, 197), 'cabinet': (107, 188), 'ceiling': (186,), 'clothes': (32,), 'computer': (73,)},
    **{'cup': (46, 47), 'door': (112,), 'fence': (185,), 'floor': (118, 190, 200), 'flower': (119,)},
    **{'food': (*range(52, 62), 122, 196), 'grass': (193,), 'ground': (125, 145, 154, 194), 'keyboard': (76,)},
    **{'light': (10, 130), 'mountain': (192,), 'mouse': (74,), 'curtain': (109,), 'platform': (144,), 'sign': (13,)},
    **{'road': (149,), 'rock': (198,), 'shelves': (156,), 'sidewalk': (191,), 'sky': (187,), 'snow': (159,)},
    **{'bedcloth': (93, 141), 'track': (147,), 'tree': (184,), 'truck': (8,), 'wall': (171, 175, 176, 177, 199)},
    **{'water': (148, 155, 178), 'window': (180, 181)},
}


def coco_panoptic_table() -> np.ndarray:
    """(256,) uint8: the class of each of COCO panoptic's category ids; 0, which COCO leaves unlabelled, is unknown."""
    table = np.zeros(256, np.uint8)
    table[0] = UNKNOWN
    for name, categories in _COCO_PANOPTIC.items():
        table[list(categories)] = SEMANTIC_CLASSES.index(name)
    return table
