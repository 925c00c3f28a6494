import importlib.util
import logging

import alone
import numpy as np
import pytest

from insta_colorization.detectors import (
    CachedDetector,
    EmbeddedDetector,
    InstanceDetector,
    MMDetDetector,
    NoDetector,
    OnnxDetector,
    OpenCVDetector,
    build,
    build_detector,
)
from insta_colorization.registry import MODELS

PHOTO = np.zeros((20, 30, 3), np.uint8)
COCO = '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}'


@pytest.fixture(autouse=True)
def _fresh_log():
    build._say.cache_clear()


@pytest.mark.parametrize(
    ('spec', 'kind'), [('none', NoDetector), ('opencv', OpenCVDetector), ('embedded', EmbeddedDetector)], ids=str
)
def test_names(spec, kind):
    detector = build_detector(spec, score_thr=0.4)

    assert type(detector) is kind
    assert isinstance(detector, InstanceDetector)
    assert detector.score_thr == 0.4


@pytest.mark.parametrize(
    'spec',
    [
        pytest.param({'type': 'OpenCVDetector', 'score_thr': 0.6}, id='bare'),
        pytest.param({'type': 'insta_colorization.OpenCVDetector', 'score_thr': 0.6}, id='with-scope'),
        pytest.param({'type': OpenCVDetector, 'score_thr': 0.6}, id='class'),
    ],
)
def test_registry_entries(spec):
    before = dict(spec)

    detector = build_detector(spec)

    assert type(detector) is OpenCVDetector
    assert detector.score_thr == 0.6
    assert spec == before


def test_a_config_may_name_them():
    assert type(MODELS.build({'type': 'insta_colorization.NoDetector'})) is NoDetector


@pytest.mark.parametrize(
    ('spec', 'masks', 'expected'),
    [
        pytest.param({}, None, None, id='the detector decides'),
        pytest.param({}, True, True, id='wanted'),
        pytest.param({}, False, False, id='not wanted'),
        pytest.param({'masks': True}, False, True, id='asked for by the entry'),
    ],
)
def test_masks_that_are_wanted_or_not(spec, masks, expected):
    class Masking(NoDetector):
        def __init__(self, masks=None):
            self.masks = masks

    assert build_detector({'type': Masking, **spec}, masks=masks).masks is expected
    assert type(build_detector('none', masks=masks)) is NoDetector


def test_files(tmp_path):
    (tmp_path / 'boxes.json').write_text(COCO)
    (tmp_path / 'results.json').write_text('[]')
    np.savez(tmp_path / 'photo.npz', bbox=np.zeros((0, 4)))

    for spec in (
        tmp_path / 'boxes.json',
        str(tmp_path / 'boxes.json'),
        f'{tmp_path}/results.json:{tmp_path}/boxes.json',
        tmp_path / 'photo.npz',
        tmp_path,
    ):
        detector = build_detector(spec)
        assert type(detector) is CachedDetector
        assert len(detector.detect([PHOTO], ['photo.jpg'])[0]) == 0


def test_onnx_file(shared):
    detector = build_detector(shared / 'detector' / 'yolox_nano.onnx')

    assert type(detector) is OnnxDetector
    assert detector.score_thr == 0.3


@pytest.mark.parametrize('value', [0.5, 0.0])
def test_overrides(value):
    assert build_detector('opencv', score_thr=value).score_thr == value
    assert build_detector({'type': 'OpenCVDetector', 'score_thr': 0.9}, score_thr=value).score_thr == value
    assert build_detector(OpenCVDetector(), score_thr=value).score_thr == value


def test_what_was_not_set_keeps_the_detectors_own():
    assert build_detector('opencv', score_thr=None).score_thr == OpenCVDetector().score_thr


def test_a_detector_is_returned_as_it_is():
    detector = NoDetector()

    assert build_detector(detector) is detector


@pytest.mark.parametrize(
    ('spec', 'error', 'message'),
    [
        pytest.param(
            'yolo9000', ValueError, r"no detector 'yolo9000'; known are none, embedded, opencv, mmdet, auto", id='name'
        ),
        pytest.param(
            {'type': 'Yolo'},
            ValueError,
            'no detector type Yolo; .*CachedDetector, EmbeddedDetector, MMDetDetector',
            id='type',
        ),
        pytest.param({}, ValueError, 'no detector type None', id='no-type'),
        pytest.param(3, TypeError, '`detect` and `score_thr`, but got int', id='number'),
        pytest.param('nowhere.onnx', FileNotFoundError, 'nowhere.onnx', id='onnx-file'),
        pytest.param('nowhere.json', FileNotFoundError, 'nowhere.json', id='json-file'),
        pytest.param('nowhere.npz', FileNotFoundError, 'nowhere.npz', id='npz-file'),
    ],
)
def test_refuses(spec, error, message):
    with pytest.raises(error, match=message):
        build_detector(spec)


@pytest.mark.slow
def test_an_unknown_type_does_not_wake_other_zoos():
    code = (
        'import sys; from insta_colorization.detectors import build_detector\n'
        'try: build_detector(dict(type="Yolo"))\n'
        'except ValueError: pass\n'
        'print(*sorted({"mmagic.models", "mmdet", "onnxruntime", "pycocotools", "diffusers"} & set(sys.modules)))'
    )

    done = alone.run(code)

    assert (done.returncode, done.stdout.strip()) == (0, '')


class TestAuto:
    def logged(self, caplog, *arguments, **options):
        with caplog.at_level(logging.INFO, 'insta_colorization'):
            detector = build_detector('auto', *arguments, **options)
        return detector, [record.getMessage() for record in caplog.records if 'detector:' in record.getMessage()]

    def test_takes_the_configured_one_when_it_is_here(self, caplog):
        detector, lines = self.logged(caplog, configured={'type': 'NoDetector'})

        assert type(detector) is NoDetector
        assert len(lines) == 1
        assert 'NoDetector' in lines[0]

    def test_takes_the_embedded_one_when_a_file_is_missing(self, caplog):
        detector, lines = self.logged(caplog, configured='nowhere.onnx', score_thr=0.9)

        assert type(detector) is EmbeddedDetector
        assert detector.score_thr == 0.9
        assert lines == ['detector: the embedded one, because there is no detector file nowhere.onnx']

    def test_takes_the_embedded_one_without_mmdet(self, caplog, monkeypatch):
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'mmdet' else find_spec(name))

        detector, lines = self.logged(caplog)

        assert type(detector) is EmbeddedDetector
        assert 'needs mmdet, which is not installed: pip install' in lines[0]

    @pytest.mark.slow
    def test_says_so_once(self, caplog):
        self.logged(caplog, configured='nowhere.onnx')

        assert len(self.logged(caplog, configured='nowhere.onnx')[1]) == 1

    def test_a_broken_file_is_not_passed_over(self, tmp_path):
        (tmp_path / 'broken.onnx').write_bytes(b'')

        with pytest.raises(ValueError, match=r'broken\.onnx is not an ONNX model'):
            build_detector('auto', configured=tmp_path / 'broken.onnx')


class TestMMDetSpecs:
    @pytest.fixture
    def built(self, monkeypatch):
        """The arguments with which MMDetDetector would have been built."""
        calls = []

        def record(self, config='default', checkpoint=None, device='cpu', score_thr=0.7):
            self.score_thr = score_thr
            calls.append((config, checkpoint, device, score_thr))

        monkeypatch.setattr(MMDetDetector, '__init__', record)
        return calls

    @pytest.mark.parametrize(
        ('spec', 'expected'),
        [
            pytest.param('mmdet', ('default', None), id='default'),
            pytest.param('my/config.py', ('my/config.py', None), id='file'),
            pytest.param('my/config.py:weights.pth', ('my/config.py', 'weights.pth'), id='file-and-checkpoint'),
            pytest.param('rtmdet:https://host/w.pth', ('rtmdet', 'https://host/w.pth'), id='name-and-address'),
        ],
    )
    def test_parts(self, built, spec, expected):
        build_detector(spec, device='cuda:1', score_thr=0.4)

        assert built == [(*expected, 'cuda:1', 0.4)]

    def test_a_name_of_mmdet(self, built):
        if importlib.util.find_spec('mmdet') is None:
            pytest.skip('mmdet is not installed')

        build_detector('retinanet_r50_fpn_1x_coco')

        assert built[0][0] == 'retinanet_r50_fpn_1x_coco'
