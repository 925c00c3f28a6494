"""Which map colours follow, batches, the published picture's details."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from insta_colorization.colorspace import from_signed, luma, to_signed
from insta_colorization.imaging.resize import to_tensor
from insta_colorization.models.semantic import SemanticColorizer, SemanticPreprocessor, SemanticSegmenter
from insta_colorization.models.semantic.colorizer import published_codes
from insta_colorization.models.semantic.preprocessor import to_gray
from insta_colorization.structures import UNKNOWN, ColorizationSample, Request, SemanticMap

SEGMENTER = {'type': 'GridSegmenter', 'width': 1 / 16}

SIZE = (48, 64)


@torch.inference_mode()
def predict(model: SemanticColorizer, *requests: tuple[np.ndarray, Request]) -> list[ColorizationSample]:
    data = [model.pack(image, request, 64) for image, request in requests]
    return model.predict(model.data_preprocessor(pseudo_collate(data)))


def dataset_batch(model: SemanticColorizer, photo: np.ndarray, ids: np.ndarray) -> dict:
    """What a dataset's photo with its true map becomes."""
    sample = ColorizationSample(semantic_map=SemanticMap(ids))
    image = to_tensor(cv2.resize(photo, ids.shape[::-1]))
    return model.data_preprocessor({'inputs': {'image': [image]}, 'data_samples': [sample]}, True)


class TestColours:
    def test_grey_is_opencvs(self):
        rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)

        np.testing.assert_array_equal(luma(to_tensor(rgb))[0].numpy(), to_gray(rgb))

    def test_signed_units_are_opencvs_codes(self):
        rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        codes = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)[..., 1:].astype(np.float32)

        ab = from_signed(torch.from_numpy(codes) / 127.5 - 1) * 110

        np.testing.assert_allclose(ab, codes - 128, atol=1e-4)

    def test_nothing_is_lost_on_the_way_through_network_units(self):
        values = torch.linspace(-3, 3, 100_001)

        torch.testing.assert_close(to_signed(from_signed(values)), values, rtol=2e-7, atol=1e-7)


class TestMaps:
    def test_a_given_map_is_followed(self, build, photo):
        model = build()
        ids = np.zeros(SIZE, np.int64)
        ids[:, 32:] = 50

        seen, given = predict(model, (photo, Request()), (photo, Request(map=ids)))

        assert (model.notes(seen)['map'], model.notes(given)) == (
            'predicted',
            {'map': 'given', 'classes': {'background': 0.5, 'sky': 0.5}},
        )
        assert given.pred_map[0].tolist() == [0] * 32 + [50] * 32
        assert (seen.pred_ab - given.pred_ab).abs().max() > 1e-3

    def test_a_batch_is_its_photos_one_by_one(self, build, photo):
        model = build()
        requests = [(photo, Request()), (photo[::-1], Request(map=np.full(SIZE, 7))), (photo[:, ::-1], Request())]

        together = predict(model, *requests)

        for ours, request in zip(together, requests, strict=True):
            (alone,) = predict(model, request)
            assert torch.equal(ours.pred_map, alone.pred_map)
            torch.testing.assert_close(ours.pred_ab, alone.pred_ab, atol=1e-5, rtol=0)

    @pytest.mark.parametrize('source', ['predicted', 'truth', 'none'])
    def test_sources(self, build, photo, source):
        model = build(map_source=source)
        true = np.full((64, 64), UNKNOWN, np.uint8)
        true[:32] = 36
        batch = dataset_batch(model, photo, true)

        with torch.inference_mode():
            seen, used = model.segment(batch['gray']), model.maps(batch)

        if source == 'truth':
            assert (used[:, :32] == 36).all()
            assert torch.equal(used[:, 32:], seen[:, 32:])
        else:
            assert torch.equal(used, seen if source == 'predicted' else torch.zeros_like(seen))

    @pytest.mark.slow
    def test_guidance_takes_a_given_map_further_and_leaves_what_is_seen(self, build, photo):
        ids = np.full(SIZE, 50)
        plain, guided = (
            predict(build(map_guidance=factor), (photo, Request()), (photo, Request(map=ids))) for factor in (1, 3)
        )

        torch.testing.assert_close(guided[0].pred_ab, plain[0].pred_ab, atol=1e-5, rtol=0)
        change = plain[1].pred_ab - plain[0].pred_ab
        torch.testing.assert_close(guided[1].pred_ab, plain[0].pred_ab + 3 * change, atol=1e-4, rtol=0)

    def test_numbers_that_are_no_classes(self, build, photo):
        with pytest.raises(ValueError, match=r'must have the classes 0\.\.59, but has 60 at x 0, y 0'):
            build().pack(photo, Request(map=np.full(SIZE, 60)), 64)

    def test_there_is_no_such_source(self):
        with pytest.raises(ValueError, match="map_source must be one of predicted, truth, none, but got 'guessed'"):
            SemanticColorizer(map_source='guessed')


class TestPublishedPicture:
    def picture(self, model: SemanticColorizer, gray: int, ab: float) -> list[int]:
        image = np.full((64, 64, 3), gray, np.uint8)
        sample = ColorizationSample(pred_ab=from_signed(torch.full((2, 64, 64), ab)))
        return cv2.cvtColor(model.native_picture(image, sample), cv2.COLOR_RGB2LAB)[0, 0].tolist()

    def test_grey_stands_for_lightness_and_zero_is_a_colour(self, build):
        # Cut to whole numbers, 0 of -1..1 is the code 127, one below grey.
        assert self.picture(build(), 128, 0.0) == [128, 127, 127]

    def test_what_is_cut_takes_one_off_dark_greys(self):
        gray = torch.arange(256)[None]

        lightness = published_codes(gray / 255, torch.zeros(2, 1, 256))[0, :, 0]

        assert (lightness != gray.numpy()[0]).nonzero()[0].tolist() == list(range(1, 64))
        assert (lightness[1:64] == np.arange(63)).all()

    @pytest.mark.parametrize('wrap', [False, True])
    def test_strong_colours(self, build, wrap):
        model = build(wrap=wrap)
        image = np.full((64, 64, 3), 128, np.uint8)
        ab = torch.zeros(2, 64, 64)
        ab[0] = 1.5
        picture = model.native_picture(image, ColorizationSample(pred_ab=from_signed(ab)))

        red, green, _ = picture[0, 0].astype(int)
        assert (red > green) != wrap

    def test_the_windows_order(self, photo):
        recorded, window = (
            SemanticPreprocessor(native_order=order).published_gray(photo, 64) for order in ('recorded', 'window')
        )

        assert (recorded != window).any()
        with pytest.raises(ValueError, match="native_order must be one of recorded, window, but got 'other'"):
            SemanticPreprocessor(native_order='other')


class TestSegmenter:
    @pytest.fixture
    def model(self, lively) -> SemanticSegmenter:
        return lively(SemanticSegmenter(SEGMENTER))

    def test_its_loss_is_the_cross_entropy_of_known_pixels(self, model, photo):
        true = np.full((64, 64), UNKNOWN, np.uint8)
        true[:16] = 12
        batch = dataset_batch(model, photo, true)

        with torch.inference_mode():
            loss = model.loss(batch)['loss_classes']
            logits = model.segment_net(batch['gray'])[:, :, :16]

        torch.testing.assert_close(loss, -logits.log_softmax(dim=1)[:, 12].mean())

    def test_nothing_is_known(self, model, photo):
        assert model.loss(dataset_batch(model, photo, np.full((64, 64), UNKNOWN, np.uint8)))['loss_classes'] == 0

    def test_it_leaves_photos_grey(self, model, photo):
        (sample,) = predict(model, (photo, Request()))

        assert not sample.pred_ab.any()
        assert sample.pred_map.shape == (64, 64)
