import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from insta_colorization.datasets import (
    CropInstances,
    CropToInstance,
    LoadInstances,
    LoadPhoto,
    PackColorization,
    RandomCropPhoto,
    RandomFlipPhoto,
    RandomInstanceWindows,
    ResizePhoto,
    SelectInstances,
)
from insta_colorization.fileio.boxes import Annotations
from insta_colorization.imaging.resize import resize_photo
from insta_colorization.structures import Instances, PhotoField


@pytest.fixture
def image() -> np.ndarray:
    """(20, 30, 3): red says how far down a pixel is, green how far right."""
    y, x = np.mgrid[:20, :30]
    return np.stack([y, x, np.zeros_like(x)], axis=-1).astype(np.uint8)


@pytest.fixture(autouse=True)
def seed() -> None:
    np.random.seed(0)


class TestLoadPhoto:
    def test_rgb_and_size(self, image, tmp_path):
        Image.fromarray(image).save(tmp_path / 'photo.png')

        results = LoadPhoto()({'img_path': str(tmp_path / 'photo.png')})

        np.testing.assert_array_equal(results['img'], image)
        assert results['image_size'] == (20, 30)

    def test_turns_as_exif_says(self, image, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # to be shown turned clockwise by 90 degrees
        Image.fromarray(image).save(tmp_path / 'photo.png', exif=exif)

        results = LoadPhoto()({'img_path': str(tmp_path / 'photo.png')})

        np.testing.assert_array_equal(results['img'], np.rot90(image, -1))
        assert results['image_size'] == (30, 20)

    @pytest.mark.parametrize('mode', ['L', 'P', 'RGBA', 'CMYK', '1'])
    def test_every_mode_becomes_rgb(self, mode, tmp_path):
        path = tmp_path / 'photo.tif'
        Image.new(mode, (6, 4), (100, 50, 20, 255) if mode == 'RGBA' else 1).save(path)

        assert LoadPhoto()({'img_path': str(path)})['img'].shape == (4, 6, 3)

    def test_sixteen_bit_grey_is_scaled_not_cut_off(self, tmp_path):
        levels = np.array([[0, 128 * 257, 65535]], np.uint16)
        Image.fromarray(levels).save(tmp_path / 'photo.png')

        loaded = LoadPhoto()({'img_path': str(tmp_path / 'photo.png')})['img']
        np.testing.assert_array_equal(loaded, np.repeat([[[0], [128], [255]]], 3, axis=2))

    def test_unreadable_gives_none_and_says_why(self, tmp_path):
        (tmp_path / 'photo.png').write_text('no photo')
        results = {'img_path': str(tmp_path / 'photo.png')}

        assert LoadPhoto()(results) is None
        assert f'cannot read {tmp_path}/photo.png: ' in results['skipped']

    def test_unreadable_is_kept_for_testing(self, tmp_path):
        results = LoadPhoto(keep_broken=True)({'img_path': str(tmp_path / 'photo.png')})

        assert 'No such file' in results['skipped']
        assert results['image_size'] == (8, 8)
        assert not results['img'].any()

    @pytest.mark.parametrize(
        ('colours', 'span'),
        # Lab by scikit-image: (200, 100, 100) has a 39.7, b 18.6; (130, 120, 120) has a 3.8, b 1.4; greys have none.
        [
            pytest.param([(90, 90, 90), (200, 200, 200)], 0, id='grey'),
            pytest.param([(90, 90, 90), (130, 120, 120)], 3.8, id='nearly-grey'),
            pytest.param([(90, 90, 90), (200, 100, 100)], 39.7, id='red'),
            pytest.param([(200, 100, 100), (200, 100, 100)], 0, id='one-colour'),
        ],
    )
    def test_photos_without_colours(self, tmp_path, colours, span):
        photo = np.repeat(np.array([colours], np.uint8), 40, axis=0).repeat(20, axis=1)
        Image.fromarray(photo).save(tmp_path / 'photo.png')
        results = {'img_path': str(tmp_path / 'photo.png')}

        loaded = LoadPhoto(min_ab_range=10)(results)

        if span >= 10:
            np.testing.assert_array_equal(loaded['img'], photo)
        else:
            assert loaded is None
            assert f'photo.png is grey: its a and b span {span:.1f} of at least 10' in results['skipped']

    def test_what_pillow_takes_for_a_bomb_gives_none(self, image, tmp_path, monkeypatch):
        Image.fromarray(image).save(tmp_path / 'photo.png')
        monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)

        assert LoadPhoto()({'img_path': str(tmp_path / 'photo.png')}) is None


class TestRandomCropPhoto:
    def test_keeps_a_window(self, image):
        sizes = set()
        for _ in range(50):
            window = RandomCropPhoto(min_side=0.5)({'img': image})['img']
            height, width = window.shape[:2]
            sizes.add((height, width))
            top, left = int(window[0, 0, 0]), int(window[0, 0, 1])
            assert 10 <= height <= 20
            assert 15 <= width <= 30
            np.testing.assert_array_equal(window, image[top : top + height, left : left + width])
        assert len(sizes) > 20

    def test_of_one_keeps_all(self, image):
        np.testing.assert_array_equal(RandomCropPhoto(min_side=1.0)({'img': image})['img'], image)

    def test_a_single_pixel(self):
        assert RandomCropPhoto(0.1)({'img': np.zeros((1, 1, 3), np.uint8)})['img'].shape == (1, 1, 3)

    @pytest.mark.parametrize('min_side', [0, -0.1, 1.1])
    def test_refuses(self, min_side):
        with pytest.raises(ValueError, match=rf'fraction in \(0, 1\], but got {min_side}'):
            RandomCropPhoto(min_side)

    def test_instances_move_along(self, image):
        # The mask is where the image has an even row and column: it must go wherever those pixels go.
        even = (image[..., 0] % 2 == 0) & (image[..., 1] % 2 == 0)
        boxes = torch.tensor([[0, 0, 30, 20], [10, 5, 20, 15], [0, 0, 2, 1], [29.0, 19, 30, 20]])
        given = Instances(boxes, (20, 30), torch.tensor([0.9, 0.8, 0.7, 0.6]), labels=[0, 1, 2, 3])
        given = given.with_masks(torch.from_numpy(even).expand(4, -1, -1))

        counts = set()
        for _ in range(30):
            results = RandomCropPhoto(min_side=0.4)({'img': image, 'instances': given, 'gt_instances': given[:1]})
            window, moved = results['img'], results['instances']
            counts.add(len(moved))
            top, left, height, width = int(window[0, 0, 0]), int(window[0, 0, 1]), *window.shape[:2]
            for box, label, mask in zip(moved.boxes.int().tolist(), moved.labels, moved.masks, strict=True):
                x0, y0, x1, y1 = boxes[label].int().tolist()
                seen = window[box[1] : box[3], box[0] : box[2], :2].reshape(-1, 2).tolist()
                expected = [
                    [y, x]
                    for y in range(y0, y1)
                    for x in range(x0, x1)
                    if top <= y < top + height and left <= x < left + width
                ]
                assert seen == expected
                assert mask.flatten().tolist() == [y % 2 == x % 2 == 0 for y, x in expected]
            assert results['gt_instances'].boxes.tolist() == [[0, 0, width, height]]
            assert moved.image_size.tolist() == [[height, width]]
        assert counts == {2, 3}


def test_half_of_the_photos_are_mirrored(image):
    mirrored = 0
    for _ in range(100):
        out = RandomFlipPhoto()({'img': image})['img']
        turned = np.array_equal(out, image[:, ::-1])
        assert turned or np.array_equal(out, image)
        mirrored += turned
    assert 30 < mirrored < 70


def test_instances_are_mirrored_with_their_photo(image):
    mask = torch.zeros(1, 20, 30, dtype=torch.bool)
    mask[0, 5, 3] = True
    given = Instances.clipped([[2, 4, 12.5, 20]], (20, 30), [0.5], mask, [7])

    found = {
        tuple(r['instances'].boxes[0].tolist()): r
        for r in (RandomFlipPhoto()({'img': image, 'instances': given}) for _ in range(20))
    }

    assert set(found) == {(2, 4, 12.5, 20), (17.5, 4, 28, 20)}
    mirrored = found[17.5, 4, 28, 20]
    assert mirrored['instances'].masks[0].nonzero().tolist() == [[5 - 4, 26 - 17]]
    assert mirrored['instances'].labels.tolist() == [7]
    assert mirrored['img'][5, 26].tolist() == [5, 3, 0]
    assert mirrored['instances'].scores.tolist() == [0.5]


@pytest.mark.parametrize('step', [RandomCropPhoto(0.5), RandomFlipPhoto()], ids=['crop', 'flip'])
def test_crops_that_were_cut_out_already_are_refused(image, step):
    np.random.seed(1)  # which mirrors
    with pytest.raises(ValueError, match='before CropInstances'):
        step({'img': image, 'crops': np.zeros((0, 8, 8, 3), np.uint8)})


def annotations(*boxes, scores=None, **more) -> Annotations:
    scores = np.ones(len(boxes)) if scores is None else scores
    return Annotations(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), **more)


class TestLoadInstances:
    def load(self, image, masks=False, **records):
        return LoadInstances(masks)({'img': image, 'image_size': image.shape[:2], 'img_path': 'a.png', **records})

    def test_both_kinds(self, image):
        results = self.load(
            image, annotations=annotations([1, 2, 300, 4]), gt_annotations=annotations(frame=(40, 60), crowds=3)
        )

        assert results['instances'].boxes.tolist() == [[1, 2, 30, 4]]
        assert len(results['gt_instances']) == 0
        assert results['crowds'] == 3

    def test_what_is_not_given_stays_away(self, image):
        results = self.load(image)

        assert not {'instances', 'gt_instances', 'crowds'} & set(results)

    def test_masks(self, image):
        results = self.load(image, masks=True, annotations=annotations([1, 2, 3, 4]))

        assert [mask.tolist() for mask in results['instances'].masks] == [[[True, True], [True, True]]]

    def test_a_photo_of_another_shape(self, image):
        results = {'img': image, 'image_size': (20, 30), 'img_path': 'a.png'}
        results['annotations'] = annotations([1, 2, 3, 4], frame=(30, 20))

        assert LoadInstances()(results) is None
        assert results['skipped'].startswith('a.png: the boxes are for a photo of height 30 and width 20')

    def test_a_broken_photo_has_none(self, image):
        results = self.load(image, skipped='broken', gt_annotations=annotations([1, 2, 3, 4], frame=(40, 600)))

        assert len(results['gt_instances']) == 0

    def test_only_the_photo_as_loaded(self, image):
        with pytest.raises(ValueError, match=r'photo as loaded, \(40, 60\), but it is \(20, 30\) now'):
            LoadInstances()({'img': image, 'image_size': (40, 60)})


class TestSelectInstances:
    BOXES = [[0, 0, 30, 20], [0, 0, 4, 20], [5, 5, 25, 15], [1, 1, 19, 19]]
    FOUND = Instances(torch.tensor(BOXES).float(), (20, 30), torch.tensor([0.9, 0.8, 0.4, 0.2]))

    def select(self, found=FOUND, **settings):
        results = SelectInstances(**settings)({'instances': found, 'img_path': 'a.png'})
        return [self.BOXES.index(box) for box in results['instances'].boxes.tolist()]

    @pytest.mark.parametrize(
        ('settings', 'kept'),
        [
            pytest.param({}, {0, 1, 2, 3}, id='default'),
            pytest.param({'score_thr': 0.3}, {0, 1, 2}, id='threshold'),
            pytest.param({'min_size': 5}, {0, 2, 3}, id='size'),
            pytest.param({'top_k': 2}, {0, 1}, id='best'),
            pytest.param({'top_k': None}, {0, 1, 2, 3}, id='all'),
            pytest.param({'top_k': None, 'order': 'random', 'score_thr': 0.3}, {0, 1, 2}, id='all-at-random'),
            pytest.param({'score_thr': 0.95}, set(), id='none'),
        ],
    )
    def test_rules(self, settings, kept):
        assert set(self.select(**settings)) == kept

    def test_random_ones_above_the_threshold(self):
        chosen = [tuple(self.select(top_k=2, order='random', score_thr=0.3)) for _ in range(60)]

        assert set(chosen) == {(0, 1), (0, 2), (1, 2)}

    def test_random_ones_are_the_same_from_the_same_seed(self):
        np.random.seed(3)
        first = self.select(top_k=2, order='random')
        np.random.seed(3)

        assert self.select(top_k=2, order='random') == first

    def test_the_true_ones(self):
        results = SelectInstances(source='gt_instances')({'instances': self.FOUND, 'gt_instances': self.FOUND[:1]})

        assert len(results['instances']) == len(results['gt_instances']) == 1

    def test_required_but_none_left(self):
        results = {'instances': self.FOUND, 'img_path': 'a.png'}

        assert SelectInstances(score_thr=0.95, required=True)(results) is None
        assert results['skipped'] == 'a.png has 4 boxes, none with score >= 0.95 and sides of 0.0 pixels'

    def test_a_dataset_without_boxes(self):
        assert SelectInstances()({'img_path': 'a.png'}) == {'img_path': 'a.png'}

    @pytest.mark.parametrize('settings', [{'required': True}, {'source': 'gt_instances'}])
    def test_boxes_that_are_asked_for(self, settings):
        with pytest.raises(ValueError, match=r'SelectInstances needs `.*instances`, but the dataset has none'):
            SelectInstances(**settings)({'img_path': 'a.png'})

    @pytest.mark.parametrize(('settings', 'fault'), [({'order': 'size'}, "'size'"), ({'source': 'gt'}, "'gt'")])
    def test_refuses(self, settings, fault):
        with pytest.raises(ValueError, match=f'but got {fault}'):
            SelectInstances(**settings)


class TestWindows:
    def found(self) -> Instances:
        boxes = torch.tensor([[10, 4, 20, 12], [0.0, 0, 30, 20]])
        return Instances(boxes, (20, 30), torch.tensor([0.9, 0.5]), labels=[3, 4]).with_masks(torch.ones(2, 20, 30))

    def windows(self, image, **settings) -> torch.Tensor:
        """100 windows for each of the two boxes: (100, 2, 4)."""
        transform = RandomInstanceWindows(**settings)
        return torch.stack(
            [transform({'img': image, 'instances': self.found()})['instances'].boxes for _ in range(100)]
        )

    def test_larger_windows_hold_the_box(self, image):
        windows = self.windows(image, scale=(1.5, 1.5))

        assert ((windows[:, 0, 2:] - windows[:, 0, :2]) == torch.tensor([15, 12])).all()
        assert (windows[:, 0, :2] <= torch.tensor([10, 4])).all()
        assert (windows[:, 0, 2:] >= torch.tensor([20, 12])).all()
        assert len(windows[:, 0].unique(dim=0)) > 10

    def test_they_stay_in_the_photo(self, image):
        assert (self.windows(image, scale=(1.5, 1.5))[:, 1] == torch.tensor([0, 0, 30, 20])).all()

    def test_smaller_windows_lie_in_the_box(self, image):
        windows = self.windows(image, scale=(0.5, 0.5))

        assert ((windows[:, 0, 2:] - windows[:, 0, :2]) == torch.tensor([5, 4])).all()
        assert (windows[:, 0, :2] >= torch.tensor([10, 4])).all()
        assert (windows[:, 0, 2:] <= torch.tensor([20, 12])).all()

    def test_the_factor_is_even_in_its_logarithm(self, image):
        sides = self.windows(image, scale=(0.2, 1))
        widths = sides[:, 1, 2] - sides[:, 1, 0]

        assert widths.min() >= 6
        assert widths.max() <= 30
        assert 30 < (widths < 30 * 0.2**0.5).sum() < 70

    def test_a_least_size(self, image):
        sides = self.windows(image, scale=(0.5, 0.5), min_size=14)

        assert ((sides[:, :, 2:] - sides[:, :, :2]) == torch.tensor([[14, 14], [15, 14]])).all()

    def test_a_share_of_the_boxes_moves(self, image):
        moved = (self.windows(image, scale=(0.5, 0.5), prob=0.3) != self.found().boxes).any(dim=2)

        assert 30 < moved.sum() < 90

    def test_what_stays(self, image):
        results = {'img': image, 'instances': self.found(), 'gt_instances': self.found()}

        moved = RandomInstanceWindows()(dict(results))

        assert moved['instances'].masks is None
        assert moved['instances'].labels.tolist() == [3, 4]
        assert torch.equal(moved['instances'].scores, results['instances'].scores)
        assert moved['gt_instances'] is results['gt_instances']
        assert moved['img'] is image

    def test_no_instances(self, image):
        results = RandomInstanceWindows()({'img': image, 'instances': Instances.empty((20, 30))})

        assert not len(results['instances'])

    def test_crops_come_later(self, image):
        results = CropInstances(8)({'img': image, 'instances': self.found()})

        with pytest.raises(ValueError, match='before CropInstances, but that came first'):
            RandomInstanceWindows()(results)

    @pytest.mark.parametrize(
        ('settings', 'fault'),
        [
            ({'scale': (0, 1)}, r'but got \(0, 1\)'),
            ({'scale': (2, 1)}, r'but got \(2, 1\)'),
            ({'prob': 2}, 'but got 2'),
        ],
    )
    def test_settings(self, settings, fault):
        with pytest.raises(ValueError, match=fault):
            RandomInstanceWindows(**settings)


class TestCrops:
    def test_instances_are_cut_out_of_the_photo(self, image):
        found = Instances(torch.tensor([[4, 2, 12, 10], [0.0, 0, 8, 8]]), (20, 30))

        crops = CropInstances(8)({'img': image, 'instances': found})['crops']

        np.testing.assert_array_equal(crops, [image[2:10, 4:12], image[:8, :8]])

    def test_no_instances(self, image):
        results = CropInstances(8)({'img': image, 'instances': Instances.empty((20, 30))})

        assert results['crops'].shape == (0, 8, 8, 3)

    def test_a_dataset_without_boxes(self, image):
        assert 'crops' not in CropInstances(8)({'img': image})

    def test_after_resizing_is_too_late(self, image):
        with pytest.raises(ValueError, match=r'size \(20, 30\), but the photo has \(16, 16\)'):
            CropInstances(8)(ResizePhoto(16)({'img': image, 'instances': Instances.empty((20, 30))}))

    def test_the_photo_becomes_one_of_its_instances(self, image):
        found = Instances(torch.tensor([[4, 2, 12, 10], [0.0, 0, 30, 3]]), (20, 30))

        seen = set()
        for _ in range(20):
            results = CropToInstance()({'img': image, 'instances': found, 'gt_instances': found})
            assert not {'instances', 'gt_instances'} & set(results)
            seen.add(results['img'].tobytes())

        assert seen == {image[2:10, 4:12].tobytes(), image[:3].tobytes()}

    def test_a_photo_without_instances_becomes_nothing(self, image):
        results = {'img': image, 'img_path': 'a.png', 'instances': Instances.empty((20, 30))}

        assert CropToInstance()(results) is None
        assert results['skipped'] == 'a.png has no instance to crop to'

    def test_a_broken_photo_stays(self, image):
        results = CropToInstance()({'img': image, 'skipped': 'broken', 'instances': Instances.empty((20, 30))})

        assert results['img'] is image


def test_resize_squashes_as_the_inferencer_does(image):
    np.testing.assert_array_equal(ResizePhoto(16)({'img': image})['img'], resize_photo(image, 16))


class TestPack:
    def test_inputs_and_sample(self, image):
        packed = PackColorization()({'img': image[:, ::-1], 'img_path': 'photo.png', 'image_size': (200, 300)})

        expected = torch.from_numpy(image[:, ::-1].copy()).movedim(-1, 0)
        assert torch.equal(packed['inputs']['image'], expected)
        assert torch.equal(packed['data_samples'].gt_rgb, expected)
        assert packed['data_samples'].metainfo == {'img_path': 'photo.png', 'image_size': (200, 300)}

    def test_instances_and_their_crops(self, image):
        found = Instances(torch.tensor([[4, 2, 12, 10.0]]), (20, 30))
        results = {'img': image, 'instances': found, 'gt_instances': found, 'crowds': 2, 'skipped': 'why'}

        packed = PackColorization()(ResizePhoto(16)(CropInstances(8)(results)))

        assert packed['inputs']['image'].shape == (3, 16, 16)
        assert torch.equal(packed['inputs']['crops'], torch.from_numpy(image[2:10, 4:12].copy()).movedim(-1, 0)[None])
        assert packed['data_samples'].instances.boxes.tolist() == [[4, 2, 12, 10]]
        assert len(packed['data_samples'].to_dict()['gt_instances']) == 1
        assert packed['data_samples'].metainfo == {'crowds': 2, 'skipped': 'why'}

    def test_what_is_not_there_is_not_packed(self, image):
        assert PackColorization()({'img': image})['data_samples'].metainfo == {}


class Rows(PhotoField):
    """A field that no transform knows: for each cell, which row and column of the photo it shows."""

    def __init__(self, cells: np.ndarray) -> None:
        self.cells = cells

    def crop(self, rows, columns):
        return Rows(self.cells[rows, columns])

    def flip(self):
        return Rows(self.cells[:, ::-1])

    def resize(self, size):
        return Rows(cv2.resize(self.cells, size[::-1], interpolation=cv2.INTER_NEAREST))


class TestAnyField:
    def given(self, image) -> dict:
        found = Instances(torch.tensor([[4, 2, 12, 10.0]]), (20, 30))
        return {'img': image, 'map': Rows(image[..., :2]), 'instances': found, 'caption': 'a red car', 'depth': image}

    @pytest.mark.parametrize('step', [RandomCropPhoto(0.5), RandomFlipPhoto(), CropToInstance()], ids=type)
    def test_moves_with_its_photo(self, image, step):
        for _ in range(10):
            results = step(self.given(image))
            np.testing.assert_array_equal(results['map'].cells, results['img'][..., :2])

    def test_is_resized_in_its_own_way(self, image):
        results = ResizePhoto(10)(self.given(image))

        np.testing.assert_array_equal(results['map'].cells, image[::2, ::3, :2])
        assert results['instances'].boxes.tolist() == [[4, 2, 12, 10]]

    def test_reaches_the_sample_and_what_is_named_the_inputs(self, image):
        packed = PackColorization(inputs=['depth', 'absent'], meta=['caption'])(self.given(image))

        assert isinstance(packed['data_samples'].map, Rows)
        assert packed['data_samples'].metainfo == {'caption': 'a red car'}
        assert packed['inputs'].keys() == {'image', 'depth'}
        assert torch.equal(packed['inputs']['depth'], torch.from_numpy(image))
