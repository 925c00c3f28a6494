import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from insta_colorization.apis.detection import (
    Selection,
    coco_annotations,
    coco_results,
    detect_photos,
    list_photos,
)
from insta_colorization.detectors import CachedDetector, NoDetector
from insta_colorization.structures import COCO_CLASSES, Instances


class Fixed:
    """Finds the same boxes everywhere."""

    score_thr = 0.0

    def __init__(self, boxes, scores=None, masks=None, **labels):
        self.boxes, self.scores, self.masks, self.labels = boxes, scores, masks, labels
        self.calls = []

    def detect(self, images, paths=None):
        self.calls.append([Path(path).name for path in paths])
        return [
            Instances.clipped(self.boxes, image.shape[:2], self.scores, self.masks, **self.labels) for image in images
        ]


def photo(path: Path, size: tuple[int, int] = (40, 60)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size[::-1], (90, 120, 150)).save(path)
    return path


@pytest.fixture
def album(tmp_path) -> Path:
    for name in ('2.png', '10.png', 'deeper/2.png'):
        photo(tmp_path / 'album' / name)
    return tmp_path / 'album'


def coco_file(path: Path, *images: tuple[int, str]) -> Path:
    path.write_text(json.dumps({'images': [{'id': number, 'file_name': name} for number, name in images]}))
    return path


def named(inputs, **options) -> list[tuple[str, int]]:
    return [(item.name, item.id) for item in list_photos(inputs, **options).photos]


class TestListing:
    def test_a_folder_in_numeric_order(self, album):
        assert named([album]) == [('2.png', 1), ('10.png', 2)]

    def test_a_folder_to_its_depths(self, album):
        assert named([album], recursive=True) == [('2.png', 1), ('10.png', 2), ('deeper/2.png', 3)]

    def test_a_folder_with_photos_in_its_depths_only(self, album):
        (album / '2.png').unlink()
        (album / '10.png').unlink()

        assert named([album], recursive=True) == [('deeper/2.png', 1)]

    def test_names_of_two_folders_differ(self, album):
        photo(album.parent / 'other' / '2.png')

        assert named([album, album.parent / 'other']) == [('album/2.png', 1), ('album/10.png', 2), ('other/2.png', 3)]

    def test_single_photos(self, album):
        assert named([album / '10.png', album / '2.png', album / '10.png']) == [('10.png', 1), ('2.png', 2)]

    def test_a_pattern(self, album, monkeypatch):
        monkeypatch.chdir(album)

        assert named(['1*.png']) == [('10.png', 1)]

    def test_a_coco_file_keeps_its_ids_and_order(self, album):
        file = coco_file(album / 'all.json', (7, '10.png'), (3, 'deeper/2.png'))

        assert named([file]) == [('10.png', 7), ('deeper/2.png', 3)]
        assert [item.path for item in list_photos([file]).photos] == [album / '10.png', album / 'deeper' / '2.png']

    def test_a_coco_file_elsewhere(self, album, tmp_path):
        file = coco_file(tmp_path / 'all.json', (7, '10.png'))

        assert list_photos([file], data_root=album).photos[0].path == album / '10.png'

    @pytest.mark.parametrize(
        ('images', 'message'),
        [
            pytest.param([(1, 'a.png'), (2, 'b.png')], 'names 2 photos, of which 0 are in', id='elsewhere'),
            pytest.param([], 'names 0 photos, of which 0 are in', id='no photo'),
            pytest.param([(1, '2.png'), (1, '10.png')], 'two of the 2 images of .* have the same id', id='ids'),
            pytest.param([(1, '2.png'), (2, '2.png')], 'have the same file_name', id='names'),
        ],
    )
    def test_a_coco_file_that_cannot_be_used(self, album, images, message):
        with pytest.raises(ValueError, match=message):
            list_photos([coco_file(album / 'all.json', *images)])

    @pytest.mark.parametrize('name', ['../secret.png', 'deeper/../../secret.png', '{}/secret.png'])
    def test_a_coco_file_that_leads_out_of_the_folder(self, album, tmp_path, name):
        photo(tmp_path / 'secret.png')
        file = coco_file(album / 'all.json', (1, '2.png'), (2, name.format(tmp_path)))

        with pytest.raises(ValueError, match=rf'names .*secret\.png, which is not in the folder .* {album}'):
            list_photos([file])

    def test_whole_paths_in_a_coco_file_are_taken_from_the_folder_that_holds_them(self, album):
        file = coco_file(album / 'all.json', (1, f'{album}/2.png'))

        assert list_photos([file], data_root=Path('/')).photos[0].path == album / '2.png'

    @pytest.mark.parametrize('content', ['{', '[]', '{}', '{"images": [{"id": 1}]}', '{"images": 3}'])
    def test_another_json(self, album, content):
        (album / 'all.json').write_text(content)

        with pytest.raises(ValueError, match=r'all\.json is not (in COCO format|JSON)'):
            list_photos([album / 'all.json'])

    def test_a_missing_coco_file(self, album):
        with pytest.raises(FileNotFoundError, match=r'no annotation file .*all\.json'):
            list_photos([album / 'all.json'])

    def test_inputs_that_do_not_go_together(self, album):
        with pytest.raises(ValueError, match='is the only input, but got 2'):
            list_photos([album / 'all.json', album])
        with pytest.raises(ValueError, match=r'data root .* is for the photos of a COCO \.json'):
            list_photos([album], data_root=album)
        with pytest.raises(ValueError, match=r'but got https://host/a\.png'):
            list_photos(['https://host/a.png'])


def records(detector, inputs, selection=None, **options) -> dict[str, dict | str]:
    found = detect_photos(detector, list_photos(inputs).photos, selection or Selection(0.0), **options)
    return {item.name: record for item, record in found}


class TestRecords:
    @pytest.mark.parametrize('count', [0, 1, 3])
    def test_boxes_become_coco_boxes(self, album, count):
        boxes = torch.tensor([[2.0, 3.0, 12.5, 23.25]]).repeat(count, 1) + torch.arange(count)[:, None]
        detector = Fixed(boxes, torch.linspace(0.25, 0.75, count))

        record = records(detector, [album / '2.png'])['2.png']

        assert {key: record[key] for key in ('file_name', 'width', 'height')} == {
            'file_name': '2.png',
            'width': 60,
            'height': 40,
        }
        assert [item['bbox'] for item in record['annotations']] == [[2 + n, 3 + n, 10.5, 20.25] for n in range(count)]
        assert [item['area'] for item in record['annotations']] == [10.5 * 20.25] * count

    def test_what_is_read_is_what_was_found(self, tmp_path):
        """Every corner in its pixel, whatever float32 makes of differences and sums."""
        corners = torch.rand(500, 2, 2, generator=torch.manual_seed(0)) * torch.tensor([640.0, 480.0])
        corners[:50] = corners[:50].round()
        boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
        boxes[0, 2:] = torch.tensor([640, 480])
        path = photo(tmp_path / 'a' / 'photo.png', (480, 640))
        detector = Fixed(boxes, torch.rand(500, generator=torch.manual_seed(1)))
        listed = list_photos([path]).photos
        found = dict(detect_photos(detector, listed, Selection(0.0, top_k=None)))[listed[0]]

        (tmp_path / 'boxes.json').write_text(json.dumps(coco_annotations(listed, {'photo.png': found}, {})))
        (read,) = CachedDetector(tmp_path / 'boxes.json').detect([np.zeros((480, 640, 3), np.uint8)], [str(path)])

        (direct,) = detector.detect([np.zeros((480, 640, 3), np.uint8)], [str(path)])
        assert torch.equal(read.boxes.floor(), direct.boxes.floor())
        assert torch.equal(read.in_pixels(), direct.in_pixels())
        assert (read.boxes - direct.boxes).abs().max() <= 1 / 64
        assert torch.equal(read.scores, direct.scores)

    def test_a_box_thinner_than_the_files_grid_stays_a_box(self, album):
        record = records(Fixed([[5.001, 1, 5.002, 2]]), [album / '2.png'])['2.png']

        assert record['annotations'][0]['bbox'] == [5, 1, 1 / 64, 1]

    def test_selection(self, album):
        boxes = [[0, 0, 9, 9], [0, 0, 8, 8], [0, 0, 7, 7], [0, 0, 2, 9], [0, 0, 6, 6]]
        detector = Fixed(boxes, [0.5, 0.9, 0.7, 0.95, 0.2])

        record = records(detector, [album / '2.png'], Selection(0.3, min_size=3, top_k=2))['2.png']

        assert sorted(item['score'] for item in record['annotations']) == [0.7, 0.9]

    @pytest.mark.parametrize('wanted', [True, False])
    def test_masks(self, album, tmp_path, wanted):
        mask = torch.zeros(1, 40, 60, dtype=torch.bool)
        mask[0, 10:20, 5:25] = mask[0, 3, 3] = True
        detector = Fixed([[3, 3, 25, 20]], masks=mask)

        record = records(detector, [album / '2.png'], Selection(0.0, masks=wanted))['2.png']

        assert ('segmentation' in record['annotations'][0]) == wanted
        assert record['annotations'][0]['area'] == (201 if wanted else 22 * 17)
        if wanted:
            listed = list_photos([album / '2.png']).photos
            (tmp_path / 'boxes.json').write_text(json.dumps(coco_annotations(listed, {'2.png': record}, {})))
            cached = CachedDetector(tmp_path / 'boxes.json', masks=True)
            (read,) = cached.detect([np.zeros((40, 60, 3), np.uint8)], [str(album / '2.png')])
            assert torch.equal(read.masks[0], mask[0, 3:20, 3:25])


class TestCategories:
    BOXES = [[0, 0, 9, 9], [0, 0, 8, 8], [0, 0, 7, 7]]

    def content(self, album, given=None, **labels):
        found = records(Fixed(self.BOXES, **labels), [album / '2.png'])
        return coco_annotations(list_photos([album / '2.png']).photos, found, {}, given)

    def test_cocos_have_their_official_ids(self, album):
        content = self.content(album, labels=[16, 79, 0])

        assert [item['category_id'] for item in content['annotations']] == [18, 90, 1]
        assert len(content['categories']) == 80
        assert content['categories'][-1] == {'id': 90, 'name': 'toothbrush'}

    def test_of_a_detector_with_classes_of_its_own(self, album):
        content = self.content(album, labels=[1, 0, -1], classes=['cart', 'barrel'])

        assert content['categories'] == [
            {'id': 1, 'name': 'barrel'},
            {'id': 2, 'name': 'cart'},
            {'id': 3, 'name': 'object'},
        ]
        assert [item['category_id'] for item in content['annotations']] == [1, 2, 3]

    def test_those_that_are_given_keep_their_ids(self, album):
        content = self.content(album, {'dog': 7, 'cat': 3}, labels=[16, 0, 16])

        assert content['categories'] == [
            {'id': 7, 'name': 'dog'},
            {'id': 3, 'name': 'cat'},
            {'id': 8, 'name': 'person'},
        ]
        assert [item['category_id'] for item in content['annotations']] == [7, 8, 7]

    def test_without_an_instance_they_are_cocos(self, album):
        found = records(NoDetector(), [album / '2.png'])

        assert len(coco_annotations(list_photos([album / '2.png']).photos, found, {})['categories']) == 80

    @pytest.mark.parametrize('labels', [{'labels': [16, -1, 0]}, {'labels': [0, 1, 0], 'classes': ['a', 'b']}, {}])
    def test_are_read_back(self, album, tmp_path, labels):
        (tmp_path / 'boxes.json').write_text(json.dumps(self.content(album, **labels)))

        (read,) = CachedDetector(tmp_path / 'boxes.json').detect([np.zeros((40, 60, 3), np.uint8)], ['2.png'])

        names = labels.get('classes', COCO_CLASSES)
        expected = ['object' if n < 0 else names[n] for n in labels.get('labels', [-1] * 3)]
        assert [read.classes[label] for label in read.labels.tolist()] == expected

    def test_of_the_input(self, album):
        file = coco_file(album / 'all.json', (7, '10.png'))
        assert list_photos([file]).categories == {}

        file.write_text(json.dumps({**json.loads(file.read_text()), 'categories': [{'id': 5, 'name': 'dog'}]}))
        assert list_photos([file]).categories == {'dog': 5}


class TestBrokenPhotos:
    @pytest.mark.parametrize('batch_size', [1, 2, 5])
    def test_the_others_are_not_affected(self, album, batch_size):
        (album / '5.png').write_bytes(b'no photo')
        detector = Fixed([[0, 0, 9, 9]])

        found = records(detector, [album], batch_size=batch_size)

        assert list(found) == ['2.png', '5.png', '10.png']
        assert '5.png' in found['5.png']
        assert [len(found[name]['annotations']) for name in ('2.png', '10.png')] == [1, 1]

    @pytest.mark.parametrize(
        ('error', 'reason'), [(ValueError('a bad box'), 'a bad box'), (KeyError('x'), 'unexpected')]
    )
    def test_what_the_detector_stumbles_over_is_its_reason(self, album, error, reason):
        class Stumbling(NoDetector):
            def detect(self, images, paths=None):
                if any('10' in Path(path).name for path in paths):
                    raise error
                return super().detect(images)

        found = records(Stumbling(), [album], batch_size=2)

        assert found['10.png'].startswith(reason)
        assert found['2.png']['annotations'] == []

    def test_a_missing_library_is_no_photos_fault(self, album):
        class Lacking(NoDetector):
            def detect(self, images, paths=None):
                raise ImportError('pip install it')

        with pytest.raises(ImportError, match='pip install it'):
            records(Lacking(), [album])

    def test_photos_go_to_the_detector_in_batches(self, album):
        detector = Fixed([[0, 0, 9, 9]])

        records(detector, [album, photo(album / '11.png')], batch_size=2)

        assert detector.calls == [['2.png', '10.png'], ['11.png']]


def test_the_files_keep_the_order_of_the_photos_and_leave_out_the_failed(album):
    photo(album / '5.png')
    listed = list_photos([album]).photos
    found = records(Fixed([[0, 0, 9, 9], [1, 1, 9, 9]]), [album])
    del found['5.png']
    shuffled = {name: found[name] for name in ('10.png', '2.png')}

    content = coco_annotations(listed, shuffled, {'detector': 'x'})

    assert [(image['id'], image['file_name']) for image in content['images']] == [(1, '2.png'), (3, '10.png')]
    assert [(item['id'], item['image_id']) for item in content['annotations']] == [(1, 1), (2, 1), (3, 3), (4, 3)]
    assert {item['iscrowd'] for item in content['annotations']} == {0}
    assert content['categories'] == [{'id': 1, 'name': 'object'}]
    assert content['info'] == {'detector': 'x'}
    results = coco_results(listed, shuffled)
    assert [set(item) for item in results] == [{'image_id', 'category_id', 'bbox', 'score'}] * 4
    assert [item['image_id'] for item in results] == [1, 1, 3, 3]
