import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from scripts import load_script
from skimage.color import rgb2gray, rgb2lab

from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.imaging.photo import load_rgb
from insta_colorization.utils.configs import find_config


@pytest.fixture(scope='module')
def tools() -> dict[str, ModuleType]:
    return {
        name: load_script(f'tools/analysis_tools/{name}.py')
        for name in (
            'print_config',
            'get_flops',
            'browse_dataset',
            'evaluate_captions',
            'evaluate_hints',
            'compare_networks',
            'compare_photos',
        )
    }


@pytest.fixture
def run(tools, capsys):
    """Runs a tool; gives its status and what it printed."""

    def run(name: str, *args: object) -> tuple[int, str]:
        try:
            status = tools[name].main([str(arg) for arg in args])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


@pytest.mark.parametrize('tool', ['print_config', 'get_flops', 'browse_dataset'])
@pytest.mark.parametrize(
    ('config', 'message'),
    [
        pytest.param('insta_ful_cocostuff', 'config insta_ful_cocostuff does not exist; close names are ', id='name'),
        pytest.param('empty.py', 'has no `model`', id='no model'),
        pytest.param('broken.py', 'cannot be used', id='broken'),
    ],
)
def test_a_config_that_cannot_be_used_is_one_sentence(run, tool, config, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty.py').write_text('x = 1')
    (tmp_path / 'broken.py').write_text('x = [')

    status, text = run(tool, config)

    assert status == 1
    assert text.startswith('error: ')
    assert message in text
    assert text.count('\n') == 1


class TestPrintConfig:
    def test_bases_are_merged_and_options_applied(self, run, tmp_path):
        name = 'insta_fusion_cocostuff_256x256'
        status, text = run('print_config', name, '--cfg-options', 'model.image_net.width=0.5', 'input_size=64')

        (tmp_path / 'printed.py').write_text(text)
        printed, expected = Config.fromfile(tmp_path / 'printed.py'), Config.fromfile(find_config(name))
        assert status == 0
        assert (printed.model.image_net.width, printed.input_size) == (0.5, 64)
        expected.merge_from_dict({'model.image_net.width': 0.5, 'input_size': 64})
        assert printed.to_dict() == expected.to_dict()


def giga(text: str, row: str) -> list[float]:
    """The numbers in one line of the tables, in 10^9."""
    (line,) = [line for line in text.splitlines() if line.startswith(f'{row} ')]
    return [float(value) for value in line.removeprefix(row).replace(',', '').split()]


class TestFlops:
    @pytest.mark.slow
    def test_the_published_size(self, run):
        """Counted on the published code, whose class head runs always: 75.8 GMAC a network, 729 with eight instances.

        Its trunk has 34,187,027 parameters, as has the `siggraph17` release.
        """
        status, text = run('get_flops', 'insta_fusion_cocostuff_256x256', '--instances', 0, 8)

        assert status == 0
        assert giga(text, 'image_net')[0] == giga(text, 'instance_net')[0] == 34_187_027
        plain, classified = giga(text, '0 instances')
        assert classified == pytest.approx(75.8, abs=0.06)
        on_crops = 8 * (classified - plain)
        assert giga(text, '8 instances')[1] + on_crops == pytest.approx(729, abs=1)

    def test_a_convolution_by_hand(self, run, tools):
        """The class head at a sixteenth of the width: 16 channels to 529 classes on a quarter of each side."""
        _, text = run('get_flops', 'insta_full_cocostuff_256x256', '--cfg-options', 'model.image_net.width=0.0625')

        plain, classified = giga(text, '0 instances')
        assert classified - plain == pytest.approx(16 * 529 * 64 * 64 / 1e9, abs=0.011)

    @pytest.mark.slow
    def test_size_and_number_of_instances(self, run):
        _, text = run('get_flops', 'insta_fusion_cocostuff_256x256', '--size', 128, '--instances', 0, 1, 3, 5)

        none, one, three, five = (giga(text, f'{n} instance{"" if n == 1 else "s"}')[0] for n in (0, 1, 3, 5))
        assert none == pytest.approx(75.2 / 4, abs=0.01)
        assert five - three == pytest.approx(three - one, abs=0.02)
        assert (three - one) / 2 > none

    @pytest.mark.parametrize('name', ['weights_mask', 'fusion_decoder'])
    @pytest.mark.slow
    def test_ablations(self, run, name):
        status, text = run('get_flops', name, '--instances', 1)

        assert status == 0
        assert giga(text, '1 instance')[0] > 1.9 * 75.2

    @pytest.mark.slow
    @pytest.mark.parametrize('name', ['insta_full_cocostuff_256x256', 'insta_instance_cocostuff_256x256'])
    def test_without_a_fusion_network_instances_cost_nothing(self, run, name):
        _, text = run('get_flops', name)

        assert giga(text, '0 instances')[0] == pytest.approx(75.2, abs=0.06)
        assert '8 instances' not in text

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (['--size', 100], '--size must be a positive multiple of 8, but is 100'),
            (['--instances', 1, -1], '--instances must be at least 0, but is -1'),
        ],
    )
    def test_bad_numbers(self, run, options, message):
        status, text = run('get_flops', 'insta_full_cocostuff_256x256', *options)

        assert status == 2
        assert message in text


class TestBrowseDataset:
    @pytest.fixture
    def data(self, tmp_path) -> list[str]:
        """Four photos, the first one with two boxes and the second one with one, as options for both subsets."""
        folder = tmp_path / 'photos'
        folder.mkdir()
        values = np.random.default_rng(0).integers(0, 256, (4, 3, 4, 3), np.uint8)
        for number, coarse in enumerate(values):
            Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC).save(folder / f'{number}.png')
        images = [{'id': n, 'file_name': f'{n}.png', 'width': 80, 'height': 60} for n in range(4)]
        boxes = [
            {'image_id': n, 'bbox': box, 'category_id': 1, 'score': 0.75}
            for n, box in ((0, [0, 0, 40, 60]), (0, [10, 10, 30, 30]), (1, [0, 0, 80, 30]))
        ]
        (tmp_path / 'boxes.json').write_text(json.dumps({'images': images, 'annotations': boxes}))
        return [
            f'{subset}_dataloader.dataset.{name}={value}'
            for subset in ('train', 'test')
            for name, value in (('data_root', folder), ('instances', tmp_path / 'boxes.json'), ('gt_instances', 'None'))
        ]

    @pytest.fixture
    def sheets(self, run, data, tmp_path):
        def sheets(
            subset: str, *options: object, config: str = 'insta_fusion_cocostuff_256x256', **dataset: str
        ) -> dict:
            out = tmp_path / 'out'
            changes = [*data, *(f'{subset}_dataloader.dataset.{name}={value}' for name, value in dataset.items())]
            options = ('--subset', subset, '--out-dir', out, *options, '--cfg-options', *changes)
            status, text = run('browse_dataset', config, *options)
            assert status == 0, text
            return {path.name: load_rgb(path) for path in sorted(out.iterdir())}

        return sheets

    @pytest.mark.slow
    def test_photos_with_instances_show_their_crops(self, sheets):
        found = sheets('test')

        assert list(found) == ['000000_0.png', '000001_1.png', '000002_2.png', '000003_3.png']
        heights = [picture.shape[0] for picture in found.values()]
        assert heights[0] == heights[1] > heights[2] == heights[3]
        assert {picture.shape[1] for picture in found.values()} == {780}

    @pytest.mark.slow
    def test_only_some(self, sheets):
        assert list(sheets('train', '--num', 1)) == ['000000_0.png']

    @pytest.mark.slow
    def test_the_dataset_filters_as_in_training(self, sheets):
        assert len(sheets('train')) == 2

    @pytest.mark.parametrize('subset', ['train', 'test'])
    @pytest.mark.slow
    def test_grey_is_the_networks_own(self, sheets, subset):
        """In training that of the 8-bit grey photo, in testing the photo's L; scikit-image is the judge."""
        picture = sheets(subset)['000001_1.png']
        grey, colour = picture[-256 - 131 : -131, :256], picture[-256 - 131 : -131, 262:518]

        expected = rgb2gray(colour) * 255
        if subset == 'test':
            linear = ((rgb2lab(colour)[..., 0] + 16) / 116) ** 3
            expected = 255 * (1.055 * np.maximum(linear, 0.0032) ** (1 / 2.4) - 0.055)
        assert np.abs(grey[..., 1] - expected).max() <= 2
        assert np.ptp(grey.astype(int), axis=2).max() <= 1

    @pytest.mark.slow
    def test_small_inputs(self, sheets):
        assert len(sheets('test', ann_file='', config='insta_fusion_photos_w025_64x64')) == 4

    def test_a_subset_that_the_config_does_not_have(self, run, tmp_path):
        (tmp_path / 'mine.py').write_text("model = dict(type='ImageColorizer')")

        status, text = run('browse_dataset', tmp_path / 'mine.py', '--subset', 'val', '--out-dir', tmp_path / 'out')

        assert (status, text) == (1, f'error: config {tmp_path}/mine.py has no val_dataloader\n')

    def test_bad_number(self, run):
        assert run('browse_dataset', 'x', '--num', 0)[1].startswith('error: --num must be at least 1, but is 0')


class TestEvaluateHints:
    @pytest.fixture
    def options(self, tmp_path, image_weights) -> list:
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(60, 200, (96, 128, 3), np.uint8)).save(tmp_path / 'a.png')
        images = [{'id': 1, 'file_name': 'a.png', 'width': 128, 'height': 96}]
        annotations = [{'image_id': 1, 'bbox': box} for box in ([20, 20, 40, 30], [0, 0, 3, 3])]
        (tmp_path / 'boxes.json').write_text(json.dumps({'images': images, 'annotations': annotations}))
        return [
            *('insta_full_cocostuff_256x256', image_weights, '--img', tmp_path / 'a.png', '--device', 'cpu'),
            *('--boxes', tmp_path / 'boxes.json', '--out', tmp_path / 'figures.json'),
        ]

    @pytest.mark.slow
    def test_strict_hints_are_met(self, run, options, tmp_path):
        status, text = run('evaluate_hints', *options, '--strict-hints', '--sizes', 32, 64)

        assert status == 0, text
        figures = json.loads((tmp_path / 'figures.json').read_text())
        assert {name: values['count'] for name, values in figures.items()} == {
            'gain': 1,
            'distance': 6,
            'spill': 6,
            'drift': 1,
        }
        assert figures['distance']['median'] < 3
        assert figures['drift']['median'] > 0
        assert 'distance' in text

    @pytest.mark.slow
    def test_points(self, run, options, tmp_path):
        assert run('evaluate_hints', *options, '--kind', 'points')[0] == 0

        assert set(json.loads((tmp_path / 'figures.json').read_text())) == {'gain', 'distance', 'spill'}

    def test_a_size_that_the_network_cannot_take(self, run, options):
        status, text = run('evaluate_hints', *options, '--sizes', 30)

        assert (status, text.splitlines()[-1]) == (1, 'error: sizes must be multiples of 8, but got 30')


class TestComparePhotos:
    @pytest.fixture
    def folders(self, tmp_path) -> tuple[Path, Path]:
        for name, color in (('coloured', (150, 120, 90)), ('truth', (160, 120, 80)), ('cast', (120, 120, 240))):
            (tmp_path / name).mkdir()
            suffix = '.png' if name == 'coloured' else '.tif'
            Image.new('RGB', (8, 6), color).save(tmp_path / name / f'a{suffix}')
        return tmp_path / 'coloured', tmp_path / 'truth'

    def test_distances(self, run, folders):
        status, text = run('compare_photos', *folders)

        found, truth = (rgb2lab(np.uint8([[color]]))[0, 0, 1:] for color in ((150, 120, 90), (160, 120, 80)))
        _, errors, _, better, share = text.splitlines()
        assert status == 0
        assert [float(x) for x in errors.split()[1:3]] == pytest.approx(
            [np.linalg.norm(found - truth), np.linalg.norm(truth)], abs=0.05
        )
        assert better == '1 of 1 photos are nearer to the truth than without colour'
        assert share.startswith('CF is 0.')

    def test_a_cast_of_the_truth_can_be_taken_away(self, run, folders):
        status, text = run('compare_photos', folders[0], folders[0].with_name('cast'), '--gray-world')

        assert status == 0
        assert float(text.splitlines()[1].split()[2]) < 0.1

    def test_a_photo_without_truth_or_with_one_of_another_size(self, run, folders):
        coloured, truth = folders
        Image.new('RGB', (6, 8)).save(truth / 'a.tif')
        assert '(6, 8, 3), but its truth (8, 6, 3)' in run('compare_photos', *folders)[1]
        (truth / 'a.tif').unlink()
        status, text = run('compare_photos', *folders)
        assert status == 1
        assert 'a.png has no truth in ' in text
        (coloured / 'a.png').unlink()
        assert 'there is no photo in ' in run('compare_photos', *folders)[1]


class TestCompareNetworks:
    @pytest.fixture
    def options(self, tmp_path) -> list:
        rng = np.random.default_rng(0)
        images, annotations = [], []
        for number in range(3):
            coarse = Image.fromarray(rng.integers(60, 200, (6, 8, 3), np.uint8))
            coarse.resize((128, 96)).save(tmp_path / f'{number}.png')
            images.append({'id': number, 'file_name': f'{number}.png', 'width': 128, 'height': 96})
            box = {'id': number, 'image_id': number, 'bbox': [20, 20, 80, 60], 'score': 1.0}
            annotations += [box] if number else []
        (tmp_path / 'boxes.json').write_text(json.dumps({'images': images, 'annotations': annotations}))
        dataset, boxes = 'test_dataloader.dataset', tmp_path / 'boxes.json'
        given = (f'{dataset}.data_root={tmp_path}', f'{dataset}.gt_instances={boxes}', f'{dataset}.instances={boxes}')
        return ['--out', tmp_path / 'out.json', '--cfg-options', *given]

    @pytest.mark.slow
    @pytest.mark.parametrize(('equal', 'level'), [('instances', 'instance'), ('photos', 'image')])
    def test_all_ways_are_equally_colourful(self, run, options, fused_weights, tmp_path, equal, level):
        recipe = 'insta_fusion_photos_w025_128x128'
        small = [f'test_dataloader.dataset.pipeline.{index}.size=64' for index in (3, 4, 5)]
        weights = load_checkpoint(fused_weights).state_dict
        pale = {name: value / 20 if '.ab_head.' in name else value for name, value in weights.items()}
        (path,) = save_checkpoint(pale, tmp_path / 'pale.pth')

        status, text = run('compare_networks', recipe, path, '--crops', '--equal', equal, *options, *small)

        assert status == 0, text
        found = json.loads((tmp_path / 'out.json').read_text())
        assert list(found) == ['full', 'fused', 'crops, image_net', 'crops, instance_net']
        colour = {way: np.concatenate(values['CF'][level]).mean() for way, values in found.items()}
        assert all(value == pytest.approx(colour['fused'], rel=0.02) for value in colour.values())
        assert found['fused']['scale'] == 1
        # A photo without boxes is the full-image network's in all ways, but for the scale.
        assert [len(pairs) for pairs in found['fused']['PSNR']['instance']] == [0, 1, 1]
        assert 'fused - full, instance: ' in text

    @pytest.mark.slow
    def test_what_a_decoder_makes_of_the_colours(self, run, options, fused_weights, tmp_path):
        recipe = 'insta_fusion_photos_w025_128x128'
        small = [f'test_dataloader.dataset.pipeline.{index}.size=64' for index in (3, 4, 5)]
        colour = {}
        for decoder in ('regression:0.1', 'regression:0.2', 'annealed-mean:0.5'):
            status, text = run('compare_networks', recipe, fused_weights, '--decoder', decoder, *options, *small)
            assert status == 0, text
            found = json.loads((tmp_path / 'out.json').read_text())
            colour[decoder] = np.concatenate(found['fused']['CF']['instance']).mean()
        weak, strong, annealed = colour.values()
        assert weak < 0.8 * strong
        assert annealed not in (weak, strong)

        status, text = run(
            'compare_networks', recipe, fused_weights, '--decoder', 'regression:1', '--preset', 'safe', *options
        )
        assert status != 0
        assert text.splitlines()[-1].startswith('error: ')

    def test_the_interval_is_that_of_the_photos_means(self, tools):
        mine, theirs = [[3.0, 5.0], [], [7.0]], [[1.0, 3.0], [], [3.0]]

        mean, low, high = tools['compare_networks'].difference(mine, theirs)

        assert (mean, low, high) == (3.0, 2.0, 4.0)

    def test_weights_that_fuse_nothing(self, run, options, image_weights):
        status, text = run('compare_networks', 'insta_fusion_photos_w025_128x128', image_weights, *options)

        assert status != 0
        assert text.splitlines()[-1].startswith(f'error: {image_weights} has no fusion network to compare')


class TestEvaluateCaptions:
    @pytest.fixture
    def options(self, tmp_path, image_weights) -> list:
        rng = np.random.default_rng(0)
        Image.fromarray(rng.integers(60, 200, (96, 128, 3), np.uint8)).save(tmp_path / 'a.png')
        annotations = [{'image_id': 1, 'bbox': [20, 20, 60, 50], 'category_id': 6}]
        images = [{'id': 1, 'file_name': 'a.png', 'width': 128, 'height': 96}]
        content = {'images': images, 'annotations': annotations, 'categories': [{'id': 6, 'name': 'bus'}]}
        (tmp_path / 'boxes.json').write_text(json.dumps(content))
        (tmp_path / 'captions.json').write_text(
            json.dumps({'a.png': ['a red bus', 'a blue bus', 'a green car', 'a bus']})
        )
        return [
            *('insta_full_cocostuff_256x256', image_weights, '--img', tmp_path / 'a.png', '--device', 'cpu'),
            *('--captions', tmp_path / 'captions.json', '--boxes', tmp_path / 'boxes.json'),
            *('--out', tmp_path / 'figures.json'),
        ]

    @pytest.mark.slow
    def test_captions_are_followed(self, run, options, tmp_path):
        status, text = run('evaluate_captions', *options)

        assert status == 0, text
        figures = json.loads((tmp_path / 'figures.json').read_text())
        assert {name: values['count'] for name, values in figures.items()} == dict.fromkeys(
            ('before', 'after', 'swapped', 'outside', 'plain', 'told', 'spread'), 2
        )
        assert figures['after']['most'] < 10 < figures['before']['least']
        assert figures['swapped']['mean'] == 1
        assert figures['outside']['most'] < 3

    def test_captions_without_a_colour_of_a_box(self, run, options, tmp_path):
        (tmp_path / 'captions.json').write_text(json.dumps({'a.png': 'a red car'}))

        status, text = run('evaluate_captions', *options)

        assert status == 1
        assert 'no caption of the 1 photos gives a colour to an object that has a true box' in text
