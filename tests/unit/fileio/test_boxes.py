import json
import logging
import os
import pickle

import numpy as np
import pytest

from insta_colorization.fileio import boxes as boxes_module
from insta_colorization.fileio.boxes import npz_of, open_boxes, read_coco, read_npz
from insta_colorization.structures import COCO_CLASSES, Instances

SIZE = (40, 60)
PHOTO = np.zeros((*SIZE, 3), np.uint8)
IMAGES = [
    {'id': 7, 'file_name': 'a/one.jpg', 'height': 40, 'width': 60},
    {'id': 9, 'file_name': 'two.jpg', 'height': 40, 'width': 60},
]


def annotation(bbox, image_id=7, **more):
    return {'image_id': image_id, 'bbox': bbox, 'category_id': 1, **more}


def coco(*annotations, images=IMAGES):
    return {'images': images, 'annotations': list(annotations), 'categories': []}


@pytest.fixture
def write(tmp_path):
    def write_json(content, name='boxes.json'):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / name

    return write_json


@pytest.fixture
def write_npz(tmp_path):
    def save(name='photo.npz', **arrays):
        path = tmp_path / 'boxes' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **arrays)
        return path

    return save


def boxes_of(file, path, photo=PHOTO):
    return file.instances_of(str(path), photo.shape[:2]).boxes.tolist()


def names_of(found):
    return [None if label < 0 else found.classes[label] for label in found.labels.tolist()]


class TestCocoAnnotations:
    def test_boxes_become_corners(self, write):
        file = open_boxes(write(coco(annotation([5, 6, 10, 20]), annotation([0, 0, 60, 40], score=0.25))))

        found = file.instances_of('photos/a/one.jpg', SIZE)

        assert found.boxes.tolist() == [[5, 6, 15, 26], [0, 0, 60, 40]]
        assert found.scores.tolist() == [1.0, 0.25]
        assert found.masks is None

    def test_several_photos_with_different_numbers(self, write):
        file = open_boxes(write(coco(annotation([5, 6, 10, 20]))))

        found = [file.instances_of(path, SIZE) for path in ('a/one.jpg', 'two.jpg', 'three.jpg')]

        assert [len(instances) for instances in found] == [1, 0, 0]

    def test_crowds_are_left_out(self, write):
        file = open_boxes(write(coco(annotation([0, 0, 60, 40], iscrowd=1), annotation([1, 1, 5, 5], iscrowd=0))))

        assert boxes_of(file, 'one.jpg') == [[1, 1, 6, 6]]

    def test_the_path_decides_before_the_file_name(self, write):
        images = [
            {'id': 1, 'file_name': 'a/x.jpg'},
            {'id': 2, 'file_name': 'b/x.jpg'},
            {'id': 3, 'file_name': 'c/y.jpg'},
        ]
        file = open_boxes(write(coco(*(annotation([0, 0, n, n], image_id=n) for n in (1, 2, 3)), images=images)))

        assert boxes_of(file, '/photos/b/x.jpg') == [[0, 0, 2, 2]]
        assert boxes_of(file, '/photos/a/x.jpg') == [[0, 0, 1, 1]]
        assert boxes_of(file, '/elsewhere/y.jpg') == [[0, 0, 3, 3]]
        with pytest.raises(ValueError, match=r'/d/x\.jpg matches 2 entries of the boxes file: a/x\.jpg, b/x\.jpg'):
            file.instances_of('/d/x.jpg', SIZE)

    def test_boxes_are_scaled_with_the_photo(self, write):
        file = open_boxes(write(coco(annotation([10, 10, 20, 20]))))

        assert boxes_of(file, 'one.jpg', np.zeros((80, 120, 3), np.uint8)) == [[20, 20, 60, 60]]

    def test_boxes_of_a_photo_of_another_shape_are_refused(self, write):
        file = open_boxes(write(coco(annotation([10, 10, 20, 20]))))

        with pytest.raises(ValueError, match='height 40 and width 60, but this one has height 60 and width 40'):
            file.instances_of('one.jpg', (60, 40))

    def test_500_boxes(self, write):
        file = open_boxes(write(coco(*(annotation([n / 10, 0, 1, 1]) for n in range(500)))))

        assert len(boxes_of(file, 'one.jpg')) == 500

    @pytest.mark.parametrize(('size', 'box'), [((1, 1), [[0, 0, 1, 1]]), ((40, 12000), [[0, 0, 12000, 40]])], ids=str)
    def test_extreme_photos(self, write, size, box):
        images = [{'id': 7, 'file_name': 'one.jpg'}]
        file = open_boxes(write(coco(annotation([-5, -5, 1e5, 1e5]), images=images)))

        assert boxes_of(file, 'one.jpg', np.zeros((*size, 3), np.uint8)) == box


class TestCategories:
    CATEGORIES = [{'id': 18, 'name': 'dog'}, {'id': 1, 'name': 'person'}]
    FOUND = [annotation([1, 1, 2, 2], category_id=1), annotation([1, 1, 3, 3], category_id=18)]

    def test_by_name(self, write):
        found = open_boxes(write({**coco(*self.FOUND), 'categories': self.CATEGORIES})).instances_of('one.jpg', SIZE)

        assert names_of(found) == ['person', 'dog']
        assert found.classes == COCO_CLASSES

    def test_of_other_lists(self, write):
        categories = [{'id': 18, 'name': 'cart'}, {'id': 1, 'name': 'person'}]
        found = open_boxes(write({**coco(*self.FOUND), 'categories': categories})).instances_of('one.jpg', SIZE)

        assert names_of(found) == ['person', 'cart']
        assert found.classes == ('cart', 'person')

    def test_of_results(self, write):
        names = write({'images': IMAGES, 'categories': self.CATEGORIES}, 'names.json')
        results = write([*self.FOUND, annotation([1, 1, 4, 4], category_id=5)])

        assert names_of(open_boxes(results, names).instances_of('one.jpg', SIZE)) == ['person', 'dog', None]

    def test_a_file_without_categories_says_nothing(self, write):
        assert open_boxes(write(coco(*self.FOUND))).instances_of('one.jpg', SIZE).labels is None

    def test_one_that_is_not_in_the_list(self, write):
        file = open_boxes(write({**coco(*self.FOUND), 'categories': self.CATEGORIES[:1]}))

        with pytest.raises(
            ValueError, match=r'boxes\.json, photo one\.jpg: category 1 is not one of the 1 of the file'
        ):
            file.instances_of('one.jpg', SIZE)

    def test_cocos_list_is_not_repeated_in_every_record(self, write):
        file = open_boxes(write({**coco(*self.FOUND), 'categories': self.CATEGORIES}))

        assert len(pickle.dumps(file.annotations_of('one.jpg'))) < 700


class TestBadBoxes:
    @pytest.mark.parametrize(
        ('bbox', 'fault'),
        [
            pytest.param(
                [1, 1, float('nan'), 2], r'box 0 is not finite or is inverted: \[1.0, 1.0, nan, 3.0\]', id='nan'
            ),
            pytest.param([9, 9, -5, 2], r'box 0 is not finite or is inverted: \[9.0, 9.0, 4.0, 11.0\]', id='inverted'),
            pytest.param([1, 1, 2], r'`bbox` must be \[x, y, width, height\], but got \[1, 1, 2\]', id='three-numbers'),
            pytest.param([1, 1, None, 'a'], 'boxes and scores must be numbers', id='text'),
        ],
    )
    def test_the_message_names_file_photo_and_values(self, write, bbox, fault):
        file = open_boxes(write(coco(annotation(bbox))))

        with pytest.raises(ValueError, match=rf'boxes\.json, photo one\.jpg: {fault}'):
            file.instances_of('a/one.jpg', SIZE)

    def test_a_score_that_is_not_finite(self, write):
        file = open_boxes(write(coco(annotation([1, 1, 2, 2], score=float('nan')))))

        with pytest.raises(ValueError, match=r'photo one\.jpg: scores must be finite, but got \[nan\]'):
            file.instances_of('a/one.jpg', SIZE)

    def test_a_bad_box_does_not_stop_other_photos(self, write):
        file = open_boxes(write(coco(annotation([9, 9, -5, 2]), annotation([1, 1, 2, 2], image_id=9))))

        assert boxes_of(file, 'two.jpg') == [[1, 1, 3, 3]]

    def test_outside_and_without_area_are_dropped_and_counted(self, write, caplog):
        boxes = [[70, 0, 5, 5], [5, 5, 0, 5], [-5, -5, 500, 500], [1, 1, 4, 4]]
        file = open_boxes(write(coco(*map(annotation, boxes))))

        with caplog.at_level(logging.WARNING, 'insta_colorization'):
            assert boxes_of(file, 'one.jpg') == [[0, 0, 60, 40], [1, 1, 5, 5]]

        assert 'photo one.jpg: dropped 2 of 4 boxes' in caplog.text


class TestMasks:
    # A triangle; pycocotools is the truth for what a polygon covers, a corner far inside and one far outside are ours.
    TRIANGLE = [[10, 10, 30, 10, 10, 30]]

    @pytest.fixture(autouse=True)
    def _needs_pycocotools(self):
        pytest.importorskip('pycocotools', reason='segmentation needs pycocotools')

    def masks(self, write, *annotations, photo=PHOTO):
        return open_boxes(write(coco(*annotations)), masks=True).instances_of('one.jpg', photo.shape[:2]).masks

    def test_polygon(self, write):
        (mask,) = self.masks(write, annotation([10, 10, 20, 20], segmentation=self.TRIANGLE))

        assert mask.shape == (20, 20)
        assert mask[2, 2]
        assert not mask[18, 18]
        assert 180 <= mask.sum() <= 220

    @pytest.mark.parametrize('compressed', [False, True])
    def test_rle(self, write, compressed):
        from pycocotools import mask as coco_mask

        # Column by column: 50 zeros, then 10 ones.
        runs = {'size': [40, 60], 'counts': [50, 10, 2340]}
        if compressed:
            runs = coco_mask.frPyObjects(runs, 40, 60)
            runs['counts'] = runs['counts'].decode()

        (mask,) = self.masks(write, annotation([0, 0, 60, 40], segmentation=runs))

        assert mask.nonzero().tolist() == [[y, 1] for y in range(10, 20)]

    @pytest.mark.parametrize('nothing', [{}, {'segmentation': []}], ids=['absent', 'empty'])
    def test_without_one_the_box_is_the_mask(self, write, nothing):
        (mask,) = self.masks(write, annotation([5, 6, 10, 20], **nothing))

        assert mask.shape == (20, 10)
        assert mask.all()

    def test_masks_are_scaled_with_the_photo(self, write):
        corner = [[10, 10, 20, 10, 20, 20, 10, 20]]
        found = annotation([10, 10, 20, 20], segmentation=corner)

        (mask,) = self.masks(write, found, photo=np.zeros((80, 120, 3), np.uint8))

        assert mask.shape == (40, 40)
        assert mask.nonzero().tolist() == [[y, x] for y in range(20) for x in range(20)]

    def test_masks_of_dropped_boxes_go_with_them(self, write):
        masks = self.masks(write, annotation([70, 0, 5, 5]), annotation([0, 0, 2, 2]))

        assert [mask.shape for mask in masks] == [(2, 2)]

    @pytest.mark.parametrize(
        ('segmentation', 'fault'),
        [
            pytest.param([[1, 2]], 'neither polygons nor RLE', id='point'),
            pytest.param({'size': [40, 60]}, 'neither polygons nor RLE', id='no-counts'),
            pytest.param({'size': [4, 6], 'counts': [24]}, r'has size \(4, 6\)', id='another-size'),
        ],
    )
    def test_bad_segmentation(self, write, segmentation, fault):
        with pytest.raises(ValueError, match=rf'photo one\.jpg: `segmentation` .*{fault}|{fault}'):
            self.masks(write, annotation([0, 0, 5, 5], segmentation=segmentation))

    def test_a_frame_that_no_photo_has(self, write):
        """pycocotools would write a mask of that size, and end the process."""
        images = [{'id': 7, 'file_name': 'x.jpg', 'width': 640000, 'height': 480000}]
        file = write(coco(annotation([0, 0, 9, 9], segmentation=[[0, 0, 9, 0, 9, 9]]), images=images))
        boxes = open_boxes(file, masks=True)

        with pytest.raises(ValueError, match='a mask of 640000 x 480000 pixels is larger than the 300000000 allowed'):
            boxes.instances_of('/d/x.jpg', (48, 64))

    @pytest.mark.parametrize('corner', [None, float('nan'), float('inf'), 1e300], ids=str)
    def test_a_corner_that_is_nowhere(self, write, corner):
        """pycocotools would follow it for ever."""
        file = write(coco(annotation([0, 0, 9, 9], segmentation=[[0, 0, corner, 0, 9, 9]])))

        with pytest.raises(ValueError, match='is no place in a photo'):
            open_boxes(file, masks=True).instances_of('/d/a/one.jpg', SIZE)

    @pytest.mark.parametrize('counts', [[5, 5], [-5, 2405], [10**12]], ids=str)
    def test_runs_that_do_not_fill_the_frame(self, write, counts):
        file = write(coco(annotation([0, 0, 9, 9], segmentation={'size': list(SIZE), 'counts': counts})))

        with pytest.raises(ValueError, match=f'its runs add up to {sum(counts)}, not to the 2400 pixels'):
            open_boxes(file, masks=True).instances_of('/d/a/one.jpg', SIZE)

    def test_a_size_of_its_own(self, write):
        runs = {'size': [480000, 640000], 'counts': [5, 5]}
        file = write(coco(annotation([0, 0, 9, 9], segmentation=runs)))

        with pytest.raises(ValueError, match=r'`segmentation` has size \(480000, 640000\), but the photo'):
            open_boxes(file, masks=True).instances_of('/d/a/one.jpg', SIZE)


class TestOddFiles:
    """Whatever a file holds, it is refused in a sentence that names it."""

    @pytest.mark.parametrize(
        ('content', 'fault'),
        [
            pytest.param('[' * 100000, 'is not JSON: maximum recursion', id='nested'),
            pytest.param('{"images": [{"id": [1], "file_name": "x.jpg"}]}', 'not in COCO format', id='id'),
            pytest.param('{"images": [{"id": 1, "file_name": ["x"]}]}', 'not in COCO format', id='name'),
            pytest.param(
                '{"images": [], "annotations": [{"image_id": 1, "category_id": []}]}',
                'not in COCO format',
                id='category',
            ),
        ],
    )
    def test_content(self, tmp_path, content, fault):
        (tmp_path / 'boxes.json').write_text(content)

        with pytest.raises(ValueError, match=rf'boxes\.json is .*{fault}|boxes\.json {fault}'):
            open_boxes(tmp_path / 'boxes.json')

    @pytest.mark.parametrize(
        ('image', 'box', 'fault'),
        [
            pytest.param({'width': '640', 'height': 480}, [0, 0, 9, 9], "integers, but got '640' and 480", id='text'),
            pytest.param({'width': 1e300, 'height': 480}, [0, 0, 9, 9], 'integers, but got 1e', id='float'),
            pytest.param({}, [0, 0, 10**400, 9], 'must be numbers', id='large'),
        ],
    )
    def test_values(self, write, image, box, fault):
        file = write(coco(annotation(box), images=[{'id': 7, 'file_name': 'x.jpg', **image}]))

        with pytest.raises(ValueError, match=rf'boxes\.json, photo x\.jpg: .*{fault}'):
            open_boxes(file).annotations_of('/d/x.jpg')

    def test_an_npz_that_unfolds_without_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr('insta_colorization.fileio.boxes._MAX_ARRAY_BYTES', 1000)
        np.savez_compressed(tmp_path / 'x.npz', bbox=np.zeros((100, 4)), other=np.zeros(10**6))

        with pytest.raises(ValueError, match='`bbox` takes 3328 bytes, more than the 1000 allowed'):
            open_boxes(tmp_path / 'x.npz').annotations_of('x')

    def test_a_pipe(self, tmp_path):
        os.mkfifo(tmp_path / 'x.json')

        with pytest.raises(OSError, match='Not a regular file'):
            read_coco(tmp_path / 'x.json')


class TestCocoResults:
    RESULTS = [annotation([5, 6, 10, 20], score=0.75), annotation([0, 0, 4, 4], image_id=9, score=0.5)]

    def test_ids_get_their_names_from_the_annotation_file(self, write):
        file = open_boxes(write(self.RESULTS), write({'images': IMAGES}, 'names.json'))

        found = file.instances_of('one.jpg', SIZE)

        assert found.boxes.tolist() == [[5, 6, 15, 26]]
        assert found.scores.tolist() == [0.75]

    def test_without_names(self, write):
        with pytest.raises(ValueError, match=r'boxes\.json is a list of results.*boxes\.json:ANNOTATIONS\.json'):
            open_boxes(write(self.RESULTS))

    def test_missing_annotation_file(self, write):
        with pytest.raises(FileNotFoundError, match=r'no annotation file nowhere\.json'):
            open_boxes(write(self.RESULTS), 'nowhere.json')


class TestNpz:
    BOXES = np.array([[5, 6, 15, 26], [0, 0, 60, 40]], np.float32)

    def test_one_file_is_for_one_photo(self, write_npz):
        file = open_boxes(write_npz(bbox=self.BOXES, scores=np.array([0.5, 0.75])))

        found = file.instances_of('photo', SIZE)

        assert found.boxes.tolist() == self.BOXES.tolist()
        assert found.scores.tolist() == [0.5, 0.75]

    def test_one_file_is_not_for_two_photos(self, write_npz):
        with pytest.raises(ValueError, match=r'a\.jpg and .*b\.jpg would share the boxes of .*photo\.npz'):
            open_boxes(write_npz(bbox=self.BOXES)).matched(['a.jpg', 'b.jpg'])

    def test_full_file_name_before_stem(self, write_npz):
        folder = write_npz('photo.jpg.npz', bbox=self.BOXES[:1]).parent
        write_npz('photo.npz', bbox=self.BOXES[1:])
        file = open_boxes(folder)

        assert boxes_of(file, 'in/photo.jpg') == self.BOXES[:1].tolist()
        assert boxes_of(file, 'in/photo.png') == self.BOXES[1:].tolist()
        assert boxes_of(file, 'in/other.png') == []

    def test_folders_are_mirrored(self, write_npz):
        folder = write_npz('a/photo.npz', bbox=self.BOXES[:1]).parents[1]
        write_npz('b/photo.npz', bbox=self.BOXES[1:])

        assert boxes_of(open_boxes(folder), '/x/a/photo.jpg') == self.BOXES[:1].tolist()
        assert boxes_of(open_boxes(folder), '/x/b/photo.jpg') == self.BOXES[1:].tolist()

    def test_two_photos_that_would_share_a_file(self, write_npz):
        file = open_boxes(write_npz(bbox=self.BOXES).parent)

        with pytest.raises(ValueError, match=r'photo\.jpg and .*photo\.png would share the boxes of .*photo\.npz'):
            file.matched(['in/photo.jpg', 'in/photo.png'])

    def test_the_same_photo_may_come_again(self, write_npz):
        file = open_boxes(write_npz(bbox=self.BOXES).parent)
        file.matched(['in/photo.jpg'])

        assert boxes_of(file, 'in/photo.jpg') == boxes_of(file, 'in/../in/photo.jpg') == self.BOXES.tolist()

    @pytest.mark.parametrize(
        ('labels', 'names'),
        [
            pytest.param([16, -1], ['dog', None], id='indices'),
            pytest.param(['dog', 'tv'], ['dog', 'tv'], id='names'),
            pytest.param(['dog', 'barrel'], ['dog', 'barrel'], id='own-names'),
        ],
    )
    def test_labels(self, write_npz, labels, names):
        found = open_boxes(write_npz(bbox=self.BOXES, labels=labels)).instances_of('photo', SIZE)

        assert names_of(found) == names
        assert (found.classes == COCO_CLASSES) == ('barrel' not in labels)

    def test_masks(self, write_npz):
        whole = np.zeros((2, *SIZE), bool)
        whole[0, 6:8, 5:15] = whole[1, 30:] = True
        path = write_npz(bbox=self.BOXES, masks=whole)

        masks = open_boxes(path, masks=True).instances_of('photo', SIZE).masks

        assert [tuple(mask.shape) for mask in masks] == [(20, 10), SIZE]
        assert [mask.nonzero()[:, 0].unique().tolist() for mask in masks] == [[0, 1], [*range(30, 40)]]
        assert open_boxes(path).instances_of('photo', SIZE).masks is None

    @pytest.mark.parametrize(
        ('shape', 'fault'),
        [
            ((2, 60, 40), r'size of their photo, height 40 and width 60, but got \(60, 40\)'),
            ((3, 40, 60), r'`masks` must have shape \(2, height, width\), but got \(3, 40, 60\)'),
            ((40, 60), r'`masks` must have shape \(2, height, width\), but got \(40, 60\)'),
        ],
        ids=str,
    )
    def test_masks_that_do_not_fit(self, write_npz, shape, fault):
        with pytest.raises(ValueError, match=rf'photo\.npz, photo photo: .*{fault}'):
            open_boxes(write_npz(bbox=self.BOXES, masks=np.ones(shape)), masks=True).instances_of('photo', SIZE)

    def test_scores_may_be_absent(self, write_npz):
        assert open_boxes(write_npz(bbox=self.BOXES)).instances_of('photo', SIZE).scores.tolist() == [1, 1]

    @pytest.mark.parametrize('nothing', [np.zeros((0, 4)), np.zeros(0)], ids=['rows', 'flat'])
    def test_no_boxes(self, write_npz, nothing):
        assert len(open_boxes(write_npz(bbox=nothing, scores=np.zeros(0))).instances_of('photo', SIZE)) == 0

    @pytest.mark.parametrize(
        ('arrays', 'fault'),
        [
            pytest.param({'boxes': BOXES}, r"must hold `bbox`, but holds \['boxes'\]", id='other-name'),
            pytest.param(
                {'bbox': np.zeros((4, 5))}, r'`bbox` must have shape \(R, 4\), but got \(4, 5\)', id='columns'
            ),
            pytest.param({'bbox': BOXES, 'scores': np.ones(3)}, r'`scores` must have shape \(2,\)', id='scores'),
            pytest.param({'masks': np.ones((1, 40, 60))}, r"must hold `bbox`, but holds \['masks'\]", id='masks-only'),
            pytest.param({'bbox': BOXES, 'labels': [1]}, r'`labels` must have shape \(2,\)', id='labels'),
            pytest.param({'bbox': BOXES, 'labels': [0.5, 1]}, 'integers or names, but got float64', id='label-type'),
            pytest.param(
                {'bbox': BOXES, 'labels': [79, 80]},
                r'labels must lie in -1\.\.79, the .*, but got 80',
                id='label-beyond',
            ),
            pytest.param({'bbox': np.array([[1, 1, np.nan, 2]])}, 'box 0 is not finite', id='nan'),
            pytest.param({'bbox': np.array([['a', 'b', 'c', 'd']])}, 'must be numbers', id='text'),
            pytest.param({'bbox': np.array([[None] * 4])}, 'cannot be read', id='objects'),
        ],
    )
    def test_bad_contents(self, write_npz, arrays, fault):
        with pytest.raises(ValueError, match=rf'photo\.npz, photo photo: {fault}|photo\.npz, photo photo: .*{fault}'):
            open_boxes(write_npz(**arrays)).instances_of('photo', SIZE)

    @pytest.mark.parametrize('content', [b'', b'text', b'PK\x03\x04'], ids=['empty', 'text', 'cut'])
    def test_damaged_file(self, tmp_path, content):
        (tmp_path / 'photo.npz').write_bytes(content)

        with pytest.raises(ValueError, match=r'photo\.npz, photo photo: the \.npz cannot be read'):
            open_boxes(tmp_path / 'photo.npz').instances_of('photo', SIZE)


class TestMatched:
    def test_no_photo_matches(self, write):
        file = open_boxes(write(coco(annotation([1, 1, 2, 2]))))

        with pytest.raises(ValueError, match=r'has 2 file names, such as a/one\.jpg, and 0 of the 3 photos matched'):
            file.matched(['x.jpg', 'y.jpg', 'z.jpg'])

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(ValueError, match='has 0 file names, and 0 of the 1 photos matched'):
            open_boxes(tmp_path).matched(['x.jpg'])

    def test_some_photos_match(self, write):
        assert open_boxes(write(coco())).matched(['one.jpg', 'two.jpg', 'three.jpg', 'one.jpg']) == 3

    def test_two_photos_of_one_name(self, write):
        with pytest.raises(
            ValueError, match=r'x/one\.jpg and .*y/one\.jpg would share the boxes of one entry of .*json'
        ):
            open_boxes(write(coco())).matched(['x/one.jpg', 'y/one.jpg'])

    def test_no_photos(self, write):
        open_boxes(write(coco())).matched([])


class TestAnnotations:
    """What is known of a photo before it is opened."""

    def annotations(self, write, *annotations, masks=False, images=IMAGES):
        return open_boxes(write(coco(*annotations, images=images)), masks=masks).annotations_of('a/one.jpg')

    def test_boxes_scores_and_frame(self, write):
        found = self.annotations(write, annotation([5, 6, 10, 20], score=0.5), annotation([-5, 0, 100, 40]))

        assert found.boxes.tolist() == [[5, 6, 15, 26], [-5, 0, 95, 40]]
        assert found.scores.tolist() == [0.5, 1]
        assert found.frame == (40, 60)
        assert (found.segmentations, found.crowds) == (None, 0)

    def test_crowds_are_counted(self, write):
        crowds = [annotation([0, 0, 60, 40], iscrowd=1)] * 2

        assert self.annotations(write, annotation([1, 1, 5, 5]), *crowds).crowds == 2

    def test_a_photo_that_is_not_there(self, write):
        file = open_boxes(write(coco(annotation([1, 1, 5, 5]))))

        assert len(file.annotations_of('other.jpg')) == 0
        assert len(file.annotations_of('other.jpg').on((3, 4), masks=True)) == 0

    def test_segmentations_are_kept_for_masks_only(self, write):
        item = annotation([10, 10, 20, 20], segmentation=TestMasks.TRIANGLE)

        assert self.annotations(write, item).segmentations is None
        assert self.annotations(write, item, masks=True).segmentations == [TestMasks.TRIANGLE]

    @pytest.mark.parametrize('size', [(40, 60), (80, 120)], ids=str)
    def test_on_a_photo_they_are_what_is_detected(self, write, size):
        boxes = [[5, 6, 10, 20], [70, 0, 5, 5], [-5, -5, 500, 20]]
        file = open_boxes(write(coco(*map(annotation, boxes))))

        detected = file.instances_of('one.jpg', size)

        assert file.annotations_of('one.jpg').on(size).boxes.tolist() == detected.boxes.tolist()

    def test_an_npz_has_no_frame(self, write_npz):
        found = open_boxes(write_npz(bbox=TestNpz.BOXES)).annotations_of('x.jpg')

        assert found.frame is None
        assert found.on((40, 60)).boxes.tolist() == TestNpz.BOXES.tolist()

    @pytest.mark.parametrize(
        ('images', 'score_thr', 'count'),
        [
            pytest.param(IMAGES, 0.0, 2, id='all'),
            pytest.param(IMAGES, 0.5, 1, id='threshold'),
            pytest.param([{'id': 7, 'file_name': 'one.jpg'}], 0.0, 3, id='no-frame'),
        ],
    )
    def test_usable_ones(self, write, images, score_thr, count):
        found = self.annotations(
            write,
            annotation([5, 6, 10, 20], score=0.5),
            annotation([5, 6, 10, 20], score=0.25),
            annotation([60, 0, 5, 5]),
            annotation([5, 5, 0, 5]),
            images=images,
        )

        assert found.usable(score_thr) == count

    @pytest.mark.parametrize(
        ('bbox', 'score', 'fault'),
        [
            ([9, 9, -5, 2], 1, 'box 0 is not finite or is inverted'),
            ([1, 1, 2, 2], float('inf'), 'scores must be finite'),
        ],
    )
    def test_bad_ones_are_refused_before_the_photo_is_opened(self, write, bbox, score, fault):
        with pytest.raises(ValueError, match=rf'boxes\.json, photo one\.jpg: {fault}'):
            self.annotations(write, annotation(bbox, score=score))


class TestFromText:
    def test_a_file(self, write):
        file = open_boxes(str(write(coco(annotation([5, 6, 10, 20])))))

        assert boxes_of(file, 'one.jpg') == [[5, 6, 15, 26]]

    def test_results_with_their_annotations(self, write):
        results, names = write(TestCocoResults.RESULTS), write({'images': IMAGES}, 'names.json')

        assert boxes_of(open_boxes(f'{results}:{names}'), 'one.jpg') == [[5, 6, 15, 26]]

    def test_a_name_with_a_colon(self, write):
        assert boxes_of(open_boxes(write(coco(annotation([0, 0, 1, 1])), 'a.json:b.json')), 'one.jpg')


class TestReadCoco:
    def test_images_and_categories(self, write):
        content = read_coco(write({'images': IMAGES[:1]}))

        assert content == {'images': IMAGES[:1], 'categories': []}

    @pytest.mark.parametrize(
        ('content', 'fault'),
        [
            ([], 'must have a list `images`, but has list'),
            ({'images': [{}]}, "lacks 'file_name'"),
            ({'images': [{'file_name': 'a'}]}, "lacks 'id'"),
            ({'images': [], 'categories': [{'id': 1}]}, "lacks 'name'"),
        ],
    )
    def test_another_file(self, write, content, fault):
        with pytest.raises(ValueError, match=rf'boxes\.json is not in COCO format: .*{fault}'):
            read_coco(write(content))


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        pytest.param('', 'is not JSON', id='empty'),
        pytest.param('{"images": [', 'is not JSON', id='truncated'),
        pytest.param('3', 'must have a list `annotations`, but has int', id='number'),
        pytest.param({'images': []}, r"must have a list `annotations`, but has \['images'\]", id='no-annotations'),
        pytest.param(coco(images=[{'id': 1}]), "lacks 'file_name'", id='no-file-name'),
        pytest.param({'images': [], 'annotations': [{}]}, "lacks 'image_id'", id='no-image-id'),
    ],
)
def test_files_that_are_not_coco(write, content, fault):
    with pytest.raises(ValueError, match=rf'boxes\.json .*{fault}'):
        open_boxes(write(content))


def test_photo_instead_of_json(tmp_path):
    (tmp_path / 'boxes.json').write_bytes(b'\xff\xd8\xff\xe0\x00\x10JFIF')

    with pytest.raises(ValueError, match=r'boxes\.json is not JSON'):
        open_boxes(tmp_path / 'boxes.json')


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r'no file or folder of boxes nowhere\.json'):
        open_boxes('nowhere.json')


def test_another_kind_of_file(tmp_path):
    (tmp_path / 'boxes.csv').touch()

    with pytest.raises(ValueError, match=r'\.json, from \.npz or from a folder of \.npz, but got .*boxes\.csv'):
        open_boxes(tmp_path / 'boxes.csv')


class TestWrittenNpz:
    """What is written for a photo is read as it was."""

    CORNERS = [[1.3, 2.7, 30, 20], [0, 0, 60, 40]]

    @pytest.mark.parametrize(
        'more', [{}, {'labels': [3, -1]}, {'labels': [1, -1], 'classes': ('cat', 'gnu')}], ids=['none', 'coco', 'own']
    )
    def test_boxes_scores_and_labels(self, more):
        written = Instances.clipped(self.CORNERS, SIZE, [0.9, 0.3], **more)

        found = read_npz(npz_of(written)).on(SIZE)

        assert (found.boxes == written.boxes).all()
        assert (found.scores == written.scores).all()
        if more:
            assert names_of(found) == (['gnu', 'object'] if 'classes' in more else [COCO_CLASSES[3], None])

    @pytest.mark.parametrize('more', [{}, {'labels': []}, {'labels': [], 'classes': ('gnu',)}], ids=str)
    def test_nothing(self, more):
        written = Instances.clipped(np.zeros((0, 4)), SIZE, **more)

        assert len(read_npz(npz_of(written, masks=True), masks=True).on(SIZE, masks=True)) == 0

    def test_masks(self):
        masks = np.zeros((2, *SIZE), bool)
        masks[0, 5:9, 2:20] = masks[1, :, ::2] = True
        written = Instances.clipped(self.CORNERS, SIZE).with_masks(masks)

        found = read_npz(npz_of(written, masks=True), masks=True).on(SIZE, masks=True)

        assert all((found.whole_mask(number) == written.whole_mask(number)).all() for number in (0, 1))
        assert read_npz(npz_of(written), masks=True).segmentations is None

    def test_more_masks_than_are_read(self, monkeypatch):
        monkeypatch.setattr(boxes_module, '_MAX_ARRAY_BYTES', 2 * 40 * 60 - 1)
        written = Instances.clipped(self.CORNERS, SIZE).with_masks(np.ones((2, *SIZE), bool))

        with pytest.raises(ValueError, match='2 masks of 60 x 40 pixels take 4800 bytes, more than the 4799 that are'):
            npz_of(written, masks=True)
