"""What a person corrected by hand, repeated by `Edit`, by a run over many photos and by the command line."""

import base64
import json

import numpy as np
import pytest

from insta_colorization.apis.album import color_album
from insta_colorization.apis.edits import Edit, EditFile, outlined, polygons_of
from insta_colorization.apis.jobs import plan
from insta_colorization.apis.predictor import Predictor
from insta_colorization.imaging.maps import encode_map
from insta_colorization.imaging.photo import Photo, read_photo, write_photo
from insta_colorization.structures import Instances
from insta_colorization.utils.options import ColourOptions, PaceOptions, ResultOptions

RED = {'objects': [{'box': [10, 10, 30, 40], 'label': 'person', 'color': 'red'}]}


class Detector:
    score_thr = 0.5
    asked = 0

    def detect(self, images, paths=None):
        self.asked += len(images)
        return [Instances([[10, 10, 30, 40]], image.shape[:2], labels=[0]) for image in images]


@pytest.fixture(scope='module')
def predictor(fused_weights) -> Predictor:
    return Predictor(weights=fused_weights, detector=Detector())


@pytest.fixture(scope='module')
def photo() -> Photo:
    ramp = np.add.outer(np.arange(50), np.arange(40)).astype(np.uint8) + 60
    return Photo.from_array(ramp)


def picture(predictor, photo, entry) -> np.ndarray:
    edit = Edit.parse(entry)
    (sample,) = predictor.color([edit.pack(predictor, photo)])
    return predictor.finish(photo, sample, edit.colour(ColourOptions())).pixels.astype(int)


def test_an_edit_without_anything_is_the_plain_picture(predictor, photo):
    plain = predictor.predict(photo, instances=np.zeros((0, 4))).pixels

    np.testing.assert_array_equal(picture(predictor, photo, {}), plain)


def test_coordinates_move_along_with_a_copy_of_another_size(photo):
    edit = Edit.parse(
        {'size': [100, 80], 'objects': [{'box': [20, 20, 60, 80], 'outline': [[[20, 20], [60, 20], [60, 80]]]}]}
    )

    (box,) = edit.instances((50, 40)).boxes.tolist()
    (large,) = edit.instances((200, 160)).boxes.tolist()

    assert box == [10, 10, 30, 40]
    assert large == [40, 40, 120, 160]
    share = [edit.instances(size).masks[0].float().mean().item() for size in ((50, 40), (200, 160))]
    assert share == pytest.approx([0.5, 0.5], abs=0.06)


def test_outlines_come_back_as_they_went():
    mask = np.zeros((30, 40), bool)
    mask[5:25, 8:32] = True
    mask[12:18, 14:20] = False  # a hole
    entry = {'box': [100, 50, 140, 80], 'outline': polygons_of(mask, (100, 50), 0.5)}

    (again,) = Edit.parse({'objects': [entry]}).instances((100, 200)).masks

    assert (again.numpy() != mask).mean() < 0.03


def test_an_object_without_outline_is_the_ellipse_in_its_box():
    (mask,) = Edit.parse(RED).instances((50, 40)).masks

    assert mask.float().mean().item() == pytest.approx(np.pi / 4, abs=0.06)
    assert not mask[0, 0]


def test_every_object_gets_a_mask(photo):
    found = outlined(photo.rgb8, Instances([[10, 10, 30, 40], [0, 0, 40, 50]], photo.size))

    assert all(0 < mask.float().mean() < 1 for mask in found.masks)


def test_an_outline_that_covers_no_pixel_is_the_ellipse():
    entry = {'box': [10, 10, 20, 20], 'outline': [[[90, 90], [91, 90], [91, 91]]]}

    assert Edit.parse({'objects': [entry]}).instances((50, 40)).masks[0].any()


def test_labels_that_coco_does_not_have(photo):
    found = Edit.parse({'objects': [{'box': [1, 1, 9, 9], 'label': 'zeppelin'}]}).instances(photo.size)

    assert found.classes[found.labels[0]] == 'zeppelin'


def test_the_smaller_of_two_objects_lies_on_top(predictor, photo):
    small, large = {'box': [15, 15, 25, 25], 'color': 'blue'}, {'box': [5, 5, 35, 45], 'color': 'red'}

    np.testing.assert_array_equal(
        picture(predictor, photo, {'objects': [small, large]}), picture(predictor, photo, {'objects': [large, small]})
    )


def test_a_map_is_read_from_base64():
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)

    edit = Edit.parse({'map': base64.b64encode(encode_map(ids)).decode()})

    np.testing.assert_array_equal(edit.map, ids)


def test_a_map_goes_to_models_that_use_none(predictor, photo):
    edit = Edit.parse({'map': base64.b64encode(encode_map(np.zeros((50, 40), np.uint8))).decode()})

    with pytest.raises(ValueError, match='cannot use map'):
        edit.pack(predictor, photo)


@pytest.fixture
def album(tmp_path, photo):
    """Two photos and a file of edits for the first."""
    for name in ('a.png', 'b.png'):
        write_photo(photo, tmp_path / name)
    path = tmp_path / 'edits.json'
    path.write_text(json.dumps({'edits': 1, 'photos': {'a.png': {**RED, 'strength': 0.5}}}))
    return tmp_path


def run(predictor, album, edits, pace=1, **options):
    jobs = plan([album / 'a.png', album / 'b.png'])
    outcomes = color_album(
        predictor, jobs, ResultOptions(), ColourOptions(**options), PaceOptions(batch_size=pace), edits=edits
    )
    return [outcome.pixels.astype(int) for outcome in outcomes]


@pytest.mark.slow
@pytest.mark.parametrize('pace', [1, 2])
def test_a_run_repeats_the_edits_of_its_photos(predictor, album, photo, pace):
    first, second = run(predictor, album, EditFile(album / 'edits.json'), pace)

    np.testing.assert_array_equal(first, picture(predictor, read_photo(album / 'a.png'), {**RED, 'strength': 0.5}))
    np.testing.assert_array_equal(second, predictor.predict(album / 'b.png').pixels)


def test_photos_whose_objects_are_given_are_not_searched(predictor, album):
    before = predictor.detector.asked
    run(predictor, album, EditFile(album / 'edits.json'))

    assert predictor.detector.asked == before + 1


def test_labels_colour_the_objects_of_the_other_photos(predictor, album):
    (album / 'edits.json').write_text(json.dumps({'edits': 1, 'labels': {'person': 'red'}}))

    first, second = run(predictor, album, EditFile(album / 'edits.json'))
    plain = predictor.predict(album / 'a.png').pixels.astype(int)

    np.testing.assert_array_equal(first, second)
    middle = (slice(20, 30), slice(15, 25))
    assert (first - plain)[middle][..., 0].mean() > (first - plain)[middle][..., 1].mean() + 20
    np.testing.assert_array_equal(first[:4, :4], plain[:4, :4])


@pytest.mark.parametrize(
    ('content', 'text'),
    [
        ('{', 'is not JSON'),
        ('[' * 10**5, 'is not JSON'),
        ('[]', 'must be an object with "edits": 1, but has None'),
        ('{"edits": 2}', 'but has 2'),
        ('{"edits": 1, "photos": []}', 'must have objects as `photos`'),
        ('{"edits": 1, "photos": {"a.png": {"strength": 7}}}', 'photo a.png: strength must lie in 0..1, but got 7'),
        (
            '{"edits": 1, "photos": {"a.png": {"objects": [{"box": [1]}]}}}',
            'photo a.png: objects 0: `box` must be 4 numb',
        ),
        ('{"edits": 1, "labels": {"person": "rad"}}', "there is no colour 'rad'"),
    ],
)
def test_files_that_are_no_edits(tmp_path, content, text):
    (tmp_path / 'edits.json').write_text(content)

    with pytest.raises(ValueError, match=r'edits\.json') as raised:
        EditFile(tmp_path / 'edits.json')
    assert text in str(raised.value)


def test_edits_of_other_photos(predictor, album):
    (album / 'edits.json').write_text('{"edits": 1, "photos": {"other.png": {}}}')

    with pytest.raises(ValueError, match='has edits for 1 photos'):
        run(predictor, album, EditFile(album / 'edits.json'))
    with pytest.raises(FileNotFoundError, match='no file of edits'):
        EditFile(album / 'none.json')


def test_edits_and_what_they_exclude(predictor, album):
    edits = EditFile(album / 'edits.json')

    with pytest.raises(ValueError, match='native_size'):
        run(predictor, album, edits, native_size=True)
    with pytest.raises(ValueError, match='excludes hints, maps and captions'):
        color_album(
            predictor, [], ResultOptions(), ColourOptions(), PaceOptions(), captions='a red person', edits=edits
        )


def test_an_edit_of_a_photo_of_another_shape(predictor, photo):
    with pytest.raises(ValueError, match='of height 40 and width 50, but this one has height 50 and width 40'):
        Edit.parse({'size': [40, 50], **RED}).pack(predictor, photo)


def test_presets_are_those_of_the_weights(predictor, photo):
    with pytest.raises(ValueError, match="has no preset 'loud'"), predictor.decoding('loud'):
        pass
    own = predictor.model.decoder
    predictor.model.presets['loud'] = {'type': 'RegressionDecoder', 'gain': 2.0}
    try:
        with predictor.decoding('loud'):
            assert predictor.model.decoder.gain == 2
    finally:
        del predictor.model.presets['loud']
    assert predictor.model.decoder is own
