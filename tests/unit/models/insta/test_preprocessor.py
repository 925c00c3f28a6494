import numpy as np
import pytest
import torch
from skimage.color import rgb2gray, rgb2lab
from torch.overrides import TorchFunctionMode

from insta_colorization.models import ColorizationPreprocessor
from insta_colorization.models.insta.preprocessor import paint_hints, true_hints
from insta_colorization.structures import ColorizationSample, Hint, Instances


@pytest.fixture
def photos() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(2)]


def to_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).movedim(-1, -3)


def batch(photos: list[np.ndarray]) -> dict:
    return {'inputs': {'image': [to_tensor(p) for p in photos]}, 'data_samples': [ColorizationSample() for _ in photos]}


def test_ab_is_scikit_images_in_network_units(photos):
    out = ColorizationPreprocessor()(batch(photos), training=True)

    expected = np.stack([rgb2lab(photo)[..., 1:] for photo in photos]) / 110
    np.testing.assert_allclose(out['ab'].movedim(1, -1), expected, atol=1e-5)


def test_testing_takes_the_files_own_lightness(photos):
    out = ColorizationPreprocessor()(batch(photos), training=False)

    expected = np.stack([rgb2lab(photo)[..., 0] for photo in photos]) / 100 - 0.5
    np.testing.assert_allclose(out['lightness'][:, 0], expected, atol=1e-5)


def test_training_takes_the_lightness_of_an_8_bit_grey_photo(photos):
    out = ColorizationPreprocessor()(batch(photos), training=True)

    # The published training reads grey files that were made with scikit-image and stored as 8 bit.
    stored = [np.round(rgb2gray(photo) * 255).astype(np.uint8) for photo in photos]
    expected = np.stack([rgb2lab(np.stack([gray] * 3, axis=-1))[..., 0] for gray in stored]) / 100 - 0.5
    np.testing.assert_allclose(out['lightness'][:, 0], expected, atol=1e-5)


def test_the_two_differ_by_several_l_units_on_saturated_colours():
    blue = [np.broadcast_to(np.array([0, 0, 255], np.uint8), (8, 8, 3)).copy()]
    preprocessor = ColorizationPreprocessor()

    in_training, in_testing = (preprocessor(batch(blue), training)['lightness'] for training in (True, False))

    assert 100 * (in_testing - in_training).abs().min() > 3


def test_crops_are_flattened_with_the_number_of_their_image(photos):
    parts = [Instances.empty((16, 16)), Instances([[0, 0, 8, 8], [1, 1, 9, 16]], (16, 16))]
    data = batch(photos)
    data['inputs']['crops'] = [torch.zeros(0, 3, 16, 16, dtype=torch.uint8), to_tensor(np.stack(photos))]
    data['data_samples'] = [ColorizationSample(instances=part) for part in parts]

    out = ColorizationPreprocessor()(data, training=False)

    assert out['crop_lightness'].shape == (2, 1, 16, 16)
    assert torch.equal(out['crop_lightness'], out['lightness'])
    assert out['instances'].image_index.tolist() == [1, 1]
    assert out['instances'].num_images == 2


def test_without_crops_there_are_no_instances(photos):
    out = ColorizationPreprocessor()(batch(photos), training=False)

    assert set(out) == {'lightness', 'ab', 'data_samples'}


def test_a_collated_batch_is_the_same(photos):
    listed = batch(photos)
    stacked = {**listed, 'inputs': {'image': torch.stack(listed['inputs']['image'])}}

    one, other = (ColorizationPreprocessor()(data, training=True) for data in (listed, stacked))

    assert torch.equal(one['lightness'], other['lightness'])
    assert torch.equal(one['ab'], other['ab'])


def test_crops_get_their_part_of_the_hints_in_training(photos):
    data = batch(photos)
    size = data['inputs']['image'][0].shape[-1]
    boxes = [Instances([[0, 0, size, size], [0, 0, size // 2, size // 2]], (size, size)), Instances.empty((size, size))]
    data['inputs']['crops'] = [torch.zeros(len(mine), 3, size, size, dtype=torch.uint8) for mine in boxes]
    data['data_samples'] = [ColorizationSample(instances=mine) for mine in boxes]
    data['inputs']['hint_regions'] = [torch.tensor([[0.0, 0, 2, size // 4, 1]]), torch.zeros(0, 5)]

    made = ColorizationPreprocessor()(data, training=True)

    whole, quarter = made['crop_hints']
    assert torch.equal(whole, made['hints'][0])
    assert quarter[2, : size // 2, :4].eq(1).all()
    assert quarter[2].sum() == 4 * (size // 2)
    assert torch.equal(quarter[:2, 0, 0], whole[:2, 0, 0])
    assert not made['hints'][1].any()


class TestPaintedHints:
    def test_are_what_training_paints(self):
        ab = torch.zeros(1, 2, 16, 16)
        ab[0, 0, 2:9, 4:12], ab[0, 1, 10:13, 10:13] = 33 / 110, -22 / 110
        regions = torch.tensor([[4.0, 2, 12, 9, 0.5], [10, 10, 13, 13, 1]])

        painted = paint_hints([Hint((33.0, 0.0), (4, 2, 12, 9)), Hint.at(11, 11, (0.0, -22.0), 1)], (0, 0, 16, 16), 16)

        torch.testing.assert_close(painted, true_hints(ab, [regions])[0])

    def test_later_ones_lie_on_top_and_masks_are_kept(self):
        mask = np.zeros((8, 8), bool)
        mask[:4] = True
        hints = [Hint((10.0, 0.0), (0, 0, 16, 16)), Hint((20.0, 0.0), (4, 4, 12, 12), mask, 0.75)]

        painted = paint_hints(hints, (0, 0, 16, 16), 8)

        assert (painted[0] * 110).round().int().tolist()[1:4] == [
            [10] * 8,
            [10, 10, 20, 20, 20, 20, 10, 10],
            [10, 10, 20, 20, 20, 20, 10, 10],
        ]
        assert painted[2].unique().tolist() == [0.5, 0.75]

    def test_a_window_gets_those_that_reach_it(self):
        hints = [Hint.at(x, 5, (x, 0.0), 0) for x in (3, 20)]

        painted = paint_hints(hints, (10, 0, 26, 16), 16)

        assert painted[2].nonzero().tolist() == [[5, 10]]
        assert not paint_hints([], (10, 0, 26, 16), 16).any()

    def test_ten_thousand_take_no_more_tensor_operations_than_one(self):
        class Counted(TorchFunctionMode):
            count = 0

            def __torch_function__(self, func, types, args=(), kwargs=None):
                self.count += 1
                return func(*args, **kwargs or {})

        counts = []
        for number in (1, 10_000):
            hints = [Hint.at(n % 100, n // 100, (n % 50, 0.0), 1) for n in range(number)]
            with Counted() as counted:
                paint_hints(hints, (0, 0, 100, 100), 32)
            counts.append(counted.count)
        assert counts[0] == counts[1] < 10
