"""The detector that ships, on the encoder that ships."""

import numpy as np
import pytest
from skimage import data

from insta_colorization.detectors import EmbeddedDetector
from insta_colorization.detectors.selection import select


@pytest.fixture(scope='module')
def shipped():
    return EmbeddedDetector()


def test_it_finds_a_person(shipped):
    picture = data.astronaut()

    (found,) = shipped.detect([picture])

    best = select(found, shipped.score_thr, top_k=1)
    assert [found.classes[label] for label in best.labels.tolist()] == ['person']
    # She fills most of the picture.
    assert best.areas.item() > 0.4 * picture.shape[0] * picture.shape[1]


@pytest.mark.slow
def test_it_finds_nothing_in_flat_and_noisy_pictures(shipped):
    pictures = [np.full((480, 640, 3), value, np.uint8) for value in (0, 128, 255)] + [
        np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    ]

    assert [len(select(found, shipped.score_thr)) for found in shipped.detect(pictures)] == [0] * 4
