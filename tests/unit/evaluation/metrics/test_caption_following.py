"""Whether pictures follow captions, on pictures that follow them in known ways."""

import numpy as np
import pytest
import torch

from insta_colorization.evaluation.captions import cases
from insta_colorization.evaluation.metrics import CaptionFollowing
from insta_colorization.models.language.colors import color_of
from insta_colorization.structures import COCO_CLASSES, Instances

SIZE = (40, 60)
GRAY = np.full((*SIZE, 3), 119, np.uint8)
RED = color_of('red')


@pytest.fixture
def bus() -> Instances:
    mask = torch.zeros(1, *SIZE, dtype=torch.bool)
    mask[:, 6:24, 11:39] = True  # one that fills its box says nothing
    found = Instances([[10, 5, 40, 25]], SIZE, labels=[COCO_CLASSES.index('bus')])
    return found.with_masks(mask)


def sample(bus: Instances, captions: tuple[str, ...], **fields) -> dict:
    truth = torch.from_numpy(GRAY).movedim(-1, 0)
    return {'gt_rgb': truth, 'pred_ab': torch.zeros(2, 8, 8), 'gt_instances': bus, 'captions': captions, **fields}


def evaluate(metric: CaptionFollowing, *samples: dict) -> dict[str, float]:
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def obedient(pixels: np.ndarray, instances: Instances, caption: str | None) -> np.ndarray:
    """Paints the boxes in red or blue, whichever the caption has, and leaves the rest."""
    painted = pixels.copy()
    for x0, y0, x1, y1 in instances.in_pixels().tolist() if caption else []:
        painted[y0:y1, x0:x1] = (190, 90, 75) if 'red' in caption else (90, 120, 170)
    return painted


class TestCases:
    def test_a_colour_of_an_object_and_another_one(self, bus):
        (case,) = cases(['a red bus'], GRAY, bus)

        assert case.inside.sum() == 18 * 28
        assert case.named == pytest.approx(RED)
        assert 'red' not in case.swapped
        assert np.linalg.norm(np.subtract(case.wished, case.named)) > 15

    @pytest.mark.parametrize('caption', ['a bus', 'a red car', 'a red sky', 'no red bus'])
    def test_what_does_not_count(self, bus, caption):
        assert list(cases([caption], GRAY, bus)) == []


class TestCaptionFollowing:
    def test_an_obedient_painter(self, bus):
        metric = CaptionFollowing()
        metric.painter = obedient

        values = evaluate(metric, sample(bus, ('a red bus', 'a bus')))

        assert values['caption/after'] < 12 < values['caption/before'] == pytest.approx(np.hypot(*RED), abs=0.5)
        assert values['caption/outside'] == 0
        assert values['caption/plain'] == 100 > values['caption/told']
        described = metric.describe()
        assert (described['num_captions'], described['num_colours']) == (2, 1)

    def test_a_painter_that_hears_nothing(self, bus):
        metric = CaptionFollowing()
        metric.painter = lambda pixels, instances, caption: obedient(pixels, instances, 'red')

        values = evaluate(metric, sample(bus, ('a red bus',)))

        assert values['caption/before'] == values['caption/after']
        assert values['caption/swapped'] == 0

    def test_objects_that_the_model_may_use_are_the_detected_ones(self, bus):
        metric = CaptionFollowing()
        metric.painter = obedient

        values = evaluate(metric, sample(bus, ('a red bus',), instances=Instances.empty(SIZE)))

        assert values['caption/before'] == values['caption/after']

    def test_pictures_of_a_photo_are_made_once(self, bus):
        asked = []
        metric = CaptionFollowing()
        metric.painter = lambda pixels, instances, caption: (asked.append(caption), pixels)[1]

        evaluate(metric, sample(bus, ('a red bus', 'the bus is red')), sample(bus, ('a red bus',)))

        assert len(asked) == 5 + 3
        assert asked.count(None) == 2

    def test_photos_without_captions_have_no_values(self, bus):
        metric = CaptionFollowing()

        assert evaluate(metric, sample(bus, ())) == {}
        assert evaluate(metric, sample(None, ('a red bus',))) == {}

        assert metric.not_computed == {}

    def test_a_baseline_follows_none(self, bus):
        metric = CaptionFollowing()

        assert evaluate(metric, sample(bus, ('a red bus',))) == {}
        assert metric.not_computed == {'captions': 'a baseline follows no captions'}

    def test_nothing_lies_outside(self, bus):
        metric = CaptionFollowing()
        metric.painter = obedient
        whole = Instances([[0, 0, SIZE[1], SIZE[0]]], SIZE, labels=[COCO_CLASSES.index('bus')])

        values = evaluate(metric, sample(whole.with_masks(torch.ones(1, *SIZE, dtype=torch.bool)), ('a red bus',)))

        assert 'caption/outside' not in values
        assert values['caption/after'] < 12
