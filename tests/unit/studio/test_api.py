"""The HTTP API without a server and without a process of its own: what it answers, and each line of bad input."""

import asyncio
import base64
import errno
import importlib.util
import io
import json
import os
import random
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('fastapi', reason='the studio needs FastAPI (requirements/studio.txt)')
pytest.importorskip('httpx', reason="FastAPI's test client needs httpx (requirements/tests.txt)")

from fastapi.testclient import TestClient

from insta_colorization.apis.edits import Edit
from insta_colorization.apis.predictor import Predictor
from insta_colorization.imaging.codecs import ImageWriteError
from insta_colorization.imaging.maps import encode_map, read_map
from insta_colorization.imaging.photo import decode_photo
from insta_colorization.structures import CLASS_COLOURS, SEMANTIC_CLASSES, Instances
from insta_colorization.studio import app as app_module
from insta_colorization.studio import store as store_module
from insta_colorization.studio.app import Studio, create_app
from insta_colorization.studio.engine import Engine
from insta_colorization.studio.guard import Rules
from insta_colorization.studio.store import Store
from insta_colorization.studio.worker import LostError, RefusedError, Worker, answer
from insta_colorization.utils.options import ColourOptions


class Detector:
    """Finds a person in the middle of each photo."""

    score_thr = 0.5

    def detect(self, images: list[np.ndarray], paths: Any = None) -> list[Instances]:
        return [self._found(*image.shape[:2]) for image in images]

    def _found(self, height: int, width: int) -> Instances:
        box = [[width / 4, height / 4, width * 3 / 4, height * 3 / 4]]
        return Instances(box, (height, width), [0.9], labels=[0])


class Here:
    """A runner in this process."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def start(self) -> dict[str, Any]:
        return self.engine.describe()

    def run(self, name: str, args: tuple[Any, ...]) -> Any:
        kind, value = answer(self.engine, name, args)
        if kind == 'refused':
            raise RefusedError(value)
        return value

    def stop(self) -> None:
        pass


@pytest.fixture(scope='module')
def engine(fused_weights) -> Engine:
    return Engine(Predictor(weights=fused_weights, detector=Detector(), max_pixels=10**6), preview_pixels=64 * 64)


def client_of(app: Any, **settings: Any) -> TestClient:
    return TestClient(app, base_url='http://127.0.0.1:8000', raise_server_exceptions=False, **settings)


@pytest.fixture(scope='module')
def make(engine, tmp_path_factory) -> Iterator[Any]:
    """Makes a studio; gives its client, store and worker."""
    workers, entered = [], ExitStack()

    def made(rules: Rules | None = None, runner: Any = None, waiting: int = 16, **settings: Any) -> SimpleNamespace:
        worker = Worker(runner or Here(engine), waiting)
        worker.start()
        workers.append(worker)
        folder = tmp_path_factory.mktemp('store')
        limits = (
            settings.pop('max_bytes', 10**8),
            settings.pop('max_age', 3600),
            settings.pop('clock', time.monotonic),
        )
        store = Store(folder, *limits)
        rules = rules or Rules(max_bytes=2**20)
        app = create_app(Studio(worker, store, rules, **settings))
        return SimpleNamespace(
            client=entered.enter_context(client_of(app)), store=store, worker=worker, folder=folder, app=app
        )

    with entered:
        yield made
    for worker in workers:
        worker.stop()


@pytest.fixture(scope='module')
def studio(make) -> SimpleNamespace:
    return make()


def photo_bytes(size: tuple[int, int] = (80, 60), format: str = 'PNG', value: int | None = None) -> bytes:
    """A grey photo of this (width, height), plain with a value."""
    width, height = size
    ramp = (
        np.add.outer(np.arange(height), np.arange(width)) % 200 + 20
        if value is None
        else np.full((height, width), value)
    )
    out = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).save(out, format)
    return out.getvalue()


def upload(client: TestClient, data: bytes | None = None, name: str = 'a.png') -> Any:
    return client.post('/api/photos', files={'file': (name, photo_bytes() if data is None else data)})


@pytest.fixture(scope='module')
def photo(studio) -> dict[str, Any]:
    """What the studio says of a photo of width 80 and height 60."""
    answer = upload(studio.client)
    assert answer.status_code == 201, answer.text
    return answer.json()


def pixels_of(response: Any) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)).convert('RGB'))


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def colorize(studio, photo, edit=None, **query):
    return studio.client.post(f'/api/photos/{photo["id"]}/colorize', json=edit or {}, params=query)


def detail(response) -> str:
    return response.json()['detail']


def test_health_says_what_can_be_done(studio):
    said = studio.client.get('/api/health').json()

    assert said['status'] == 'ok'
    assert 'person' in said['classes']
    assert {'png', 'tif'} <= set(said['formats'])
    assert said['points'] is True


def test_a_photo_comes_with_its_objects(photo):
    (found,) = photo['objects']

    assert photo['size'] == [60, 80]
    assert photo['bits'] == 8
    assert found['label'] == 'person'
    assert found['box'] == pytest.approx([20, 15, 60, 45], abs=1)
    corners = np.array(found['outline'][0])
    assert (corners.min(axis=0) >= [19, 14]).all()
    assert (corners.max(axis=0) <= [61, 46]).all()


def test_previews_are_small_and_full_pictures_are_not(studio, photo):
    assert pixels_of(colorize(studio, photo)).shape[0] < 60
    assert pixels_of(colorize(studio, photo, size='full')).shape == (60, 80, 3)
    assert pixels_of(studio.client.get(f'/api/photos/{photo["id"]}/gray?size=full')).ptp(axis=-1).max() <= 1


def test_a_colour_stays_in_its_object(studio, photo):
    wanted = {'box': [20, 15, 60, 45], 'color': 'red'}
    before = pixels_of(colorize(studio, photo, {'objects': [{**wanted, 'color': None}]}, size='full')).astype(int)
    after = pixels_of(colorize(studio, photo, {'objects': [wanted]}, size='full')).astype(int)

    redder = (after[..., 0] - after[..., 1]) - (before[..., 0] - before[..., 1])
    assert redder[25:35, 30:50].mean() > 20
    np.testing.assert_array_equal(after[:5], before[:5])
    np.testing.assert_array_equal(after[:, :5], before[:, :5])


def test_a_gray_object_loses_its_colour(studio, photo):
    gray = {'objects': [{'box': [0, 0, 80, 60], 'outline': [[[0, 0], [80, 0], [80, 60], [0, 60]]], 'color': 'gray'}]}
    plain = {'objects': [{**gray['objects'][0], 'color': None}]}

    def chroma(edit):
        return pixels_of(colorize(studio, photo, edit)).astype(float).mean(axis=(0, 1)).ptp()

    assert chroma(gray) < 0.5 * chroma(plain)


def test_null_is_the_same_as_a_field_that_is_missing(studio, photo):
    null = dict.fromkeys(('objects', 'points', 'map', 'caption', 'preset', 'size', 'saturation', 'strength'))

    np.testing.assert_array_equal(pixels_of(colorize(studio, photo, null)), pixels_of(colorize(studio, photo)))


def test_objects_that_are_off_do_not_count(studio, photo):
    off = {'objects': [{**photo['objects'][0], 'on': False, 'color': 'red'}]}

    np.testing.assert_array_equal(
        pixels_of(colorize(studio, photo, off)), pixels_of(colorize(studio, photo, {'objects': []}))
    )


def test_points_strength_and_captions_change_the_picture(studio, photo):
    plain = pixels_of(colorize(studio, photo))
    edits = [
        {'points': [{'point': [40, 30], 'color': 'blue', 'radius': 6}]},
        {'strength': 0},
        {'saturation': 0.3},
        {'caption': 'a green person'},
    ]

    assert all((pixels_of(colorize(studio, photo, edit)) != plain).any() for edit in edits)


def test_words_of_a_caption_find_their_objects(studio, photo):
    off = {**photo['objects'][0], 'on': False}
    edit = {'objects': [off, *photo['objects']], 'caption': 'a green person with a purple qwerty'}

    said = studio.client.post(f'/api/photos/{photo["id"]}/caption', json=edit).json()

    assert list(said['words']) == ['1']
    assert 'qwerty' in said['unknown']


def test_colours_are_suggested_for_an_object(studio, photo):
    answer = studio.client.post(f'/api/photos/{photo["id"]}/suggest', json={'object': photo['objects'][0]})

    shares = [each['share'] for each in answer.json()]
    assert shares == sorted(shares, reverse=True)
    assert all(each['color'].startswith('#') and len(each['ab']) == 2 for each in answer.json())


def test_variants_are_colours_for_the_objects_that_are_on(studio, photo):
    edit = {'objects': [{**photo['objects'][0], 'on': False}, photo['objects'][0]]}

    found = studio.client.post(f'/api/photos/{photo["id"]}/variants?count=3', json=edit).json()['variants']

    assert len(found) == 3
    assert all(first is None and len(second) == 2 for first, second in found)
    assert len({tuple(second) for _, second in found}) > 1


def test_an_outline_is_searched_in_a_new_box(studio, photo):
    answer = studio.client.post(f'/api/photos/{photo["id"]}/outline', json={'object': {'box': [10, 10, 70, 50]}})

    assert len(answer.json()['outline'][0]) >= 3


@pytest.fixture(scope='module')
def semantic(make) -> tuple[SimpleNamespace, dict[str, Any]]:
    """A studio whose networks take maps, and a photo in it."""
    predictor = Predictor(config='semantic_color_lite_256x256', input_size=32)
    studio = make(runner=Here(Engine(predictor, preview_pixels=64 * 64)))
    return studio, upload(studio.client).json()


def seen_map(semantic) -> np.ndarray:
    studio, photo = semantic
    answer = studio.client.get(f'/api/photos/{photo["id"]}/map')
    assert answer.status_code == 200, answer.text
    return read_map(io.BytesIO(answer.content))


def in_base64(png: bytes) -> str:
    return base64.b64encode(png).decode()


def test_only_networks_that_take_maps_have_classes_for_them(studio, photo, semantic):
    assert studio.client.get('/api/health').json()['map_classes'] == []
    classes = semantic[0].client.get('/api/health').json()['map_classes']
    assert [each['name'] for each in classes] == list(SEMANTIC_CLASSES)
    assert classes[SEMANTIC_CLASSES.index('sky')]['color'] == '#00c040'

    answer = studio.client.get(f'/api/photos/{photo["id"]}/map')

    assert answer.status_code == 422
    assert detail(answer) == 'InstColorizer takes no map'


def test_the_map_that_is_seen_is_what_colours_follow(semantic):
    ids = seen_map(semantic)
    plain = pixels_of(colorize(*semantic))

    assert ids.shape == plain.shape[:2]
    np.testing.assert_array_equal(pixels_of(colorize(*semantic, {'map': in_base64(encode_map(ids))})), plain)


@pytest.mark.slow
def test_a_map_as_a_canvas_has_it_is_that_of_its_colours(semantic):
    studio, photo = semantic
    ids = seen_map(semantic)
    ids[: len(ids) // 2] = SEMANTIC_CLASSES.index('sky')
    canvas = io.BytesIO()
    Image.fromarray(CLASS_COLOURS[ids]).convert('RGBA').save(canvas, 'PNG')
    edit = {'size': photo['size'], 'map': in_base64(canvas.getvalue())}

    picture = pixels_of(colorize(*semantic, edit))

    assert (picture != pixels_of(colorize(*semantic))).any()
    np.testing.assert_array_equal(picture, pixels_of(colorize(*semantic, {'map': in_base64(encode_map(ids))})))
    # What is saved is what the command line makes of the same edit.
    result = studio.client.post(f'/api/photos/{photo["id"]}/result?format=png', json=edit)
    predictor, source = studio.worker.runner.engine.predictor, decode_photo(photo_bytes(), 'a.png')
    data = Edit.parse(edit).pack(predictor, source)
    np.testing.assert_array_equal(
        pixels_of(result), predictor.render(source, predictor.color([data])[0], ColourOptions())
    )


def test_a_caption_has_the_photos_objects_although_the_networks_use_none(semantic, monkeypatch):
    predictor = semantic[0].worker.runner.engine.predictor
    monkeypatch.setattr(predictor, '_detector', Detector())

    def greenness(**query):
        picture = pixels_of(colorize(*semantic, {'caption': 'a green person'}, **query)).astype(int)
        height, width = picture.shape[:2]
        part = picture[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2]
        return (part[..., 1] - part[..., [0, 2]].max(axis=-1)).mean()

    assert not predictor.detects
    assert greenness(size='full') > 5
    assert greenness(size='preview') > 5


@pytest.mark.parametrize(
    ('pixel', 'text'), [((1, 2, 3), 'the colour (1, 2, 3) at x 0, y 0'), (60, 'has 60 at x 0, y 0')]
)
def test_maps_with_what_is_no_class(semantic, pixel, text):
    png = io.BytesIO()
    Image.new('L' if isinstance(pixel, int) else 'RGB', (4, 3), pixel).save(png, 'PNG')

    answer = colorize(*semantic, {'map': in_base64(png.getvalue())})

    assert answer.status_code == 422
    assert text in detail(answer)


def test_results_of_an_edit_of_their_own(studio, photo):
    colorize(studio, photo, {'strength': 1}, session='other')

    answer = studio.client.post(f'/api/photos/{photo["id"]}/result?format=png', json={'strength': 0})

    assert pixels_of(answer).shape == (60, 80, 3)
    assert pixels_of(answer).ptp(axis=-1).max() <= 1
    assert studio.client.post(f'/api/photos/{photo["id"]}/result?format=exe', json={}).status_code == 422


@pytest.mark.parametrize(('format', 'kind'), [('png', 'PNG'), ('jpg', 'JPEG'), ('tif', 'TIFF'), ('webp', 'WEBP')])
def test_results_have_the_size_of_the_photo(studio, photo, format, kind):
    colorize(studio, photo, {'strength': 0.5}, session='me')

    answer = studio.client.get(f'/api/photos/{photo["id"]}/result?format={format}&session=me')

    assert Image.open(io.BytesIO(answer.content)).format == kind
    assert pixels_of(answer).shape == (60, 80, 3)


def test_sixteen_bits_stay_sixteen(studio):
    deep = io.BytesIO()
    Image.fromarray((np.arange(80 * 60).reshape(60, 80) * 13).astype(np.uint16)).save(deep, 'TIFF')
    photo = upload(studio.client, deep.getvalue(), 'scan.tif').json()

    answer = studio.client.get(f'/api/photos/{photo["id"]}/result?format=png')

    assert photo['bits'] == 16
    assert answer.content[24] == 16  # the depth in a PNG's header


def test_one_shot(studio):
    before = files_in(studio.folder)
    edit = json.dumps({'strength': 0})
    answer = studio.client.post('/api/colorize', files={'file': ('a.png', photo_bytes())}, data={'edit': edit})

    assert pixels_of(answer).ptp(axis=-1).max() <= 1
    assert files_in(studio.folder) == before


def test_a_deleted_photo_is_gone(studio):
    before = files_in(studio.folder)
    photo = upload(studio.client).json()

    assert len(files_in(studio.folder)) == len(before) + 1
    assert studio.client.delete(f'/api/photos/{photo["id"]}').status_code == 204
    assert colorize(studio, photo).status_code == 404
    assert files_in(studio.folder) == before


def test_the_page_and_the_description_are_there(studio):
    page = studio.client.get('/')

    assert page.status_code == 200
    assert "script-src 'self'" in page.headers['content-security-policy']
    assert '<script>' not in page.text
    paths = studio.client.get('/api/openapi.json').json()['paths']
    assert 'requestBody' in paths['/api/photos/{number}/colorize']['post']


# --- bad input ---


@pytest.mark.parametrize(
    ('data', 'name', 'status', 'text'),
    [
        pytest.param(b'hello, this is no photo\n' * 9, 'a.jpg', 422, 'a.jpg', id='text named jpg'),
        pytest.param(b'', 'a.jpg', 422, 'is empty', id='0 bytes'),
        pytest.param(photo_bytes()[:70], 'a.png', 422, 'a.png', id='cut short'),
        pytest.param(bytes(2**20 + 1), 'a.png', 413, 'at most 1 MiB', id='too many bytes'),
    ],
)
def test_files_that_are_no_photos(studio, data, name, status, text):
    before = files_in(studio.folder)
    answer = upload(studio.client, data, name)

    assert answer.status_code == status
    assert text in detail(answer)
    assert str(studio.folder) not in answer.text
    assert files_in(studio.folder) == before


def test_a_bomb_is_refused_by_its_header(studio):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', 60000, 60000, 8, 0, 0, 0, 0)
    bomb = (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(10**6)))
        + chunk(b'IEND', b'')
    )

    answer = upload(studio.client, bomb)

    assert answer.status_code == 422
    assert '60000 x 60000' in detail(answer)


def request(app, body, headers=()):
    """Sends a request by hand, with `body` an iterable of ASGI messages; gives the status."""
    sent = []
    messages = iter(body)

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    scope = {
        **{'type': 'http', 'method': 'POST', 'path': '/api/photos', 'raw_path': b'/api/photos', 'query_string': b''},
        'headers': [(b'host', b'127.0.0.1:8000'), (b'content-type', b'multipart/form-data; boundary=x'), *headers],
        **{'scheme': 'http', 'http_version': '1.1', 'client': ('127.0.0.1', 1), 'server': ('127.0.0.1', 8000)},
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]['status']


BEGIN = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'


def test_500_mb_are_refused_before_they_come(studio):
    assert request(studio.app, [], [(b'content-length', b'524288000')]) == 413


def test_500_mb_without_a_length_are_not_read_to_the_end(studio):
    taken = []

    def endless():
        yield {'type': 'http.request', 'body': BEGIN, 'more_body': True}
        for number in range(500):
            taken.append(number)
            yield {'type': 'http.request', 'body': bytes(2**20), 'more_body': True}

    assert request(studio.app, endless()) == 413
    assert len(taken) <= 2


def test_an_interrupted_upload_leaves_nothing(studio):
    begun = [{'type': 'http.request', 'body': BEGIN + bytes(100), 'more_body': True}, {'type': 'http.disconnect'}]

    before = files_in(studio.folder)

    assert request(studio.app, begun) == 400
    assert files_in(studio.folder) == before
    assert upload(studio.client).status_code == 201


@pytest.mark.slow
def test_50_photos_at_once(make):
    studio = make(waiting=4, sending=8)
    data = [photo_bytes((40 + number, 30)) for number in range(50)]

    def send(number):
        answers = []
        while not answers or answers[-1].status_code == 503:
            answers.append(upload(studio.client, data[number]))
            time.sleep(0.05)
        return answers

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(send, range(50)))

    assert [own[-1].json()['size'] for own in answers] == [[30, 40 + number] for number in range(50)]
    refused = [each for own in answers for each in own if each.status_code == 503]
    assert all(each.headers['retry-after'] for each in refused)
    assert len(files_in(studio.folder)) == 50


class Waiting(Here):
    """Waits before each job until it is told to go on."""

    def __init__(self, engine):
        super().__init__(engine)
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.waits = False

    def run(self, name, args):
        if self.waits:
            self.begun.release()
            self.go.acquire(timeout=20)
        return super().run(name, args)


def test_a_full_queue_answers_503_with_retry_after(make, engine):
    runner = Waiting(engine)
    studio = make(runner=runner, waiting=1)
    photo = upload(studio.client).json()
    runner.waits = True
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(colorize, studio, photo)
        runner.begun.acquire(timeout=20)
        second = threads.submit(colorize, studio, photo)
        while not studio.worker._waiting:
            pass
        third = colorize(studio, photo)
        runner.go.release(2)

    assert [first.result().status_code, second.result().status_code, third.status_code] == [200, 200, 503]
    assert int(third.headers['retry-after']) > 0


def test_an_older_request_of_a_session_is_dropped_and_other_tabs_are_not(make, engine):
    runner = Waiting(engine)
    studio = make(runner=runner)
    photo = upload(studio.client).json()
    runner.waits = True

    def queue(threads, session, sequence):
        waiting = len(studio.worker._waiting)
        future = threads.submit(colorize, studio, photo, session=session, sequence=sequence)
        if sequence > 1 and session == 'a':  # takes the place of the one that waits
            future_time = threading.Event()
            future_time.wait(0.2)
        else:
            while len(studio.worker._waiting) == waiting:
                pass
        return future

    with ThreadPoolExecutor(4) as threads:
        running = threads.submit(colorize, studio, photo)
        runner.begun.acquire(timeout=20)
        old, other = queue(threads, 'a', 1), queue(threads, 'b', 1)
        new = queue(threads, 'a', 2)
        runner.go.release(9)

    assert old.result().status_code == 409
    assert [each.result().status_code for each in (running, other, new)] == [200, 200, 200]


def test_two_tabs_on_one_photo_have_their_own_results(studio, photo):
    colorize(studio, photo, {'strength': 0}, session='a')
    colorize(studio, photo, {'strength': 1}, session='b')

    gray, color = (
        pixels_of(studio.client.get(f'/api/photos/{photo["id"]}/result?session={session}')) for session in 'ab'
    )
    assert gray.ptp(axis=-1).max() <= 1
    assert color.ptp(axis=-1).max() > 5


def test_requests_out_of_order(studio, photo):
    newer = colorize(studio, photo, {'strength': 0}, session='a', sequence=5)
    late = colorize(studio, photo, {'strength': 1}, session='a', sequence=4)

    assert (newer.status_code, late.status_code) == (200, 409)
    assert pixels_of(studio.client.get(f'/api/photos/{photo["id"]}/result?session=a')).ptp(axis=-1).max() <= 1


@pytest.mark.parametrize(
    ('edit', 'text'),
    [
        ({'objects': [{'box': [100, 0, 120, 20]}]}, 'lies outside the photo of width'),
        ({'objects': [{'box': [5, 5, 5, 9]}]}, 'with an area'),
        ({'objects': [{'box': [0, 0, 1e300, 9]}]}, 'within 1e+06'),
        ({'objects': [{'box': [0, 0, 9, 9], 'color': 'rad'}]}, "there is no colour 'rad'"),
        ({'objects': [{'box': [0, 0, 9, 9], 'outline': [[[1, 1]]]}]}, 'at least 3 corners'),
        ({'objects': [7]}, 'must be an object of JSON'),
        ({'objects': [{'box': [0, 0, 9, 9]}] * 201}, 'at most 200'),
        ({'points': [{'point': [400, 4], 'color': 'red'}]}, 'outside the photo'),
        ({'points': [{'point': [4, 4]}]}, 'must have a `color`'),
        ({'points': [{'point': [True, 4], 'color': 'red'}]}, 'must be 2 numbers'),
        ({'saturation': -1}, 'saturation must be at least 0'),
        ({'strength': 2}, 'strength must lie in 0..1'),
        ({'preset': 'loud'}, "has no preset 'loud'"),
        ({'caption': 7}, 'must be texts'),
        ({'caption': '?!'}, 'must have words'),
        ({'caption': 'a' * 2001}, 'at most 2000 characters'),
        ({'size': [60, 90]}, 'but this one has height'),
        ({'map': '../../etc/passwd'}, 'base64 of a PNG'),
        ({'path': '/etc/passwd'}, "has 'path'"),
    ],
)
def test_edits_that_cannot_be_used(studio, photo, edit, text):
    answer = colorize(studio, photo, edit)

    assert answer.status_code == 422
    assert text in detail(answer)
    assert 'Traceback' not in answer.text


@pytest.mark.parametrize(
    'body',
    [
        b'{"points": [{"point": [NaN, 3], "color": "red"}]}',
        b'{"caption": "a green \\ud800 person"}',
        *(b'{', b'[]', b'\xff\xfe', b'[' * 100_000, b''),
    ],
)
def test_json_that_is_none(studio, photo, body):
    answer = studio.client.post(f'/api/photos/{photo["id"]}/colorize', content=body)

    assert answer.status_code == 422
    assert 'JSON' in detail(answer)


def test_a_hint_of_nan_in_a_file_of_edits_is_refused_too(engine):
    with pytest.raises(ValueError, match=r'points 0: `point` must be 2 numbers within 1e\+06, but got nan'):
        Edit.parse({'points': [{'point': [float('nan'), 3], 'color': 'red'}]})


@pytest.mark.parametrize('number', ['none', '..', '%2e%2e%2f%2e%2e%2fetc%2fpasswd', '..%2f..%2fetc'])
def test_unknown_ids_and_paths_as_ids(studio, photo, number):
    for method, end in (('get', 'gray'), ('get', 'result'), ('post', 'colorize'), ('post', 'suggest')):
        answer = studio.client.request(
            method, f'/api/photos/{number}/{end}', **({'json': {}} if method == 'post' else {})
        )
        assert answer.status_code in (404, 405, 415)
        assert 'root:' not in answer.text


@pytest.mark.parametrize(
    'name', ['../../../evil.png', '/etc/cron.d/evil', 'C:\\evil\\a.png', 'a\x1b[31m.png', '.', 'x' * 3000]
)
def test_names_of_files_are_never_paths(studio, name):
    around = studio.folder.parent
    before = set(around.rglob('*'))

    answer = upload(studio.client, name=name)

    assert answer.status_code == 201
    assert '/' not in answer.json()['name']
    assert '\\e' not in answer.json()['name']
    new = set(around.rglob('*')) - before
    assert {path.parent for path in new} == {studio.folder}
    assert all(path.name == answer.json()['id'] for path in new)


@pytest.mark.parametrize(
    'path', ['/../../etc/passwd', '/%2e%2e/%2e%2e/etc/passwd', '/..%2fapp.py', '/../app.py', '//etc/passwd']
)
def test_the_page_serves_nothing_from_elsewhere(studio, path):
    answer = studio.client.get(path)

    assert answer.status_code == 404
    assert 'import' not in answer.text


def test_only_photos_below_the_root_folder_can_be_opened(make, tmp_path):
    root = tmp_path / 'album'
    (root / 'deep').mkdir(parents=True)
    (root / 'deep' / 'in.png').write_bytes(photo_bytes())
    (tmp_path / 'out.png').write_bytes(photo_bytes())
    (root / 'link.png').symlink_to(tmp_path / 'out.png')
    (root / 'secret.txt').write_text('secret')
    studio = make(root=root)

    assert studio.client.get('/api/folder').json() == ['deep/in.png']
    assert studio.client.post('/api/folder', json={'name': 'deep/in.png'}).status_code == 201
    for name in ('../out.png', str(tmp_path / 'out.png'), 'link.png', 'secret.txt', 'deep/../../out.png', 7, None):
        assert studio.client.post('/api/folder', json={'name': name}).status_code == 404


def test_a_photo_whose_name_is_no_unicode_can_be_opened(make, tmp_path):
    (tmp_path / os.fsdecode(b'M\xfcnchen.png')).write_bytes(photo_bytes())
    studio = make(root=tmp_path)

    (name,) = studio.client.get('/api/folder').json()

    assert name == r'M\xfcnchen.png'
    assert studio.client.post('/api/folder', json={'name': name}).status_code == 201


@pytest.mark.parametrize(
    ('headers', 'status'),
    [
        ({}, 401),
        ({'authorization': 'Bearer wrong-token'}, 401),
        ({'authorization': 'Bearer right-tokenn'}, 401),
        ({'cookie': 'studio_token_8000=wrong-token'}, 401),
        ({'authorization': 'Bearer \xe4'.encode('latin-1')}, 401),
        ({'authorization': 'Bearer right-token'}, 200),
        ({'cookie': 'studio_token_8000=right-token'}, 200),
    ],
)
def test_tokens(make, headers, status):
    studio = make(Rules('0.0.0.0', 'right-token'))

    assert studio.client.get('/api/health', headers=headers).status_code == status


def test_the_address_with_the_token_gives_a_cookie(make):
    studio = make(Rules('0.0.0.0', 'right-token'))

    answer = studio.client.get('/?token=right-token', follow_redirects=False)

    assert answer.status_code == 303
    assert answer.headers['location'] == '/'
    assert all(word in answer.headers['set-cookie'] for word in ('HttpOnly', 'SameSite=Strict'))
    assert client_of(studio.app).get('/?token=wrong-token1').status_code == 401


def test_two_studios_on_one_host_do_not_log_each_other_out(make):
    app = make(Rules('127.0.0.1', 'right-token')).app
    browser = TestClient(app, base_url='http://127.0.0.1:8000')
    for port, token in ((8000, 'right-token'), (8001, 'other-token')):
        other = create_app(Studio(None, None, Rules('127.0.0.1', token)))
        answer = TestClient(other, base_url=f'http://127.0.0.1:{port}').get(f'/?token={token}', follow_redirects=False)
        name, _, value = answer.headers['set-cookie'].partition(';')[0].partition('=')
        browser.cookies.set(name, value)  # of the host: cookies know no ports

    assert browser.get('/api/health').status_code == 200
    assert browser.get('/api/health', headers={'host': '127.0.0.1:8001'}).status_code == 401


def test_a_cookie_of_another_program_on_the_host_hides_no_token(make):
    cookies = 'settings={"tab": 1}; studio_token_8000=right-token; x'

    answer = make(Rules('127.0.0.1', 'right-token')).client.get('/api/health', headers={'cookie': cookies})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ('headers', 'status'),
    [
        ({'origin': 'http://evil.example'}, 403),
        ({'origin': 'null'}, 403),
        ({'origin': 'http://127.0.0.1:9000'}, 403),
        ({'host': 'evil.example:8000'}, 403),
        ({'host': 'evil.example:8000', 'origin': 'http://evil.example:8000'}, 403),
        ({'host': '192.168.0.7:8000'}, 403),
        ({'host': ''}, 403),
        ({'host': '[:8000'}, 403),
        ({'origin': 'http://[127.0.0.1'}, 403),
        ({'sec-fetch-site': 'cross-site'}, 403),
        ({'origin': 'http://127.0.0.1:8000', 'sec-fetch-site': 'same-origin'}, 200),
        ({'host': 'localhost:8000', 'origin': 'http://localhost:8000'}, 200),
        ({'host': '[::1]:8000'}, 200),
    ],
)
def test_foreign_origins_and_hosts(studio, headers, status):
    assert studio.client.get('/api/health', headers=headers).status_code == status


def test_a_server_for_others_is_called_by_an_address_or_its_names():
    rules = Rules('0.0.0.0', 'right-token', names=('album.local',))

    assert all(map(rules.knows, ('192.168.0.7:80', '[fe80::1]:80', 'album.local', 'localhost')))
    assert not any(map(rules.knows, ('evil.example', '', None, 'album.local.evil.example')))


class Dying(Here):
    """Its process dies at the first colouring."""

    died = started = 0

    def start(self):
        self.started += 1
        return super().start()

    def run(self, name, args):
        if name == 'colorize' and not self.died:
            self.died += 1
            raise LostError
        return super().run(name, args)


def test_a_process_that_is_killed_is_told_and_replaced(make, engine):
    runner = Dying(engine)
    studio = make(runner=runner)
    photo = upload(studio.client).json()

    first, second = colorize(studio, photo), colorize(studio, photo)

    assert first.status_code == 503
    assert 'ended unexpectedly' in detail(first)
    assert first.headers['retry-after']
    assert second.status_code == 200
    assert runner.started == 2


def test_a_full_disk(studio, monkeypatch):
    def full(source, target):
        target.write(source.read(10))
        raise OSError(errno.ENOSPC, 'No space left on device', str(studio.folder))

    before = files_in(studio.folder)
    monkeypatch.setattr(store_module.shutil, 'copyfileobj', full)
    answer = upload(studio.client)

    assert answer.status_code == 507
    assert str(studio.folder) not in answer.text
    assert files_in(studio.folder) == before
    monkeypatch.undo()
    assert upload(studio.client).status_code == 201


def test_a_full_store_refuses_and_takes_again_what_is_deleted(make):
    studio = make(max_bytes=int(1.5 * len(photo_bytes())))
    first = upload(studio.client)

    assert upload(studio.client).status_code == 507
    studio.client.delete(f'/api/photos/{first.json()["id"]}')
    assert upload(studio.client).status_code == 201


def test_old_photos_go(make):
    now = [0.0]
    studio = make(max_age=60, clock=lambda: now[0])
    photo = upload(studio.client).json()
    now[0] = 59
    assert colorize(studio, photo).status_code == 200
    now[0] = 59 + 61

    assert colorize(studio, photo).status_code == 404
    assert files_in(studio.folder) == []


def test_old_photos_go_though_nobody_asks_for_any(make, monkeypatch):
    monkeypatch.setattr(app_module, '_SECONDS_BETWEEN_TIDYING', 0.01)
    now = [0.0]
    studio = make(max_age=60, clock=lambda: now[0])
    upload(studio.client)
    now[0] = 61

    until = time.monotonic() + 20
    while files_in(studio.folder) and time.monotonic() < until:
        time.sleep(0.01)

    assert files_in(studio.folder) == []


def test_old_photos_make_room_for_one_shots(make):
    now = [0.0]
    studio = make(max_bytes=int(1.5 * len(photo_bytes())), max_age=60, clock=lambda: now[0])
    upload(studio.client)
    now[0] = 61

    answer = studio.client.post('/api/colorize', files={'file': ('a.png', photo_bytes())})

    assert answer.status_code == 200
    assert files_in(studio.folder) == []


def test_reading_makes_no_session(studio, photo):
    colorize(studio, photo, {'strength': 0}, session='known')
    before = dict(studio.store.get(photo['id']).clients)

    for path in ('gray?session=x', 'map?session=x', 'result?session=x', 'result?session=known', 'result'):
        studio.client.get(f'/api/photos/{photo["id"]}/{path}')

    assert list(studio.store.get(photo['id']).clients.items()) == list(before.items())


@pytest.mark.slow
def test_sessions_without_end_take_no_memory_without_end(studio, photo, monkeypatch):
    monkeypatch.setattr(store_module, '_MOST_CLIENTS', 3)
    kept = studio.store.get(photo['id'])

    for number in range(5):
        assert colorize(studio, photo, {'strength': 0}, session=f'tab {number}', sequence=1).status_code == 200

    assert len(kept.clients) <= 3
    assert colorize(studio, photo, session='tab 4', sequence=1).status_code == 409


def test_a_picture_that_a_format_cannot_hold_is_told(engine, monkeypatch):
    def refused(*args):
        raise ImageWriteError('WebP has at most 16383 pixels a side, but the photo has 20000 x 10')

    monkeypatch.setattr(engine, 'result', refused)

    assert answer(engine, 'result', ()) == (
        'refused',
        'WebP has at most 16383 pixels a side, but the photo has 20000 x 10',
    )


def test_a_mistake_of_ours_has_no_traceback(studio, photo, engine, monkeypatch):
    def broken(*args):
        raise RuntimeError(f'secret of {Path.home()}')

    monkeypatch.setattr(engine, 'colorize', broken)
    answer = colorize(studio, photo)

    assert answer.status_code == 422
    assert 'mistake in the studio' in detail(answer)
    assert str(Path.home()) not in answer.text


@pytest.mark.slow
def test_many_one_shots_at_once_are_answered_and_not_mixed_up(make):
    """Each photo has a lightness of its own, which its picture keeps."""
    studio = make(waiting=8, sending=50)

    def send(value):
        files = {'file': (f'{value}.png', photo_bytes((24, 16), value=value))}
        return value, studio.client.post('/api/colorize', files=files, data={'edit': '{"strength": 0}'})

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(send, range(20, 220, 10)))

    assert {answer.status_code for _, answer in answers} <= {200, 503}
    done = [(value, pixels_of(answer)) for value, answer in answers if answer.status_code == 200]
    assert done
    assert all(abs(pixels.astype(int) - value).max() <= 1 for value, pixels in done)


@pytest.fixture(scope='module')
def campaign():
    """What damages files for `make fuzz-studio`, of which the two tests below are a sample."""
    path = Path(__file__).parents[2] / 'fuzz' / 'campaign.py'
    spec = importlib.util.spec_from_file_location('studio_campaign', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_damaged_uploads(studio, campaign):
    generator, before = random.Random(1), files_in(studio.folder)
    for name, data in sorted(campaign.photos().items()) * 2:
        answer = upload(studio.client, campaign.mutated(data, generator), f'../{name}')
        assert answer.status_code in (201, 422), answer.text
        assert not [word for word in ('Traceback', str(studio.folder)) if word in answer.text]
        if answer.status_code == 201:
            studio.client.delete(f'/api/photos/{answer.json()["id"]}')

    assert files_in(studio.folder) == before


@pytest.mark.slow
def test_damaged_edits(studio, photo, campaign):
    generator = random.Random(1)
    edit = {'objects': photo['objects'], 'points': [{'point': [9, 9], 'color': 'red'}], 'caption': 'a red cat'}
    for _ in range(50):
        damage = generator.choice((campaign.mutated, campaign.swapped))
        content = damage(json.dumps(edit).encode(), generator)
        answer = studio.client.post(f'/api/photos/{photo["id"]}/colorize', content=content)
        assert answer.status_code in (200, 422), answer.text
        assert 'mistake in the studio' not in answer.text, content
