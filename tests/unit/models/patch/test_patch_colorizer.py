"""Pasting, at the photo's own size and as published; what is asked of a colorizer; bad input."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from skimage.color import hsv2rgb, lab2rgb, rgb2hsv, rgb2lab

from insta_colorization.imaging.rendering import colorize_pixels
from insta_colorization.imaging.resize import to_tensor
from insta_colorization.models.patch import BINS, PatchColorizer
from insta_colorization.models.patch.colorizer import saturation_curve
from insta_colorization.models.patch.preprocessor import published_frame, squashed
from insta_colorization.structures import ColorizationSample, Instances, Request

SMALL = {'type': 'Eccv16Network', 'width': 1 / 16}
SIZE = (48, 64)


@pytest.fixture
def build(lively):
    def build(**settings: object) -> PatchColorizer:
        model = lively(PatchColorizer(SMALL, **{'feather': 0, 'without_masks': 'box', **settings}))
        # Random classes have all the same share, and here colours of their own; with these they are far apart.
        model.eccv_net.stages['conv1'][0].weight.data.mul_(10)
        model.eccv_net.class_head.weight.data.mul_(60)
        model.eccv_net.bin_colours.copy_(BINS.centres.T[:, :, None, None])
        return model

    return build


@pytest.fixture
def photo() -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8)
    return np.repeat(np.kron(values, np.ones((8, 8), np.uint8))[..., None], 3, axis=2)


def instances(*boxes: list[float], size: tuple[int, int] = SIZE, **more: object) -> Instances:
    return Instances(torch.tensor(boxes).float(), size, **more)


@torch.inference_mode()
def predict(model: PatchColorizer, *requests: tuple[np.ndarray, Request]) -> list[ColorizationSample]:
    data = [model.pack(image, request, 32) for image, request in requests]
    return model.predict(model.data_preprocessor(pseudo_collate(data)))


def patch_at(sample: ColorizationSample, x: int, y: int) -> int | None:
    """Which patch's colours are seen at a pixel: the last one whose outline has it."""
    seen = None
    for number, patch in enumerate(sample.pred_patches):
        x0, y0, x1, y1 = patch.box
        if x0 <= x < x1 and y0 <= y < y1 and patch.mask[y - y0, x - x0] > 0:
            seen = number
    return seen


class TestPasting:
    FOUND = ([0, 0, 32, 32], [16, 8, 48, 40], [20, 10, 60, 44])
    SCORES = torch.tensor([0.9, 0.4, 0.7])

    @pytest.mark.parametrize(('best_on_top', 'box'), [(False, (16, 8, 48, 40)), (True, (0, 0, 32, 32))])
    @pytest.mark.parametrize('native', [False, True])
    def test_which_object_is_on_top(self, build, photo, best_on_top, box, native):
        best_first = instances(*self.FOUND, scores=self.SCORES)[self.SCORES.argsort(descending=True)]

        (sample,) = predict(build(best_on_top=best_on_top), (photo, Request(best_first, native=native)))

        assert sample.pred_patches[patch_at(sample, 24, 20)].box == box

    def test_a_batch_is_its_photos_one_by_one(self, build, photo):
        model = build(feather=0.1, without_masks='grabcut')
        masks = np.zeros((2, *SIZE))
        masks[:, 10:30] = 1
        requests = [
            (photo, Request(instances([0, 0, 32, 32], [8, 8, 40, 40]))),
            (photo[:, ::-1], Request()),
            (photo[::-1], Request(instances([4, 5, 20, 44], [30, 2, 60, 40]).with_masks(masks))),
        ]

        together = predict(model, *requests)
        apart = [predict(model, request)[0] for request in requests]

        for ours, alone in zip(together, apart, strict=True):
            torch.testing.assert_close(ours.pred_ab, alone.pred_ab, atol=1e-5, rtol=0)
            assert [patch.box for patch in ours.pred_patches] == [patch.box for patch in alone.pred_patches]
            for one, other in zip(ours.pred_patches, alone.pred_patches, strict=True):
                torch.testing.assert_close(one.ab, other.ab, atol=1e-5, rtol=0)
                assert torch.equal(one.mask, other.mask)

    def test_each_patch_is_its_crop_coloured_by_itself(self, build, photo):
        model = build()
        (sample,) = predict(model, (photo, Request(instances([8, 4, 40, 44]))))
        (alone,) = predict(model, (photo[4:44, 8:40], Request()))

        torch.testing.assert_close(sample.pred_patches[0].ab, alone.pred_ab, atol=1e-5, rtol=0)
        assert (sample.pred_patches[0].ab - sample.pred_ab).abs().max() > 0.02

    def test_photo_and_crops_have_networks_of_their_own(self, lively, photo):
        trunk = {'type': 'ColorizationBackbone', 'width': 1 / 16}
        model = lively(PatchColorizer(None, trunk, trunk))
        everything = Request(instances([0, 0, 64, 48]))

        (sample,) = predict(model, (photo, everything))
        model.image_net.load_state_dict(model.instance_net.state_dict())
        (same,) = predict(model, (photo, everything))

        assert (sample.pred_patches[0].ab - sample.pred_ab).abs().max() > 1e-3
        torch.testing.assert_close(same.pred_patches[0].ab, same.pred_ab, atol=1e-5, rtol=0)
        assert model.network_for(sample) == 'instance_net'

    def test_records_say_where_masks_come_from(self, build, photo):
        found = instances([0, 0, 32, 32], [0, 0, 64, 48], [8, 8, 40, 40])
        masks = np.ones((3, *SIZE))
        masks[2, 20:] = 0
        model = build(without_masks='grabcut')

        (sample,) = predict(model, (photo, Request(found.with_masks(masks))))
        (native,) = predict(model, (photo, Request(found, native=True)))

        assert model.notes(sample) == {'masks': ['grabcut', 'box', 'mask']}
        assert model.notes(native) == {'masks': ['box'] * 3}


class TestObjects:
    """Any number of them, anywhere."""

    def picture(self, model: PatchColorizer, photo: np.ndarray, found: Instances | None, native: bool) -> np.ndarray:
        (sample,) = predict(model, (photo, Request(found, native=native)))
        if native:
            return model.native_picture(photo, sample)
        return colorize_pixels(photo, sample.pred_ab, patches=sample.pred_patches, curve=model.curve)

    @pytest.mark.parametrize('native', [False, True])
    def test_none_gives_the_photo_as_a_whole(self, build, photo, native):
        model = build()

        whole = self.picture(model, photo, None, native)

        np.testing.assert_array_equal(self.picture(model, photo, Instances.empty(SIZE), native), whole)
        assert np.ptp(whole.astype(int), axis=-1).max() > 5

    @pytest.mark.parametrize('native', [False, True])
    def test_a_hundred(self, build, photo, native):
        corners = np.random.default_rng(0).integers(0, (40, 30), (100, 2))
        boxes = np.concatenate([corners, corners + 12], axis=1).tolist()

        picture = self.picture(build(without_masks='grabcut'), photo, instances(*boxes), native)

        assert picture.shape == photo.shape

    @pytest.mark.parametrize('native', [False, True])
    @pytest.mark.parametrize(
        ('rows', 'changes'),
        [
            pytest.param(slice(8, 20), True, id='inside'),
            pytest.param(slice(0, 0), False, id='empty'),
            pytest.param(slice(44, 48), False, id='outside its box'),
        ],
    )
    def test_masks(self, build, photo, native, rows, changes):
        mask = np.zeros((1, *SIZE))
        mask[:, rows] = 1
        model = build()

        picture = self.picture(model, photo, instances([0, 0, 64, 40]).with_masks(mask), native)
        whole = self.picture(model, photo, None, native)

        changed = (picture != whole).any(axis=-1)
        assert changed.any() == changes
        assert not changed[:8].any()
        assert not changed[20:].any()

    @pytest.mark.parametrize('native', [False, True])
    def test_masks_that_overlap_fully(self, build, photo, native):
        masks = np.zeros((2, *SIZE))
        masks[:, 10:30, 10:50] = 1
        found = instances([8, 8, 52, 32], [8, 8, 52, 32], scores=torch.tensor([0.9, 0.5])).with_masks(masks)
        model = build()

        both = self.picture(model, photo, found, native)

        np.testing.assert_array_equal(both, self.picture(model, photo, found[1:], native))

    def test_crops_that_lack(self, build):
        batch = {'lightness': torch.zeros(1, 1, 32, 32), 'crop_lightness': torch.zeros(1, 1, 32, 32)}
        batch['data_samples'] = [ColorizationSample(instances=Instances.empty(SIZE))]

        with pytest.raises(ValueError, match='every instance needs its crop, but got 1 crops for 0 instances'):
            build().predict(batch)


class TestPublished:
    """The pipeline of the published code, for `--native-size`; test_published_patch.py has its golden picture."""

    @pytest.mark.parametrize(
        ('size', 'expected'),
        [
            ((1133, 1701), (852, 1280)),
            ((1500, 1000), (1280, 853)),
            ((1280, 9), (1280, 9)),
            ((1300, 1300), (1280, 1280)),
        ],
    )
    def test_size_of_the_frame(self, size, expected):
        assert published_frame(np.zeros((*size, 3), np.uint8)).shape[:2] == expected

    def test_boxes_over_a_thousandth_of_the_photo_are_coloured(self, build):
        photo = np.zeros((100, 100, 3), np.uint8)
        # Ends are truncated: 2 x 5 pixels are just 0.1 %, and 3.9 x 3.9 are 9.
        found = instances([0, 0, 2, 5], [0, 0, 3.9, 3.9], [0, 0, 11, 1], [50.5, 50, 52, 90], size=(100, 100))

        sample = build().pack(photo, Request(found, native=True), 32)['data_samples']

        assert sample.instances.boxes.tolist() == [[0, 0, 11, 1], [50.5, 50, 52, 90]]
        assert [outline.box for outline in sample.outlines] == [(0, 0, 11, 1), (50, 50, 52, 90)]

    def test_equal_boxes_and_more_than_eight_stay(self, build, photo):
        sample = build().pack(photo, Request(instances(*[[0, 0, 32, 32]] * 9), native=True), 32)['data_samples']

        assert len(sample.outlines) == 9
        assert PatchColorizer.native_takes_all

    def test_crops_are_those_of_the_frame_bicubic(self, build):
        photo = np.random.default_rng(0).integers(0, 256, (32, 2560, 3), np.uint8)
        found = instances([300, 4, 700, 30], size=(32, 2560))

        packed = build().pack(photo, Request(found, native=True), 32)
        (crop,) = packed['inputs']['crops'].movedim(1, -1).numpy()

        np.testing.assert_array_equal(crop, squashed(published_frame(photo)[2:15, 150:350], 32))

    def test_masks_go_along(self, build):
        mask = np.zeros((1, 32, 2560))
        mask[:, :, :400] = 1
        found = instances([300, 4, 700, 30], size=(32, 2560)).with_masks(mask)

        (outline,) = (
            build().pack(np.zeros((32, 2560, 3), np.uint8), Request(found, native=True), 32)['data_samples'].outlines
        )

        assert outline.box == (150, 2, 350, 15)
        assert outline.weights[:, :50].all()
        assert not outline.weights[:, 50:].any()

    def test_the_curve_is_that_of_hsv(self, build, photo):
        rng = np.random.default_rng(1)
        colour = np.kron(rng.integers(0, 256, (6, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
        model, plain = build(), build(curve_strength=0)
        (sample,) = predict(model, (colour, Request(native=True)))

        hsv = rgb2hsv(plain.native_picture(colour, sample) / 255)
        gray = colour / 255 @ [0.2125, 0.7154, 0.0721]
        hsv[..., 1] *= -2.5 * gray**2 + 2.5 * gray + 0.375

        np.testing.assert_allclose(model.native_picture(colour, sample), hsv2rgb(hsv) * 255, atol=1.01)

    def test_a_sample_of_another_size(self, build):
        photo = np.zeros((16, 1300, 3), np.uint8)
        (sample,) = predict(build(), (photo, Request()))

        with pytest.raises(ValueError, match=r'picture has size \(15, 1280\), but .* packed for \(16, 1300\)'):
            build().native_picture(photo, sample)


class TestCurve:
    def test_values(self):
        gray = torch.tensor([0, 0.5, 1])

        assert saturation_curve(gray).tolist() == pytest.approx([0.375, 1, 0.375])

    @pytest.mark.parametrize('strength', [0.5, 1.0])
    def test_at_the_photos_own_size_it_takes_chroma_and_leaves_lightness(self, strength):
        model = PatchColorizer(SMALL, curve_strength=strength)
        ramp = np.repeat(np.arange(20, 236, dtype=np.uint16)[None, :, None] * 257, 3, axis=2)
        ab = torch.tensor([0.02, 0.05]).view(2, 1, 1)

        lab = rgb2lab(colorize_pixels(ramp, ab, curve=model.curve) / 65535)

        gray = np.arange(20, 236) / 255
        factor = 1 - strength * (1 - (-2.5 * gray**2 + 2.5 * gray + 0.375))
        np.testing.assert_allclose(np.hypot(lab[0, :, 1], lab[0, :, 2]), factor * 110 * np.hypot(0.02, 0.05), atol=0.05)
        np.testing.assert_allclose(lab[..., 0], rgb2lab(ramp / 65535)[..., 0], atol=0.02)

    def test_without_strength_there_is_none(self):
        assert PatchColorizer(SMALL, curve_strength=0).curve is None


class TestMeasuring:
    """What metrics get: one plane of ab at the size of the truth."""

    def test_it_is_the_picture(self, build, photo):
        model = build(feather=0.1)
        mask = np.zeros((1, *SIZE))
        mask[:, 8:36, 8:40] = 1
        found = instances([0, 0, 48, 40]).with_masks(mask)
        (sample,) = predict(model, (photo, Request(found)))
        picture = colorize_pixels(
            photo, sample.pred_ab, patches=sample.pred_patches, curve=model.curve, upsampling='bilinear', gamut='clip'
        )
        crops = to_tensor(squashed(photo[:40, :48], 32))[None]
        image = to_tensor(squashed(photo, 32))
        truth = to_tensor(photo)
        data = {
            'inputs': {'image': [image], 'crops': [crops]},
            'data_samples': [ColorizationSample(instances=found, gt_rgb=truth)],
        }

        with torch.inference_mode():
            (measured,) = model.predict(model.data_preprocessor(data))

        ab = measured.pred_ab.movedim(0, -1).numpy() * 110
        lab = np.concatenate([rgb2lab(photo)[..., :1], ab], axis=-1)
        np.testing.assert_allclose(lab2rgb(lab).clip(0, 1) * 255, picture, atol=1.5)

    def test_photos_without_boxes(self, build, photo):
        image = to_tensor(squashed(photo, 32))
        sample = ColorizationSample(gt_rgb=to_tensor(photo))

        with torch.inference_mode():
            model = build()
            (measured,) = model.predict(
                model.data_preprocessor({'inputs': {'image': [image]}, 'data_samples': [sample]})
            )

        assert measured.pred_ab.shape == (2, *SIZE)

    def test_the_protocol_says_how_it_pastes(self, build):
        assert build(best_on_top=True).describe()['paste'] == {
            'curve_strength': 1.0,
            'best_on_top': True,
            'feather': 0,
            'without_masks': 'box',
        }


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'curve_strength': 1.5}, r'curve_strength must lie in 0\.\.1, but got 1\.5'),
        ({'feather': -1}, r'feather must lie in 0\.\.1, but got -1'),
        ({'without_masks': 'none'}, "without_masks must be one of grabcut, box, but got 'none'"),
        ({'eccv_net': SMALL, 'image_net': SMALL}, 'colours photo and crops alone, but there are eccv_net, image_net'),
        ({'instance_net': SMALL}, 'colours photo and crops alone, but there are eccv_net, instance_net'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else '',
)
def test_settings_that_there_are_not(settings, message):
    with pytest.raises(ValueError, match=message):
        PatchColorizer(**settings)
