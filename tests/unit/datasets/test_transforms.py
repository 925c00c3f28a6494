import numpy as np
import pytest
import torch
from PIL import Image

from insta_colorization.crops import resize_photo
from insta_colorization.datasets import LoadPhoto, PackColorization, RandomCropPhoto, RandomFlipPhoto, ResizePhoto


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

    def test_unreadable_gives_none(self, tmp_path):
        (tmp_path / 'photo.png').write_text('no photo')

        assert LoadPhoto()({'img_path': str(tmp_path / 'photo.png')}) is None

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


def test_half_of_the_photos_are_mirrored(image):
    mirrored = 0
    for _ in range(100):
        out = RandomFlipPhoto()({'img': image})['img']
        turned = np.array_equal(out, image[:, ::-1])
        assert turned or np.array_equal(out, image)
        mirrored += turned
    assert 30 < mirrored < 70


def test_resize_squashes_as_the_inferencer_does(image):
    np.testing.assert_array_equal(ResizePhoto(16)({'img': image})['img'], resize_photo(image, 16))


class TestPack:
    def test_inputs_and_sample(self, image):
        packed = PackColorization()({'img': image[:, ::-1], 'img_path': 'photo.png', 'image_size': (200, 300)})

        expected = torch.from_numpy(image[:, ::-1].copy()).movedim(-1, 0)
        assert torch.equal(packed['inputs']['image'], expected)
        assert torch.equal(packed['data_samples'].gt_rgb, expected)
        assert packed['data_samples'].metainfo == {'img_path': 'photo.png', 'image_size': (200, 300)}

    def test_what_is_not_there_is_not_packed(self, image):
        assert PackColorization()({'img': image})['data_samples'].metainfo == {}
