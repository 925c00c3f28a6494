"""Which marks results get, from the options to the files, and what is recorded of them."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import signing

from insta_colorization.apis import ColorizationInferencer
from insta_colorization.apis.album import color_album
from insta_colorization.apis.edits import EditFile
from insta_colorization.apis.jobs import plan
from insta_colorization.imaging.codecs import xmp_of
from insta_colorization.imaging.marks import SOURCE_TYPE
from insta_colorization.imaging.photo import encode_photo, read_photo, write_photo
from insta_colorization.imaging.verification import verify
from insta_colorization.imaging.xmp import read_origin
from insta_colorization.studio.engine import Engine
from insta_colorization.utils.options import ColourOptions, MarkOptions, PaceOptions, ResultOptions

GREY = (np.add.outer(np.arange(40), np.arange(60)) + 80).astype(np.uint8)


@pytest.fixture(scope='module')
def inferencer(image_weights) -> ColorizationInferencer:
    return ColorizationInferencer(weights=image_weights, device='cpu', show_progress=False)


@pytest.fixture
def source(tmp_path) -> Path:
    """A folder with a grey photo."""
    (tmp_path / 'in').mkdir()
    write_photo(GREY, tmp_path / 'in' / 'a.png')
    return tmp_path / 'in'


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """{name: SHA-256 and time of change} of the files in a folder."""
    return {
        path.name: (sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())
    }


def parameters(data: bytes) -> dict[str, Any]:
    """Of the newest entry in the history of a file."""
    origin = read_origin(xmp_of(data, 'x'))
    assert origin.source_type == SOURCE_TYPE
    return json.loads(origin.history[-1]['parameters'])


def test_results_say_how_they_came_about(inferencer, source, image_weights, tmp_path):
    (record,) = inferencer(source, out_dir=tmp_path / 'out', saturation=1.5)['predictions']

    told = parameters((tmp_path / 'out' / 'a.png').read_bytes())
    assert record['marks'] == 'xmp'
    assert told['weights'] == {'name': image_weights.name, 'sha256': sha256(image_weights.read_bytes()).hexdigest()}
    assert told['settings']['saturation'] == 1.5
    assert told['settings']['decoder'].startswith('the ')
    assert told.keys() == {'weights', 'config', 'settings'}


def test_the_picture_of_one_photo_is_marked_unless_asked_otherwise(inferencer):
    prediction = inferencer.predictor.predict(GREY, strength=0.5)

    assert parameters(encode_photo(prediction.photo, '.jpg'))['settings']['strength'] == 0.5
    assert xmp_of(encode_photo(prediction.unmarked, '.jpg'), 'x') == b''
    np.testing.assert_array_equal(prediction.photo.pixels, prediction.unmarked.pixels)


@pytest.mark.slow
def test_no_marks_are_said_in_the_record(inferencer, source, tmp_path):
    (record,) = inferencer(source, out_dir=tmp_path / 'out', marks='none', save_json=True)['predictions']

    assert record['marks'] == json.loads((tmp_path / 'out' / 'a.png.json').read_text())['marks'] == 'none'
    assert xmp_of((tmp_path / 'out' / 'a.png').read_bytes(), 'x') == b''


@pytest.mark.slow
def test_json_has_the_event_with_the_digests_of_both_files(inferencer, source, tmp_path):
    inferencer(source, out_dir=tmp_path / 'out', save_json=True)

    event = json.loads((tmp_path / 'out' / 'a.png.json').read_text())['event']
    origin = read_origin(xmp_of((tmp_path / 'out' / 'a.png').read_bytes(), 'x'))
    assert (event['eventType'], event['eventOutcome']) == ('modification', 'success')
    assert event['eventDateTime'] == origin.history[-1]['when']
    assert event['linkingAgent']['name'] == 'insta_colorization'
    files = source / 'a.png', tmp_path / 'out' / 'a.png'
    assert event['linkingObjects'] == [
        {'role': role, 'sha256': sha256(file.read_bytes()).hexdigest()}
        for role, file in zip(('source', 'outcome'), files, strict=True)
    ]


def test_of_pixels_there_is_no_source_to_name(inferencer, tmp_path):
    inferencer(GREY, out_dir=tmp_path, save_json=True)

    event = json.loads((tmp_path / 'array_0.png.json').read_text())['event']
    assert event['linkingObjects'][0] == {'role': 'source', 'sha256': None}


def test_the_visible_mark_is_drawn_on_the_result_alone(inferencer, source, tmp_path):
    for name in ('plain', 'drawn'):
        inferencer(source, out_dir=tmp_path / name, visible_mark=name == 'drawn')

    plain, drawn = (read_photo(tmp_path / name / 'a.png').pixels for name in ('plain', 'drawn'))
    assert (plain != drawn).any()
    np.testing.assert_array_equal(plain[:20], drawn[:20])


@pytest.mark.slow
def test_edits_are_told(fused_weights, source, tmp_path):
    predictor = ColorizationInferencer(weights=fused_weights, device='cpu', detector='none').predictor
    edit = {'objects': [{'box': [5, 5, 40, 30], 'color': 'red'}], 'saturation': 0.5}
    (tmp_path / 'edits.json').write_text(json.dumps({'edits': 1, 'photos': {'a.png': edit}}))
    results = ResultOptions(out_dir=tmp_path / 'out')
    jobs = plan([source / 'a.png'], tmp_path / 'out')

    edits = EditFile(tmp_path / 'edits.json')
    color_album(predictor, jobs, results, ColourOptions(), PaceOptions(), edits=edits)

    told = parameters((tmp_path / 'out' / 'a.png').read_bytes())
    assert told['settings']['saturation'] == 0.5
    (hint,) = told['hints']
    assert hint['box'] == [5, 5, 40, 30]


def test_the_studio_marks_what_is_saved(inferencer, source):
    engine = Engine(inferencer.predictor)
    without = Engine(inferencer.predictor, marks=MarkOptions(marks='none'))
    call = str(source / 'a.png'), 'a.png', {'strength': 0.5}

    assert parameters(engine.result(*call, '.jpg'))['settings']['strength'] == 0.5
    assert parameters(engine.color_file(*call, '.png'))['settings']['strength'] == 0.5
    assert xmp_of(without.result(*call, '.png'), 'x') == b''


class TestCredentials:
    @pytest.fixture(scope='class')
    def files(self, tmp_path_factory) -> signing.Files:
        pytest.importorskip('c2pa', reason='pip install "insta_colorization[c2pa]"')
        return signing.made(tmp_path_factory.mktemp('signer'))

    @pytest.fixture
    def options(self, files) -> dict[str, Any]:
        return {'marks': 'c2pa', 'c2pa_cert': str(files.certificate), 'c2pa_key': str(files.key)}

    @pytest.mark.slow
    def test_results_are_signed_and_sources_stay(self, inferencer, source, options, tmp_path):
        before = digests(source)

        inferencer(source, out_dir=tmp_path / 'out', suffix='jpg', save_json=True, **options)

        found = verify(tmp_path / 'out' / 'a.jpg')
        assert found['holds']
        assert found['c2pa']['parents'] == ['a.png']
        assert found['c2pa']['actions'][1]['parameters'] == parameters((tmp_path / 'out' / 'a.jpg').read_bytes())
        assert digests(source) == before
        assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == ['a.jpg', 'a.jpg.json']
        (_, outcome) = json.loads((tmp_path / 'out' / 'a.jpg.json').read_text())['event']['linkingObjects']
        assert outcome['sha256'] == sha256((tmp_path / 'out' / 'a.jpg').read_bytes()).hexdigest()

    def test_the_studio_signs(self, inferencer, source, options, tmp_path):
        engine = Engine(inferencer.predictor, marks=MarkOptions(**options))

        (tmp_path / 'b.webp').write_bytes(engine.result(str(source / 'a.png'), 'mine.png', {}, '.webp'))

        assert verify(tmp_path / 'b.webp')['c2pa']['parents'] == ['mine.png']

    def test_what_is_wrong_is_said_before_the_first_photo(self, inferencer, source, options, tmp_path, monkeypatch):
        old = signing.made(tmp_path, days=(-20, -10))
        monkeypatch.setattr(inferencer.predictor, 'read', lambda *args: pytest.fail('a photo was read'))
        wrong = options | {'c2pa_cert': str(old.certificate), 'c2pa_key': str(old.key)}

        with pytest.raises(ValueError, match='expired on'):
            inferencer(source, out_dir=tmp_path / 'out', on_error='collect', **wrong)
        with pytest.raises(ValueError, match='does not fit the certificate'):
            inferencer(source, out_dir=tmp_path / 'out', on_error='collect', **options | {'c2pa_key': str(old.key)})
        assert not (tmp_path / 'out').exists()

    def test_a_source_that_changes_meanwhile_fails(self, inferencer, source, options, tmp_path, monkeypatch):
        read = inferencer.predictor.read

        def changed(*args):
            photo = read(*args)
            write_photo(GREY[::-1], source / 'a.png')
            return photo

        monkeypatch.setattr(inferencer.predictor, 'read', changed)

        (record,) = inferencer(source, out_dir=tmp_path / 'out', on_error='collect', **options)['predictions']

        assert record['reason'] == (
            f'{source}/a.png has changed while it was coloured, so that no manifest can name it'
        )
        assert list((tmp_path / 'out').iterdir()) == []


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'marks': 'exif'}, "marks must be one of none, xmp, c2pa, but got 'exif'"),
        ({'marks': 'c2pa'}, 'a C2PA manifest must be signed, but there is no c2pa_cert'),
        ({'marks': 'c2pa', 'c2pa_cert': 'a'}, 'a C2PA manifest must be signed, but there is no c2pa_key'),
        ({'c2pa_key': 'a'}, "c2pa_key is of use with marks 'c2pa' alone, but marks is 'xmp'"),
        ({'marks': 'none', 'c2pa_timestamps': 'a'}, "c2pa_timestamps is of use with .* but marks is 'none'"),
    ],
)
def test_options_that_do_not_fit(wrong, message):
    with pytest.raises(ValueError, match=message):
        ResultOptions(**wrong)
