"""True maps move with their photos."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from insta_colorization.datasets import ForgetMap, LoadSemanticMap, PackColorization, RandomFlipPhoto, ResizePhoto
from insta_colorization.structures import UNKNOWN, SemanticMap


@pytest.fixture
def results(tmp_path) -> dict:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, :3] = 200
    path = tmp_path / 'photos' / 'set' / 'a.webp'
    path.parent.mkdir(parents=True)
    return {'img_path': str(path), 'img': image, 'image_size': (4, 6)}


def save(ids: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(path)


IDS = np.repeat(np.array([[7, 7, 7, 50, 50, 255]], np.uint8), 4, axis=0)


@pytest.mark.parametrize('place', ['maps/set/a.png', 'maps/a.png', 'photos/set/a.png'])
def test_places(results, tmp_path, place):
    save(IDS, tmp_path / place)
    load = LoadSemanticMap(None if place.startswith('photos') else str(tmp_path / 'maps'))

    np.testing.assert_array_equal(load.transform(results)['semantic_map'].ids, IDS)


def test_a_map_moves_with_its_photo(results, tmp_path, monkeypatch):
    save(IDS, tmp_path / 'a.png')
    monkeypatch.setattr(np.random, 'rand', lambda: 0.0)
    results = LoadSemanticMap(str(tmp_path)).transform(results)

    sample = PackColorization().transform(ResizePhoto(12).transform(RandomFlipPhoto().transform(results)))[
        'data_samples'
    ]

    assert sample.semantic_map.ids[0].tolist() == [255] * 2 + [50] * 4 + [7] * 6
    assert (sample.gt_rgb[0] == 200).numpy()[0].tolist()[-4:] == [True] * 4


@pytest.mark.parametrize(
    ('ids', 'message'),
    [
        (None, r'a\.webp has no map .*maps'),
        (IDS[:3], r'a\.png has size \(3, 6\), but its photo has \(4, 6\)'),
        (np.full((4, 6), 60, np.uint8), r'must have the classes 0\.\.59, but has 60'),
    ],
    ids=['none', 'another size', 'no class'],
)
def test_maps_that_cannot_be_used(results, tmp_path, ids, message):
    if ids is not None:
        save(ids, tmp_path / 'maps' / 'a.png')

    assert LoadSemanticMap(str(tmp_path / 'maps')).transform(results) is None
    assert re.search(message, results['skipped'])


def test_maps_that_are_not_required(results, tmp_path):
    loaded = LoadSemanticMap(str(tmp_path), required=False).transform(results)

    assert (loaded['semantic_map'].ids == UNKNOWN).all()


class TestForgetting:
    @pytest.mark.parametrize(('prob', 'forgotten'), [(0.0, False), (1.0, True)])
    def test_all_or_nothing(self, prob, forgotten):
        results = ForgetMap(prob).transform({'semantic_map': SemanticMap(IDS)})

        assert (results['semantic_map'].ids == UNKNOWN).all() == forgotten

    def test_no_share(self):
        with pytest.raises(ValueError, match=r'prob must be a share in \[0, 1\], but got 2'):
            ForgetMap(2)
