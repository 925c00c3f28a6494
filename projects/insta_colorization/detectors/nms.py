"""What detectors with a box for each cell of a grid have in common once the cells are decoded."""

import cv2
import numpy as np

from insta_colorization.structures import COCO_CLASSES, Instances, Size

# YOLOX's own: boxes of one class that overlap more than this are one object.
_NMS_IOU = 0.45
# Anything less is noise by the thousand; real thresholds are far above and belong to `select`.
_NOISE_SCORE = 0.01


def best_of_cells(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    num_classes: int,
    size: Size,
    scale: np.ndarray | float,
    across_classes: bool = False,
) -> Instances:
    """The instances among the cells of one photo, best first.

    Args:
        boxes: (A, 4) xyxy in pixels of the network's input.
        scores: (A,) in 0..1.
        classes: (A,) numbers of the classes; they are COCO's if there are 80, else they have numbers for names.
        num_classes: how many there are.
        size: (height, width) of the photo.
        scale: pixels of the input per pixel of the photo, one number or (4,) for each coordinate.
        across_classes: whether boxes that overlap much are one object even if their classes differ.

    Returns:
        `Instances` of a single image; boxes of one class that overlap much are one.
    """
    candidates = np.flatnonzero(scores >= _NOISE_SCORE)
    boxes, scores, classes = boxes[candidates] / scale, scores[candidates], classes[candidates]
    keep = nms_per_class(boxes, scores, np.zeros_like(classes) if across_classes else classes)
    coco = num_classes == len(COCO_CLASSES)
    names = COCO_CLASSES if coco else [f'class {number}' for number in range(num_classes)]
    return Instances.clipped(boxes[keep], size, scores[keep], None, classes[keep], names)


def nms_per_class(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(K,) indices of the boxes that stay, best first."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    keep = cv2.dnn.NMSBoxesBatched(
        corner_and_size.tolist(), scores.astype(float).tolist(), classes.tolist(), _NOISE_SCORE, _NMS_IOU
    )
    return np.asarray(keep, np.int64).reshape(-1)
