"""YOLOX-style detectors in ONNX files, run by OpenCV: no further package, no GPU.

Pre-processing and decoding follow Megvii's YOLOX (Apache-2.0), `demo/ONNXRuntime` and `utils/demo_utils.py`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances, Size

from .base import image_size, lightness_copies

_STRIDES = (8, 16, 32)
_PADDING = 114
# YOLOX's own: boxes of one class that overlap more than this are one object.
_NMS_IOU = 0.45
# Anything less is noise by the thousand; real thresholds are far above and belong to `select`.
_NOISE_SCORE = 0.01
_MAX_LOG_SIZE = 10


@MODELS.register_module()
class OnnxDetector:
    """A YOLOX-style ONNX model: one output (1, A, 5 + classes) of cell offsets, log sizes, objectness and class scores.

    A is the number of cells of the grids at stride 8, 16 and 32. The input is (1, 3, h, w) BGR in 0..255, the photo
    scaled to fit into the upper left corner.

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
        data = self.path.read_bytes()
        self.input_size = _input_size(data, self.path)
        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
        except cv2.error as error:
            raise ValueError(f'{self.path} is not a model that OpenCV can run: {_reason(error)}') from error
        self._cells, self._strides = _grid(self.input_size)

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """Runs the model on each photo; see `InstanceDetector.detect`."""
        return [self._detect(lightness_copies(image)) for image in images]

    def _detect(self, image: np.ndarray) -> Instances:
        blob, scale = _letterbox(image, self.input_size)
        boxes, scores, classes = _decode(self._forward(blob), self._cells, self._strides)
        candidates = np.flatnonzero(scores >= _NOISE_SCORE)
        boxes, scores, classes = boxes[candidates] / scale, scores[candidates], classes[candidates]
        keep = _nms_per_class(boxes, scores, classes)
        return Instances.clipped(boxes[keep], image_size(image), scores[keep])

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


def _nms_per_class(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(K,) indices of the boxes that stay, best first."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
    keep = cv2.dnn.NMSBoxesBatched(
        corner_and_size.tolist(), scores.astype(float).tolist(), classes.tolist(), _NOISE_SCORE, _NMS_IOU
    )
    return np.asarray(keep, np.int64).reshape(-1)


def _reason(error: cv2.error) -> str:
    return str(getattr(error, 'err', '') or error).strip().splitlines()[0]


# OpenCV does not say which input size a model was exported for, and running another one fails deep inside. The size is
# a few fields down the file (onnx.proto3: ModelProto.graph = 7, GraphProto.input = 11, ValueInfoProto.type = 2,
# TypeProto.tensor_type = 1, Tensor.shape = 2, TensorShapeProto.dim = 1, Dimension.dim_value = 1).
_GRAPH, _INPUT, _SHAPE, _DIM, _DIM_VALUE = 7, 11, (2, 1, 2), 1, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _input_size(data: bytes, path: Path) -> Size:
    try:
        graph = next(_values(memoryview(data), _GRAPH))
        shape = next(_values(graph, _INPUT))
        for field in _SHAPE:
            shape = next(_values(shape, field))
        dims = [next(_values(dim, _DIM_VALUE), 0) for dim in _values(shape, _DIM)]
    except (StopIteration, IndexError, ValueError, TypeError) as error:
        raise ValueError(f'{path} is not an ONNX model, or it is cut off ({len(data)} bytes)') from error
    if len(dims) != 4 or dims[1] != 3 or not all(isinstance(dim, int) and dim >= _STRIDES[-1] for dim in dims[2:]):
        raise ValueError(
            f'{path} must have a fixed input of shape (1, 3, height, width), but has {tuple(dims)} (0 is variable); '
            'export it with a fixed size'
        )
    return dims[2], dims[3]


def _values(message: memoryview, number: int) -> Iterator[Any]:
    """Values of the protobuf fields with this number: int for varints, memoryview for what has a length."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        value: int | memoryview
        if kind == _VARINT:
            value, position = _varint(message, position)
        elif kind == _BYTES:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
            if position > len(message):
                raise ValueError(f'a field of {length} bytes is cut off')
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
            value, position = message[position : position + length], position + length
        else:
            raise ValueError(f'unknown wire type {kind}')
        if key >> 3 == number:
            yield value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position
