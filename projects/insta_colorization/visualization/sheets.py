"""Pictures for those who would rather look: what went in and came out, and where each instance counted.

All pictures are RGB uint8, (H, W, 3).
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from torch import Tensor

from insta_colorization.structures import CLASS_COLOURS, SEMANTIC_CLASSES, Instances, resize_map

SHEET_SIDE = 512
# More maps than this make a sheet that no viewer shows.
MOST_MAPS = 12

# Okabe and Ito's colours, which people with any colour vision tell apart, without black and yellow.
_COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (213, 94, 0), (204, 121, 167), (0, 114, 178))
_GAP = 6
_TITLE_HEIGHT = 22
_NAME_WIDTH = 110
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45


def sheet(
    gray: np.ndarray,
    result: np.ndarray,
    instances: Instances,
    truth: np.ndarray | None = None,
    words: Mapping[int, str] | None = None,
) -> np.ndarray:
    """Grey photo, result, truth and boxes with their scores side by side, each at most 512 pixels high and wide.

    Args:
        gray: (H, W, 3) uint8.
        result: (h, w, 3) uint8, of any size.
        instances: those of the photo, which may have another size there.
        truth: (h, w, 3) uint8, of any size, where there is one.
        words: by the number of an instance, what its box has in the place of the score.
    """
    small = _fit(gray)
    scores = enumerate(instances.scores.tolist())
    labels = [(words or {}).get(number, f'{score:.2f}') for number, score in scores]
    boxes = _with_boxes(small, instances, labels)
    found = f'{len(instances)} instance{"" if len(instances) == 1 else "s"}'
    pictures = {'grey': small, 'colour': result, 'truth': truth, found: boxes}
    size = small.shape[1::-1]
    return _beside(
        [
            _titled(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), title)
            for title, picture in pictures.items()
            if picture is not None
        ]
    )


def overlay(gray: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """A grey photo (H, W, 3) uint8 under the colours of its classes, a map of any size."""
    colours = CLASS_COLOURS[resize_map(ids, (gray.shape[0], gray.shape[1]))]
    return cv2.addWeighted(gray, 0.4, colours, 0.6, 0)


def map_sheet(gray: np.ndarray, result: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Grey photo, the classes over it and the result side by side, each at most 512 pixels high and wide.

    The names of the largest classes stand on their colours below.

    Args:
        gray: (H, W, 3) uint8.
        result: (h, w, 3) uint8, of any size.
        ids: (h, w), classes of `SEMANTIC_CLASSES`.
    """
    small = _fit(gray)
    size = small.shape[1::-1]
    pictures = {
        'grey': small,
        'classes': overlay(small, ids),
        'colour': cv2.resize(result, size, interpolation=cv2.INTER_AREA),
    }
    tiles = _beside([_titled(picture, title) for title, picture in pictures.items()])
    # Row by row, for it makes 64-bit integers of what it counts.
    counts = np.sum([np.bincount(row, minlength=len(SEMANTIC_CLASSES)) for row in ids], axis=0)
    shown = [number for number in (-counts).argsort(kind='stable').tolist() if counts[number]]
    return np.vstack([tiles, _names(shown[: max(1, tiles.shape[1] // _NAME_WIDTH)], tiles.shape[1])])


def _names(numbers: Sequence[int], width: int) -> np.ndarray:
    """A strip with the names of classes on their colours."""
    strip = np.full((_TITLE_HEIGHT, width, 3), 255, np.uint8)
    for place, number in enumerate(numbers):
        left = place * _NAME_WIDTH
        colour = CLASS_COLOURS[number].tolist()
        ink = (0, 0, 0) if np.dot(colour, (0.3, 0.6, 0.1)) > 110 else (255, 255, 255)
        cv2.rectangle(strip, (left, 0), (left + _NAME_WIDTH - _GAP, _TITLE_HEIGHT), colour, cv2.FILLED)
        place_of_text = (left + 3, _TITLE_HEIGHT - 7)
        cv2.putText(strip, SEMANTIC_CLASSES[number], place_of_text, _FONT, _FONT_SCALE, ink, 1, cv2.LINE_AA)
    return strip


def fusion_sheet(gray: np.ndarray, instances: Instances, shares: Mapping[str, tuple[Tensor, Tensor]]) -> np.ndarray:
    """The fusion's weight maps of one photo, as in the paper's Figures 6 and 9: a line a row of the network.

    Bright is a share of one, dark of none. Of more than `MOST_MAPS` instances the first ones are shown.

    Args:
        gray: (H, W, 3) uint8.
        instances: R instances of the photo.
        shares: for each row of the network the photo's share (h, w) and its instances' (R, h, w), in 0..1.
    """
    small = _fit(gray, side=SHEET_SIDE // 2)
    shown = instances[:MOST_MAPS]
    numbers = [str(number) for number in range(1, len(shown) + 1)]
    photo = _with_boxes(small, shown, numbers)
    lines = []
    for row, (image_share, instance_shares) in shares.items():
        tiles = [_titled(photo, row), _titled(_heat(image_share, small), 'whole image')]
        tiles += [
            _titled(_heat(share, small), f'instance {number}')
            for share, number in zip(instance_shares[:MOST_MAPS], numbers, strict=True)
        ]
        lines.append(_beside(tiles))
    return np.vstack(lines)


def _heat(share: Tensor, like: np.ndarray) -> np.ndarray:
    """A map (h, w) of values in 0..1 as colours at the size of a picture (H, W, 3)."""
    values = (share.float().clamp(0, 1) * 255).byte().cpu().numpy()
    resized = cv2.resize(values, like.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return cv2.cvtColor(cv2.applyColorMap(resized, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def _fit(image: np.ndarray, side: int = SHEET_SIDE) -> np.ndarray:
    scale = min(1, side / max(image.shape[:2]))
    size = [max(1, round(extent * scale)) for extent in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _titled(image: np.ndarray, title: str) -> np.ndarray:
    """The picture under a white line with its title."""
    strip = np.full((_TITLE_HEIGHT, image.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (2, _TITLE_HEIGHT - 7), _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([strip, image])


def _beside(images: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((images[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.hstack([part for image in images for part in (image, gap)][:-1])


def _with_boxes(small: np.ndarray, instances: Instances, labels: Sequence[str]) -> np.ndarray:
    """A picture with the instances' boxes, from the size of their photo to its own; labels lie on top of all boxes."""
    drawn = small.copy()
    height, width = instances.image_size[0].tolist()
    scale = np.array([small.shape[1] / width, small.shape[0] / height] * 2)
    last = np.array(small.shape[1::-1] * 2) - 1
    boxes = np.minimum((instances.boxes.cpu().numpy() * scale).round().astype(int), last).tolist()
    colours = [_COLOURS[index % len(_COLOURS)] for index in range(len(boxes))]
    for box, colour in zip(boxes, colours, strict=True):
        cv2.rectangle(drawn, box[:2], box[2:], colour, 2)
    for (x, y, *_), colour, label in zip(boxes, colours, labels, strict=True):
        (width, height), _ = cv2.getTextSize(label, _FONT, _FONT_SCALE, 1)
        cv2.rectangle(drawn, (x, y), (x + width + 5, y + height + 6), colour, cv2.FILLED)
        cv2.putText(drawn, label, (x + 3, y + height + 3), _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return drawn
