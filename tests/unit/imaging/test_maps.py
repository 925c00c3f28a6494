"""Files of class maps; bad ones are refused in one sentence."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from insta_colorization.imaging import maps
from insta_colorization.imaging.decoders import ImageReadError
from insta_colorization.imaging.maps import BackgroundMaps, MapFiles, encode_map, read_map, write_map
from insta_colorization.structures import CLASS_COLOURS


@pytest.fixture
def ids() -> np.ndarray:
    return np.arange(60, dtype=np.uint8).reshape(6, 10)


def saved(image: Image.Image, tmp_path: Path, name: str = 'map.png') -> Path:
    image.save(tmp_path / name)
    return tmp_path / name


class TestFiles:
    def test_written_maps_are_indexed_in_the_classes_colours(self, ids):
        image = Image.open(io.BytesIO(encode_map(ids)))

        assert image.mode == 'P'
        np.testing.assert_array_equal(np.asarray(image), ids)
        np.testing.assert_array_equal(np.asarray(image.convert('RGB')), CLASS_COLOURS[ids])

    @pytest.mark.parametrize(
        'change',
        [
            pytest.param(lambda image: image, id='as written'),
            pytest.param(lambda image: image.convert('RGB'), id='RGB'),
            pytest.param(lambda image: image.convert('RGBA'), id='RGBA'),
            pytest.param(lambda image: image.convert('RGB').quantize(64), id='indexed in another order'),
            pytest.param(lambda image: Image.fromarray(np.asarray(image)), id='grey values'),
        ],
    )
    def test_there_and_back(self, ids, tmp_path, change):
        write_map(ids, tmp_path / 'written.png')

        path = saved(change(Image.open(tmp_path / 'written.png')), tmp_path)

        np.testing.assert_array_equal(read_map(path), ids)

    def test_large_maps_take_little_memory(self):
        ids = np.resize(np.arange(60, dtype=np.uint8), (500, 2003))
        file = io.BytesIO()
        Image.fromarray(CLASS_COLOURS[ids]).save(file, 'PNG', compress_level=0)
        tracemalloc.start()
        try:
            found = read_map(file)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        np.testing.assert_array_equal(found, ids)
        assert peak - 2**24 < 8 * ids.size  # beside the table of all colours

    def test_an_unknown_colour_far_down_has_its_place(self, monkeypatch):
        monkeypatch.setattr(maps, '_PIXELS_AT_ONCE', 20)
        picture = CLASS_COLOURS[np.zeros((7, 10), int)]
        picture[4, 3], picture[6, 0] = (1, 2, 3), (9, 9, 9)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, 'PNG')

        with pytest.raises(ValueError, match=r'the map given has the colour \(1, 2, 3\) at x 3, y 4'):
            read_map(file)

    def test_true_maps_may_leave_pixels_unknown(self, tmp_path):
        path = saved(Image.fromarray(np.array([[3, 255]], np.uint8)), tmp_path)

        assert read_map(path, unknown=True).tolist() == [[3, 255]]
        with pytest.raises(
            ValueError, match=r'the map .*map\.png must have the classes 0\.\.59, but has 255 at x 1, y 0'
        ):
            read_map(path)

    @pytest.mark.parametrize(
        ('image', 'message'),
        [
            pytest.param(
                Image.fromarray(np.full((2, 3, 3), (128, 0, 1), np.uint8)),
                r'has the colour \(128, 0, 1\) at x 0, y 0, which is none of the 60 classes',
                id='another colour',
            ),
            pytest.param(Image.fromarray(np.full((2, 3), 60, np.uint8)), 'but has 60 at x 0, y 0', id='beyond 59'),
            pytest.param(Image.fromarray(np.ones((2, 3), np.uint16)), "but its mode is 'I;16'", id='16 bits'),
            pytest.param(Image.new('1', (3, 2)), "but its mode is '1'", id='one bit'),
        ],
    )
    def test_what_is_refused(self, tmp_path, image, message):
        with pytest.raises(ValueError, match=message):
            read_map(saved(image, tmp_path))

    def test_floating_point(self, tmp_path):
        with pytest.raises(ValueError, match=r"cannot read the map .* but its mode is 'F'"):
            read_map(saved(Image.fromarray(np.ones((2, 3), np.float32)), tmp_path, 'map.tif'))

    def test_a_damaged_file(self, tmp_path):
        (tmp_path / 'map.png').write_bytes(b'\x89PNG')

        with pytest.raises(ValueError, match=r'cannot read the map .*map\.png'):
            read_map(tmp_path / 'map.png')


class TestMapFiles:
    def test_one_file_for_one_photo_of_any_size(self, ids, tmp_path):
        write_map(ids, tmp_path / 'any.png')
        maps = MapFiles(tmp_path / 'any.png')

        maps.check(['photos/a.jpg'])

        assert maps.of('photos/a.jpg', (12, 20)).shape == (12, 20)
        with pytest.raises(ValueError, match=r'any\.png is the map of one photo, but there are 2: give a folder'):
            maps.check(['a.jpg', 'b.jpg'])

    @pytest.mark.parametrize(
        ('name', 'photo'),
        [('a.png', 'x/a.jpg'), ('a.jpg.png', 'a.jpg'), ('a.png.map.png', 'a.jpg'), ('a.b.png', 'a.b.jpg')],
    )
    def test_names_in_a_folder(self, ids, tmp_path, name, photo):
        write_map(ids, tmp_path / name)

        MapFiles(tmp_path).check([photo])

        np.testing.assert_array_equal(MapFiles(tmp_path).of(photo, ids.shape), ids)

    def test_results_beside_saved_maps_are_no_maps(self, ids, tmp_path):
        write_map(ids, tmp_path / 'a.png.map.png')
        Image.new('RGB', (3, 2), 'red').save(tmp_path / 'a.png')

        MapFiles(tmp_path).check(['a.jpg'])

        np.testing.assert_array_equal(MapFiles(tmp_path).of('a.jpg', ids.shape), ids)

    def test_a_photo_without_a_map(self, ids, tmp_path):
        write_map(ids, tmp_path / 'a.png')

        with pytest.raises(ValueError, match=r'1 of 2 photos have no map in .*: photos/b\.jpg needs b\.png'):
            MapFiles(tmp_path).check(['photos/a.jpg', 'photos/b.jpg'])

    def test_a_map_without_a_photo(self, ids, tmp_path):
        for name in ('a.png', 'b.png'):
            write_map(ids, tmp_path / name)

        with pytest.raises(ValueError, match=r'b\.png is the map of none of the 1 photos of this run'):
            MapFiles(tmp_path).check(['a.jpg'])

    def test_there_is_none(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'there is no map .*no\.png'):
            MapFiles(tmp_path / 'no.png')

    def test_limit_of_pixels(self, tmp_path, ids):
        write_map(ids, tmp_path / 'a.png')

        np.testing.assert_array_equal(MapFiles(tmp_path / 'a.png', ids.size).of('a.jpg', ids.shape), ids)
        with pytest.raises(ImageReadError, match=rf'a\.png: .* more than max_pixels {ids.size - 1} allows'):
            MapFiles(tmp_path / 'a.png', ids.size - 1).of('a.jpg', ids.shape)

    def test_background(self):
        maps = BackgroundMaps()
        maps.check(['a.jpg', 'b.jpg'])

        assert maps.of('a.jpg', (1, 2)).tolist() == [[0, 0]]
