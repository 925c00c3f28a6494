import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from insta_colorization.detectors import EmbeddedDetector, FrozenEncoder, InstanceDetector
from insta_colorization.detectors.dense_head import ROWS, DenseHead
from insta_colorization.detectors.embedded import _picture
from insta_colorization.evaluation.detections import box_iou
from insta_colorization.structures import COCO_CLASSES

DOG = COCO_CLASSES.index('dog')


def write(path, encoder, classes=80, said=None):
    """A head on an encoder that finds dogs everywhere, each about as large as two cells."""
    head = DenseHead(encoder.feature_info, channels=8, num_classes=classes)
    with torch.no_grad():
        head.quality.bias.fill_(2)
        head.classes.bias[DOG % classes] = 9
    meta = {'encoder': encoder.sha256, 'rows': json.dumps(ROWS), 'side': '128', **(said or {})}
    entries = {f'head.{name}': value.half() for name, value in head.state_dict().items()}
    save_file(entries, path, {key: value for key, value in meta.items() if value is not None})
    return path


@pytest.fixture(scope='module')
def encoder(colour_weights):
    return FrozenEncoder(colour_weights, ROWS)


@pytest.fixture(scope='module')
def detector(encoder, colour_weights, tmp_path_factory):
    torch.manual_seed(0)
    return EmbeddedDetector(write(tmp_path_factory.mktemp('head') / 'head.safetensors', encoder), colour_weights)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_what_it_finds_lies_in_the_photo_and_has_a_name(detector):
    (found,) = detector.detect([photo(300, 200)])

    assert isinstance(detector, InstanceDetector)
    assert len(found) > 20
    assert found.image_size.tolist() == [[300, 200]]
    # Boxes of about two cells of 16 or 32 pixels at a scale of about a half.
    assert 40 < found.boxes[:, 2:].sub(found.boxes[:, :2]).median() < 130
    assert found.boxes[:, 1].max() > 200
    assert set(found.labels.tolist()) == {DOG}
    assert found.scores.min() > 0.5
    assert (box_iou(found.boxes, found.boxes) - torch.eye(len(found))).max() < 0.5


@pytest.mark.slow
def test_a_batch_is_what_its_photos_are(detector):
    photos = [photo(64, 64, 1), photo(100, 40, 2), photo(64, 64, 3), photo(1, 1, 4)]

    together = detector.detect(photos)

    assert [len(found) > 0 for found in together] == [True] * 4
    for image, found in zip(photos, together, strict=True):
        (alone,) = detector.detect([image])
        assert torch.allclose(alone.boxes, found.boxes, atol=1e-3)
        assert torch.allclose(alone.scores, found.scores, atol=1e-5)


def test_nothing_given_nothing_found(detector):
    assert detector.detect([]) == []


def test_it_sees_lightness_alone(detector):
    color = photo(64, 64)
    gray = np.repeat(_picture(color, 64)[..., None], 3, axis=2)

    seen, of_gray = _picture(color, 64), _picture(gray, 64)

    assert np.abs(seen.astype(int) - of_gray).max() <= 1


@pytest.mark.parametrize(
    ('size', 'expected'),
    [
        pytest.param((480, 640), (288, 384), id='as COCO'),
        pytest.param((256, 256), (320, 320), id='square'),
        pytest.param((1, 1), (320, 320), id='one pixel'),
        pytest.param((40, 4000), (32, 3200), id='a strip'),
    ],
)
def test_all_photos_have_about_the_same_number_of_pixels(size, expected):
    assert _picture(np.zeros((*size, 3), np.uint8), 320).shape == expected


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        pytest.param({'classes': 3}, 'knows 3 classes, but COCO, whose names it is given, has 80', id='classes'),
        pytest.param(
            {'said': {'encoder': '0123456789'}}, 'was trained on the encoder 01234567, but .* holds', id='encoder'
        ),
        pytest.param(
            {'said': {'side': None}}, 'is not a detector of tools/model_converters/publish_detector', id='no detector'
        ),
    ],
)
def test_refuses_a_head(changes, message, encoder, colour_weights, tmp_path):
    path = write(tmp_path / 'head.safetensors', encoder, **changes)

    with pytest.raises(ValueError, match=message):
        EmbeddedDetector(path, colour_weights)


def test_refuses_a_head_that_lacks_a_part(encoder, colour_weights, tmp_path):
    path = write(tmp_path / 'head.safetensors', encoder)
    meta = {'encoder': encoder.sha256, 'rows': json.dumps(ROWS), 'side': '128'}
    save_file({name: value for name, value in load_file(path).items() if 'scales' not in name}, path, meta)

    with pytest.raises(ValueError, match=r'(?s)head\.safetensors does not belong to EmbeddedDetector: .*scales'):
        EmbeddedDetector(path, colour_weights)


def test_refuses_files_that_are_not_there(encoder, colour_weights, tmp_path):
    head = write(tmp_path / 'head.safetensors', encoder)

    for files in ((tmp_path / 'nowhere', colour_weights), (head, tmp_path / 'nowhere')):
        with pytest.raises(FileNotFoundError, match=r'no detector file .*nowhere'):
            EmbeddedDetector(*files)
