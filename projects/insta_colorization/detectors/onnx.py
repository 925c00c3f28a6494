"""YOLOX-style detectors in ONNX files, run by OpenCV: no further package, no GPU.

Pre-processing and decoding follow Megvii's YOLOX (Apache-2.0), `demo/ONNXRuntime` and `utils/demo_utils.py`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances, Size

from .base import image_size, lightness_copies
from .nms import best_of_cells

_STRIDES = (8, 16, 32)
_PADDING = 114
_MAX_LOG_SIZE = 10


@MODELS.register_module()
class OnnxDetector:
    """A YOLOX-style ONNX model: one output (1, A, 5 + classes) of cell offsets, log sizes, objectness and class scores.

    A is the number of cells of the grids at stride 8, 16 and 32. The input is (1, 3, h, w) BGR in 0..255, the photo
    scaled to fit into the upper left corner. Classes are COCO's if there are 80, else they have numbers for names.

    Args:
        path: the `.onnx` file.
        score_thr: see `InstanceDetector`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not an ONNX model, or not one of this kind.
    """

    def __init__(self, path: str | Path, score_thr: float = 0.3) -> None:
        self.path = Path(path)
        self.score_thr = score_thr
        if not self.path.is_file():
            raise FileNotFoundError(f'there is no detector file {self.path}')
        self._net, self.input_size = _read(self.path)
        self._cells, self._strides = _grid(self.input_size)

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """Runs the model on each photo; see `InstanceDetector.detect`."""
        return [self._detect(lightness_copies(image)) for image in images]

    def _detect(self, image: np.ndarray) -> Instances:
        blob, scale = _letterbox(image, self.input_size)
        output = self._forward(blob)
        boxes, scores, classes = _decode(output, self._cells, self._strides)
        return best_of_cells(boxes, scores, classes, output.shape[1] - 5, image_size(image), scale)

    def _forward(self, blob: np.ndarray) -> np.ndarray:
        self._net.setInput(blob)
        try:
            output = self._net.forward()
        except cv2.error as error:
            raise ValueError(f'{self.path} does not run on an input of {blob.shape}: {_reason(error)}') from error
        anchors = len(self._cells)
        if output.ndim != 3 or output.shape[1] != anchors or output.shape[2] < 6:
            raise ValueError(
                f'{self.path} is not a YOLOX-style model: its output has shape {output.shape}, '
                f'expected (1, {anchors}, 5 + classes) for an input of {self.input_size}'
            )
        return output[0]


def _decode(output: np.ndarray, cells: np.ndarray, strides: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, 5 + classes) raw output to boxes (A, 4) xyxy in input pixels, scores (A,) and classes (A,)."""
    centres = (output[:, :2] + cells) * strides
    # Broken weights must not overflow into boxes without end.
    half = np.exp(output[:, 2:4].clip(max=_MAX_LOG_SIZE)) * strides / 2
    class_scores = output[:, 5:]
    scores = output[:, 4] * class_scores.max(axis=1)
    return np.concatenate([centres - half, centres + half], axis=1), scores, class_scores.argmax(axis=1)


def _letterbox(image: np.ndarray, size: Size) -> tuple[np.ndarray, float]:
    """Fits the photo into `size`; returns the blob (1, 3, h, w) float32 and input pixels per photo pixel."""
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    scaled = max(1, int(height * scale)), max(1, int(width * scale))
    canvas = np.full((*size, 3), _PADDING, np.float32)
    canvas[: scaled[0], : scaled[1]] = cv2.resize(image, scaled[::-1], interpolation=cv2.INTER_LINEAR)
    return canvas.transpose(2, 0, 1)[None], scale


def _grid(size: Size) -> tuple[np.ndarray, np.ndarray]:
    """Upper left corners (A, 2) of all cells in cells, x first, and strides (A, 1) in pixels."""
    cells, strides = [], []
    for stride in _STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _reason(error: cv2.error) -> str:
    return str(getattr(error, 'err', '') or error).strip().splitlines()[0]


def _read(path: Path) -> tuple[Any, Size]:
    """OpenCV's network in a file, and the size of the photo that it takes."""
    data = path.read_bytes()
    try:
        net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
    except cv2.error as error:
        raise ValueError(
            f'{path} is not an ONNX model, or it is cut off ({len(data)} bytes), or OpenCV cannot run it: '
            f'{_reason(error)}'
        ) from error
    try:
        # Asked about no input in particular, it tells the shape in the file, where that is fixed.
        shape = tuple(map(int, net.getLayersShapes([[]])[1][0][0]))
    except cv2.error:
        shape = ()
    if len(shape) != 4 or shape[1] != 3 or min(shape[2:]) < _STRIDES[-1]:
        raise ValueError(
            f'{path} must have a fixed input of shape (1, 3, height, width), but has {shape or "a variable one"}; '
            'export it with a fixed size'
        )
    return net, (shape[2], shape[3])
