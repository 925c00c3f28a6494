import json
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scripts import load_script
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio

from insta_colorization.evaluation import baselines
from insta_colorization.evaluation.baselines import GrayBaseline, TintBaseline, fit_tint
from insta_colorization.structures import ColorizationSample

CONFIG = """
default_scope = 'insta_colorization'
model = dict(type='ImageColorizer')
test_dataloader = dict(batch_size=2, num_workers=0, sampler=dict(type='PhotoSampler', shuffle=False), dataset=dict(
    type='ColorizationDataset', data_root={folder!r}, test_mode=True, pipeline=[
        dict(type='LoadPhoto', keep_broken=True), dict(type='ResizePhoto', size=32), dict(type='PackColorization')]))
test_evaluator = [dict(type='PSNR'), dict(type='Colorfulness')]
test_cfg = dict(type='TestLoop')
env_cfg = dict(dist_cfg=dict(backend='gloo'))
"""


def in_tint(lightness: np.ndarray, ab: tuple[float, float]) -> np.ndarray:
    """(H, W, 3) uint8 RGB of L (H, W) in one colour, by scikit-image."""
    lab = np.stack([lightness, np.full_like(lightness, ab[0]), np.full_like(lightness, ab[1])], axis=-1)
    return np.round(255 * lab2rgb(lab).clip(0, 1)).astype(np.uint8)


def tinted(ab: tuple[float, float]) -> np.ndarray:
    """A 16 x 16 ramp from dark to bright whose colours all lie inside sRGB."""
    return in_tint(np.linspace(40, 75, 256).reshape(16, 16), ab)


def colourful(seed: int) -> np.ndarray:
    """A 24 x 24 photo of smooth colours, more of them warm than cold."""
    coarse = np.random.default_rng(seed).integers((60, 30, 0), (256, 220, 190), (3, 3, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((24, 24), Image.Resampling.BICUBIC))


def sample(photo: np.ndarray, **meta: str) -> ColorizationSample:
    return ColorizationSample(gt_rgb=torch.tensor(photo).permute(2, 0, 1), metainfo=meta)


def fitted(*photos: np.ndarray) -> tuple[float, float]:
    return fit_tint([{'data_samples': [sample(photo)]} for photo in photos], len(photos))


BROKEN = sample(np.zeros((8, 8, 3), np.uint8), skipped='cannot read it')


class TestModels:
    def test_every_pixel_gets_the_tint(self):
        # Network units are 110 Lab units.
        ab = TintBaseline((11, -22))(lightness=torch.rand(2, 1, 8, 16))
        assert ab.shape == (2, 2, 8, 16)
        torch.testing.assert_close(ab[:, 0], torch.full((2, 8, 16), 0.1))
        torch.testing.assert_close(ab[:, 1], torch.full((2, 8, 16), -0.2))

    def test_grey_is_without_colour(self):
        assert not GrayBaseline()(lightness=torch.rand(1, 1, 8, 8)).any()

    def test_a_tint_has_two_coordinates(self):
        with pytest.raises(ValueError, match='a tint has two coordinates, a and b, but got 3'):
            TintBaseline((50, 1, 2))


class TestFit:
    @pytest.mark.parametrize('ab', [(0, 0), (12.3, 20.7), (-14.6, 9.2), (3.5, -25)], ids=str)
    def test_photos_of_one_tint_give_it_back(self, ab):
        dark, bright = tinted(ab)[:8], tinted(ab)[8:]
        assert fitted(dark, bright) == pytest.approx(ab, abs=0.3)

    def test_the_mean_psnr_of_a_grid_around_it_is_not_better(self):
        photos = [colourful(seed) for seed in range(3)]

        def mean_psnr(a: float, b: float) -> float:
            return np.mean([peak_signal_noise_ratio(p, in_tint(rgb2lab(p)[..., 0], (a, b))) for p in photos])

        a, b = fitted(*photos)

        offsets = np.arange(-6, 6.1, 1.5)
        # Lightness is fitted in 256 levels.
        assert max(mean_psnr(a + i, b + j) for i in offsets for j in offsets) < mean_psnr(a, b) + 0.005
        assert mean_psnr(a, b) > mean_psnr(0, 0) + 1

    def test_each_photo_counts_the_same_whatever_its_size(self):
        large, small = tinted((20, 0)), tinted((-20, 0))
        assert fitted(np.concatenate([large] * 5), small, small) == fitted(large, small, small)

    def test_the_mean_is_of_psnr_and_not_of_errors(self):
        # Two sepia photos have the better PSNR the nearer the tint is to theirs, one that is far off hardly changes.
        assert fitted(tinted((5, 10)), tinted((5, 10)), tinted((0, -40))) == pytest.approx((5, 10), abs=0.6)

    def test_grey_photos_stay_grey(self):
        # Pictures that come out equal count 100 dB.
        grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
        assert fitted(grey) == (0, 0)
        assert fitted(grey, grey, tinted((10, 10))) == pytest.approx((0, 0), abs=0.3)

    def test_what_could_not_be_read_is_left_out(self):
        batches = [{'data_samples': [BROKEN, sample(tinted((8, 16)))]}, {'data_samples': [BROKEN]}]
        assert fit_tint(batches, 3) == pytest.approx((8, 16), abs=0.3)

    @pytest.mark.parametrize('batches', [[], [{'data_samples': [BROKEN]}]], ids=['none', 'one broken'])
    def test_nothing_to_fit(self, batches):
        with pytest.raises(ValueError, match=f'none of the {len(batches)} photos could be read'):
            fit_tint(batches, len(batches))

    def test_two_processes_find_the_tint_of_one(self, monkeypatch):
        samples = [sample(colourful(0)), BROKEN, sample(colourful(1)), sample(colourful(2)), sample(colourful(3))]
        one = fit_tint([{'data_samples': samples}], 5)
        # The first photo fills up the second process's share.
        shares = [samples[::2], [samples[1], samples[3], samples[0]]]
        levels = [[baselines._levels(photo) for photo in share] for share in shares]
        monkeypatch.setattr(baselines, 'all_gather_object', lambda own: levels)

        assert [fit_tint([{'data_samples': share}], 5) for share in shares] == [one, one]


class TestTool:
    @pytest.fixture(scope='class')
    def tool(self) -> ModuleType:
        return load_script('tools/test.py')

    @pytest.fixture
    def measured(self, tool, tmp_path, own_mmengine):
        """Runs the tool on photos and gives its status and what it wrote."""
        (tmp_path / 'config.py').write_text(CONFIG.format(folder=str(tmp_path)))
        out = tmp_path / 'results.json'

        def run(photos: list[np.ndarray], *options: str) -> tuple[int, dict | None]:
            for index, photo in enumerate(photos):
                Image.fromarray(photo).save(tmp_path / f'{index}.png')
            (tmp_path / 'broken.png').write_bytes(b'no photo')
            argv = [str(tmp_path / 'config.py'), *options, '--out', str(out), '--work-dir', str(tmp_path / 'logs')]
            status = tool.main(argv)
            return status, json.loads(out.read_text()) if out.exists() else None

        return run

    @pytest.mark.slow
    def test_the_tint_of_the_test_photos_is_measured_and_said(self, measured, capsys):
        status, results = measured([tinted((8, 16)), tinted((8, 16))[::-1]], '--baseline', 'tint')

        protocol = results['protocol']
        assert status == 0
        assert (protocol['model'], protocol['checkpoint'], protocol['num_skipped']) == ('TintBaseline', None, 1)
        assert protocol['tint']['ab'] == pytest.approx((8, 16), abs=0.3)
        assert protocol['tint']['unit'] == 'CIELAB'
        assert results['metrics']['image']['PSNR'] > 45
        assert results['metrics']['image']['CF'] == pytest.approx(results['metrics']['image']['CF_truth'], abs=0.5)
        a, b = protocol['tint']['ab']
        assert f'    ab: {a}, {b}\n' in capsys.readouterr().out

    @pytest.mark.parametrize('options', [(), ('--baseline', 'gray')], ids=['default', 'said'])
    def test_grey_is_the_default(self, measured, options):
        _, results = measured([tinted((8, 16))], *options)

        assert results['protocol']['model'] == 'GrayBaseline'
        assert results['protocol']['tint']['ab'] == [0, 0]
        assert results['metrics']['image']['PSNR'] < 30

    def test_no_readable_photo(self, measured, capfd):
        assert measured([], '--baseline', 'tint') == (1, None)
        assert 'none of the 1 photos could be read\n' in capfd.readouterr().err

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            pytest.param(
                ['a.pth', '--baseline', 'tint'],
                '--baseline tint is measured without a checkpoint, but a.pth is given',
                id='checkpoint',
            ),
            pytest.param(['--baseline', 'sepia'], "invalid choice: 'sepia'", id='unknown'),
        ],
    )
    def test_wrong_options(self, tool, capsys, options, message):
        with pytest.raises(SystemExit) as caught:
            tool.main(['config.py', *options])

        error = capsys.readouterr().err
        assert caught.value.code == 2
        assert message in error
        assert error.count('\n') == 1
