import json
import logging

import numpy as np
import pytest

from insta_colorization.detectors import CachedDetector

PHOTO = np.zeros((40, 60, 3), np.uint8)


@pytest.fixture
def file(tmp_path):
    """A COCO file that knows x.jpg and y.jpg."""
    images = [{'id': n, 'file_name': name, 'height': 40, 'width': 60} for n, name in enumerate(('x.jpg', 'y.jpg'))]
    annotations = [{'image_id': 0, 'bbox': [5, 6, 10, 20], 'segmentation': [], 'score': 0.5}]
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps({'images': images, 'annotations': annotations}))
    return path


def test_boxes_are_looked_up_by_path(file):
    found = CachedDetector(file).detect([PHOTO] * 3, ['a/x.jpg', 'y.jpg', 'z.jpg'])

    assert [instances.boxes.tolist() for instances in found] == [[[5, 6, 15, 26]], [], []]
    assert found[0].masks is None


def test_masks(file):
    assert CachedDetector(file, masks=True).detect([PHOTO], ['x.jpg'])[0].masks[0].all()


def test_a_second_photo_of_the_same_name(file):
    detector = CachedDetector(file)

    first, second = (detector.detect([PHOTO], [path])[0] for path in ('a/x.jpg', 'b/x.jpg'))

    assert first.boxes.tolist() == second.boxes.tolist() == [[5, 6, 15, 26]]


def test_a_run_with_two_photos_of_one_entry_is_refused(file):
    with pytest.raises(ValueError, match=r'a/x\.jpg and .*b/x\.jpg would share the boxes of one entry'):
        CachedDetector(file).check(['a/x.jpg', 'b/x.jpg'])


def test_a_run_of_which_some_photos_have_boxes(file, caplog):
    with caplog.at_level(logging.WARNING, 'insta_colorization'):
        CachedDetector(file).check(['x.jpg', 'y.jpg', 'z.jpg'])

    assert 'has boxes for 2 of the 3 photos' in caplog.text


def test_one_npz_needs_no_path(tmp_path):
    np.savez(tmp_path / 'photo.npz', bbox=np.array([[1, 2, 3, 4]]))

    assert CachedDetector(tmp_path / 'photo.npz').detect([PHOTO])[0].boxes.tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize('kind', ['json', 'folder', 'two photos'])
def test_paths_are_needed(file, tmp_path, kind):
    np.savez(tmp_path / 'photo.npz', bbox=np.array([[1, 2, 3, 4]]))
    path = {'json': file, 'folder': tmp_path, 'two photos': tmp_path / 'photo.npz'}[kind]

    with pytest.raises(ValueError, match='found by the path of each photo, but none was given'):
        CachedDetector(path).detect([PHOTO] * (2 if kind == 'two photos' else 1))


def test_no_photo(file):
    with pytest.raises(TypeError, match='a detector takes uint8 arrays, but got float64'):
        CachedDetector(file).detect([PHOTO / 2], ['x.jpg'])
