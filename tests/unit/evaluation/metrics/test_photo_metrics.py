from collections.abc import Iterator

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from skimage.color import rgb2lab

from insta_colorization.evaluation.metrics import PSNR, SSIM, Colorfulness, PhotoMetric, colorfulness
from insta_colorization.evaluation.metrics.base import NotComputableError
from insta_colorization.evaluation.metrics.levels import LEVELS, Level, register_level
from insta_colorization.imaging.rendering import clipped_rgb
from insta_colorization.structures import ColorizationSample, Instances


class Brightness(PhotoMetric):
    """A metric whose every value can be counted by hand: how much brighter the prediction is, and where."""

    name = 'brighter'

    def measure(self, truth, prediction):
        return {'brighter': float(prediction.float().mean() - truth.float().mean()), 'pixels': float(truth[0].numel())}


def grey(photo: torch.Tensor) -> torch.Tensor:
    return torch.zeros(2, *photo.shape[1:])


def evaluated(metrics: list, samples: list, size: int | None = None) -> dict[str, float]:
    evaluator = Evaluator(metrics)
    evaluator.process(data_samples=samples, data_batch={})
    return evaluator.evaluate(size=len(samples) if size is None else size)


class TestPredictedRgb:
    def test_the_true_colours_give_the_photo_back(self, photos, true_ab):
        for photo in photos:
            assert (clipped_rgb(photo, true_ab(photo)).int() - photo.int()).abs().max() <= 1

    def test_no_colour_gives_a_grey_photo_of_the_same_lightness(self, photos):
        rgb = clipped_rgb(photos[0], grey(photos[0])).movedim(0, -1).numpy()

        assert np.ptp(rgb.astype(int), axis=-1).max() <= 1
        lightness = rgb2lab(photos[0].movedim(0, -1).numpy())[..., 0]
        np.testing.assert_allclose(rgb2lab(rgb)[..., 0], lightness, atol=0.4)

    def test_smaller_ab_is_brought_to_the_photos_size(self, photos):
        even = torch.full((2, 1, 1), 0.1)

        full = clipped_rgb(photos[0], even.expand(2, 48, 64))
        assert torch.equal(clipped_rgb(photos[0], even), full)

    def test_it_is_made_once_for_all_metrics(self, photos, monkeypatch):
        made = []
        monkeypatch.setattr(
            'insta_colorization.evaluation.metrics.base.clipped_rgb',
            lambda *args: made.append(1) or clipped_rgb(*args),
        )

        evaluated([PSNR(), SSIM(), Colorfulness()], [{'gt_rgb': photo, 'pred_ab': grey(photo)} for photo in photos])

        assert len(made) == len(photos)

    def test_a_prediction_that_is_not_finite_is_an_error(self, photos):
        sample = {'gt_rgb': photos[0], 'pred_ab': grey(photos[0]).fill_(float('nan')), 'img_path': 'dir/cat.jpg'}

        with pytest.raises(ValueError, match=r'the prediction for dir/cat\.jpg is not finite'):
            evaluated([PSNR()], [sample])


class TestInstances:
    """Black truths; predictions are black with one white rectangle, so that a crop's mean says where it was taken."""

    WHITE = (8, 16, 40, 48)  # x0, y0, x1, y1 at the truth's size

    @pytest.fixture
    def sample(self, monkeypatch) -> dict:
        x0, y0, x1, y1 = self.WHITE
        prediction = torch.zeros(3, 64, 64, dtype=torch.uint8)
        prediction[:, y0:y1, x0:x1] = 255
        monkeypatch.setattr('insta_colorization.evaluation.metrics.base.clipped_rgb', lambda *args: prediction)
        return {'gt_rgb': torch.zeros_like(prediction), 'pred_ab': torch.zeros(2, 64, 64), 'img_path': 'a.jpg'}

    def test_true_boxes_are_scaled_to_the_truth(self, sample):
        # The photo is 128 wide and 256 high: x is halved, y is a quarter.
        boxes = [[16, 64, 80, 192]]
        metric = Brightness()

        values = evaluated([metric], [sample | {'gt_instances': Instances(torch.tensor(boxes), (256, 128))}])

        assert values['instance/brighter'] == 255
        assert values['instance/pixels'] == 32 * 32
        assert values['image/brighter'] == pytest.approx(255 / 4)
        assert metric.photos[0].counts['instance']['measured'] == 1

    def test_the_mean_is_over_instances_not_over_photos(self, sample):
        inside, outside = [8, 16, 40, 48], [40, 16, 64, 48]
        many = Instances(torch.tensor([inside, inside, outside]), (64, 64))
        one = Instances(torch.tensor([outside]), (64, 64))

        values = evaluated([Brightness()], [{**sample, 'gt_instances': many}, {**sample, 'gt_instances': one}])

        assert values['instance/brighter'] == 255 / 2
        assert values['instance/brighter_median'] == 255 / 2

    def test_small_instances_and_crowds_are_left_out_and_counted(self, sample):
        # At a quarter of the width and half of the height: 16 x 16, 15 x 16 and 16 x 15 pixels.
        boxes = torch.tensor([[0, 0, 64, 32], [0, 0, 60, 32], [0, 0, 64, 30]])
        metric = Brightness()

        evaluated([metric], [sample | {'gt_instances': Instances(boxes, (128, 256)), 'crowds': 2}])

        (result,) = metric.photos
        assert result.counts['instance'] == {'measured': 1, 'small': 2, 'crowds': 2}
        assert [values['pixels'] for values in result.values['instance']] == [256]
        assert metric.describe()['instances_left_out']['small'] == 2

    @pytest.mark.parametrize('instances', [None, Instances.empty((64, 64))], ids=['not given', 'none'])
    def test_without_instances_there_is_no_instance_level(self, sample, instances):
        given = {} if instances is None else {'gt_instances': instances}

        assert set(evaluated([Brightness()], [sample | given])) == {
            *('image/brighter', 'image/brighter_median', 'image/pixels', 'image/pixels_median')
        }

    def test_levels_can_be_restricted(self, sample):
        given = {'gt_instances': Instances(torch.tensor([[0, 0, 32, 32]]), (64, 64))}

        assert all(
            key.startswith('instance/') for key in evaluated([Brightness(levels=('instance',))], [sample | given])
        )
        assert all(key.startswith('image/') for key in evaluated([Brightness(levels=('image',))], [sample | given]))

    def test_unknown_level(self):
        with pytest.raises(ValueError, match='levels must be some of image, instance, but got pixel'):
            Brightness(levels=('pixel',))


class TestNewLevel:
    """A method adds a level of its own beside those that are there."""

    @pytest.fixture
    def halves(self) -> Iterator[type[Level]]:
        before = dict(LEVELS)

        @register_level
        class HalfLevel(Level):
            name = 'half'

            def pairs(self, sample, photo):
                width = photo[0].shape[-1] // 2
                parts = [tuple(part[..., side] for part in photo) for side in (slice(width), slice(width, None))]
                return parts, {'halves': 2}

            def describe(self, counts):
                return {'num_halves': counts['halves']}

        yield HalfLevel
        LEVELS.clear()
        LEVELS.update(before)

    def test_every_metric_measures_it(self, halves, photos):
        metric = Brightness()

        values = evaluated([metric], [{'gt_rgb': photo, 'pred_ab': grey(photo)} for photo in photos])

        assert values['half/pixels'] == values['image/pixels'] / 2
        assert metric.describe()['num_halves'] == 6

    def test_two_levels_of_one_name(self, halves):
        with pytest.raises(ValueError, match='Other is named half, but so is HalfLevel'):
            register_level(type('Other', (Level,), {'name': 'half'}))


class TestOneResultPerPhoto:
    def test_photos_that_pad_the_last_batch_do_not_count(self, photos):
        samples = [{'gt_rgb': photo, 'pred_ab': grey(photo)} for photo in [*photos, photos[0]]]
        metric = PSNR()

        padded = evaluated([metric], samples, size=3)

        assert len(metric.photos) == 3
        assert padded == evaluated([PSNR()], samples[:3])

    def test_skipped_photos_are_counted_and_not_measured(self, photos):
        black = torch.zeros(3, 8, 8, dtype=torch.uint8)
        broken = {'gt_rgb': black, 'pred_ab': grey(black), 'img_path': 'b.jpg', 'skipped': 'the file is empty'}
        samples = [{'gt_rgb': photos[0], 'pred_ab': grey(photos[0])}, broken]
        metric = PSNR()

        values = evaluated([metric], samples)

        assert values == evaluated([PSNR()], samples[:1])
        assert [result.skipped for result in metric.photos] == [None, 'the file is empty']

    def test_nothing_but_skipped_photos(self, photos):
        assert evaluated([PSNR()], [{'gt_rgb': photos[0], 'pred_ab': grey(photos[0]), 'skipped': 'empty'}]) == {}

    def test_a_metric_that_cannot_be_computed_does_not_stop_the_others(self, photos):
        class Missing(PhotoMetric):
            name = 'missing'

            def measure(self, truth, prediction):
                raise NotComputableError('its weights are nowhere')

        missing = Missing()
        values = evaluated([missing, PSNR()], [{'gt_rgb': photo, 'pred_ab': grey(photo)} for photo in photos])

        assert set(values) == {'image/PSNR', 'image/PSNR_median'}
        assert missing.not_computed == {'missing': 'its weights are nowhere'}


def test_samples_as_the_runner_has_them(photos, true_ab):
    samples = []
    for photo, ab in zip(photos, [true_ab(photos[0]), grey(photos[1]), grey(photos[2])], strict=True):
        sample = ColorizationSample(gt_rgb=photo, pred_ab=ab)
        sample.gt_instances = Instances(torch.tensor([[0, 0, 32, 24]]), (48, 64))
        sample.set_metainfo({'img_path': 'a.jpg', 'crowds': 1})
        samples.append(sample)
    metrics = [PSNR(), Colorfulness()]

    values = evaluated(metrics, samples)

    rgb = [clipped_rgb(sample.gt_rgb, sample.pred_ab) for sample in samples]
    singles = [PSNR().measure(photo, made)['PSNR'] for photo, made in zip(photos, rgb, strict=True)]
    assert values['image/PSNR'] == pytest.approx(np.mean(singles))
    assert values['image/PSNR_median'] == pytest.approx(np.median(singles))
    assert values['image/CF_truth'] == pytest.approx(np.mean([colorfulness(photo) for photo in photos]))
    assert values['instance/CF_truth'] == pytest.approx(np.mean([colorfulness(p[:, :24, :32]) for p in photos]))
    assert [result.counts['instance']['crowds'] for result in metrics[0].photos] == [1, 1, 1]
