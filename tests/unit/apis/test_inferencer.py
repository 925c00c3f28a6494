import copy
import gc
import hashlib
import http.server
import io
import json
import logging
import os
import pickle
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from PIL import Image
from skimage.color import rgb2lab

from insta_colorization.apis import ColorizationInferencer, Predictor
from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.colorspace import pixel_lightness
from insta_colorization.detectors import CachedDetector
from insta_colorization.imaging.photo import ImageReadError, encode_photo, read_photo, write_photo
from insta_colorization.structures import ColorizationSample, Instances
from insta_colorization.utils.configs import DEFAULT_WEIGHTS
from insta_colorization.utils.device import resolve_device
from insta_colorization.utils.options import InputOptions

BOXES = [[4.0, 2.0, 30.0, 40.0], [20.0, 10.0, 60.0, 44.0]]


class Boxes:
    """A detector that finds the same boxes everywhere and counts how often it is asked."""

    def __init__(self, boxes: list[list[float]] = BOXES, score_thr: float = 0.0) -> None:
        self.boxes, self.score_thr, self.calls = boxes, score_thr, 0

    def detect(self, images, paths=None):
        self.calls += len(images)
        scores = np.linspace(0.9, 0.1, len(self.boxes))
        return [Instances.clipped(self.boxes, image.shape[:2], scores) for image in images]


def textured(height: int = 48, width: int = 64, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    """A grey photo (H, W) of middle lightness, so that its colours fit into sRGB."""
    rng = np.random.default_rng(seed)
    waves = np.sin(np.linspace(0, 9, height))[:, None] + np.cos(np.linspace(seed, 7, width))
    values = (0.5 + 0.1 * waves + rng.uniform(-0.05, 0.05, (height, width))) * np.iinfo(dtype).max
    return values.clip(0, np.iinfo(dtype).max).astype(dtype)


def chroma(picture: np.ndarray) -> float:
    """Mean distance of an RGB picture's channels from one another, 0..1."""
    return float(np.ptp(picture.astype(float), axis=2).mean() / np.iinfo(picture.dtype).max)


@pytest.fixture(scope='module')
def fused(fused_weights) -> ColorizationInferencer:
    return ColorizationInferencer(weights=fused_weights, device='cpu', detector=Boxes())


@pytest.fixture(scope='module')
def plain(image_weights) -> ColorizationInferencer:
    return ColorizationInferencer(weights=image_weights, device='cpu')


@pytest.fixture
def album(tmp_path) -> Path:
    """Photos `1.png` .. `4.png` of different sizes."""
    folder = tmp_path / 'album'
    folder.mkdir()
    for number in range(1, 5):
        write_photo(textured(40 + number, 60, seed=number), folder / f'{number}.png')
    return folder


class TestConstruction:
    def test_is_one_of_mmengines(self, plain):
        assert isinstance(plain, BaseInferencer)

    def test_the_checkpoint_decides_which_networks_there_are(self, plain, fused):
        assert plain.model.networks == ('image_net',)
        assert fused.model.networks == ('image_net', 'instance_net', 'fusion_net')

    @pytest.mark.slow
    def test_shipped_weights_by_default(self):
        inferencer = ColorizationInferencer(device='cpu')

        assert inferencer.cfg.filename.endswith('insta_fusion_lite_256x256.py')
        assert 'instances' in inferencer.model.uses
        assert inferencer.predictor.input_size == 256
        assert type(inferencer.predictor.detector).__name__ == 'EmbeddedDetector'

    def test_weights_of_anyone_are_decoded_and_sized_as_the_paper_does(self, fused_weights, tmp_path):
        bare = tmp_path / 'bare.safetensors'
        save_checkpoint(load_checkpoint(fused_weights).state_dict, bare)

        inferencer = ColorizationInferencer(weights=bare, device='cpu')

        assert type(inferencer.model.decoder).__name__ == 'RegressionDecoder'
        assert inferencer.predictor.input_size == 256

    def test_metadata_comes_before_the_config(self, image_weights, tmp_path):
        decoder = json.dumps({'type': 'AnnealedMeanDecoder', 'temperature': 0.5})
        path = tmp_path / 'a.pth'
        metadata = {'input_size': '32', 'decoder': decoder, 'mask_centre': '0'}
        save_checkpoint(load_checkpoint(image_weights).state_dict, path, metadata=metadata)

        inferencer = ColorizationInferencer('insta_full_cocostuff_256x256', path, device='cpu')

        assert inferencer.predictor.input_size == 32
        assert inferencer.model.decoder.temperature == 0.5
        assert inferencer.model.mask_centre == 0

    @pytest.mark.parametrize('kind', [dict, Config], ids=['dict', 'Config'])
    def test_config_objects(self, kind, image_weights):
        config = kind({'model': {'type': 'ImageColorizer'}, 'input_size': 16})

        assert ColorizationInferencer(config, image_weights, 'cpu').predictor.input_size == 64

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param({'device': 'tpu'}, "no device 'tpu' here; there are cpu", id='device'),
            pytest.param({'device': 'cuda:99'}, "no device 'cuda:99'", id='device number'),
            pytest.param({'max_instances': -1}, 'max_instances must be at least 0, but got -1', id='max_instances'),
            pytest.param({'score_thr': float('nan')}, 'score_thr must be finite, but got nan', id='score_thr'),
            pytest.param({'min_size': -1.0}, 'min_size must be at least 0 and finite, but got -1', id='min_size'),
            pytest.param({'input_size': 0}, 'positive multiple of 8, but got 0', id='input_size 0'),
            pytest.param({'input_size': 100}, 'positive multiple of 8, but got 100', id='input_size 100'),
            pytest.param(
                {'preset': 'vivid'}, r"image\.safetensors has no preset 'vivid'; it has none at all", id='preset'
            ),
            pytest.param(
                {'preset': 'vivid', 'decoder': 'regression'},
                "preset 'vivid' and decoder 'regression' exclude each other",
                id='preset and decoder',
            ),
            pytest.param({'decoder': 'mode'}, "decoder must be 'regression.* but got 'mode'", id='decoder'),
            pytest.param({'precision': 'fp8'}, "one of auto, fp32, bf16, fp16, but got 'fp8'", id='precision'),
            pytest.param({'precision': 'fp16'}, "'fp16' needs a GPU", id='fp16'),
            pytest.param({'model': {'a': 1}}, 'has no `model`, but has a', id='config'),
            pytest.param({'model': {'model': {'type': 'ResNet'}}}, 'ImageColorizer, .* but is ResNet', id='model'),
        ],
    )
    def test_bad_arguments(self, image_weights, arguments, message):
        with pytest.raises(ValueError, match=message):
            ColorizationInferencer(**{'weights': image_weights, 'device': 'cpu', **arguments})

    @pytest.mark.parametrize(
        ('weights', 'decoder', 'words'),
        [
            ('fused_weights', None, 'fusion_net, decoded by the regression head'),
            ('image_weights', 'regression', 'image_net, decoded by the regression head'),
            ('image_weights', 'annealed-mean', 'image_net, decoded by the annealed mean (T = 0.38)'),
            ('image_weights', 'annealed-mean:0.7', 'image_net, decoded by the annealed mean (T = 0.7)'),
        ],
    )
    def test_says_once_what_colours(self, request, caplog, weights, decoder, words):
        caplog.set_level(logging.INFO, 'insta_colorization')

        inferencer = ColorizationInferencer(
            weights=request.getfixturevalue(weights),
            device='cpu',
            decoder=decoder,
            precision='fp32',
            detector='none',
        )
        inferencer([textured(), textured()])

        (line,) = [message for message in caplog.messages if 'photos are coloured by' in message]
        assert f'photos are coloured by the {words}, in float32' in line

    def test_auto_device_exists(self):
        assert resolve_device('auto') == ('cuda' if torch.cuda.is_available() else 'cpu')


class TestInputs:
    @pytest.fixture
    def photo(self, tmp_path) -> Path:
        write_photo(textured(), tmp_path / 'a.png')
        return tmp_path / 'a.png'

    @pytest.mark.parametrize(
        'given',
        [
            pytest.param(str, id='path'),
            pytest.param(Path, id='Path'),
            pytest.param(lambda path: [path], id='list'),
            pytest.param(lambda path: (str(path),), id='tuple'),
            pytest.param(lambda path: path.parent.glob('*.png'), id='iterator'),
            pytest.param(lambda path: path.parent, id='folder'),
            pytest.param(lambda path: f'{path.parent}/*.png', id='pattern'),
            pytest.param(lambda path: read_photo(path).pixels, id='array'),
            pytest.param(lambda path: read_photo(path).pixels[..., 0], id='grey array'),
            pytest.param(lambda path: [read_photo(path).pixels], id='list of arrays'),
        ],
    )
    def test_every_kind_gives_the_same_picture(self, plain, photo, given):
        result = plain(given(photo))

        (picture,) = result['visualization']
        assert len(result['predictions']) == 1
        np.testing.assert_array_equal(picture, plain(photo)['visualization'][0])

    def test_url(self, plain, photo):
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, directory=str(photo.parent), **kwargs)

            def log_message(self, *args):
                pass

        with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Quiet) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            address = f'http://127.0.0.1:{server.server_port}'
            (picture,) = plain(f'{address}/a.png')['visualization']
            with pytest.raises(ImageReadError, match=r'cannot read http.*/none\.png: .*'):
                plain(f'{address}/none.png')
            server.shutdown()

        np.testing.assert_array_equal(picture, plain(photo)['visualization'][0])

    def test_nothing(self, plain):
        assert plain([]) == {'predictions': [], 'visualization': []}

    def test_records(self, fused):
        (record,) = fused(textured())['predictions']

        assert record == {
            'photo': 'array 0',
            'output': None,
            'status': 'done',
            'size': [48, 64],
            'network': 'fusion_net',
            'boxes': BOXES,
            'scores': [0.9, 0.1],
        }
        json.dumps(record)

    def test_samples(self, fused):
        (sample,) = fused(textured(), return_datasamples=True)['predictions']

        assert isinstance(sample, ColorizationSample)
        assert sample.pred_ab.shape == (2, 64, 64)
        assert len(sample.instances) == 2

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param({'batch_size': 0}, 'batch_size must be at least 1, but got 0', id='batch_size'),
            pytest.param({'crop_budget': 0}, 'crop_budget must be at least 1, but got 0', id='crop_budget'),
            pytest.param({'workers': -1}, 'workers must be at least 0, but got -1', id='workers'),
            pytest.param({'on_error': 'ignore'}, "'raise' or 'collect', but got 'ignore'", id='on_error'),
            pytest.param({'saturation': float('nan')}, 'saturation must .* but got nan', id='saturation nan'),
            pytest.param({'saturation': -1.0}, 'saturation must .* but got -1', id='saturation negative'),
            pytest.param({'strength': 1.5}, 'strength must lie in 0..1, but got 1.5', id='strength'),
            pytest.param({'upsampling': 'cubic'}, "guided, bilinear, but got 'cubic'", id='upsampling'),
            pytest.param({'show_fusion': ['99']}, "no layer '99'; known are conv1", id='layer'),
            pytest.param({'show_fusion': ['3']}, 'no fusion weights to show', id='nothing is fused'),
            pytest.param({'suffix': '.gif'}, "but got '.gif'", id='suffix'),
            pytest.param({'saturated': 2}, 'unknown argument', id='unknown'),
        ],
    )
    def test_bad_arguments_are_met_before_the_first_photo(self, plain, arguments, message, monkeypatch):
        monkeypatch.setattr(Predictor, 'read', lambda *args: pytest.fail('a photo was read'))

        with pytest.raises(ValueError, match=message):
            plain(textured(), **{'on_error': 'collect', **arguments})


class TestStepByStep:
    """What mmengine's own inferencers promise (its `tests/test_infer`): each step alone gives what the call gives."""

    @pytest.mark.parametrize(
        'given',
        [
            pytest.param(lambda album: album, id='folder'),
            pytest.param(str, id='folder as text'),
            pytest.param(lambda album: sorted(map(str, album.iterdir())), id='paths'),
            pytest.param(lambda album: [read_photo(path).pixels for path in sorted(album.iterdir())], id='arrays'),
            pytest.param(lambda album: sorted(map(str, album.iterdir()))[0], id='one path'),
        ],
    )
    @pytest.mark.parametrize('batch_size', [1, 3])
    @pytest.mark.slow
    def test_steps_give_what_the_call_gives(self, fused, album, given, batch_size):
        inputs = given(album)
        expected = fused(inputs, batch_size=batch_size, saturation=1.5)

        batches = list(fused.preprocess(inputs, batch_size=batch_size))
        preds = [sample for batch in batches for sample in fused.forward(batch)]
        pictures = fused.visualize(inputs, preds, saturation=1.5)
        result = fused.postprocess(preds, pictures)

        count = len(expected['predictions'])
        assert [len(batch['data_samples']) for batch in batches] == [
            min(batch_size, count - first) for first in range(0, count, batch_size)
        ]
        assert result['predictions'] == expected['predictions']
        for one, other in zip(result['visualization'], expected['visualization'], strict=True):
            np.testing.assert_array_equal(one, other)

    def test_inputs_to_list_expands_folders_once(self, fused, album):
        listed = fused._inputs_to_list(str(album))

        assert [Path(job.name).name for job in listed] == ['1.png', '2.png', '3.png', '4.png']
        assert fused._inputs_to_list(listed) == listed
        assert len(list(fused.preprocess(listed, batch_size=2))) == 2

    def test_pipeline_packs_one_photo(self, fused):
        data = fused.pipeline(textured())

        assert data['inputs']['image'].shape == (3, 64, 64)
        assert len(data['data_samples'].instances) == 2
        (sample,) = fused.forward(fused.collate_fn([data]), show_fusion=['3'])
        assert sample.pred_ab.shape == (2, 64, 64)
        assert 'conv3' in sample.fusion_shares

    def test_samples_instead_of_records(self, fused):
        (batch,) = fused.preprocess(textured())
        preds = fused.forward(batch)

        result = fused.postprocess(preds, [], return_datasamples=True)

        assert result['predictions'] == preds

    def test_arguments_are_dispatched_by_name(self, fused):
        assert fused._dispatch_kwargs(show_fusion=['3'], saturation=2.0) == (
            {},
            {'show_fusion': ['3']},
            {'saturation': 2.0},
            {},
        )
        with pytest.raises(ValueError, match='unknown argument'):
            fused._dispatch_kwargs(saturated=2.0)


class TestColour:
    @pytest.mark.parametrize('size', [(1, 1), (40, 1200), (300, 7), (64, 64)])
    @pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
    def test_size_depth_and_lightness_are_the_photos(self, plain, size, dtype):
        photo = textured(*size, dtype=dtype)

        (picture,) = plain(photo)['visualization']

        assert picture.shape == (*size, 3)
        assert picture.dtype == dtype
        lightness = pixel_lightness(np.repeat(photo[..., None], 3, axis=2))
        assert (pixel_lightness(picture) - lightness).abs().mean() < 0.3

    def test_colour_of_the_input_changes_nothing_but_its_lightness(self, plain, caplog):
        photo = np.repeat(textured()[..., None], 3, axis=2)
        tinted = photo.copy()
        tinted[..., 0] += 40
        same_lightness = pixel_lightness(tinted)

        pictures = plain([tinted, tinted])['visualization']

        assert (pixel_lightness(pictures[0]) - same_lightness).abs().mean() < 0.3
        assert [record.message for record in caplog.records].count(
            'array 0 is in colour: only its lightness is used (said once)'
        ) + sum('array 1 is in colour' in record.message for record in caplog.records) == 1

    def test_controls(self, plain):
        full, half, none, vivid = (
            chroma(plain(textured(), **controls)['visualization'][0])
            for controls in ({}, {'strength': 0.5}, {'strength': 0.0}, {'saturation': 2.0})
        )

        assert none < 0.005 < half < full
        assert vivid != full
        assert chroma(plain(textured(), saturation=0.0)['visualization'][0]) < 0.005

    def test_upsampling(self, plain):
        guided, bilinear = (
            plain(textured(200, 300), upsampling=name)['visualization'][0] for name in ('guided', 'bilinear')
        )

        assert np.abs(guided.astype(int) - bilinear).max() > 1

    @pytest.mark.slow
    def test_decoder_comes_before_the_checkpoints(self, image_weights):
        pictures = [
            ColorizationInferencer(weights=image_weights, device='cpu', decoder=decoder)(textured())['visualization'][0]
            for decoder in ('regression', 'annealed-mean', 'annealed-mean:0.1')
        ]

        for one, other in ((0, 1), (1, 2)):
            assert np.abs(pictures[one].astype(int) - pictures[other]).max() > 1

    def test_native_size(self, plain):
        (picture,) = plain(textured(100, 300, dtype=np.uint16), native_size=True)['visualization']

        assert picture.shape == (256, 256, 3)
        assert picture.dtype == np.uint8
        assert chroma(picture) > 0.01


class TestBatches:
    @pytest.mark.parametrize('batch_size', [2, 3, 9])
    @pytest.mark.slow
    def test_equal_single_runs(self, fused_weights, album, batch_size):
        counts = {'1.png': 0, '2.png': 1, '3.png': 2, '4.png': 0}

        class ByName(Boxes):
            def detect(self, images, paths=None):
                names = [Path(path).name for path in paths]
                return [
                    Instances.clipped(BOXES[: counts[name]], image.shape[:2])
                    for name, image in zip(names, images, strict=True)
                ]

        inferencer = ColorizationInferencer(weights=fused_weights, device='cpu', detector=ByName(), precision='fp32')

        single = inferencer(album, return_datasamples=True)['predictions']
        batched = inferencer(album, return_datasamples=True, batch_size=batch_size)['predictions']

        assert [len(sample.instances) for sample in batched] == [0, 1, 2, 0]
        for one, other in zip(single, batched, strict=True):
            torch.testing.assert_close(one.pred_ab, other.pred_ab, atol=1e-5, rtol=0)

    def test_a_batch_that_fails_is_done_one_by_one(self, plain, album, monkeypatch, caplog):
        forward = plain.predictor.forward

        def out_of_memory(inputs, *args):
            if len(inputs['data_samples']) > 1:
                raise RuntimeError('not enough memory')
            return forward(inputs, *args)

        monkeypatch.setattr(plain.predictor, 'forward', out_of_memory)

        records = plain(album, batch_size=4, on_error='collect')['predictions']

        assert [record['status'] for record in records] == ['done'] * 4
        assert 'a batch of 4 photos failed and is done one by one: not enough memory' in caplog.text

    def test_crop_budget_closes_a_batch_early(self, fused, album, monkeypatch):
        forward, sizes = fused.predictor.forward, []

        def counted(inputs, *args):
            sizes.append((len(inputs['inputs']['image']), sum(len(crops) for crops in inputs['inputs']['crops'])))
            return forward(inputs, *args)

        monkeypatch.setattr(fused.predictor, 'forward', counted)

        fused(album, batch_size=4, crop_budget=6)

        assert sizes == [(3, 6), (1, 2)]

    @pytest.mark.parametrize('workers', [0, 1, 3])
    @pytest.mark.slow
    def test_workers_change_nothing(self, fused, album, tmp_path, workers):
        fused(album, out_dir=tmp_path / 'out', batch_size=2, workers=workers, save_json=True)

        for path in album.iterdir():
            (picture,) = fused(path)['visualization']
            np.testing.assert_allclose(read_photo(tmp_path / 'out' / path.name).pixels, picture, atol=2)
        assert len(list((tmp_path / 'out').iterdir())) == 8


class TestPrecision:
    @pytest.fixture(scope='class')
    def predict(self, fused_weights):
        def predict(precision: str, weights: Path | None = None, photos: list | None = None, **options) -> torch.Tensor:
            detector = Boxes() if weights is None else 'none'
            inferencer = ColorizationInferencer(
                weights=weights or fused_weights,
                device='cpu',
                detector=detector,
                precision=precision,
                decoder='regression',  # presets of weights multiply errors as well as colours
            )
            samples = inferencer(photos or textured(), return_datasamples=True, **options)['predictions']
            return torch.stack([sample.pred_ab for sample in samples])

        return predict

    @pytest.mark.slow
    def test_bf16_is_within_half_a_lab_unit_of_float32(self, predict):
        photos = [skimage.data.coffee(), skimage.data.chelsea(), skimage.data.astronaut(), skimage.data.camera()]

        exact, reduced = (predict(name, DEFAULT_WEIGHTS, photos) * 110 for name in ('fp32', 'bf16'))

        error = (reduced - exact).abs()
        assert exact.abs().mean() > 5
        assert 0 < error.mean() < 0.5
        assert error.quantile(0.99) < 3

    @pytest.mark.slow
    def test_of_the_fused_networks(self, predict):
        assert 0 < (predict('bf16') - predict('fp32')).abs().mean() < 0.02

    @pytest.mark.slow
    def test_native_size_keeps_to_the_published_numbers_unless_told_otherwise(self, predict, monkeypatch):
        monkeypatch.setattr('insta_colorization.utils.device.has_bfloat16', lambda device: True)
        exact = predict('fp32', native_size=True)

        torch.testing.assert_close(predict('auto', native_size=True), exact, atol=0, rtol=0)
        assert (predict('auto') != exact).any()
        assert (predict('bf16', native_size=True) != exact).any()

    def test_lab_and_decoding_stay_in_float32(self, image_weights, monkeypatch):
        inferencer = ColorizationInferencer(
            weights=image_weights, device='cpu', precision='bf16', decoder='annealed-mean'
        )
        seen = {}

        class Watched(torch.nn.Module):
            classify = True

            def forward(self, ab, class_logits):
                seen['decoder'] = ab.dtype, class_logits.dtype, torch.is_autocast_enabled('cpu')
                return ab

            def title(self):
                return 'watched'

        colors = inferencer.model.colors

        def watched_colors(batch, **settings):
            seen['lightness'] = batch['lightness'].dtype
            return colors(batch, **settings)

        monkeypatch.setattr(inferencer.model, 'decoder', Watched())
        monkeypatch.setattr(inferencer.model, 'colors', watched_colors)

        inferencer(textured())

        assert seen == {'lightness': torch.float32, 'decoder': (torch.float32, torch.float32, False)}


class TestInstances:
    def test_change_the_colour_inside_their_boxes_only_where_a_checkpoint_can_fuse(self, fused, plain, image_weights):
        detector = Boxes()
        with_boxes = ColorizationInferencer(weights=image_weights, device='cpu', detector=detector)

        (same,) = with_boxes(textured())['visualization']

        assert detector.calls == 1
        np.testing.assert_array_equal(same, plain(textured())['visualization'][0])
        assert np.abs(fused(textured())['visualization'][0].astype(int) - same).max() > 5

    def test_a_photo_without_instances_goes_through_the_full_image_network(self, fused, plain, monkeypatch):
        monkeypatch.setattr(fused.predictor, '_detector', Boxes([]))

        result = fused(textured())

        assert result['predictions'][0]['network'] == 'image_net'
        np.testing.assert_array_equal(result['visualization'][0], plain(textured())['visualization'][0])

    @pytest.mark.parametrize(
        ('arguments', 'expected'),
        [
            pytest.param({}, 2, id='all'),
            pytest.param({'max_instances': 1}, 1, id='the best one'),
            pytest.param({'max_instances': 0}, 0, id='none'),
            pytest.param({'score_thr': 0.5}, 1, id='score'),
            pytest.param({'min_size': 30}, 1, id='size'),
        ],
    )
    def test_selection(self, image_weights, arguments, expected):
        inferencer = ColorizationInferencer(weights=image_weights, device='cpu', detector=Boxes(), **arguments)

        (record,) = inferencer(textured())['predictions']

        assert len(record['boxes']) == expected

    def test_detector_does_not_run_where_nothing_needs_it(self, image_weights, monkeypatch, tmp_path):
        monkeypatch.setattr(
            'insta_colorization.apis.predictor.build_detector', lambda *args, **kwargs: pytest.fail('it was built')
        )
        inferencer = ColorizationInferencer(weights=image_weights, device='cpu')

        assert inferencer(textured())['predictions'][0]['boxes'] == []

    @pytest.mark.parametrize('wish', ['show_instances', 'save_json'])
    def test_detector_runs_where_someone_wants_to_see_its_boxes(self, plain, monkeypatch, tmp_path, wish):
        monkeypatch.setattr(plain.predictor, '_detector', Boxes())

        (record,) = plain(textured(), out_dir=tmp_path, **{wish: True})['predictions']

        assert len(record['boxes']) == 2

    @pytest.mark.parametrize(
        'boxes',
        [
            pytest.param([[-50, -50, -10, -10]], id='outside'),
            pytest.param([[10, 10, 10, 40]], id='no area'),
            pytest.param([[-99, -99, 999, 999]], id='larger than the photo'),
            pytest.param([[5, 5, 30, 30]] * 3, id='duplicated'),
            pytest.param([[5.4, 5.4, 5.5, 5.5]], id='inside one pixel'),
            pytest.param([], id='none'),
            pytest.param([[i % 40, i % 30, i % 40 + 9, i % 30 + 9] for i in range(500)], id='500'),
        ],
    )
    @pytest.mark.slow
    def test_odd_boxes_work(self, fused, monkeypatch, boxes):
        monkeypatch.setattr(fused.predictor, '_detector', Boxes(boxes))

        result = fused(textured())

        assert result['visualization'][0].shape == (48, 64, 3)
        assert len(result['predictions'][0]['boxes']) <= 8

    @pytest.mark.parametrize('box', [[0, 0, float('nan'), 9], [30, 5, 5, 30]], ids=['nan', 'inverted'])
    def test_unusable_boxes_fail_their_photo(self, fused, monkeypatch, box):
        monkeypatch.setattr(fused.predictor, '_detector', Boxes([box]))

        with pytest.raises(ValueError, match='box 0 is not finite or is inverted'):
            fused(textured())

    def test_boxes_of_none_of_the_photos_are_said_before_the_first(self, fused, monkeypatch, album, tmp_path):
        (tmp_path / 'boxes.json').write_text(
            json.dumps({'images': [{'id': 1, 'file_name': 'x.png'}], 'annotations': []})
        )
        monkeypatch.setattr(fused.predictor, '_detector', CachedDetector(tmp_path / 'boxes.json'))

        with pytest.raises(ValueError, match=r'1 file names, such as x\.png, and 0 of the 4 photos matched'):
            fused(album, on_error='collect')


class TestFiles:
    def test_are_written_and_not_returned(self, plain, album, tmp_path):
        result = plain(album, out_dir=tmp_path / 'out')

        assert result['visualization'] == []
        assert [Path(record['output']).name for record in result['predictions']] == ['1.png', '2.png', '3.png', '4.png']
        for record in result['predictions']:
            written = read_photo(record['output'])
            assert written.size == tuple(record['size'])
            np.testing.assert_array_equal(written.pixels, plain(record['photo'])['visualization'][0])

    def test_that_exist_are_skipped(self, plain, album, tmp_path):
        (tmp_path / 'out').mkdir()
        (tmp_path / 'out' / '2.png').write_text('mine')

        statuses = [record['status'] for record in plain(album, out_dir=tmp_path / 'out')['predictions']]

        assert statuses == ['done', 'skipped', 'done', 'done']
        assert (tmp_path / 'out' / '2.png').read_text() == 'mine'
        plain(album, out_dir=tmp_path / 'out', overwrite=True)
        assert read_photo(tmp_path / 'out' / '2.png').size == (42, 60)

    def test_that_are_empty_are_made_again(self, plain, album, tmp_path):
        (tmp_path / 'out').mkdir()
        (tmp_path / 'out' / '2.png').touch()

        statuses = [record['status'] for record in plain(album, out_dir=tmp_path / 'out')['predictions']]

        assert statuses == ['done'] * 4

    @pytest.mark.parametrize('suffix', ['png', 'jpg', 'tif', 'webp'])
    def test_that_are_cut_short_are_not_taken_for_done(self, plain, album, tmp_path, suffix):
        options = {'out_dir': tmp_path / 'out', 'suffix': suffix, 'on_error': 'collect'}
        plain(album, **options)
        cut = tmp_path / 'out' / f'2.{suffix}'
        cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])

        records = plain(album, **options)['predictions']

        assert [record['status'] for record in records] == ['skipped', 'failed', 'skipped', 'skipped']
        assert records[1]['reason'].endswith(f'{cut} exists, but is cut short; delete it, or overwrite it')

    def test_what_a_killed_run_left_is_removed(self, plain, album, tmp_path):
        (tmp_path / 'out').mkdir()
        left = tmp_path / 'out' / f'.{"0" * 32}.tmp'
        left.touch()
        os.utime(left, (0, 0))

        plain(album, out_dir=tmp_path / 'out')

        assert sorted(path.name for path in left.parent.iterdir()) == ['1.png', '2.png', '3.png', '4.png']

    @pytest.mark.slow
    def test_json_of_a_name_that_is_no_text_is_unicode(self, plain, tmp_path):
        photo = tmp_path / os.fsdecode(b'M\xfcnchen.png')
        write_photo(textured(), photo)

        plain(photo, out_dir=tmp_path / 'out', save_json=True)

        (written,) = (tmp_path / 'out').glob('*.json')
        assert json.loads(written.read_text())['photo'].encode() == f'{tmp_path}/M\\xfcnchen.png'.encode()

    def test_json_says_how_a_result_came_about(self, plain, image_weights, tmp_path):
        plain(textured(), out_dir=tmp_path, save_json=True, saturation=1.5, suffix='jpg', quality=80)

        record = json.loads((tmp_path / 'array_0.jpg.json').read_text())
        digest = hashlib.sha256(image_weights.read_bytes()).hexdigest()
        assert record['weights'] == {'name': image_weights.name, 'sha256': digest}
        assert record['config'] == 'insta_fusion_cocostuff_256x256'
        assert record['settings'] | {'saturation': 1.5, 'input_size': 64, 'detector': None} == record['settings']
        assert record['quality'] == 80
        assert record['versions']['torch'] == torch.__version__.partition('+')[0]

    def test_quality_decides_the_size_of_a_jpeg(self, plain, tmp_path):
        for quality in (40, 95):
            plain(textured(), out_dir=tmp_path / str(quality), suffix='jpg', quality=quality)

        small, large = ((tmp_path / name / 'array_0.jpg').stat().st_size for name in ('40', '95'))
        assert small < large / 2

    def test_times_are_kept_on_request(self, plain, album, tmp_path):
        os.utime(album / '1.png', (1e9, 1e9))

        for keep in (True, False):
            plain(album / '1.png', out_dir=tmp_path / str(keep), keep_times=keep)

        assert (tmp_path / 'True' / '1.png').stat().st_mtime == 1e9
        assert (tmp_path / 'False' / '1.png').stat().st_mtime > 1.5e9

    @pytest.mark.parametrize('keep', [False, True])
    def test_results_older_than_their_photos_are_said_once(self, plain, album, tmp_path, caplog, keep):
        plain(album, out_dir=tmp_path / 'out', keep_times=keep)
        plain(album, out_dir=tmp_path / 'out')
        assert 'older' not in caplog.text
        for name in ('2.png', '3.png'):
            os.utime(album / name, (2e9, 2e9))

        plain(album, out_dir=tmp_path / 'out')

        assert f'2 results are older than their photos, {album}/2.png first; --overwrite' in caplog.text

    @pytest.mark.parametrize(
        ('wrong', 'message'),
        [
            ({'quality': 0}, 'quality must lie in 1..100, but got 0'),
            ({'pages': '0'}, "pages must be 'first', 'all' or a number from 1, but got '0'"),
            ({'pages': 'last'}, "but got 'last'"),
        ],
        ids=str,
    )
    def test_options_out_of_range(self, plain, wrong, message):
        with pytest.raises(ValueError, match=message):
            plain(textured(), **wrong)

    def test_pages_have_results_of_their_own(self, plain, tmp_path):
        pages = [Image.fromarray(textured(seed=seed)) for seed in (1, 2)]
        pages[0].save(tmp_path / 'scan.tif', save_all=True, append_images=pages[1:])

        records = plain(tmp_path / 'scan.tif', out_dir=tmp_path / 'out', pages='all')['predictions']

        assert [record['photo'] for record in records] == [f'{tmp_path}/scan.tif (page {page})' for page in (1, 2)]
        for record, page in zip(records, pages, strict=True):
            expected = pixel_lightness(np.dstack([np.asarray(page)] * 3))
            assert abs(pixel_lightness(read_photo(record['output']).pixels) - expected).mean() < 0.3

    def test_the_limit_of_pixels_holds_for_pages_and_maps_too(self, plain, tmp_path, monkeypatch):
        page = Image.fromarray(textured(6, 8))
        page.save(tmp_path / 'scan.tif', save_all=True, append_images=[page])
        (tmp_path / 'map.png').touch()
        limits = []
        monkeypatch.setattr(plain.predictor, 'input', InputOptions(max_pixels=47))
        monkeypatch.setattr('insta_colorization.apis.inferencer.MapFiles', lambda _, most: limits.append(most))

        results = plain(tmp_path / 'scan.tif', pages='all', maps=tmp_path / 'map.png', on_error='collect')

        (record,) = results['predictions']
        assert record['photo'] == str(tmp_path / 'scan.tif')
        assert record['reason'].endswith('8 x 6 pixels, more than max_pixels 47 allows')
        assert limits == [47]

    def test_beside_the_result_on_request(self, fused, tmp_path):
        fused(textured(), out_dir=tmp_path, show_instances=True, show_fusion=['3', 'up8'], save_json=True)

        assert sorted(path.name for path in tmp_path.iterdir()) == [
            'array_0.png',
            'array_0.png.fusion.png',
            'array_0.png.instances.png',
            'array_0.png.json',
        ]
        assert json.loads((tmp_path / 'array_0.png.json').read_text())['boxes'] == BOXES
        assert read_photo(tmp_path / 'array_0.png.fusion.png').size == (2 * (48 + 22), 4 * 64 + 3 * 6)

    @pytest.mark.slow
    def test_what_tells_of_a_replaced_result_goes_and_nothing_else(self, fused, tmp_path):
        fused(textured(), out_dir=tmp_path, show_instances=True, show_fusion=['3'], save_json=True)
        mine = ('array_0.png.classes.png', 'array_0.png.map.png', 'array_0.png.xmp', 'array_0.xmp', 'b.png.json')
        for name in mine:
            write_photo(textured(), tmp_path / 'mine.png')
            (tmp_path / 'mine.png').rename(tmp_path / name)

        fused(textured(seed=2), out_dir=tmp_path, overwrite=True, show_instances=True)

        left = ('array_0.png', 'array_0.png.instances.png', *mine)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(left)

    @pytest.mark.parametrize('text', ['{"output": "array_0.png"}', '[1]', 'no JSON', '[' * 10**5], ids=len)
    def test_json_of_another_program_stays(self, plain, tmp_path, text):
        (tmp_path / 'array_0.png').touch()
        (tmp_path / 'array_0.png.json').write_text(text)

        plain(textured(), out_dir=tmp_path)

        assert (tmp_path / 'array_0.png.json').read_text() == text

    def test_the_result_of_a_sheet_is_none(self, plain, fused, tmp_path):
        fused(textured(), out_dir=tmp_path / 'a', show_instances=True)
        plain(tmp_path / 'a', out_dir=tmp_path / 'b')

        plain(tmp_path / 'a' / 'array_0.png', out_dir=tmp_path / 'b', overwrite=True)

        assert sorted(path.name for path in (tmp_path / 'b').iterdir()) == ['array_0.png', 'array_0.png.instances.png']

    @pytest.mark.slow
    def test_fusion_maps_in_a_batch_belong_to_their_photo(self, fused, album):
        rows = ('conv2', 'conv10')

        batched = fused(album, batch_size=4, show_fusion=rows, return_datasamples=True)['predictions']

        for path, sample in zip(sorted(album.iterdir()), batched, strict=True):
            (single,) = fused(path, show_fusion=rows, return_datasamples=True)['predictions']
            for row in rows:
                for one, other in zip(single.fusion_shares[row], sample.fusion_shares[row], strict=True):
                    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)

    def test_alpha_follows_at_native_size(self, plain, tmp_path):
        rgba = np.dstack([textured(dtype=np.uint16)] * 3 + [np.full((48, 64), 257 * 100, np.uint16)])

        plain(rgba, out_dir=tmp_path, native_size=True)

        written = read_photo(tmp_path / 'array_0.png')
        assert written.pixels.dtype == np.uint8
        assert (written.alpha == 100).all()

    @pytest.mark.parametrize('workers', [0, 3])
    def test_nothing_is_left_of_a_run_that_is_interrupted(self, plain, album, tmp_path, monkeypatch, workers):
        def interrupt_the_second(path: Path, target: Path) -> None:
            if target.name == '2.png':
                raise KeyboardInterrupt
            real_replace(path, target)

        real_replace = Path.replace
        monkeypatch.setattr(Path, 'replace', interrupt_the_second)

        with pytest.raises(KeyboardInterrupt):
            plain(album, out_dir=tmp_path / 'out', on_error='collect', workers=workers)

        results = {path.name for path in (tmp_path / 'out').iterdir()}
        assert results <= {'1.png', '3.png', '4.png'}
        assert '1.png' in results

    @pytest.mark.slow
    @pytest.mark.parametrize(('workers', 'batch_size', 'most'), [(0, 1, 1), (0, 2, 2), (1, 1, 7), (2, 1, 9)], ids=str)
    def test_memory_does_not_grow_with_the_photos(self, plain, tmp_path, monkeypatch, workers, batch_size, most):
        (tmp_path / 'film').mkdir()
        for number in range(24):
            write_photo(textured(8, 8, seed=number), tmp_path / 'film' / f'{number}.png')
        read, alive, counts = plain.predictor.read, weakref.WeakSet(), []

        def counted(source, name):
            photo = read(source, name)
            alive.add(photo)
            gc.collect()
            counts.append(len(alive))
            return photo

        monkeypatch.setattr(plain.predictor, 'read', counted)
        gc.freeze()  # so that `collect` looks at what is new alone

        try:
            plain(tmp_path / 'film', out_dir=tmp_path / 'out', batch_size=batch_size, workers=workers)
        finally:
            gc.unfreeze()

        assert len(counts) == 24
        assert max(counts) <= most

    @pytest.mark.parametrize('place', ['file', 'file/below'])
    def test_folder_that_cannot_be_written(self, plain, tmp_path, place):
        (tmp_path / 'file').write_text('')

        with pytest.raises(OSError, match=f'cannot write to the folder .*{place}: '):
            plain(textured(), out_dir=tmp_path / place)


class TestReports:
    """What people who colour archives met with other programs."""

    @pytest.mark.slow
    def test_names_of_all_kinds_are_coloured(self, image_weights, tmp_path):
        names = [
            'two words.png',
            'Café.png',
            'Cafe\u0301.png',
            '🎞.png',
            'אלבום.png',
            'a\nb.png',
            '[1].png',
            '*.png',
            'A.PNG',
        ]
        names += ['-x.png', 'no "quotes\'.png', 'caf\udce9.png', 'x' * 251 + '.png']
        (tmp_path / 'in').mkdir()
        for name in names:
            (tmp_path / 'in' / name).write_bytes(encode_photo(textured(8, 8), '.png'))

        inferencer = ColorizationInferencer(weights=image_weights, device='cpu', detector=Boxes())
        records = inferencer(tmp_path / 'in', out_dir=tmp_path / 'out', batch_size=16, save_json=True)['predictions']

        assert [record['status'] for record in records] == ['done'] * len(names)
        assert len(list((tmp_path / 'out').iterdir())) == 2 * len(names)

    @pytest.mark.parametrize('level', [0, 128, 255])
    def test_flat_photos_keep_their_lightness(self, plain, level):
        (picture,) = plain(np.full((24, 32), level, np.uint8))['visualization']
        found, truth = (rgb2lab(each)[..., 0] for each in (picture, np.full((1, 1, 3), level, np.uint8)))
        assert np.abs(found - truth).max() < 0.3
        assert level == 128 or (picture == level).all()

    @pytest.mark.slow
    def test_many_threads_have_one_inferencer_and_one_folder(self, plain, album, tmp_path):
        alone = {path.name: plain(path)['visualization'][0] for path in album.iterdir()}

        with ThreadPoolExecutor(4) as pool:
            runs = pool.map(lambda _: plain(album, out_dir=tmp_path / 'out')['predictions'], range(4))
            assert {record['status'] for records in runs for record in records} <= {'done', 'skipped'}

        assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == sorted(alone)
        for name, expected in alone.items():
            np.testing.assert_array_equal(read_photo(tmp_path / 'out' / name).pixels, expected)


class TestFailures:
    @pytest.fixture
    def damaged(self, album) -> Path:
        (album / '2.png').write_bytes(b'')
        return album

    def test_are_raised(self, plain, damaged):
        with pytest.raises(ImageReadError, match=r'2\.png: the file is empty'):
            plain(damaged)

    def test_or_collected_and_logged_while_the_others_go_on(self, plain, damaged, caplog):
        result = plain(damaged, on_error='collect', batch_size=3)

        assert [record['status'] for record in result['predictions']] == ['done', 'failed', 'done', 'done']
        assert result['predictions'][1]['reason'] == f'cannot read {damaged}/2.png: the file is empty'
        assert len(result['visualization']) == 3
        assert f'failed: cannot read {damaged}/2.png: the file is empty' in caplog.messages

    @pytest.mark.parametrize('workers', [0, 2])
    @pytest.mark.parametrize(
        ('step', 'height'),
        [
            ('read', lambda source, name: read_photo(name).size[0]),
            ('find', lambda photos, *_: photos[0].size[0]),
            ('pack', lambda photo, request, name: photo.size[0]),
            ('forward', lambda inputs, *_: inputs['data_samples'][0].image_size[0]),
            ('render', lambda photo, *_: photo.size[0]),
            ('describe', lambda sample: sample.image_size[0]),
        ],
        ids=['read', 'find', 'pack', 'forward', 'render', 'describe'],
    )
    def test_nobody_foresaw_are_named_by_type_and_traced_on_request(
        self, fused, album, monkeypatch, caplog, step, height, workers
    ):
        monkeypatch.setattr(fused.predictor, '_detector', Boxes([]))  # the full-image network is faster
        real = getattr(fused.predictor, step)

        def fails_at_the_second(*args, **kwargs):
            if height(*args, **kwargs) == 42:
                raise IndexError('out of\nrange')
            return real(*args, **kwargs)

        monkeypatch.setattr(fused.predictor, step, fails_at_the_second)
        caplog.set_level(logging.DEBUG, 'insta_colorization')

        records = fused(album, on_error='collect', workers=workers)['predictions']

        assert [record['status'] for record in records] == ['done', 'failed', 'done', 'done']
        assert records[1]['reason'] == f'{album}/2.png: unexpected IndexError: out of range'
        assert any(record.exc_info for record in caplog.records)

    @pytest.mark.parametrize('workers', [0, 2])
    def test_of_a_library_that_lacks_are_not_the_photos(self, plain, album, monkeypatch, workers):
        def lacks(source, name):
            raise ImportError('pip install it')

        monkeypatch.setattr(plain.predictor, 'read', lacks)

        with pytest.raises(ImportError, match='pip install it'):
            plain(album, on_error='collect', workers=workers)


class TestOtherPlaces:
    def test_images_and_bytes_give_the_same_picture(self, plain):
        image = Image.fromarray(textured())
        data = encode_photo(textured(), '.png')

        pictures = [plain(item)['visualization'][0] for item in (textured(), image, data, [data])]

        for picture in pictures[1:]:
            np.testing.assert_array_equal(picture, pictures[0])

    @pytest.mark.parametrize('item', [None, 7, io.BytesIO(b'x'), [None]], ids=lambda item: type(item).__name__)
    def test_what_is_no_photo_is_named_by_its_type(self, plain, item):
        kind = type(item[0] if isinstance(item, list) else item).__name__
        with pytest.raises(TypeError, match=f'an array, bytes or an image, but got {kind}'):
            plain(item)

    @pytest.mark.parametrize('copy', [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    @pytest.mark.slow
    def test_a_copy_colours_alike(self, fused_weights, copy):
        """Workers that are spawned get one."""
        own = ColorizationInferencer(weights=fused_weights, device='cpu', detector='opencv')
        own(textured())

        other = copy(own)

        np.testing.assert_array_equal(other(textured())['visualization'], own(textured())['visualization'])
        assert len(list(other.preprocess([textured()]))) == 1


class TestProgress:
    @pytest.mark.parametrize('workers', [0, 2])
    def test_is_told_photo_by_photo(self, plain, album, tmp_path, workers):
        (album / '2.png').write_bytes(b'')
        (tmp_path / 'out').mkdir()
        (tmp_path / 'out' / '4.png').write_text('mine')
        told = []

        plain(
            album,
            out_dir=tmp_path / 'out',
            on_error='collect',
            workers=workers,
            on_progress=lambda *counts: told.append(counts),
        )

        assert told == sorted(told)
        assert told[-1] == (4, 4)
        assert len(told) >= 2

    @pytest.mark.parametrize('show', [False, True])
    def test_bar_stays_out_of_pipes(self, plain, monkeypatch, show, capfd):
        monkeypatch.setattr(plain, 'show_progress', show)

        plain(textured())

        assert capfd.readouterr() == ('', '')


def test_hints_by_the_photos_names(plain, album, tmp_path):
    (tmp_path / 'hints.json').write_text(json.dumps({'2.png': [{'point': [30, 20], 'color': 'red'}]}))

    result = plain(album, hints=tmp_path / 'hints.json')

    assert [len(record.get('hints', ())) for record in result['predictions']] == [0, 1, 0, 0]
    without = plain(album)['visualization']
    changed = [(a != b).any() for a, b in zip(result['visualization'], without, strict=True)]
    assert changed == [False, True, False, False]


def test_a_hint_outside_its_photo_fails_that_photo_alone(plain, album, tmp_path):
    (tmp_path / 'hints.json').write_text(json.dumps({'2.png': [{'point': [300, 20], 'color': 'red'}]}))

    records = plain(album, hints=tmp_path / 'hints.json', on_error='collect')['predictions']

    assert [record['status'] for record in records] == ['done', 'failed', 'done', 'done']
    assert 'point (300, 20) lies outside the photo of width 60 and height 42' in records[1]['reason']


@pytest.mark.slow
def test_captions_by_the_photos_names(plain, album, tmp_path):
    (tmp_path / 'captions.csv').write_text('2.png,blue grass\n')

    records = plain(album, captions=tmp_path / 'captions.csv')['predictions']

    assert ['caption' in record for record in records] == [False, True, False, False]
    assert all('caption' in record for record in plain(album, caption='blue grass')['predictions'])
    with pytest.raises(ValueError, match="caption 'x' and the file of captions y exclude each other"):
        plain(album, caption='x', captions='y')
    with pytest.raises(ValueError, match=r"must have words, but got '\?'"):
        plain(album, caption='?')
