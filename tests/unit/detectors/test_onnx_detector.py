import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from insta_colorization.detectors import OnnxDetector
from insta_colorization.detectors.nms import nms_per_class
from insta_colorization.detectors.onnx import _decode, _letterbox
from insta_colorization.detectors.selection import select

LARGE_AREA = 96**2


@pytest.fixture(scope='module')
def model_file(shared):
    path = shared / 'detector' / 'yolox_nano.onnx'
    if not path.is_file():
        pytest.skip('there is no detector/yolox_nano.onnx in ../shared')
    return path


@pytest.fixture(scope='module')
def detector(model_file):
    return OnnxDetector(model_file)


@pytest.fixture(scope='module')
def evaluation(shared):
    """File name -> (photo, true boxes (G, 4) xyxy of the large objects)."""
    folder = shared / 'data' / 'eval'
    if not folder.is_dir():
        pytest.skip('there is no data/eval in ../shared')
    annotations = json.loads((folder / 'instances_eval.json').read_text())
    boxes = {image['id']: [] for image in annotations['images']}
    for item in annotations['annotations']:
        x, y, width, height = item['bbox']
        if not item['iscrowd'] and width * height > LARGE_AREA:
            boxes[item['image_id']].append([x, y, x + width, y + height])
    return [
        (folder / 'images' / i['file_name'], np.array(boxes[i['id']]).reshape(-1, 4)) for i in annotations['images']
    ]


def read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def found(truth: np.ndarray, boxes: np.ndarray) -> int:
    """How many true boxes have a box with an IoU of at least 0.5."""
    inter = np.minimum(truth[:, None, 2:], boxes[None, :, 2:]) - np.maximum(truth[:, None, :2], boxes[None, :, :2])
    shared_area = inter.clip(min=0).prod(axis=2)
    areas = [(b[:, 2:] - b[:, :2]).prod(axis=1) for b in (truth, boxes)]
    iou = shared_area / (areas[0][:, None] + areas[1][None] - shared_area)
    return int((iou >= 0.5).any(axis=1).sum())


@pytest.mark.slow
def test_recall_of_large_objects_on_grey_photos(detector, evaluation, record_property):
    every_fourth = evaluation[::4]
    hits = sum(
        found(truth, select(detector.detect([read(path)])[0], detector.score_thr, top_k=8).boxes.numpy())
        for path, truth in every_fourth
    )
    recall = hits / sum(len(truth) for _, truth in every_fourth)
    record_property('recall', recall)

    assert detector.score_thr == 0.3
    assert recall >= 0.6, f'recall {recall:.3f}'


@pytest.mark.slow
def test_agrees_with_onnxruntime(detector, model_file):
    onnxruntime = pytest.importorskip('onnxruntime', reason='the second opinion needs onnxruntime')
    blob = np.random.default_rng(0).uniform(0, 255, (1, 3, *detector.input_size)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(model_file), providers=['CPUExecutionProvider'])
    (expected,) = session.run(None, {session.get_inputs()[0].name: blob})

    np.testing.assert_allclose(detector._forward(blob), expected[0], atol=1e-3)
    assert session.get_inputs()[0].shape == [1, 3, *detector.input_size]


@pytest.mark.slow
def test_boxes_are_in_pixels_of_each_photo(detector, evaluation):
    photo = read(next(path for path, truth in evaluation if len(truth) == 1))
    double = cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)

    once, twice = (select(result, 0.3, top_k=1).boxes.numpy() for result in detector.detect([photo, double]))

    assert found(once * 2, twice) == 1


@pytest.mark.slow
def test_colour_does_not_matter(detector, evaluation):
    photo = read(evaluation[0][0])
    lightness = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)[..., :1]
    neutral = np.concatenate([lightness, np.full((*lightness.shape[:2], 2), 128, np.uint8)], axis=2)
    grey = cv2.cvtColor(neutral, cv2.COLOR_LAB2RGB)

    of_colour, of_grey = (select(result, 0.3).boxes.numpy() for result in detector.detect([photo, grey]))

    assert len(of_colour) == len(of_grey) > 0
    assert found(of_colour, of_grey) == len(of_colour)


@pytest.mark.parametrize('size', [(1, 1), (40, 12000), (12000, 40), (416, 416)], ids=str)
def test_extreme_and_empty_photos(detector, size):
    (instances,) = detector.detect([np.full((*size, 3), 114, np.uint8)])

    assert instances.image_size.tolist() == [list(size)]
    assert len(select(instances, detector.score_thr)) == 0


def test_labels_are_cocos_classes(detector, shared):
    # COCO's own annotations of this photo have one motorcycle and its rider.
    path = shared / 'data' / 'eval' / 'images' / '000000007816.jpg'
    if not path.is_file():
        pytest.skip('there is no such photo in ../shared')

    kept = select(detector.detect([read(path)])[0], detector.score_thr)

    assert {kept.classes[label] for label in kept.labels.tolist()} >= {'person', 'motorcycle'}


def test_no_photos(detector):
    assert detector.detect([]) == []


# The rules of decoding, on numbers that are easy to follow.


def test_decode_places_offsets_on_their_cell():
    output = np.zeros((2, 7), np.float32)
    output[:, :2] = 0.5
    output[1, 2] = np.log(4)
    output[:, 4] = 0.5
    output[:, 5:] = [[0.2, 0.8], [0.6, 0.4]]

    boxes, scores, classes = _decode(output, np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([[8.0], [16.0]]))

    np.testing.assert_allclose(boxes, [[24, 8, 32, 16], [-24, 0, 40, 16]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.4, 0.3])
    assert classes.tolist() == [1, 0]


def test_decode_of_broken_weights_stays_finite():
    boxes, _, _ = _decode(np.full((1, 6), 1e4, np.float32), np.zeros((1, 2)), np.full((1, 1), 8.0))

    assert np.isfinite(boxes).all()


def test_letterbox_fills_the_upper_left_corner():
    blob, scale = _letterbox(np.full((50, 100, 3), 7, np.uint8), (64, 64))

    assert (blob.shape, blob.dtype, scale) == ((1, 3, 64, 64), np.float32, 0.64)
    assert (blob[:, :, :32] == 7).all()
    assert (blob[:, :, 32:] == 114).all()


def test_nms_keeps_overlapping_boxes_of_different_classes():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)

    keep = nms_per_class(boxes, np.array([0.5, 0.9, 0.4, 0.6]), np.array([1, 1, 2, 1]))

    assert sorted(keep.tolist()) == [1, 2, 3]


class TestBadFile:
    def test_missing(self):
        with pytest.raises(FileNotFoundError, match=r'no detector file nowhere\.onnx'):
            OnnxDetector('nowhere.onnx')

    @pytest.mark.parametrize('content', [b'', b'no protobuf at all', bytes(range(256))], ids=['empty', 'text', 'bytes'])
    def test_not_onnx(self, tmp_path, content):
        (tmp_path / 'bad.onnx').write_bytes(content)

        with pytest.raises(ValueError, match=r'bad\.onnx is not an ONNX model'):
            OnnxDetector(tmp_path / 'bad.onnx')

    def test_truncated(self, tmp_path, model_file):
        (tmp_path / 'cut.onnx').write_bytes(model_file.read_bytes()[:100_000])

        with pytest.raises(ValueError, match=r'cut\.onnx is not an ONNX model, or it is cut off \(100000 bytes\)'):
            OnnxDetector(tmp_path / 'cut.onnx')

    @pytest.mark.parametrize(
        ('shape', 'message'),
        [
            pytest.param((1, 3, 0, 0), 'fixed input .* but has a variable one', id='variable-size'),
            pytest.param((1, 10), r'fixed input .* but has \(1, 10\)', id='vector'),
        ],
    )
    def test_another_input(self, tmp_path, shape, message):
        (tmp_path / 'other.onnx').write_bytes(relu_model(shape))

        with pytest.raises(ValueError, match=message):
            OnnxDetector(tmp_path / 'other.onnx')

    def test_another_output(self, tmp_path):
        (tmp_path / 'other.onnx').write_bytes(relu_model((1, 3, 64, 64)))

        with pytest.raises(ValueError, match=r'not a YOLOX-style model: its output has shape \(1, 3, 64, 64\)'):
            OnnxDetector(tmp_path / 'other.onnx').detect([np.zeros((8, 8, 3), np.uint8)])


def field(number: int, content: bytes | str | int) -> bytes:
    """A protobuf field; lengths and values below 2^14 only."""
    if isinstance(content, int):
        return bytes([number << 3]) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128, value >> 7])


def relu_model(shape: tuple[int, ...]) -> bytes:
    """An ONNX file with a single ReLU; a size of 0 is written as a name, that is as variable."""
    dims = b''.join(field(1, field(1, size) if size else field(2, 'n')) for size in shape)
    node = field(1, 'x') + field(2, 'y') + field(4, 'Relu')
    value_type = field(1, field(1, 1) + field(2, dims))
    graph = (
        field(1, node)
        + field(2, 'g')
        + field(11, field(1, 'x') + field(2, value_type))
        + field(12, field(1, 'y') + field(2, value_type))
    )
    return field(1, 8) + field(7, graph) + field(8, field(2, 13))
