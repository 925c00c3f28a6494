"""The command line, mostly in-process: `main` takes the arguments that a shell would give it."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import forked
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from scripts import load_script

from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.imaging.photo import read_photo, write_photo

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'demo' / 'colorization_demo.py'
CONFIG = str(ROOT / 'configs/insta/insta_full_cocostuff_256x256.py')
EXIF_ORIENTATION, EXIF_ARTIST = 0x0112, 0x013B

demo = load_script('demo/colorization_demo.py')


class Outcome(NamedTuple):
    """What a user sees: exit status, the results by name, everything printed and logged."""

    status: int
    results: dict[str, Path]
    text: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path, capsys, caplog, image_weights) -> Run:
    """Runs the demo on the CPU into `tmp_path/out`, with tiny full-image weights unless told otherwise."""

    def run(*args: object, model: tuple = (CONFIG, image_weights), out: str = 'out') -> Outcome:
        caplog.clear()
        capsys.readouterr()
        caplog.set_level(logging.INFO, 'insta_colorization')
        argv = [str(arg) for arg in (*model, '--device', 'cpu', '--out-dir', tmp_path / out, *args)]
        try:
            status = demo.main(argv)
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        folder = tmp_path / out
        results = {str(p.relative_to(folder)): p for p in folder.rglob('*') if p.is_file()} if folder.is_dir() else {}
        return Outcome(status, results, '\n'.join([printed.out, printed.err, *caplog.messages]))

    return run


def gray(height: int = 48, width: int = 64, dtype: type = np.uint8) -> np.ndarray:
    values = 0.5 + 0.2 * np.sin(np.linspace(0, 9, height))[:, None] * np.cos(np.linspace(0, 7, width))
    return (values * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture
def photo(tmp_path) -> Path:
    write_photo(gray(), tmp_path / 'photo.png')
    return tmp_path / 'photo.png'


@pytest.fixture
def album(tmp_path) -> Path:
    for name in ('frame1.png', 'frame2.jpg', 'frame10.png', 'deeper/frame1.png'):
        path = tmp_path / 'album' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_photo(gray(), path)
    return tmp_path / 'album'


def assert_one_sentence(outcome: Outcome, *parts: str) -> None:
    """An error, no traceback, in one line that has all the parts."""
    lines = [line for line in outcome.text.splitlines() if line.startswith(('error: ', 'failed: '))]
    assert outcome.status != 0
    assert len(lines) == 1, outcome.text
    assert 'Traceback' not in outcome.text
    for part in parts:
        assert part in lines[0]


class TestWeights:
    @pytest.mark.slow
    def test_shipped_ones_colour_the_bundled_photo_without_any_argument(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '-1')

        assert demo.main([]) == 0

        picture = read_photo(tmp_path / 'results' / 'astronaut.png')
        assert picture.size == (512, 512)
        assert picture.is_colour
        assert capsys.readouterr().out.splitlines() == [
            'results/astronaut.png',
            '1 coloured, 0 failed; results are in results',
        ]

    @pytest.mark.slow
    def test_shipped_ones_with_a_config_only(self, run, photo):
        assert run('--img', photo, model=(CONFIG,)).status == 0

    @pytest.fixture(scope='class')
    def layouts(self, fused_weights, tmp_path_factory) -> dict[str, Path]:
        """The same random weights in every layout."""
        folder = tmp_path_factory.mktemp('layouts')
        state = load_checkpoint(fused_weights).state_dict
        save_checkpoint(state, folder / 'ours.pth')
        save_checkpoint(state, folder / 'ours.safetensors')
        save_checkpoint(state, folder / 'mmagic.pth', 'mmagic')
        trunk, *_ = save_checkpoint(state, folder / 'published', 'instacolorization')
        (folder / 'siggraph17.pth').write_bytes(trunk.read_bytes())
        (folder / 'latest_net_G.pth').write_bytes(trunk.read_bytes())
        return {path.stem + path.suffix: path for path in folder.iterdir()}

    @pytest.mark.parametrize('name', ['ours.pth', 'ours.safetensors', 'mmagic.pth', 'published'])
    def test_fused_layouts_are_the_same_weights(self, run, photo, layouts, name, fused_weights):
        options = ('--img', photo, '--detector', 'none', '--input-size', '64')

        outcome = run(*options, model=(CONFIG, layouts[name]))

        assert outcome.status == 0
        assert 'image_net, instance_net, fusion_net, width 0.0625' in outcome.text
        expected = run(*options, model=(CONFIG, fused_weights), out='expected').results['photo.png']
        np.testing.assert_array_equal(read_photo(outcome.results['photo.png']).pixels, read_photo(expected).pixels)

    @pytest.mark.parametrize('name', ['siggraph17.pth', 'latest_net_G.pth'])
    def test_a_lone_trunk_is_the_full_image_network(self, run, photo, layouts, name):
        outcome = run('--img', photo, '--input-size', '64', model=(CONFIG, layouts[name]))

        assert outcome.status == 0
        assert 'photos are coloured by the image_net' in outcome.text

    @pytest.mark.slow
    def test_the_line_that_users_know(self, tmp_path, layouts):
        command = [sys.executable, 'demo/colorization_demo.py', 'configs/insta/insta_full_cocostuff_256x256.py']
        env = {**os.environ, 'CUDA_VISIBLE_DEVICES': '-1', 'OMP_NUM_THREADS': '1'}
        command += [str(layouts['published']), '--out-dir', str(tmp_path), '--detector', 'none']

        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)

        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f'1 coloured, 0 failed; results are in {tmp_path}'
        assert read_photo(tmp_path / 'astronaut.png').size == (512, 512)


class TestDetector:
    @pytest.fixture
    def boxes(self, tmp_path) -> dict[str, Path]:
        """Boxes of `photo.png` as a file of each kind."""
        (tmp_path / 'boxes').mkdir()
        arrays = {'bbox': np.array([[4, 4, 30, 40]], np.float32), 'scores': np.array([0.9], np.float32)}
        np.savez(tmp_path / 'boxes' / 'photo.npz', **arrays)
        images = [{'id': 1, 'file_name': 'photo.png', 'height': 48, 'width': 64}]
        annotation = {'id': 1, 'image_id': 1, 'bbox': [4, 4, 26, 36], 'category_id': 1}
        (tmp_path / 'boxes.json').write_text(json.dumps({'images': images, 'annotations': [annotation]}))
        (tmp_path / 'results.json').write_text(json.dumps([{**annotation, 'score': 0.9}]))
        return {
            'npz': tmp_path / 'boxes' / 'photo.npz',
            'folder': tmp_path / 'boxes',
            'json': tmp_path / 'boxes.json',
            'results': f'{tmp_path}/results.json:{tmp_path}/boxes.json',
        }

    @pytest.mark.parametrize('kind', ['npz', 'folder', 'json', 'results'])
    def test_boxes(self, run, photo, boxes, kind, fused_weights):
        outcome = run('--img', photo, '--boxes', boxes[kind], '--json', model=(CONFIG, fused_weights))

        record = json.loads(outcome.results['photo.png.json'].read_text())
        assert outcome.status == 0
        assert record['boxes'] == [[4, 4, 30, 40]]
        assert record['network'] == 'fusion_net'

    def test_boxes_of_some_photos_leave_the_others_to_the_full_image_network(self, run, photo, boxes, fused_weights):
        write_photo(gray(30, 30), photo.with_name('other.png'))

        outcome = run(
            '--img', f'{photo.parent}/*.png', '--boxes', boxes['json'], '--json', model=(CONFIG, fused_weights)
        )

        assert outcome.status == 0
        assert 'has boxes for 1 of the 2 photos' in outcome.text
        assert json.loads(outcome.results['other.png.json'].read_text())['network'] == 'image_net'

    def test_is_left_alone_where_it_changes_nothing(self, run, photo):
        assert 'detector' not in run('--img', photo).text

    @pytest.mark.slow
    @pytest.mark.parametrize('wish', [['--json'], ['--show-instances'], ['--detector', 'auto']], ids=str)
    def test_auto_says_in_one_line_which_it_is(self, run, photo, wish, tmp_path, monkeypatch):
        monkeypatch.setattr('insta_colorization.detectors.build._say', logging.getLogger('insta_colorization').log)
        config = tmp_path / 'config.py'
        config.write_text("model = dict(type='ImageColorizer')\ndetector = dict(type='OnnxDetector', path='none.onnx')")

        outcome = run('--img', photo, *wish, model=(config,))

        (line,) = [line for line in outcome.text.splitlines() if line.startswith('detector: ')]
        assert 'the embedded one' in line
        assert 'none.onnx' in line

    @pytest.mark.parametrize(
        ('options', 'parts'),
        [
            pytest.param(['--detector', 'yolo'], ["no detector 'yolo'", 'opencv'], id='unknown'),
            pytest.param(['--detector', 'none.onnx'], ['no detector file none.onnx'], id='no model'),
            pytest.param(['--detector', 'none.json'], ['no file or folder of boxes none.json'], id='no json'),
            pytest.param(['--boxes', 'none.npz'], ['no file or folder of boxes none.npz'], id='no npz'),
            pytest.param(['--boxes', 'opencv'], ['no file or folder of boxes opencv'], id='no file'),
            pytest.param(['--boxes', DEMO], ['boxes are read from .json'], id='another file'),
            pytest.param(['--boxes', 'a.json', '--detector', 'none'], ['not allowed with'], id='both'),
        ],
    )
    def test_that_cannot_be_built_stops_the_run_at_once(self, run, album, options, parts):
        outcome = run('--img', album, *options)

        assert_one_sentence(outcome, *parts)
        assert outcome.results == {}

    @pytest.mark.parametrize(
        'box',
        [
            pytest.param([0, 0, float('nan'), 5], id='nan'),
            pytest.param([30, 5, 5, 30], id='inverted'),
        ],
    )
    def test_unusable_boxes_fail_their_photo_alone(self, run, album, box, fused_weights, tmp_path):
        (tmp_path / 'boxes').mkdir()
        np.savez(tmp_path / 'boxes' / 'frame2.npz', bbox=np.array([box], np.float32), scores=np.ones(1))

        outcome = run('--img', album, '--boxes', tmp_path / 'boxes', model=(CONFIG, fused_weights))

        assert_one_sentence(outcome, 'frame2.jpg', 'box 0 is not finite or is inverted')
        assert sorted(outcome.results) == ['frame1.png', 'frame10.png']
        assert '2 coloured, 1 failed' in outcome.text

    @pytest.mark.parametrize(
        ('boxes', 'used'),
        [
            pytest.param([[900, 900, 950, 950]], 0, id='outside'),
            pytest.param([[9, 9, 9, 30]], 0, id='no area'),
            pytest.param([[-99, -99, 999, 999]], 1, id='larger than the photo'),
            pytest.param([[4, 4, 30, 40]] * 3, 1, id='duplicated'),
            pytest.param([], 0, id='0'),
            pytest.param([[i % 40, i % 30, i % 40 + 9 + i // 40, i % 30 + 9] for i in range(500)], 8, id='500'),
        ],
    )
    def test_odd_boxes_work(self, run, photo, boxes, used, fused_weights, tmp_path):
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        np.savez(tmp_path / 'boxes.npz', bbox=boxes, scores=np.ones(len(boxes)))

        outcome = run('--img', photo, '--boxes', tmp_path / 'boxes.npz', '--json', model=(CONFIG, fused_weights))

        assert outcome.status == 0
        assert len(json.loads(outcome.results['photo.png.json'].read_text())['boxes']) == used

    def test_max_instances(self, run, photo, boxes, fused_weights):
        options = ('--img', photo, '--boxes', boxes['json'], '--json', '--max-instances', 0)

        record = json.loads(run(*options, model=(CONFIG, fused_weights)).results['photo.png.json'].read_text())

        assert (record['boxes'], record['network']) == ([], 'image_net')

    def test_sheets(self, run, photo, boxes, fused_weights):
        options = ('--img', photo, '--boxes', boxes['json'], '--show-instances', '--show-fusion', '3,7', '10')

        outcome = run(*options, model=(CONFIG, fused_weights))

        assert sorted(outcome.results) == ['photo.png', 'photo.png.fusion.png', 'photo.png.instances.png']
        assert read_photo(outcome.results['photo.png.fusion.png']).size == (3 * (48 + 22), 3 * 64 + 2 * 6)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


RGB = Image.fromarray(np.dstack([gray(), gray(), np.roll(gray(), 9)]))
ROTATED = Image.Exif()
ROTATED[EXIF_ORIENTATION] = 6


class TestPhotos:
    @pytest.mark.parametrize(
        ('name', 'data', 'size'),
        [
            pytest.param('a.png', saved(RGB.convert('P'), 'PNG'), (48, 64), id='palette'),
            pytest.param('a.jpg', saved(RGB.convert('CMYK'), 'JPEG'), (48, 64), id='CMYK'),
            pytest.param('a.png', saved(RGB.convert('L'), 'PNG'), (48, 64), id='grey'),
            pytest.param('a.png', saved(RGB.convert('1'), 'PNG'), (48, 64), id='one bit'),
            pytest.param('a.jpg', saved(RGB, 'JPEG', exif=ROTATED), (64, 48), id='rotated'),
            pytest.param('a.bmp', saved(RGB, 'BMP'), (48, 64), id='BMP'),
            pytest.param('a.webp', saved(RGB, 'WEBP'), (48, 64), id='WebP'),
            pytest.param('a.tif', saved(RGB, 'TIFF'), (48, 64), id='TIFF'),
            pytest.param('a.png', saved(Image.new('L', (1, 1), 99), 'PNG'), (1, 1), id='1x1'),
            pytest.param('a.png', saved(Image.new('L', (12000, 40), 99), 'PNG'), (40, 12000), id='12000x40'),
        ],
    )
    def test_of_every_kind_are_coloured_at_their_size(self, run, tmp_path, name, data, size):
        (tmp_path / name).write_bytes(data)

        outcome = run('--img', tmp_path / name, '--show-instances', '--detector', 'opencv')

        assert outcome.status == 0, outcome.text
        assert read_photo(outcome.results['a.png']).size == size

    @pytest.mark.parametrize(
        ('data', 'reason'),
        [
            pytest.param(b'', 'the file is empty', id='zero bytes'),
            pytest.param(b'my holiday', 'not an image', id='text'),
            pytest.param(saved(RGB, 'JPEG')[:-300], 'bad.jpg: ', id='truncated'),
            pytest.param(saved(RGB, 'JPEG')[:9], 'bad.jpg: ', id='header only'),
            pytest.param(bytes(range(256)) * 9, 'not an image', id='noise'),
        ],
    )
    def test_that_cannot_be_read_are_reported_and_counted_while_the_others_go_on(self, run, album, data, reason):
        (album / 'bad.jpg').write_bytes(data)

        outcome = run('--img', album)

        assert outcome.status == 1
        assert_one_sentence(outcome, f'failed: cannot read {album}/bad.jpg: ', reason)
        assert '3 coloured, 1 failed; results are in' in outcome.text
        assert sorted(outcome.results) == ['frame1.png', 'frame10.png', 'frame2.png']

    @pytest.mark.parametrize('suffix', ['.png', '.tif'])
    def test_16_bit_stays_16_bit(self, run, tmp_path, suffix):
        write_photo(gray(dtype=np.uint16), tmp_path / f'a{suffix}')

        outcome = run('--img', tmp_path / f'a{suffix}', '--format', 'same')

        written = cv2.imread(str(outcome.results[f'a{suffix}']), cv2.IMREAD_UNCHANGED)
        assert written.dtype == np.uint16
        assert written.shape == (48, 64, 3)

    def test_alpha_profile_exif_and_resolution_are_kept(self, run, tmp_path):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()
        exif = Image.Exif()
        exif[EXIF_ARTIST] = 'A. Photographer'
        rgba = RGB.copy()
        alpha = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)))
        rgba.putalpha(alpha)
        rgba.save(tmp_path / 'a.png', icc_profile=profile, exif=exif, dpi=(300, 300))

        outcome = run('--img', tmp_path / 'a.png')

        with Image.open(outcome.results['a.png']) as written:
            assert written.mode == 'RGBA'
            np.testing.assert_array_equal(np.asarray(written)[..., 3], np.asarray(alpha))
            assert written.info['icc_profile'] == profile
            assert written.getexif()[EXIF_ARTIST] == 'A. Photographer'
            assert np.round(written.info['dpi']).tolist() == [300, 300]

    def test_in_colour_are_said_once(self, run, tmp_path):
        for name in ('a.png', 'b.png'):
            RGB.save(tmp_path / name)

        outcome = run('--img', f'{tmp_path}/*.png')

        assert outcome.status == 0
        assert outcome.text.count('is in colour: only its lightness is used') == 1

    def test_decoder_and_precision(self, run, photo):
        outcome = run('--img', photo, '--decoder', 'annealed-mean:0.5', '--precision', 'bf16')

        assert outcome.status == 0
        assert 'decoded by the annealed mean (T = 0.5), in bfloat16' in outcome.text

    def test_hints(self, run, photo, tmp_path):
        hints, boxes = tmp_path / 'hints.json', tmp_path / 'boxes.npz'
        hints.write_text('{"photo.png": [{"object": 0, "color": "crimson"}]}')
        mask = np.zeros((1, 48, 64), bool)
        mask[:, 11:39, 11:49] = True
        np.savez(boxes, bbox=[[10, 10, 50, 40]], masks=mask)

        outcome = run('--img', photo, '--hints', hints, '--boxes', boxes, '--json')

        assert outcome.status == 0, outcome.text
        (hint,) = json.loads(outcome.results['photo.png.json'].read_text())['hints']
        assert hint['box'] == [10, 10, 50, 40]
        red, green, _ = read_photo(outcome.results['photo.png']).pixels[15:35, 15:45].mean(axis=(0, 1))
        assert red > green + 40

    @pytest.mark.parametrize(
        ('content', 'parts'),
        [
            pytest.param('[{"object": 0, "color": "rde"}]', ["no colour 'rde'", 'close names are red'], id='colour'),
            pytest.param('{"b.png": []}', ['not for any of the 1 of this run', 'photo.png'], id='photo'),
        ],
    )
    def test_hints_that_cannot_be_used(self, run, photo, tmp_path, content, parts):
        (tmp_path / 'hints.json').write_text(content)

        assert_one_sentence(run('--img', photo, '--hints', tmp_path / 'hints.json'), *parts)

    def test_caption(self, run, photo, tmp_path):
        boxes = tmp_path / 'boxes.npz'
        np.savez(boxes, bbox=[[10, 10, 50, 40]], labels=[5])

        outcome = run('--img', photo, '--caption', 'a red bus', '--boxes', boxes, '--json', '--show-instances')

        assert outcome.status == 0, outcome.text
        caption = json.loads(outcome.results['photo.png.json'].read_text())['caption']
        assert [(used['words'], used['objects']) for used in caption['used']] == [('red bus', [0])]
        red, green, _ = read_photo(outcome.results['photo.png']).pixels[20:30, 20:40].mean(axis=(0, 1))
        assert red > green + 40
        assert 'photo.png.instances.png' in outcome.results

    def test_captions_that_cannot_be_used(self, run, photo, tmp_path):
        (tmp_path / 'captions.json').write_text('{"b.png": "a red bus"}')

        assert_one_sentence(
            run('--img', photo, '--captions', tmp_path / 'captions.json'),
            'not for any of the 1 of this run',
            'photo.png',
        )
        assert_one_sentence(run('--img', photo, '--caption', '!'), "a caption must have words, but got '!'")

    def test_native_size(self, run, photo):
        assert read_photo(run('--img', photo, '--native-size').results['photo.png']).size == (256, 256)

    @pytest.mark.parametrize(
        'options', [['--strength', '0'], ['--saturation', '0'], ['--strength', '0', '--native-size']], ids=str
    )
    def test_colour_can_be_turned_off(self, run, photo, options):
        assert run('--img', photo).status == 0
        assert not read_photo(run('--img', photo, *options, out='grey').results['photo.png']).is_colour


class TestFolders:
    def test_run_in_numeric_order_and_are_mirrored(self, run, album, monkeypatch):
        from insta_colorization.apis import Predictor

        read, order = Predictor.read, []
        monkeypatch.setattr(Predictor, 'read', lambda *args: order.append(Path(args[1]).name) or read(*args))

        outcome = run('--img', album, '--recursive', '--workers', 0)

        assert sorted(outcome.results) == ['deeper/frame1.png', 'frame1.png', 'frame10.png', 'frame2.png']
        assert order == ['frame1.png', 'frame1.png', 'frame2.jpg', 'frame10.png']

    def test_are_resumed_by_repeating_the_command(self, run, album):
        first = run('--img', album)
        first.results['frame2.png'].unlink()
        before = first.results['frame1.png'].stat().st_mtime_ns

        again = run('--img', album)

        assert '1 coloured, 2 skipped (they exist; --overwrite makes them again), 0 failed' in again.text
        assert again.results['frame1.png'].stat().st_mtime_ns == before
        assert '3 coloured, 0 failed' in run('--img', album, '--overwrite').text

    def test_photos_that_would_share_a_name_get_their_own(self, run, album):
        write_photo(gray(), album / 'frame2.png')

        assert sorted(run('--img', album).results) == ['frame1.png', 'frame10.png', 'frame2_jpg.png', 'frame2_png.png']

    def test_format(self, run, album):
        assert sorted(run('--img', album, '--format', 'tif').results) == ['frame1.tif', 'frame10.tif', 'frame2.tif']
        assert sorted(run('--img', album, '--format', 'same', out='same').results) == [
            'frame1.png',
            'frame10.png',
            'frame2.jpg',
        ]

    def test_never_receive_their_own_results(self, run, album):
        before = {path: path.read_bytes() for path in album.iterdir() if path.is_file()}

        outcome = run('--img', album, '--format', 'same', '--overwrite', out='album')

        assert_one_sentence(outcome, 'the results would lie among the photos of', str(album))
        assert {path: path.read_bytes() for path in album.iterdir() if path.is_file()} == before

    def test_stop_without_a_trace_of_the_photo_under_way(self, run, album, monkeypatch):
        from insta_colorization.apis import Predictor

        def interrupt(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr(Predictor, 'render', interrupt)

        outcome = run('--img', album)

        assert outcome.status == 130
        assert 'stopped; repeat the command to go on' in outcome.text
        assert outcome.results == {}

    def test_survive_an_error_that_nobody_foresaw(self, run, album, monkeypatch):
        from insta_colorization.apis import Predictor

        read = Predictor.read

        def odd(predictor, source, name):
            if 'frame2' in name:
                raise RuntimeError('odd')
            return read(predictor, source, name)

        monkeypatch.setattr(Predictor, 'read', odd)

        outcome = run('--img', album)

        assert_one_sentence(outcome, 'frame2.jpg: unexpected RuntimeError: odd')
        assert len(outcome.results) == 2


class Code:
    """Pickles to a call, as a malicious checkpoint does."""

    def __reduce__(self) -> tuple:
        return print, ('owned',)


class TestErrors:
    @pytest.fixture
    def checkpoint(self, tmp_path, image_weights) -> Callable[[str], Path]:
        def make(kind: str) -> Path:
            path = tmp_path / f'{kind}.pth'
            if kind == 'code':
                torch.save({'state_dict': Code()}, path)
            elif kind == 'other':
                torch.save({'conv.weight': torch.zeros(3), 'fc.bias': torch.zeros(2)}, path)
            elif kind == 'truncated':
                save_checkpoint(load_checkpoint(image_weights).state_dict, path)
                path.write_bytes(path.read_bytes()[:-5000])
            elif kind == 'empty':
                path.touch()
            return path

        return make

    @pytest.mark.parametrize(
        ('kind', 'part'),
        [
            ('missing', 'does not exist'),
            ('empty', 'is empty'),
            ('truncated', 'truncated'),
            ('other', 'conv.weight'),
            ('code', 'holds code'),
        ],
    )
    def test_checkpoint(self, run, photo, checkpoint, kind, part):
        outcome = run('--img', photo, model=(CONFIG, checkpoint(kind)))

        assert_one_sentence(outcome, f'{kind}.pth', part)
        assert 'owned' not in outcome.text

    @pytest.mark.parametrize(
        ('config', 'parts'),
        [
            pytest.param(
                'configs/insta/insta_ful_cocostuff_256x256.py',
                ['does not exist', 'insta_full_cocostuff_256x256'],
                id='missing',
            ),
            pytest.param(str(DEMO), ['colorization_demo.py cannot be used'], id='no config'),
            pytest.param(str(ROOT / 'README.md'), ['cannot be used'], id='no Python'),
            pytest.param('broken.py', ['broken.py cannot be used', 'SyntaxError'], id='broken'),
            pytest.param(
                'mmagic.py', ['ImageColorizer, InstanceColorizer, InstColorizer, but is InstColorization'], id='MMagic'
            ),
        ],
    )
    def test_config(self, run, photo, tmp_path, monkeypatch, config, parts):
        monkeypatch.chdir(tmp_path)
        Path('broken.py').write_text('model = dict(')
        Path('mmagic.py').write_text("model = dict(type='InstColorization')")

        assert_one_sentence(run('--img', photo, model=(config,)), *parts)

    @pytest.mark.parametrize(
        ('options', 'parts'),
        [
            pytest.param(['--device', 'cuda:77'], ["no device 'cuda:77'", 'cpu'], id='device'),
            pytest.param(['--batch-size', '0'], ['batch_size', '0'], id='batch size 0'),
            pytest.param(['--batch-size', 'many'], ["'many'"], id='batch size'),
            pytest.param(['--max-instances', '-1'], ['max_instances', '-1'], id='max instances'),
            pytest.param(['--score-thr', 'nan'], ['score_thr', 'nan'], id='score'),
            pytest.param(['--min-size', '-2'], ['min_size', '-2'], id='size'),
            pytest.param(['--input-size', '100'], ['input_size', '100'], id='input size'),
            pytest.param(['--decoder', 'mode'], ['decoder', "'mode'", 'annealed-mean'], id='decoder'),
            pytest.param(['--preset', 'vivid'], ["no preset 'vivid'", 'none at all'], id='preset'),
            pytest.param(['--decoder', 'annealed-mean:0'], ['temperature', '0'], id='temperature'),
            pytest.param(['--precision', 'fp8'], ['precision', "'fp8'", 'bf16'], id='precision'),
            pytest.param(['--precision', 'fp16'], ["'fp16' needs a GPU"], id='fp16'),
            pytest.param(['--crop-budget', '0'], ['crop_budget', '0'], id='crop budget'),
            pytest.param(['--workers', '-1'], ['workers', '-1'], id='workers'),
            pytest.param(['--saturation', 'nan'], ['saturation', 'nan'], id='saturation nan'),
            pytest.param(['--saturation', '-1'], ['saturation', '-1'], id='saturation'),
            pytest.param(['--saturation', 'much'], ["'much'"], id='saturation text'),
            pytest.param(['--strength', '2'], ['strength', '2'], id='strength'),
            pytest.param(['--upsampling', 'cubic'], ['upsampling', "'cubic'", 'bilinear'], id='upsampling'),
            pytest.param(['--format', 'gif'], ['format', "'gif'", 'png'], id='format'),
            pytest.param(['--show-fusion', '3', '99'], ["no layer '99'", 'conv10'], id='layer'),
            pytest.param(['--show-fusion', '3'], ['the full-image network alone'], id='nothing is fused'),
            pytest.param(['--colour'], ['--colour'], id='unknown option'),
        ],
    )
    def test_option(self, run, album, options, parts):
        outcome = run('--img', album, *options)

        assert_one_sentence(outcome, *parts)
        assert outcome.results == {}

    @pytest.mark.parametrize(
        ('inputs', 'parts'),
        [
            pytest.param(['none.jpg'], ['none.jpg does not exist'], id='missing'),
            pytest.param(['*.none'], ['no file matches the pattern *.none'], id='pattern'),
            pytest.param(['empty'], ['the folder empty holds no photo'], id='folder'),
            pytest.param([''], ["got ''"], id='empty string'),
            pytest.param(['http://127.0.0.1:9/a.jpg'], ['cannot read http://127.0.0.1:9/a.jpg', 'refused'], id='URL'),
        ],
    )
    def test_input(self, run, tmp_path, monkeypatch, inputs, parts):
        monkeypatch.chdir(tmp_path)
        Path('empty').mkdir()

        assert_one_sentence(run('--img', *inputs), *parts)

    @pytest.mark.parametrize('out', ['photo.png', 'photo.png/below'])
    def test_output_folder(self, run, photo, out):
        assert_one_sentence(run('--img', photo, out=out), 'cannot write to the folder', out)

    def test_debug_shows_where_it_came_from(self, run, photo):
        assert 'Traceback' in run('--img', photo, '--batch-size', '0', '--debug').text

    @pytest.mark.slow
    def test_in_a_process_of_its_own(self, tmp_path):
        done = forked.run(DEMO, CONFIG, 'none.pth', '--out-dir', tmp_path / 'out', cwd=tmp_path)

        assert done.returncode == 1
        assert done.stderr == 'error: checkpoint none.pth does not exist\n'
        assert done.stdout == ''
