"""One photo and one request to one picture; `test_inferencer.py` has what many photos share."""

from pathlib import Path

import alone
import numpy as np
import pytest
import torch
from PIL import Image

import insta_colorization.apis as apis
from insta_colorization.apis import Predictor
from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.imaging import ImageReadError, Photo, decode_photo, encode_photo, read_photo, write_photo
from insta_colorization.structures import Hint, Instances, Request
from insta_colorization.utils.configs import SHIPPED_WEIGHTS

UNHINTED = SHIPPED_WEIGHTS['ColorizationBackbone']
BOXES = [[4.0, 2.0, 30.0, 40.0], [20.0, 10.0, 60.0, 44.0]]
SIZE = (48, 64)


class Boxes:
    """A detector that finds `BOXES` and counts how often it is asked."""

    score_thr = 0.0

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, images, paths=None):
        self.calls += len(images)
        return [Instances.clipped(BOXES, image.shape[:2]) for image in images]


def textured(dtype: type = np.uint8) -> np.ndarray:
    values = np.random.default_rng(0).uniform(0.3, 0.7, SIZE) * np.iinfo(dtype).max
    return values.astype(dtype)


@pytest.fixture
def detector() -> Boxes:
    return Boxes()


@pytest.fixture(scope='module')
def fusing(fused_weights) -> Predictor:
    return Predictor(weights=fused_weights, device='cpu', detector=Boxes())


@pytest.fixture
def fused(fusing, detector, monkeypatch) -> Predictor:
    """All three networks, with the test's own detector."""
    monkeypatch.setattr(fusing, '_detector', detector)
    return fusing


@pytest.fixture(scope='module')
def plain(image_weights) -> Predictor:
    return Predictor(weights=image_weights, device='cpu')


class TestPhotos:
    @pytest.fixture
    def photo(self, tmp_path) -> Path:
        write_photo(textured(), tmp_path / 'a.png')
        return tmp_path / 'a.png'

    @pytest.mark.parametrize(
        'given',
        [
            pytest.param(str, id='path'),
            pytest.param(Path, id='Path'),
            pytest.param(Path.read_bytes, id='bytes'),
            pytest.param(read_photo, id='Photo'),
            pytest.param(Image.open, id='image'),
            pytest.param(lambda path: Image.open(path).convert('RGB'), id='RGB image'),
            pytest.param(lambda path: read_photo(path).pixels[..., 0], id='(H, W)'),
            pytest.param(lambda path: read_photo(path).pixels, id='(H, W, 3)'),
            pytest.param(lambda path: np.dstack([read_photo(path).pixels, np.full(SIZE, 9, np.uint8)]), id='(H, W, 4)'),
        ],
    )
    def test_every_kind_gives_the_same_picture(self, plain, photo, given):
        prediction = plain.predict(given(photo))

        np.testing.assert_array_equal(prediction.pixels, plain.predict(photo).pixels)
        assert prediction.pixels.shape == (*SIZE, 3)

    def test_size_and_depth_are_the_photos(self, plain):
        assert plain.predict(textured(np.uint16)).pixels.dtype == np.uint16
        native = plain.predict(textured(np.uint16), native_size=True).pixels
        assert (native.shape, native.dtype) == ((256, 256, 3), np.uint8)

    def test_bytes_out_carry_what_the_photo_carried(self, plain):
        image = Image.fromarray(np.dstack([textured()] * 3 + [np.full(SIZE, 7, np.uint8)]))
        exif = image.getexif()
        exif[0x013B], exif[0x0112] = 'Ida', 6  # the artist; and that the photo lies on its side
        image.info |= {'dpi': (300, 300), 'exif': exif.tobytes()}

        prediction = plain.predict(image)
        written = decode_photo(encode_photo(prediction.photo, '.png'), 'x')

        assert prediction.pixels.shape == (64, 48, 3)
        np.testing.assert_array_equal(written.pixels, prediction.pixels)
        assert (written.alpha == 7).all()
        assert written.metadata.dpi == pytest.approx((300, 300), abs=0.1)
        assert b'Ida' in written.metadata.blobs['exif-data']

    def test_record(self, fused, photo):
        prediction = fused.predict(photo)

        assert prediction.record == {
            'photo': str(photo),
            'output': None,
            'status': 'done',
            'size': list(SIZE),
            'network': 'fusion_net',
            'boxes': BOXES,
            'scores': [1.0, 1.0],
        }
        assert fused.predict(textured()).record['photo'] == 'photo'

    @pytest.mark.parametrize(
        ('given', 'error', 'message'),
        [
            pytest.param(7, TypeError, 'bytes, an array or an image, but got int', id='number'),
            pytest.param(b'GIF', ImageReadError, 'cannot read bytes: not an image in a known format', id='bytes'),
            pytest.param('none.png', ImageReadError, r'cannot read none\.png', id='missing'),
            pytest.param(np.zeros((4, 4, 5), np.uint8), ValueError, r'got shape \(4, 4, 5\)', id='bands'),
        ],
    )
    def test_what_is_no_photo(self, plain, given, error, message):
        with pytest.raises(error, match=message):
            plain.predict(given)


class TestInstances:
    def test_given_ones_replace_the_detector(self, fused, detector):
        found = fused.predict(textured())
        assert detector.calls == 1

        boxes = fused.predict(textured(), instances=BOXES)
        typed = fused.predict(textured(), instances=Instances(BOXES, SIZE))
        other = fused.predict(textured(), instances=[[0, 0, 20, 20]])
        none = fused.predict(textured(), instances=[])

        assert detector.calls == 1
        np.testing.assert_array_equal(boxes.pixels, found.pixels)
        np.testing.assert_array_equal(typed.pixels, found.pixels)
        assert (other.pixels != found.pixels).any()
        assert none.record['network'] == 'image_net'

    def test_detector_does_not_run_for_a_model_that_cannot_use_them(self, plain, monkeypatch):
        monkeypatch.setattr(
            'insta_colorization.apis.predictor.build_detector', lambda *args, **kwargs: pytest.fail('it was built')
        )

        assert len(plain.predict(textured()).instances) == 0

    def test_that_stick_out_are_cut(self, fused):
        prediction = fused.predict(textured(), instances=[[-9, -9, 20, 99]])

        assert prediction.instances.boxes.tolist() == [[0, 0, 20, 48]]

    @pytest.mark.parametrize('instances', [None, BOXES, Instances(BOXES, SIZE)], ids=['alone', 'boxes', 'instances'])
    def test_masks(self, fused, instances):
        masks = np.zeros((2, *SIZE), np.uint8)
        masks[0, 5:15, 8:28], masks[1, 12:40, 22:50] = 255, 1

        found = fused.predict(textured(), instances=instances, masks=masks).instances

        expected = [[8, 5, 28, 15], [22, 12, 50, 40]] if instances is None else BOXES
        assert found.boxes.tolist() == expected
        for mask, whole, (x0, y0, x1, y1) in zip(found.masks, masks, found.in_pixels().tolist(), strict=True):
            np.testing.assert_array_equal(mask, whole[y0:y1, x0:x1] != 0)

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param(
                {'instances': Instances.empty((9, 9))}, r'size \(9, 9\), but the photo has \(48, 64\)', id='photo'
            ),
            pytest.param({'instances': [[9, 0, 5, 5]]}, 'box 0 is not finite or is inverted', id='inverted'),
            pytest.param({'masks': np.ones((1, 64, 48))}, r'\(R, 48, 64\) .* but got \(1, 64, 48\)', id='mask size'),
            pytest.param({'masks': np.ones(SIZE)}, r'\(R, 48, 64\) .* but got \(48, 64\)', id='one mask'),
            pytest.param({'masks': np.zeros((1, *SIZE))}, 'mask 0 is empty', id='empty mask'),
            pytest.param(
                {'masks': np.ones((1, *SIZE)), 'instances': BOXES}, 'one entry per box, but got 1 for 2', id='number'
            ),
        ],
    )
    def test_bad_ones_are_named(self, fused, arguments, message):
        with pytest.raises(ValueError, match=message):
            fused.predict(textured(), **arguments)


class TestRequest:
    def test_what_the_model_cannot_use_is_refused(self, plain):
        with pytest.raises(ValueError, match='ImageColorizer cannot use map: it uses '):
            plain.predict(textured(), map=np.zeros(SIZE, int))

    def test_is_handed_to_the_model(self, fused, monkeypatch):
        seen = {}
        real = fused.model.pack

        def pack(image, request, size):
            seen.update(image=image, request=request, size=size)
            return real(image, Request(request.instances), size)

        monkeypatch.setattr(type(fused.model), 'uses', frozenset({'instances', 'hints', 'map', 'caption'}))
        monkeypatch.setattr(fused.model, 'pack', pack)
        hint, classes = Hint.at(5, 6, (20.0, -10.0)), np.ones(SIZE, np.int64)

        fused.predict(textured(), hints=[hint], map=classes, caption='a red hat')

        request = seen['request']
        assert (request.hints, request.caption, seen['size']) == ((hint,), 'a red hat', 64)
        assert request.map is classes
        assert len(request.instances) == 2
        assert seen['image'].shape == (*SIZE, 3)

    def test_map_of_another_size_is_refused(self, fused, monkeypatch):
        monkeypatch.setattr(type(fused.model), 'uses', frozenset({'map'}))

        with pytest.raises(ValueError, match=r'the map has size \(4, 4\), but the photo has \(48, 64\)'):
            fused.predict(textured(), map=np.zeros((4, 4), int))

    def test_hints_change_the_colour(self, plain):
        hint = Hint.at(20, 20, (60.0, 40.0), radius=8)

        assert (plain.predict(textured(), hints=[hint]).pixels != plain.predict(textured()).pixels).any()

    def test_wishes_name_places_and_colours(self, fused, detector):
        object_, point = {'object': 1, 'color': 'red'}, {'point': [30, 20], 'color': '#00f'}

        prediction = fused.predict(textured(), hints=[object_, point])

        assert (prediction.pixels != fused.predict(textured()).pixels).any()
        boxes = [hint['box'] for hint in prediction.record['hints']]
        assert boxes == [[20, 10, 60, 44], [28, 18, 33, 23]]
        red, blue = (hint['ab'] for hint in prediction.record['hints'])
        assert red[0] > 20
        assert blue[1] < -20

    def test_objects_are_looked_for_where_a_wish_names_one(self, plain, detector, monkeypatch):
        monkeypatch.setattr(plain, '_detector', detector)

        assert len(plain.predict(textured(), hints=[{'object': 0, 'color': 'red'}]).record['hints']) == 1
        assert detector.calls == 1
        with pytest.raises(ValueError, match='for object 2, but the photo has 2, numbered from 0'):
            plain.predict(textured(), hints=[{'object': 2, 'color': 'red'}])

    @pytest.mark.slow
    def test_weights_that_never_saw_a_hint_refuse_them(self):
        predictor = Predictor(weights=UNHINTED, device='cpu', detector='none')
        with pytest.raises(ValueError, match=r'photos_w025\.safetensors cannot follow hints, .* trained without any'):
            predictor.predict(textured(), hints=[Hint.at(5, 5, (20.0, 0.0))])

    def test_fusion_shares_on_request(self, fused):
        shares = fused.predict(textured(), show_fusion=['3']).sample.fusion_shares

        assert shares['conv3'][1].shape == (2, 16, 16)

    @pytest.mark.parametrize(
        ('colour', 'message'),
        [
            pytest.param({'saturation': -1}, 'saturation must .* but got -1', id='saturation'),
            pytest.param(
                {'strict_hints': True, 'native_size': True}, 'strict_hints changes it', id='strict and native'
            ),
            pytest.param({'upsampling': 'cubic'}, "guided, bilinear, but got 'cubic'", id='upsampling'),
        ],
    )
    def test_bad_colour_is_said_before_the_photo_is_read(self, plain, colour, message):
        with pytest.raises(ValueError, match=message):
            plain.predict('none.png', **colour)


def test_patches_of_a_sample_are_drawn(plain):
    from insta_colorization.imaging.rendering import Patch
    from insta_colorization.utils.options import ColourOptions

    prediction = plain.predict(textured())
    photo = Photo.from_array(textured())
    prediction.sample.pred_patches = [Patch((0, 0, 20, 20), torch.full((2, 4, 4), 0.2))]

    drawn = plain.render(photo, prediction.sample, ColourOptions())

    assert (drawn[:20, :20] != prediction.pixels[:20, :20]).any()
    np.testing.assert_array_equal(drawn[20:], prediction.pixels[20:])


@pytest.mark.slow
def test_names_are_found_when_they_are_asked_for():
    assert apis.Predictor is Predictor
    with pytest.raises(AttributeError, match=r"'insta_colorization\.apis' has no attribute 'Predicter'"):
        apis.Predicter  # noqa: B018
    code = 'import sys, insta_colorization.apis as a; a.Predictor; print("mmengine.infer" in sys.modules)'
    done = alone.run(code)
    assert done.stdout.strip() == 'False', done.stderr


@pytest.mark.parametrize(
    ('metadata', 'fault'),
    [
        ({'input_size': 'large'}, "input_size is 'large'"),
        ({'input_size': '4096000'}, 'input_size must be at most 8192, but got 4096000'),
        ({'decoder': '16.0'}, "decoder is no config, but '16.0'"),
        ({'decoder': '['}, r"decoder is no config, but '\['"),
        ({'mask_centre': 'middle'}, "could not convert string to float: 'middle'"),
    ],
    ids=str,
)
def test_metadata_of_a_checkpoint_that_mean_nothing(tmp_path, image_weights, metadata, fault):
    save_checkpoint(load_checkpoint(image_weights).state_dict, tmp_path / 'odd.safetensors', metadata=metadata)

    with pytest.raises(ValueError, match=fault) as refusal:
        Predictor(weights=tmp_path / 'odd.safetensors', device='cpu')

    assert 'odd.safetensors' in str(refusal.value) or 'at most' in str(refusal.value)


class TestSuggestions:
    @pytest.mark.parametrize('place', [{'box': BOXES[0]}, {'mask': np.pad(np.ones((20, 20)), ((9, 19), (9, 35)))}])
    def test_are_different_colours_with_shares(self, fused, place):
        suggestions = fused.suggest_colors(textured(), **place, count=3)

        assert len(suggestions) == 3
        shares = [suggestion.share for suggestion in suggestions]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1
        ab = torch.tensor([suggestion.ab for suggestion in suggestions])
        assert torch.pdist(ab).min() > 5
        assert all(0 <= value <= 255 for suggestion in suggestions for value in suggestion.rgb)

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param({}, 'needs the box or the mask of an object, but got neither', id='nothing'),
            pytest.param({'box': [70, 0, 80, 9]}, r'has no area in the photo of size \(48, 64\)', id='outside'),
            pytest.param({'box': BOXES[0], 'count': 0}, 'count must be at least 1, but got 0', id='count'),
            pytest.param({'mask': np.zeros(SIZE)}, 'mask 0 is empty', id='empty mask'),
        ],
    )
    def test_bad_input(self, fused, arguments, message):
        with pytest.raises(ValueError, match=message):
            fused.suggest_colors(textured(), **arguments)


class TestVariants:
    def test_differ_in_the_objects_alone(self, fused):
        first, second, third = fused.variants(textured(), 3, instances=BOXES[:1])

        for one, other in ((first, second), (second, third)):
            changed = (one.pixels != other.pixels).any(axis=2)
            assert changed[15:30, 12:22].all()
            assert not changed[:, 45:].any()

    def test_the_seed_decides(self, fused):
        one, same, other = (fused.variants(textured(), 4, seed, BOXES[:1]) for seed in (0, 0, 3))

        assert all((a.pixels == b.pixels).all() for a, b in zip(one, same, strict=True))
        assert any((a.pixels != b.pixels).any() for a, b in zip(one, other, strict=True))

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [({'count': 0}, 'count must be at least 1, but got 0'), ({'instances': []}, 'its objects, but photo has none')],
    )
    def test_bad_input(self, fused, arguments, message):
        with pytest.raises(ValueError, match=message):
            fused.variants(textured(), **arguments)


@pytest.mark.parametrize(
    ('masked', 'strict', 'met'),
    [(False, True, True), (False, None, False), (True, None, True), (True, False, False)],
)
def test_strict_hints_set_the_mean_of_a_thing(plain, masked, strict, met):
    from skimage.color import rgb2lab

    hint = Hint((20.0, -15.0), (16, 12, 48, 36), np.ones((24, 32), bool) if masked else None)

    picture = plain.predict(textured(), hints=[hint], strict_hints=strict, upsampling='bilinear').pixels

    mean = rgb2lab(picture)[12:36, 16:48, 1:].mean(axis=(0, 1))
    assert (mean == pytest.approx([20, -15], abs=2)) is met


class TestCaptions:
    def test_move_the_named_object_and_nothing_else(self, fused, detector):
        found = Instances.clipped(BOXES, SIZE, labels=[5, 2])  # a bus and a car
        plain = fused.predict(textured(), instances=found, upsampling='bilinear')

        red = fused.predict(textured(), instances=found, caption='a red bus', upsampling='bilinear')

        moved = abs(red.pixels.astype(int) - plain.pixels).sum(axis=-1)
        assert moved[10:30, 10:20].min() > 10
        entry, record = red.record['caption']['used'][0], red.record
        assert (entry['words'], entry['objects']) == ('red bus', [0])
        assert record['hints'][0]['box'] == [4, 2, 30, 40]
        assert 'caption' not in plain.record
        again = fused.predict(textured(), instances=found, caption='a red bus', upsampling='bilinear')
        assert (again.pixels == red.pixels).all()

    @pytest.mark.slow
    def test_weights_that_never_saw_a_hint_follow_them_outside_the_networks(self):
        predictor = Predictor(weights=UNHINTED, device='cpu', detector='none', precision='fp32', input_size=64)
        found = Instances.clipped([[16, 12, 48, 36]], SIZE, labels=[5])
        options = {'instances': found, 'upsampling': 'bilinear'}

        plain = predictor.predict(textured(), **options).pixels.astype(int)
        blue = predictor.predict(textured(), caption='the bus is blue', **options).pixels.astype(int)

        change = abs(blue - plain).sum(axis=-1)
        assert change[24, 32] > 20
        assert not change[:, 56:].any()

    def test_objects_are_looked_for(self, plain, detector, monkeypatch):
        monkeypatch.setattr(plain, '_detector', detector)

        record = plain.predict(textured(), caption='a red bus').record['caption']

        assert detector.calls == 1
        assert record['not_understood'] == [{'words': 'red bus', 'reason': 'the photo has no bus'}]

    def test_surroundings_are_not_shown_to_the_networks(self, plain):
        told = plain.predict(textured(), caption='blue grass', instances=[])

        assert [hint['box'] for hint in told.record['hints']] == [[0, 24, 64, 48]]
        assert torch.equal(told.sample.pred_ab, plain.predict(textured()).sample.pred_ab)
        assert (told.pixels != plain.predict(textured()).pixels).any()

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            pytest.param({'caption': '?!'}, r"must have words, but got '\?!'", id='punctuation'),
            pytest.param({'caption': 'red', 'native_size': True}, 'was published without captions', id='native'),
        ],
    )
    def test_bad_input(self, plain, arguments, message):
        with pytest.raises(ValueError, match=message):
            plain.predict(textured(), **arguments)
