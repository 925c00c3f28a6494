import json

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from PIL import Image
from torch.utils.data import DataLoader

from insta_colorization.datasets import ColorizationDataset
from insta_colorization.registry import DATASETS

PIPELINE = [{'type': 'LoadPhoto'}, {'type': 'ResizePhoto', 'size': 8}, {'type': 'PackColorization'}]
NAMES = ('a.png', 'sub/b.JPG', 'sub/deeper/c.webp', 'd.tif')


def build(folder, **settings) -> ColorizationDataset:
    return DATASETS.build(
        {
            '_scope_': 'insta_colorization',
            'type': 'ColorizationDataset',
            'data_root': str(folder),
            'pipeline': PIPELINE,
            **settings,
        }
    )


@pytest.fixture
def folder(tmp_path):
    for level, name in enumerate(NAMES):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 20, 3), 60 * level, np.uint8)).save(path)
    (tmp_path / 'notes.txt').write_text('no photo')
    return tmp_path


def names_of(dataset, folder) -> list[str]:
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    return [path.removeprefix(f'{folder}/') for path in paths]


def test_all_photos_of_a_folder_and_its_subfolders(folder):
    assert names_of(build(folder), folder) == sorted(NAMES)


def test_photos_of_a_list_in_its_order(folder):
    (folder / 'train.txt').write_text('d.tif\n\nsub/b.JPG\n')

    assert names_of(build(folder, ann_file='train.txt'), folder) == ['d.tif', 'sub/b.JPG']


def test_a_sample(folder):
    sample = build(folder)[1]

    assert sample['inputs']['image'].shape == (3, 8, 8)
    assert sample['data_samples'].metainfo['img_path'].endswith('d.tif')
    assert sample['data_samples'].metainfo['image_size'] == (12, 20)


@pytest.mark.parametrize('ann_file', ['', 'train.txt'])
def test_a_missing_folder(tmp_path, ann_file):
    with pytest.raises(FileNotFoundError, match=r'the dataset folder .*nowhere does not exist'):
        build(tmp_path / 'nowhere', ann_file=ann_file)


def test_a_missing_list(folder):
    with pytest.raises(FileNotFoundError, match=r'the list .*train\.txt does not exist'):
        build(folder, ann_file='train.txt')


def test_a_folder_without_photos(tmp_path):
    with pytest.raises(ValueError, match=f'{tmp_path} names no photo'):
        build(tmp_path)


def test_an_empty_list(folder):
    (folder / 'train.txt').write_text('\n')

    with pytest.raises(ValueError, match=r'train\.txt names no photo'):
        build(folder, ann_file='train.txt')


def test_a_folder_inside_the_root(folder):
    assert names_of(build(folder, data_prefix={'img_path': 'sub'}), folder) == ['sub/b.JPG', 'sub/deeper/c.webp']


def test_a_list_of_which_no_photo_exists(folder):
    (folder / 'train.txt').write_text('x.png\ny.png\n')

    with pytest.raises(ValueError, match=r'train\.txt lists 2 photos, but 0 of them exist, such as .*/x\.png'):
        build(folder, ann_file='train.txt')


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.fixture
def write(tmp_path):
    """Writes a COCO file of boxes, {photo: [(x, y, width, height, score), ...]}; photos are 12 high and 20 wide."""

    def write_json(boxes, name='boxes.json', images=True, **more):
        ids = {photo: number for number, photo in enumerate(boxes)}
        annotations = [
            {'image_id': ids[photo], 'bbox': list(box), 'score': score, 'category_id': 1, **more}
            for photo, rows in boxes.items()
            for *box, score in rows
        ]
        photos = [{'id': number, 'file_name': photo, 'height': 12, 'width': 20} for photo, number in ids.items()]
        content = {'images': photos, 'annotations': annotations} if images else annotations
        (tmp_path / name).write_text(json.dumps(content))
        return str(tmp_path / name)

    return write_json


BOXES = {'a.png': [(0, 0, 10, 12, 0.9), (1, 1, 2, 2, 0.2)], 'sub/b.JPG': [(2, 2, 5, 5, 0.4)], 'd.tif': []}


def boxes_of(dataset, key='annotations'):
    records = [dataset.get_data_info(index) for index in range(len(dataset))]
    return [len(record[key]) for record in records]


class TestInstances:
    def test_of_an_annotation_file(self, folder, write, log):
        dataset = build(folder, instances=write(BOXES))

        assert names_of(dataset, folder) == ['a.png', 'd.tif', 'sub/b.JPG', 'sub/deeper/c.webp']
        assert boxes_of(dataset) == [2, 0, 1, 0]
        assert 'gt_annotations' not in dataset.get_data_info(0)
        assert 'boxes.json knows 3 of 4 photos: 3 boxes\n' in log.text

    def test_of_results(self, folder, write):
        results, names = write(BOXES, 'results.json', images=False), write(BOXES)

        assert boxes_of(build(folder, instances=f'{results}:{names}')) == [2, 0, 1, 0]

    def test_of_npz(self, folder):
        np.savez(folder / 'b.npz', bbox=np.zeros((3, 4)), scores=np.ones(3))

        assert boxes_of(build(folder, instances=str(folder))) == [0, 0, 3, 0]

    def test_two_kinds(self, folder, write):
        dataset = build(folder, instances=write({'a.png': []}, 'few.json'), gt_instances=write(BOXES))

        assert boxes_of(dataset) == [0, 0, 0, 0]
        assert boxes_of(dataset, 'gt_annotations') == [2, 0, 1, 0]

    def test_a_coco_file_lists_photos_and_their_instances(self, folder, write):
        dataset = build(folder, ann_file=write(BOXES))

        assert names_of(dataset, folder) == list(BOXES)
        assert boxes_of(dataset) == [2, 1, 0]

    def test_instances_come_before_those_of_the_list(self, folder, write):
        dataset = build(folder, ann_file=write(BOXES), instances=write({'a.png': []}, 'none.json'))

        assert boxes_of(dataset) == [0, 0, 0]

    def test_a_coco_file_that_leads_out_of_the_folder(self, folder, write):
        write({'../d.tif': []}, 'out.json')

        with pytest.raises(ValueError, match=r'out\.json names \.\./d\.tif, which is not in the folder of the photos'):
            build(folder, ann_file='out.json')

    def test_a_coco_file_without_annotations(self, folder):
        (folder / 'images.json').write_text('{"images": [{"id": 1, "file_name": "d.tif"}]}')
        dataset = build(folder, ann_file='images.json')

        assert names_of(dataset, folder) == ['d.tif']
        assert 'annotations' not in dataset.get_data_info(0)

    def test_a_coco_file_of_other_photos(self, folder, write):
        with pytest.raises(ValueError, match=r'boxes\.json lists 2 photos, but 0 of them exist, such as .*x\.jpg'):
            build(folder, ann_file=write({'x.jpg': [], 'y.jpg': []}))

    @pytest.mark.parametrize('key', ['instances', 'gt_instances'])
    def test_names_that_match_no_photo(self, folder, write, key):
        with pytest.raises(
            ValueError, match=r'has 2 file names, such as x\.jpg, and 0 of the 4 photos matched, such as .*/a\.png'
        ):
            build(folder, **{key: write({'x.jpg': [], 'y.jpg': []})})

    def test_a_missing_file(self, folder):
        with pytest.raises(FileNotFoundError, match=r'no file or folder of boxes nowhere\.json'):
            build(folder, instances='nowhere.json')

    def test_boxes_outside_the_photo_are_counted_and_left_out(self, folder, write, log):
        file = write({'a.png': [(30, 0, 5, 5, 1), (5, 5, 100, 100, 1)]})
        pipeline = [{'type': 'LoadPhoto'}, {'type': 'LoadInstances'}, {'type': 'PackColorization'}]

        sample = build(folder, instances=file, pipeline=pipeline)[0]['data_samples']

        assert '2 boxes, 1 of them without an area inside the photo' in log.text
        assert sample.instances.boxes.tolist() == [[5, 5, 20, 12]]

    def test_a_bad_box_stops_before_training(self, folder, write):
        with pytest.raises(ValueError, match=r'boxes\.json, photo a\.png: box 0 is not finite or is inverted'):
            build(folder, instances=write({'a.png': [(5, 5, -2, 3, 1)]}))

    @pytest.mark.parametrize('masks', [False, True])
    def test_segmentations_only_where_masks_are_made(self, folder, write, masks):
        file = write(BOXES, segmentation=[[0, 0, 9, 0, 9, 9]])
        pipeline = [{'type': 'LoadPhoto'}, {'type': 'LoadInstances', 'masks': masks}]

        record = build(folder, instances=file, pipeline=pipeline).get_data_info(0)

        assert (record['annotations'].segmentations is not None) == masks


READ = [{'type': 'LoadPhoto'}, {'type': 'LoadInstances'}, {'type': 'ResizePhoto', 'size': 16}, *PIPELINE[1:]]


class TestDescription:
    """What a protocol says about the photos."""

    def test_photos_and_the_size_that_the_networks_see(self, folder):
        described = build(folder, pipeline=READ).describe()

        assert described == {
            'dataset': str(folder),
            'list': None,
            'boxes': {'networks': None, 'truth': None},
            'network_size': 8,
            'resize': 'squashed whatever the aspect, Pillow bilinear with antialiasing',
        }

    @pytest.mark.parametrize(
        ('settings', 'selection', 'networks', 'listed'),
        [
            ({}, {}, 'found', None),
            ({'instances': None}, {}, None, None),
            ({'instances': None, 'ann_file': 'listed.json'}, {}, 'listed.json', 'listed.json'),
            ({'instances': None, 'ann_file': 'list.txt'}, {}, None, 'list.txt'),
            ({}, {'source': 'gt_instances'}, 'true', None),
        ],
        ids=['given', 'none', 'coco list', 'text list', 'true ones'],
    )
    def test_the_boxes_of_the_networks(self, folder, write, settings, selection, networks, listed):
        files = {name: write(BOXES, f'{name}.json') for name in ('found', 'true', 'listed')}
        (folder / 'list.txt').write_text('a.png\n')
        pipeline = [*READ[:2], {'type': 'SelectInstances', 'top_k': 3, **selection}, *READ[2:]]
        given = {'instances': files['found'], 'gt_instances': files['true'], **settings}

        described = build(folder, pipeline=pipeline, **given).describe()

        assert described['boxes'] == {'networks': files.get(networks, networks), 'truth': files['true']}
        assert described['list'] == listed
        expected = {'source': 'instances', 'order': 'score', 'score_thr': 0, 'min_size': 0, 'top_k': 3}
        assert described['selection'] == {**expected, **selection}

    @pytest.mark.parametrize('name', ['instances', 'gt_instances'])
    def test_boxes_that_nothing_reads(self, folder, write, name):
        file = write(BOXES)

        with pytest.raises(ValueError, match=rf'{name} are {file}, but its pipeline has no LoadInstances to read them'):
            build(folder, test_mode=True, **{name: file})

        assert len(build(folder, test_mode=True, pipeline=READ, **{name: file})) == len(NAMES)


class TestFilter:
    @pytest.mark.parametrize(
        ('rule', 'kept', 'message'),
        [
            ({}, ['a.png', 'sub/b.JPG'], 'kept 2 of 4 photos: 2 have fewer than 1 box of score >= 0.0'),
            ({'score_thr': 0.5}, ['a.png'], 'kept 1 of 4 photos: 3 have fewer than 1 box of score >= 0.5'),
            ({'min_instances': 2}, ['a.png'], 'kept 1 of 4 photos: 3 have fewer than 2 boxes of score >= 0.0'),
        ],
        ids=str,
    )
    def test_photos_with_too_few_boxes(self, folder, write, log, rule, kept, message):
        dataset = build(folder, instances=write(BOXES), filter_cfg={'min_instances': 1, **rule})

        assert names_of(dataset, folder) == kept
        assert message in log.text

    def test_no_photo_is_left(self, folder, write):
        with pytest.raises(ValueError, match=r'no photo is left: all 4 have fewer than 1 box of score >= 0\.95'):
            build(folder, instances=write(BOXES), filter_cfg={'score_thr': 0.95})

    def test_without_boxes(self, folder):
        with pytest.raises(ValueError, match=r'filter_cfg counts the `instances` of each photo, but .* none'):
            build(folder, filter_cfg={'min_instances': 1})


class TestDeterminism:
    """What is random in a sample depends on seed, epoch and index alone."""

    PIPELINE = [
        {'type': 'LoadPhoto'},
        {'type': 'LoadInstances'},
        {'type': 'RandomCropPhoto', 'min_side': 0.3},
        {'type': 'RandomFlipPhoto'},
        {'type': 'SelectInstances', 'top_k': 4, 'order': 'random'},
        {'type': 'CropInstances', 'size': 8},
        {'type': 'ResizePhoto', 'size': 8},
        {'type': 'PackColorization'},
    ]

    @pytest.fixture
    def dataset(self, folder, write):
        generator = np.random.default_rng(0)
        for name in ('a.png', 'd.tif'):
            Image.fromarray(generator.integers(0, 256, (12, 20, 3), dtype=np.uint8)).save(folder / name)
        boxes = {name: [(n, n, 8, 6, 1) for n in range(5)] for name in NAMES}
        return build(folder, instances=write(boxes), pipeline=self.PIPELINE)

    def content(self, sample) -> list:
        found = sample['data_samples']
        images = [value.tolist() for value in sample['inputs'].values()]
        return [found.metainfo['img_path'], images, found.instances.boxes.tolist()]

    def test_what_was_drawn_before_does_not_matter(self, dataset):
        first = self.content(dataset[3, 1])
        np.random.seed(8)
        state = np.random.get_state()[1].tolist()
        dataset[3, 0]

        assert np.random.get_state()[1].tolist() == state
        assert self.content(dataset[3, 1]) == first

    def test_epochs_photos_and_seeds_differ(self, dataset, folder, write):
        contents = {str(self.content(dataset[epoch, 0])) for epoch in range(6)}
        assert len(contents) == 6

        dataset.seed = 1
        assert str(self.content(dataset[0, 0])) not in contents

    def test_an_index_alone_is_of_epoch_0(self, dataset):
        assert self.content(dataset[1]) == self.content(dataset[0, 1]) == self.content(dataset[0, -3])

    @pytest.mark.slow
    def test_workers_do_not_matter(self, dataset):
        keys = [(epoch, index) for epoch in range(3) for index in range(4)]
        runs = []
        for num_workers in (0, 2):
            np.random.seed(num_workers)
            loader = DataLoader(dataset, 2, sampler=keys, num_workers=num_workers, collate_fn=pseudo_collate)
            runs.append([[image.tolist() for image in batch['inputs']['image']] for batch in loader])

        assert runs[0] == runs[1]

    def test_the_photo_in_the_place_of_a_broken_one_is_always_the_same(self, dataset, folder):
        (folder / 'a.png').write_bytes(b'no photo')

        taken = [self.content(dataset[epoch, 0]) for epoch in range(8)]

        assert taken == [self.content(dataset[epoch, 0]) for epoch in range(8)]
        assert len({path for path, *_ in taken}) > 1

    def test_batches_of_photos_with_and_without_instances(self, folder, write):
        dataset = build(folder, instances=write(BOXES), pipeline=self.PIPELINE[:2] + self.PIPELINE[4:])

        batch = pseudo_collate([dataset[index] for index in range(4)])

        assert [len(crops) for crops in batch['inputs']['crops']] == [2, 0, 1, 0]


class TestBrokenPhoto:
    @pytest.fixture(params=['truncated', 'text', 'empty', 'gone'])
    def broken(self, folder, request):
        path = folder / 'sub' / 'b.JPG'
        if request.param == 'gone':
            (folder / 'train.txt').write_text('\n'.join(NAMES))
            path.unlink()
        else:
            content = {'truncated': path.read_bytes()[:300], 'text': b'no photo', 'empty': b''}
            path.write_bytes(content[request.param])
        return {'ann_file': 'train.txt'} if request.param == 'gone' else {}

    def test_in_the_middle_of_an_epoch_another_takes_its_place(self, folder, broken, log):
        loader = DataLoader(build(folder, **broken), batch_size=2, collate_fn=pseudo_collate)

        batches = list(loader)

        assert [len(batch['inputs']['image']) for batch in batches] == [2, 2]
        assert all(image.dtype == torch.uint8 for batch in batches for image in batch['inputs']['image'])
        assert 'b.JPG' not in ''.join(s.metainfo['img_path'] for batch in batches for s in batch['data_samples'])
        assert log.text.count('skipped photo 1 so far: cannot read ') == 1
        assert 'b.JPG' in log.text

    def test_in_testing_it_is_an_error(self, folder, broken):
        with pytest.raises(ValueError, match=r'cannot read .*b\.JPG: .*; in testing no other photo takes its place'):
            list(DataLoader(build(folder, test_mode=True, **broken), collate_fn=pseudo_collate))

    def test_in_testing_it_can_be_kept_and_counted(self, folder, broken):
        pipeline = [{'type': 'LoadPhoto', 'keep_broken': True}, *PIPELINE[1:]]
        dataset = build(folder, test_mode=True, pipeline=pipeline, **broken)

        reasons = [sample['data_samples'].metainfo.get('skipped') for sample in dataset]

        assert [reason for reason in reasons if reason] == [reasons[names_of(dataset, folder).index('sub/b.JPG')]]

    def test_all_workers_count_together(self, folder, log):
        for name in ('a.png', 'd.tif'):
            (folder / name).write_bytes(b'no photo')
        dataset = build(folder)
        list(DataLoader(dataset, 1, sampler=[0, 1], num_workers=2, collate_fn=pseudo_collate))
        log.clear()

        with pytest.raises(ValueError, match=r'no photo of 1 can be used; the last one: cannot read .*a\.png'):
            dataset.get_subset([0])[0]

        (message,) = log.messages
        assert int(message.removeprefix('skipped photo ').split()[0]) >= 3

    def test_none_can_be_used(self, folder):
        for name in NAMES:
            (folder / name).write_bytes(b'no photo')

        with pytest.raises(ValueError, match=r'no photo of 4 can be used; the last one: cannot read'):
            build(folder)[0]

    def test_a_transform_that_gives_no_reason(self, folder, log):
        calls = iter([None])

        build(folder, pipeline=[lambda results: next(calls, results)])[0]

        assert 'skipped photo 1 so far: the pipeline gives nothing for ' in log.text


@pytest.mark.slow
def test_views_come_again_and_are_made_once(folder):
    photo = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(photo).save(folder / 'a.png')
    pipeline = [PIPELINE[0], {'type': 'RandomCropPhoto', 'min_side': 0.3}, *PIPELINE[1:]]
    dataset, fresh = (build(folder, pipeline=pipeline, views=views) for views in (2, None))
    first, second = (dataset[epoch, 0]['inputs']['image'] for epoch in (0, 1))
    first_again, unlike = first.clone(), fresh[2, 0]['inputs']['image']
    first.zero_()  # whoever changes what it got changes nothing for others
    (folder / 'a.png').unlink()

    assert torch.equal(dataset[2, 0]['inputs']['image'], first_again)
    assert torch.equal(dataset[3, 0]['inputs']['image'], second)
    assert not torch.equal(first_again, second)
    assert not torch.equal(first_again, unlike)


def test_there_is_at_least_one_view(folder):
    with pytest.raises(ValueError, match='views must be at least 1 or None, but got 0'):
        build(folder, views=0)
