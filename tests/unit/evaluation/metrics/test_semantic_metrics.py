"""mIoU and the colour error of classes, against values worked out by hand and scikit-image."""

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from insta_colorization.evaluation.metrics import PSNR, ClassColourError, SemanticIoU
from insta_colorization.structures import UNKNOWN, SemanticMap


def sample(true: list[list[int]], predicted: list[list[int]] | None = None, **more: object) -> dict:
    true_map = np.array(true, np.uint8)
    rgb = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *true_map.shape), np.uint8))
    pred_map = None if predicted is None else torch.tensor(predicted, dtype=torch.uint8)
    return {
        'img_path': 'a.jpg',
        'gt_rgb': rgb,
        'pred_ab': torch.zeros(2, *true_map.shape),
        'semantic_map': SemanticMap(true_map),
        'pred_map': pred_map,
        **more,
    }


def measured(metric, *samples: dict) -> dict[str, float]:
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


class TestIoU:
    def test_values(self):
        # Two photos; what is unknown does not count, nor does the class that only the prediction has.
        first = sample([[1, 1, 2, UNKNOWN]], [[1, 2, 2, 9]])
        second = sample([[2, 2, 3, 3]], [[2, 2, 7, 3]])

        values = measured(SemanticIoU(), first, second)

        expected = {'IoU_aeroplane': 1 / 2, 'IoU_bicycle': 3 / 4, 'IoU_bird': 1 / 2}
        assert values == pytest.approx(
            {
                'map/mIoU': (1 / 2 + 3 / 4 + 1 / 2) / 3,
                'map/accuracy': 5 / 7,
                'map/num_classes': 3,
                **{f'map/{name}': value for name, value in expected.items()},
            }
        )

    def test_a_prediction_of_another_size(self):
        values = measured(SemanticIoU(), sample([[1, 1, 2, 2]] * 2, [[1, 2]]))

        assert values['map/mIoU'] == 1

    @pytest.mark.parametrize(
        'one', [sample([[UNKNOWN, UNKNOWN]], [[1, 2]]), sample([[1, 2]])], ids=['truth', 'prediction']
    )
    def test_without(self, one):
        assert measured(SemanticIoU(), one) == {}


class TestColourError:
    def test_values_are_scikit_images(self):
        one = sample([[1, 1, 54], [UNKNOWN, 54, 54]])

        values = measured(ClassColourError(), one)

        lab = [rgb2lab(rgb.movedim(0, -1).numpy()) for rgb in (one['gt_rgb'], one['pred_rgb'])]
        error = np.linalg.norm((lab[0] - lab[1])[..., 1:], axis=-1)
        ids = one['semantic_map'].ids
        each = {'aeroplane': error[ids == 1].mean(), 'tree': error[ids == 54].mean()}
        expected = {'ab_error': error[ids != UNKNOWN].mean(), 'ab_error_class_mean': np.mean(list(each.values()))}
        expected |= {f'ab_error_{name}': value for name, value in each.items()}
        assert values == pytest.approx({f'semantic/{name}': v for name, v in expected.items()}, abs=0.02)

    def test_it_describes_what_it_left_out(self):
        metric = ClassColourError()
        measured(metric, sample([[1, UNKNOWN, UNKNOWN]]))

        described = metric.describe()
        assert (described['pixels_of_known_class'], described['pixels_of_unknown_class']) == (1, 2)

    def test_without_maps(self):
        assert measured(ClassColourError(), sample([[1, 2]]) | {'semantic_map': None}) == {}


@pytest.mark.parametrize('level', ['semantic', 'map'])
def test_metrics_of_pictures_do_not_measure_classes(level):
    with pytest.raises(ValueError, match=f'levels must be some of image, instance, but got {level}'):
        PSNR(levels=[level])
