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


class TestBrokenPhoto:
    @pytest.fixture
    def log(self, caplog):
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        yield caplog
        logger.removeHandler(caplog.handler)

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
        assert 'skipped' in log.text
        assert 'b.JPG' in log.text

    def test_in_testing_it_is_an_error(self, folder, broken):
        with pytest.raises(Exception, match='should not get `None`'):
            list(DataLoader(build(folder, test_mode=True, **broken), collate_fn=pseudo_collate))
