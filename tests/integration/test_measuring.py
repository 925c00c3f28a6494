"""tools/test.py from photos to JSON, and tools/analysis_tools/report.py from JSON to tables."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import load_script
from skimage.color import lab2rgb, rgb2lab

from insta_colorization.evaluation.metrics import FID, LPIPS
from insta_colorization.utils.configs import SHIPPED_WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / 'configs' / 'insta' / 'photos' / 'insta_full_photos_w025_128x128.py'
WIDTH, HEIGHT = 150, 100

pytestmark = pytest.mark.slow


tool = load_script('tools/test.py')
report = load_script('tools/analysis_tools/report.py')


@pytest.fixture(autouse=True)
def own_surroundings(own_mmengine, monkeypatch, tmp_path):
    """No scope that a config leaves behind, no pretrained weights and no way to fetch them."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('https_proxy', 'http://127.0.0.1:9')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of smooth colours, none of them square, with their true boxes."""
    folder = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(3):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / f'{index}.png')
        images.append({'id': index, 'file_name': f'{index}.png', 'width': WIDTH, 'height': HEIGHT})
        for box, crowd in (([0, 0, 75, 50], 0), ([75, 50, 60, 40], 0), ([3, 3, 9, 60], 0), ([0, 0, 150, 99], 1)):
            annotations.append({'id': len(annotations), 'image_id': index, 'bbox': box, 'iscrowd': crowd})
    (folder / 'true.json').write_text(json.dumps({'images': images, 'annotations': annotations}))
    return folder


def write_config(path: Path, folder: Path, name: str = 'small', metrics: tuple[str, ...] = ('PSNR', 'SSIM')) -> Path:
    config = path / f'{name}.py'
    steps = ['LoadPhoto', 'LoadInstances', 'ResizePhoto', 'ResizePhoto', 'PackColorization']
    options = [{'keep_broken': True}, {}, {'size': 256}, {'size': 64, 'keep_truth': True}, {}]
    loader = {
        'batch_size': 2,
        'num_workers': 0,
        'persistent_workers': False,
        'dataset': {
            'data_root': str(folder),
            'gt_instances': str(folder / 'true.json'),
            'pipeline': [{'type': step, **option} for step, option in zip(steps, options, strict=True)],
        },
    }
    evaluator = [{'type': metric} for metric in metrics]
    config.write_text(f'_base_ = [{str(RECIPE)!r}]\ntest_dataloader = {loader!r}\ntest_evaluator = {evaluator!r}\n')
    return config


def measure(config: Path, tmp_path: Path, *options: str) -> dict:
    out = tmp_path / 'results.json'
    assert tool.main([str(config), *options, '--out', str(out), '--work-dir', str(tmp_path / 'logs')]) == 0
    results = json.loads(out.read_text())
    assert json.loads((tmp_path / 'logs' / 'metrics.json').read_text()) == results
    return results


class TestGrey:
    @pytest.fixture(scope='class')
    def results(self, folder, tmp_path_factory) -> dict:
        path = tmp_path_factory.mktemp('grey')
        config = write_config(path, folder, metrics=('PSNR', 'SSIM', 'LPIPS', 'Colorfulness', 'FID'))
        out = path / 'results.json'
        command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'test.py'), str(config), '--out', str(out)]
        env = {'OMP_NUM_THREADS': '1', 'TORCH_HOME': str(path / 'torch'), 'https_proxy': 'http://127.0.0.1:9'}
        done = subprocess.run(command, capture_output=True, text=True, cwd=path, env={**os.environ, **env})
        assert done.returncode == 0, done.stderr[-3000:]
        (path / 'printed.txt').write_text(done.stdout)
        return json.loads(out.read_text()) | {'printed': done.stdout, 'folder': path}

    def test_photos_left_grey_are_measured_without_a_checkpoint(self, results, folder):
        paths = sorted(folder.glob('*.png'))
        truth = [np.asarray(Image.open(path).resize((256, 256), Image.Resampling.BILINEAR)) for path in paths]
        gray = [255 * lab2rgb(rgb2lab(photo) * [1, 0, 0]) for photo in truth]
        errors = [np.square(t - g).mean() for t, g in zip(truth, gray, strict=True)]

        assert results['metrics']['image']['PSNR'] == pytest.approx(
            np.mean(10 * np.log10(255**2 / np.array(errors))), abs=0.02
        )
        assert results['metrics']['image']['CF'] < 0.5 < results['metrics']['image']['CF_truth']
        assert results['protocol']['checkpoint'] is None
        assert results['protocol']['networks'] == []

    def test_instances_are_measured_by_their_true_boxes(self, results):
        assert results['protocol']['num_instances'] == 6
        # 9 of 150 pixels in width are 15 of 256.
        left_out = results['protocol']['instances_left_out']
        assert (left_out['small'], left_out['crowds']) == (3, 3)
        instances = [instance for photo in results['photos'] for instance in photo['instance']]
        assert len(instances) == 6
        for name in ('PSNR', 'SSIM', 'CF'):
            mean = np.mean([instance[name] for instance in instances])
            assert results['metrics']['instance'][name] == pytest.approx(mean)

    def test_the_protocol_is_complete(self, results):
        protocol = results['protocol']
        assert protocol['config'] == 'small'
        assert (protocol['num_photos'], protocol['num_skipped']) == (3, 0)
        assert (protocol['size'], protocol['network_size']) == ([256, 256], 64)
        assert protocol['versions']['torch'] == torch.__version__.partition('+')[0]
        assert set(protocol['metrics']) == {'PSNR', 'SSIM', 'LPIPS', 'CF', 'FID_tf'}
        assert protocol['boxes']['networks'] is None
        assert protocol['boxes']['truth'].endswith('true.json')

    def test_what_has_no_weights_is_not_computed_and_does_not_stop_the_rest(self, results):
        assert set(results['not_computed']) == {'LPIPS', 'FID_tf'}
        place = results['folder'] / 'torch' / 'hub' / 'checkpoints'
        assert f'vgg16-397923af.pth are neither in {place} nor' in results['not_computed']['LPIPS']
        assert not any('LPIPS' in values or 'FID_tf' in values for values in results['metrics'].values())
        assert 'LPIPS' not in results['photos'][0]['image']

    def test_protocol_and_table_are_printed(self, results):
        printed = results['printed']
        assert 'size: 256, 256' in printed
        assert 'not computed: FID_tf: the weights' in printed
        row = next(line.split() for line in printed.splitlines() if line.startswith('SSIM '))
        assert row == ['SSIM', *(f'{results["metrics"][level]["SSIM"]:.4f}' for level in ('image', 'instance'))]


def test_weights_and_decoder_are_in_the_protocol(folder, tmp_path):
    config = write_config(tmp_path, folder, metrics=('PSNR', 'Colorfulness'))

    weights = SHIPPED_WEIGHTS['ColorizationBackbone']
    own = measure(config, tmp_path, str(weights))
    vivid = measure(config, tmp_path, str(weights), '--decoder', 'annealed-mean:0.6')

    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert own['protocol']['checkpoint'] == {'name': weights.name, 'sha256': digest}
    assert own['protocol']['networks'] == ['image_net', 'instance_net', 'fusion_net']
    assert own['protocol']['decoder'] == 'RegressionDecoder, gain 1.1'
    assert vivid['protocol']['decoder'] == 'AnnealedMeanDecoder, temperature 0.6'
    assert own['metrics']['image']['CF'] > 5
    assert vivid['metrics']['image']['CF'] > own['metrics']['image']['CF']


def test_a_broken_photo_is_skipped_and_counted(folder, tmp_path):
    photos = tmp_path / 'photos'
    photos.mkdir()
    for name in ('0.png', '1.png', 'true.json'):
        (photos / name).write_bytes((folder / name).read_bytes())
    (photos / 'broken.png').write_bytes(b'no photo')

    results = measure(write_config(tmp_path, photos), tmp_path)

    assert (results['protocol']['num_photos'], results['protocol']['num_skipped']) == (2, 1)
    assert [entry['photo'] for entry in results['photos']] == ['0.png', '1.png']
    (skipped,) = results['skipped']
    assert skipped['photo'] == 'broken.png'
    assert 'cannot read' in skipped['reason']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['{config}', 'nowhere.pth'], 'checkpoint nowhere.pth does not exist'),
        (['insta_fulll_cocostuff_256x256'], 'close names are insta_full_cocostuff_256x256'),
        (['{config}', '--cfg-options', 'test_dataloader.dataset.data_root=nowhere'], 'folder nowhere does not exist'),
        (['{config}', '--cfg-options', 'test_dataloader.dataset.data_root={broken}'], 'none of the 1 test photos'),
        (
            ['{config}', '--cfg-options', 'test_dataloader.dataset.pipeline.1.type=LoadPhoto'],
            'no LoadInstances to read',
        ),
    ],
    ids=['checkpoint', 'config', 'photos', 'all broken', 'unread boxes'],
)
def test_errors_are_one_sentence(folder, tmp_path, capfd, options, message):
    broken = tmp_path / 'broken'
    broken.mkdir()
    (broken / '0.png').write_bytes(b'no photo')
    config = write_config(tmp_path, folder)

    status = tool.main(
        [*(option.format(config=config, broken=broken) for option in options), '--work-dir', str(tmp_path)]
    )

    assert status == 1
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--decoder', 'mode', '--out', 'x.json'], "the decoder must be 'regression[:1.1]'"),
        (['--decoder', 'regression'], '--decoder needs a checkpoint'),
        (['--preset', 'vivid'], '--preset needs a checkpoint'),
        (
            ['a.pth', '--preset', 'vivid', '--decoder', 'regression'],
            "preset 'vivid' and decoder 'regression' exclude each other",
        ),
        (['--out', '.'], '--out must be a file, but . is a folder'),
    ],
    ids=['unknown decoder', 'nothing to decode', 'no weights for a preset', 'two decoders', 'folder'],
)
def test_wrong_options(capfd, options, message):
    with pytest.raises(SystemExit) as caught:
        tool.main(['config.py', *options])

    assert caught.value.code == 2
    assert message in capfd.readouterr().err


def test_results_become_tables(folder, tmp_path, capsys):
    for name in ('insta_fusion_small', 'boxes_gt'):
        results = measure(write_config(tmp_path, folder, name), tmp_path)
        (tmp_path / f'{name}.json').write_text(json.dumps(results))

    files = [str(tmp_path / f'{name}.json') for name in ('insta_fusion_small', 'boxes_gt')]
    status = report.main([*files, '--out-dir', str(tmp_path / 'report'), '--baseline', 'boxes_gt'])

    assert status == 0, capsys.readouterr().err
    text = (tmp_path / 'report' / 'report.md').read_text()
    psnr = f'{results["metrics"]["image"]["PSNR"]:.3f}'
    assert f'| ground truth | boxes_gt | 0.111 / 28.470 / 0.944 | – / {psnr} / ' in text
    assert '| insta_fusion_small | image | +0.000 | +0.000 to +0.000 | 3 |' in text
    with Image.open(tmp_path / 'report' / 'report.png') as plot:
        assert plot.width > 800


class TestBackbones:
    """The libraries' own loading, with files of random weights where the real ones belong."""

    @pytest.fixture
    def hub(self, tmp_path, monkeypatch):
        """Saves weights under the name that the library looks for; their sha256 is taken for the real one."""
        folder = tmp_path / 'hub' / 'checkpoints'
        folder.mkdir(parents=True)
        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(folder.parent))
        monkeypatch.setattr(
            'insta_colorization.evaluation.metrics.pretrained.sha256',
            lambda path: path.stem.rpartition('-')[2].ljust(64, '0'),
        )
        yield lambda name, weights: torch.save(weights, folder / name)
        for file in folder.iterdir():
            file.unlink()

    def test_lpips(self, hub, monkeypatch):
        import lpips
        import torchvision

        class Features(torchvision.models.vgg.VGG):
            """VGG without the classifier, which LPIPS does not use and which is nine tenths of the file."""

            def __init__(self, features, **options):
                torch.nn.Module.__init__(self)
                self.features = features

        monkeypatch.setattr(torchvision.models.vgg, 'VGG', Features)
        torch.manual_seed(0)
        weights = torchvision.models.vgg16().state_dict()
        hub('vgg16-397923af.pth', weights)
        truth, prediction = torch.randint(0, 256, (2, 3, 32, 40), dtype=torch.uint8)

        value = LPIPS().measure(truth, prediction)['LPIPS']

        network = lpips.LPIPS(net='vgg', pnet_rand=True, verbose=False)
        layers = {name: int(name.split('.')[1]) for name, _ in network.net.named_parameters()}
        network.net.load_state_dict(
            {name: weights[f'features.{layer}.{name.rpartition(".")[2]}'] for name, layer in layers.items()}
        )
        with torch.no_grad():
            expected = float(network(truth[None] / 127.5 - 1, prediction[None] / 127.5 - 1))
        assert value == pytest.approx(expected, rel=1e-4)
        assert value > 0

    def test_fid(self, hub):
        import torchvision

        torch.manual_seed(0)
        model = torchvision.models.inception_v3(init_weights=False)
        hub('inception_v3_google-0cc3c7bd.pth', model.state_dict())
        photo = torch.randint(0, 256, (3, 40, 32), dtype=torch.uint8)

        found = FID('torchvision').measure(photo, 255 - photo)

        # Torchvision's own forward pass, up to its classifier.
        model.fc, model.transform_input = torch.nn.Identity(), False
        pictures = torch.stack([photo, 255 - photo]) / 255
        resized = torch.nn.functional.interpolate(pictures, (299, 299), mode='bilinear', align_corners=False)
        with torch.no_grad():
            expected = model.eval()(2 * resized - 1).numpy()
        np.testing.assert_allclose(found['truth'], expected[0], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found['prediction'], expected[1], rtol=1e-3, atol=1e-5)
        assert found['truth'].shape == (2048,)
