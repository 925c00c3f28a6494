"""MMDetDetector with real models: built from the configs that the installed mmdet ships, at random weights."""

import socket
import urllib.request
from http.client import IncompleteRead

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope

from insta_colorization.detectors import EmbeddedDetector, InstanceDetector, MMDetDetector, build_detector
from insta_colorization.detectors.mmdet import DEFAULT_CONFIG, find_config
from insta_colorization.registry import MODELS

pytest.importorskip('mmcv._ext', reason='mmdet needs the compiled mmcv', exc_type=ImportError)
pytest.importorskip('mmdet', reason='mmdet is not installed')

TWO_STAGE, ONE_STAGE = 'mask-rcnn_r50_fpn_1x_coco', 'retinanet_r18_fpn_1x_coco'
SMALL_INPUT = [
    {'type': 'mmdet.LoadImageFromNDArray'},
    {'type': 'mmdet.Resize', 'scale': (96, 96), 'keep_ratio': True},
    {'type': 'mmdet.PackDetInputs', 'meta_keys': ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')},
]
# Random weights are sure of nothing, so every score has to be let through.
TWO_STAGE_OPTIONS = {
    'test_dataloader.dataset.pipeline': SMALL_INPUT,
    'model.test_cfg.rpn.nms_pre': 20,
    'model.test_cfg.rpn.max_per_img': 20,
    'model.test_cfg.rcnn.score_thr': 0.0,
    'model.test_cfg.rcnn.max_per_img': 5,
}
ONE_STAGE_OPTIONS = {
    'test_dataloader.dataset.pipeline': SMALL_INPUT,
    'model.test_cfg.score_thr': 0.0,
    'model.test_cfg.nms_pre': 20,
    'model.test_cfg.max_per_img': 5,
}


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def build(config, options, **arguments):
    torch.manual_seed(0)
    return MMDetDetector(config, random_weights=True, cfg_options=options, **arguments)


@pytest.fixture(scope='module')
def two_stage():
    return build(TWO_STAGE, TWO_STAGE_OPTIONS)


@pytest.fixture(scope='module')
def one_stage():
    return build(ONE_STAGE, ONE_STAGE_OPTIONS)


@pytest.mark.slow
class TestTwoStage:
    def test_gives_boxes_scores_and_masks_of_each_photo(self, two_stage):
        photos = [photo(120, 80), photo(60, 90)]

        found = two_stage.detect(photos)

        assert isinstance(two_stage, InstanceDetector)
        assert two_stage.score_thr == 0.7
        for image, instances in zip(photos, found, strict=True):
            assert instances.image_size.tolist() == [list(image.shape[:2])]
            assert 0 < len(instances) <= 5
            assert len(instances.masks) == len(instances)
            assert instances.classes[0] == 'person'
            assert ((instances.labels >= 0) & (instances.labels < 80)).all()
            assert ((instances.scores >= 0) & (instances.scores <= 1)).all()

    def test_without_masks_the_boxes_are_the_same(self, two_stage):
        without = build(TWO_STAGE, TWO_STAGE_OPTIONS, masks=False)

        (found,), (expected,) = (detector.detect([photo(120, 80)]) for detector in (without, two_stage))

        assert found.masks is None
        assert not without._model.roi_head.with_mask
        torch.testing.assert_close(found.boxes, expected.boxes)
        torch.testing.assert_close(found.scores, expected.scores)

    def test_sees_three_copies_of_lightness(self, two_stage, monkeypatch):
        seen = []
        forward = two_stage._model.test_step
        monkeypatch.setattr(two_stage._model, 'test_step', lambda data: seen.append(data['inputs'][0]) or forward(data))

        two_stage.detect([photo(64, 64)])

        assert seen[0].unique(dim=0).shape[0] == 1

    def test_neighbours_do_not_matter(self, two_stage):
        alone = two_stage.detect([photo(120, 80)])[0]
        among_others = two_stage.detect([photo(40, 200, seed=1), photo(120, 80)])[1]

        assert alone.boxes.equal(among_others.boxes)

    @pytest.mark.parametrize('size', [(1, 1), (40, 12000), (12000, 40), (1, 500)], ids=str)
    def test_extreme_photos(self, two_stage, size):
        instances = two_stage.detect([photo(*size)])[0]

        assert instances.image_size.tolist() == [list(size)]
        assert len(instances.masks) == len(instances)

    def test_no_photos(self, two_stage):
        assert two_stage.detect([]) == []

    def test_our_types_are_still_found(self, two_stage):
        two_stage.detect([photo(32, 32)])

        current = DefaultScope.get_current_instance()
        assert current is None or current.scope_name != 'mmdet'
        assert type(MODELS.build({'type': 'NoDetector'})).__name__ == 'NoDetector'


@pytest.mark.slow
class TestOneStage:
    def test_gives_boxes_without_masks(self, one_stage):
        instances = one_stage.detect([photo(120, 80)])[0]

        assert len(instances) == 5
        assert instances.masks is None

    def test_extreme_photos(self, one_stage):
        sizes = [(1, 1), (40, 12000)]

        found = one_stage.detect([photo(*size) for size in sizes])

        assert [tuple(instances.image_size[0].tolist()) for instances in found] == sizes

    def test_yolox(self):
        detector = build('yolox_tiny_8xb8-300e_coco', {'model.test_cfg.score_thr': 0.0})

        assert len(detector.detect([photo(50, 70)])[0]) > 0


@pytest.mark.slow
class TestCheckpoint:
    def build(self, checkpoint):
        return MMDetDetector(ONE_STAGE, checkpoint, cfg_options=ONE_STAGE_OPTIONS)

    def test_weights_arrive_with_notes_beside_them(self, one_stage, tmp_path):
        notes = {'epoch': 1, 'best': np.float64(0.5), 'losses': np.ones(2)}
        content = {'state_dict': one_stage._model.state_dict(), 'meta': notes}
        torch.save(content, tmp_path / 'weights.pth')
        torch.manual_seed(1)

        loaded = self.build(tmp_path / 'weights.pth')

        assert loaded.detect([photo(64, 64)])[0].boxes.equal(one_stage.detect([photo(64, 64)])[0].boxes)

    def test_weights_of_another_model(self, two_stage, tmp_path):
        torch.save(two_stage._model.state_dict(), tmp_path / 'other.pth')

        with pytest.raises(ValueError, match=r'other\.pth does not belong to RetinaNet'):
            self.build(tmp_path / 'other.pth')

    def test_code_in_the_checkpoint_is_refused(self, one_stage, tmp_path):
        # What MMEngine's unpublished checkpoints hold; it pickles `getattr`.
        history = HistoryBuffer(np.ones(1), np.ones(1))
        torch.save({'state_dict': one_stage._model.state_dict(), 'message_hub': history}, tmp_path / 'code.pth')

        with pytest.raises(ValueError, match=r'code\.pth is not .* read safely: .* code, \S+; .*publish_model\.py'):
            self.build(tmp_path / 'code.pth')

    @pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut off', b'text'], ids=['empty', 'truncated', 'text'])
    def test_damaged_file(self, tmp_path, content):
        (tmp_path / 'damaged.pth').write_bytes(content)

        with pytest.raises(ValueError, match=r'damaged\.pth is not a checkpoint'):
            self.build(tmp_path / 'damaged.pth')


class TestMissing:
    def test_checkpoint_file(self):
        with pytest.raises(FileNotFoundError, match=r'no detector checkpoint nowhere\.pth; .*`opencv`'):
            MMDetDetector(ONE_STAGE, 'nowhere.pth')

    def test_weights_that_cannot_be_fetched(self, monkeypatch, tmp_path):
        def no_network(*_args, **_kwargs):
            raise socket.gaierror('no network in this test')

        monkeypatch.setattr(socket, 'getaddrinfo', no_network)
        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
        for proxy in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
            monkeypatch.delenv(proxy, raising=False)

        with pytest.raises(FileNotFoundError) as caught:
            MMDetDetector()

        message = str(caught.value)
        assert 'mask_rcnn_x101_64x4d_fpn_mstrain-poly_3x_coco' in message
        assert f'put the file into {tmp_path / "checkpoints"}' in message
        assert 'no network in this test' in message
        assert 'work without it' in message
        assert list((tmp_path / 'checkpoints').iterdir()) == []

    def test_auto_falls_back_when_a_download_breaks_off(self, monkeypatch, tmp_path):
        def broken_off(*_args, **_kwargs):
            raise IncompleteRead(b'half')

        monkeypatch.setattr(urllib.request.OpenerDirector, 'open', broken_off)
        monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))

        assert isinstance(build_detector('auto'), EmbeddedDetector)
        with pytest.raises(FileNotFoundError, match=r'could not be fetched from https://.* \(IncompleteRead'):
            MMDetDetector()

    def test_config(self):
        with pytest.raises(ValueError, match=f'no detector config mask-rcnn_r50_fpn_1x_cocoa, .*{TWO_STAGE}'):
            MMDetDetector('mask-rcnn_r50_fpn_1x_cocoa')

    def test_random_weights_and_a_checkpoint(self):
        with pytest.raises(ValueError, match='no use for the checkpoint'):
            MMDetDetector(ONE_STAGE, 'weights.pth', random_weights=True)


@pytest.mark.parametrize('name', [DEFAULT_CONFIG, f'{DEFAULT_CONFIG}.py', f'mask_rcnn/{DEFAULT_CONFIG}'])
def test_configs_are_found_by_name(name):
    assert find_config(name).name == f'{DEFAULT_CONFIG}.py'
