import numpy as np
import pytest
import torch
from skimage.color import rgb2gray

from insta_colorization.datasets import (
    AgePhoto,
    CropInstances,
    PackColorization,
    RandomCropPhoto,
    RandomFlipPhoto,
    ResizePhoto,
    SampleHints,
)
from insta_colorization.models import ColorizationPreprocessor
from insta_colorization.models.insta.preprocessor import true_hints
from insta_colorization.structures import Instances


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


class TestAgePhoto:
    def test_without_age_it_is_the_luma_of_the_published_training(self, photo):
        gray = AgePhoto(prob=0)({'img': photo})['gray']

        np.testing.assert_array_equal(gray, np.round(rgb2gray(photo) * 255).astype(np.uint8))

    def test_aged_photos_keep_their_colours_and_what_can_be_seen(self, photo):
        np.random.seed(0)
        smooth = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 48, 0).repeat(3, 2)
        likeness = []
        for _ in range(30):
            results = AgePhoto(prob=1)({'img': smooth})
            assert results['img'] is smooth
            assert results['gray'].shape == (48, 64)
            assert results['gray'].dtype == np.uint8
            likeness.append(np.corrcoef(results['gray'].ravel(), smooth[..., 0].ravel())[0, 1])

        assert min(likeness) > 0.8
        assert min(likeness) < 0.999

    def test_the_networks_get_it_in_place_of_the_luma(self, photo):
        results = {'img': photo, 'gray': np.full((32, 48), 119, np.uint8)}
        packed = PackColorization(inputs=['gray'])(results)

        batch = ColorizationPreprocessor()(
            {'inputs': {k: [v] for k, v in packed['inputs'].items()}, 'data_samples': [packed['data_samples']]}, True
        )

        assert batch['lightness'].std() < 1e-6
        assert batch['lightness'].mean().item() == pytest.approx(0, abs=0.002)  # sRGB 119 is L 50
        assert batch['ab'].std() > 0.1

    def test_crops_look_as_old_as_their_photo(self, photo):
        instances = Instances(torch.tensor([[8.0, 4.0, 40.0, 28.0]]), torch.tensor([[32, 48]]))
        results = {'img': photo, 'instances': instances, 'gray': 255 - AgePhoto(prob=0)({'img': photo})['gray']}
        results = ResizePhoto(size=16)(CropInstances(size=16)(results))
        packed = PackColorization(inputs=['gray', 'crop_gray'])(results)

        batch = ColorizationPreprocessor()(
            {'inputs': {k: [v] for k, v in packed['inputs'].items()}, 'data_samples': [packed['data_samples']]}, True
        )

        assert batch['lightness'].shape == batch['crop_lightness'].shape == (1, 1, 16, 16)
        plain = ColorizationPreprocessor()(
            {
                'inputs': {k: [packed['inputs'][k]] for k in ('image', 'crops')},
                'data_samples': [packed['data_samples']],
            },
            True,
        )
        for name in ('lightness', 'crop_lightness'):
            seen = torch.stack([batch[name].flatten(), plain[name].flatten()])
            assert torch.corrcoef(seen)[0, 1] < -0.95, name

    @pytest.mark.parametrize('change', [RandomFlipPhoto(), RandomCropPhoto(0.5)])
    def test_what_crops_and_flips_comes_before(self, photo, change):
        aged = AgePhoto()({'img': photo})
        np.random.seed(1)  # mirrored
        with pytest.raises(ValueError, match='before what makes their grey picture, but that came first'):
            change(aged)

    @pytest.mark.parametrize('transform', [AgePhoto, SampleHints])
    def test_a_share_outside_its_range(self, transform):
        with pytest.raises(ValueError, match=r'prob must be a share in \[0, 1\], but got 1\.5'):
            transform(prob=1.5)


class TestSampleHints:
    def test_no_hints(self, photo):
        assert SampleHints(prob=0)({'img': photo})['hint_regions'].shape == (0, 5)

    def test_points_and_boxes_lie_in_the_photo(self, photo):
        np.random.seed(1)
        instances = Instances([[10, 5, 40, 30]], (32, 48))
        rows = np.concatenate(
            [SampleHints(prob=1, max_side=5)({'img': photo, 'instances': instances})['hint_regions'] for _ in range(60)]
        )

        assert set(rows[:, 4]) == {0.5, 1.0}
        np.testing.assert_array_equal(np.unique(rows[rows[:, 4] == 0.5, :4], axis=0), [[10, 5, 40, 30]])
        points = rows[rows[:, 4] == 1]
        sides = points[:, 2:4] - points[:, :2]
        assert (points[:, :2] >= 0).all()
        assert (points[:, 2:4] <= [48, 32]).all()
        assert set(sides.ravel()) == {1, 2, 3, 4, 5}

    def test_regions_tell_their_mean_true_colour(self):
        ab = torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
        regions = [torch.zeros(0, 5), torch.tensor([[1.0, 2, 5, 6, 0.5], [2, 2, 3, 3, 1]])]

        hints = true_hints(ab, regions)

        assert not hints[0].any()
        torch.testing.assert_close(hints[1, :2, 5, 1], ab[1, :, 2:6, 1:5].mean(dim=(1, 2)))
        torch.testing.assert_close(hints[1, :, 2, 2], torch.tensor([*ab[1, :, 2, 2].tolist(), 1.0]))
        assert hints[1, 2].sum() == 15 * 0.5 + 1
