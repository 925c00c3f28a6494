import math

import pytest
import torch

from insta_colorization.evaluation.detections import DetectionCounts, hits
from insta_colorization.structures import COCO_CLASSES, Instances

SIZE = (400, 400)
CAT, DOG, PERSON = map(COCO_CLASSES.index, ('cat', 'dog', 'person'))


def instances(*boxes, scores=None, labels=None) -> Instances:
    return Instances(torch.tensor(boxes).reshape(-1, 4), SIZE, scores, labels=labels)


def test_each_hits_one_at_most_and_the_better_score_chooses_first():
    truth = instances([0.0, 0, 100, 100])
    found = instances([0.0, 0, 100, 90], [0.0, 0, 100, 100], [200.0, 0, 300, 100], scores=[0.9, 0.5, 0.95])

    assert hits(found, truth) == [0, -1, -1]


def test_it_hits_the_box_that_fits_best():
    truth = instances([0.0, 0, 100, 90], [0.0, 0, 100, 100])

    assert hits(instances([0.0, 0, 100, 99]), truth) == [1]


@pytest.mark.parametrize('found', [instances(), instances([0.0, 0, 10, 10])], ids=['nothing', 'something'])
def test_without_true_boxes_nothing_is_hit(found):
    assert hits(found, instances()) == [-1] * len(found)


def test_shares():
    truth = instances([0.0, 0, 100, 100], [200.0, 0, 300, 100], [0.0, 200, 20, 220], [200.0, 200, 300, 300],
                      labels=[PERSON, DOG, CAT, PERSON])  # fmt: skip
    found = instances([0.0, 0, 100, 100], [200.0, 0, 300, 100], [0.0, 200, 20, 220], [0.0, 300, 100, 400],
                      labels=[PERSON, CAT, CAT, PERSON])  # fmt: skip
    counts = DetectionCounts()

    counts.add(found, truth)
    counts.add(instances(), instances())

    assert counts.photos == 2
    # Three large true boxes of which two are hit; four detections of which three hit; one of two labels is right.
    assert counts.shares() == {'recall': 2 / 3, 'precision': 3 / 4, 'labels right': 1 / 2, 'person recall': 1 / 2}


def test_a_box_of_96_by_96_pixels_is_not_large():
    counts = DetectionCounts()

    counts.add(instances(), instances([0.0, 0, 96, 96], labels=[CAT]))

    assert counts.large == 0
    assert all(math.isnan(share) for share in counts.shares().values())


def test_boxes_without_labels_are_right_about_none():
    counts = DetectionCounts()

    counts.add(instances([0.0, 0, 100, 100]), instances([0.0, 0, 100, 100], labels=[PERSON]))

    assert counts.shares() == {'recall': 1.0, 'precision': 1.0, 'labels right': 0.0, 'person recall': 0.0}
