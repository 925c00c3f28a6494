"""The studio as a person meets it: the real server with the weights that ship, in Debian's chromium.

What is seen is kept as pictures in the folder that the environment's STUDIO_SCREENSHOTS names. Those of docs/studio.md
are made so, from scikit-image's photos.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from insta_colorization.apis.album import color_album
from insta_colorization.apis.edits import EditFile
from insta_colorization.apis.jobs import plan
from insta_colorization.apis.predictor import Predictor
from insta_colorization.imaging.photo import Photo, read_photo, write_photo
from insta_colorization.structures import CLASS_COLOURS, SEMANTIC_CLASSES
from insta_colorization.utils.options import ColourOptions, PaceOptions, ResultOptions

CHROMIUM = shutil.which('chromium')
# What a server and a browser need on a machine that is busy with other things.
MILLISECONDS = 120_000
AXE = 'axe-core@4.10.3'
SEMANTIC = 'semantic_color_lite_256x256'

pytestmark = pytest.mark.slow
pytest.importorskip('fastapi', reason='the studio needs FastAPI (requirements/studio.txt)')
pytest.importorskip('playwright', reason='chromium is steered by playwright (requirements/tests.txt)')
data = pytest.importorskip('skimage.data')


def gray(pixels: np.ndarray) -> np.ndarray:
    """(H, W) uint8, from a photo (H, W, 3)."""
    return np.asarray(Image.fromarray(pixels).convert('L'))


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> dict[str, Path]:
    """Two photos, the first of them with 16 bits; none of their sides is a multiple of 32."""
    folder = tmp_path_factory.mktemp('photos')
    paths = {'person': folder / 'person.tif', 'cat': folder / 'cat.png'}
    noise = np.random.default_rng(0).integers(0, 257, (500, 507))
    deep = np.clip(gray(data.astronaut())[:500, :507].astype(np.int64) * 256 + noise, 0, 65535)
    write_photo(Photo.from_array(deep.astype(np.uint16)), paths['person'])
    write_photo(Photo.from_array(gray(data.chelsea())), paths['cat'])
    return paths


@contextmanager
def serving(root: Path, *options: str) -> Iterator[tuple[str, Any]]:
    """A running studio: its address and its process."""
    if CHROMIUM is None:
        pytest.skip('there is no chromium (apt-get install chromium)')
    command = [sys.executable, root / 'tools' / 'serve.py', '--port', '0', *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith('studio: http'), process.stderr.read()
            yield line.split()[1], process
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert 'Traceback' not in errors, errors


@pytest.fixture(scope='module')
def server(root) -> Iterator[tuple[str, Any]]:
    """A studio with the default weights."""
    with serving(root) as running:
        yield running


@pytest.fixture(scope='module')
def map_server(root) -> Iterator[tuple[str, Any]]:
    """A studio whose weights take maps."""
    with serving(root, '--config', SEMANTIC) as running:
        yield running


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip('there is no chromium (apt-get install chromium)')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


class Visitor:
    """A page of the studio and what is done with it."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.page.set_default_timeout(MILLISECONDS)
        self.complaints: list[str] = []
        self.page.on('console', lambda message: self._note(message.type, message.text))
        self.page.on('pageerror', lambda error: self._note('error', str(error)))
        self.page.goto(address)
        self.rest()

    def _note(self, kind: str, text: str) -> None:
        if kind in ('error', 'warning'):
            self.complaints.append(text)

    def rest(self) -> None:
        """Waits until nothing is under way."""
        self.page.wait_for_timeout(100)
        self.page.wait_for_selector('body[aria-busy=false]')

    def add(self, *paths: Path) -> None:
        self.page.set_input_files('#files', paths)
        self.page.wait_for_selector(f'#album button:nth-child({len(paths)}) img')
        self.rest()

    def set(self, selector: str, value: str, event: str = 'change') -> None:
        self.page.locator(selector).evaluate('(element, value) => { element.value = value; }', value)
        self.page.dispatch_event(selector, event)
        self.rest()

    def canvas(self) -> np.ndarray:
        """(H, W, 3) what the canvas shows, without outlines."""
        self.page.uncheck('#outlines')
        self.page.evaluate('() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))')
        seen = np.asarray(Image.open(io.BytesIO(self.page.locator('#canvas').screenshot())).convert('RGB')).astype(int)
        self.page.check('#outlines')
        return seen

    def place(self, x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
        """Where a point of a photo of this (height, width), which fits the canvas, is on it."""
        box = self.page.locator('#canvas').bounding_box()
        scale = min(box['width'] / size[1], box['height'] / size[0], 4)
        return (box['width'] - size[1] * scale) / 2 + x * scale, (box['height'] - size[0] * scale) / 2 + y * scale

    def click(self, x: float, y: float, size: tuple[int, int]) -> None:
        left, top = self.place(x, y, size)
        self.page.locator('#canvas').click(position={'x': left, 'y': top})
        self.rest()

    def drag(self, *points: tuple[float, float], size: tuple[int, int]) -> None:
        area = self.page.locator('#canvas').bounding_box()
        for number, point in enumerate(points):
            left, top = self.place(*point, size)
            self.page.mouse.move(area['x'] + left, area['y'] + top, steps=5)
            if number == 0:
                self.page.mouse.down()
        self.page.mouse.up()
        self.page.mouse.move(area['x'] + area['width'] / 2, area['y'] - 10)
        self.rest()

    def keep(self, name: str) -> None:
        """Writes what is seen into the folder of screenshots."""
        if folder := os.environ.get('STUDIO_SCREENSHOTS'):
            self.page.screenshot(path=Path(folder) / f'{name}.jpg', type='jpeg', quality=80)

    def saved(self, selector: str, path: Path) -> Path:
        with self.page.expect_download() as download:
            self.page.click(selector)
        download.value.save_as(path)
        self.rest()
        return path


@pytest.fixture
def visit(browser) -> Iterator[Any]:
    visitors = []

    def come(server: tuple[str, Any], **settings: Any) -> Visitor:
        visitors.append(Visitor(browser, server[0], **settings))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.context.close()


def redness(pixels: np.ndarray, x: float, y: float) -> float:
    part = pixels[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5]
    return float((part[..., 0] - part[..., 1:].mean(axis=-1)).mean())


def test_a_photo_is_coloured_corrected_compared_and_saved(visit, server, photos, tmp_path):
    visitor = visit(server, viewport={'width': 1280, 'height': 800})
    page, size = visitor.page, (500, 507)
    visitor.add(photos['person'], photos['cat'])
    visitor.keep('studio')
    assert page.locator('[data-tool=brush], #map').filter(visible=True).count() == 0  # these weights take no map
    plain = visitor.canvas()
    inside, outside = visitor.place(190, 360, size), visitor.place(490, 20, size)

    # Before and after, by the line on the canvas.
    area = page.locator('#canvas').bounding_box()
    left, middle = visitor.place(0, 250, size)
    page.mouse.move(area['x'] + left, area['y'] + area['height'] / 2)
    page.mouse.down()
    page.mouse.move(area['x'] + area['width'] / 2, area['y'] + middle, steps=4)
    page.mouse.up()
    half = visitor.canvas()
    assert abs(redness(half, *inside)) <= 1 < redness(plain, *inside)
    np.testing.assert_array_equal(half[:, round(area['width'] / 2) + 20 :], plain[:, round(area['width'] / 2) + 20 :])
    visitor.keep('studio-compare')
    visitor.set('#split', '0', 'input')

    # An object, and red for it.
    visitor.click(190, 360, size)
    assert page.locator('#objects button[aria-pressed=true]').count() == 1
    page.wait_for_selector('#suggestions button')
    visitor.set('#color', '#d01010')
    red = visitor.canvas()
    assert redness(red, *inside) > redness(plain, *inside) + 40
    assert abs(redness(red, *outside) - redness(plain, *outside)) <= 1
    visitor.keep('studio-object')

    # Back, and forth.
    page.keyboard.press('Control+z')
    visitor.rest()
    np.testing.assert_array_equal(visitor.canvas(), plain)
    page.click('#redo')
    visitor.rest()
    np.testing.assert_array_equal(visitor.canvas(), red)

    # Neither moves what is looked at.
    page.click('#whole')
    near = visitor.canvas()
    page.click('#undo')
    visitor.rest()
    page.click('#redo')
    visitor.rest()
    np.testing.assert_array_equal(visitor.canvas(), near)
    page.click('#fit')

    # Words, which stay while something else is done.
    page.fill('#caption', 'a person in a blue suit and a green wumpus')
    page.click('#objects button >> nth=1')
    page.click('#say')
    visitor.rest()
    assert 'blue suit' in page.inner_text('#heard')
    assert 'wumpus' in page.inner_text('#heard')

    # The file, with the photo's size, depth and lightness.
    page.select_option('#format', 'tif')
    result = read_photo(visitor.saved('#download', tmp_path / 'result.tif'))
    source = read_photo(photos['person'])
    assert result.size == source.size
    assert result.pixels.dtype == np.uint16
    np.testing.assert_allclose(lightness(result), lightness(source), atol=0.1)

    # The same as the command line has it.
    edits = EditFile(visitor.saved('#save-edits', tmp_path / 'edits.json'))
    jobs, predictor = plan([photos['person']]), Predictor(detector='none')
    (outcome,) = color_album(predictor, jobs, ResultOptions(), ColourOptions(), PaceOptions(), edits=edits)
    np.testing.assert_array_equal(outcome.pixels, result.pixels)

    page.click('#show-variants')
    visitor.rest()
    assert page.locator('#variants button').count() == 6
    visitor.keep('studio-variants')

    # A box that is dragged to nothing is what it was; a photo that is removed by two clicks takes no other one along.
    page.click('#objects button >> nth=1')
    x0, y0, x1, y1 = json.loads((tmp_path / 'edits.json').read_text())['photos']['person.tif']['objects'][1]['box']
    visitor.drag((x1, y1), (x0, y0), size=size)
    assert page.inner_text('#status') == ''
    assert EditFile(visitor.saved('#save-edits', tmp_path / 'again.json')).path.read_bytes() == edits.path.read_bytes()
    page.dblclick('#remove')
    visitor.rest()
    page.dispatch_event('#remove', 'click', {'detail': 2})  # its second click, come late
    visitor.rest()
    assert page.locator('#album button').count() == 1
    assert visitor.complaints == []


def lightness(photo: Photo) -> np.ndarray:
    from skimage.color import rgb2lab

    return rgb2lab(photo.pixels / np.iinfo(photo.pixels.dtype).max)[..., 0]


def test_the_map_of_classes_is_painted(visit, map_server, photos, tmp_path):
    visitor = visit(map_server, viewport={'width': 1280, 'height': 800})
    page, size = visitor.page, (300, 451)
    visitor.add(photos['cat'])
    plain = visitor.canvas()
    inside, outside = visitor.place(60, 60, size), visitor.place(430, 280, size)

    def overlay(x: float, y: float) -> list[int]:
        left, top = visitor.place(x, y, size)
        return visitor.canvas()[round(top), round(left)].tolist()

    # The class by its name, and a broad stroke.
    page.fill('#class-search', 'gras')
    page.press('#class-search', 'Enter')
    assert page.inner_text('#painted') == 'Painted: grass'
    page.click('[data-tool=brush]')
    page.locator('#canvas').hover()
    page.mouse.wheel(0, 300)
    assert 0.5 < float(page.input_value('#brush-size')) < 5
    visitor.set('#brush-size', '25', 'input')
    visitor.set('#map-opacity', '1', 'input')
    seen = overlay(430, 280)
    visitor.drag((30, 60), (160, 60), (60, 90), size=size)
    visitor.set('#map-opacity', '0.5', 'input')
    visitor.keep('studio-map')
    visitor.set('#map-opacity', '1', 'input')
    grass, sky = (CLASS_COLOURS[SEMANTIC_CLASSES.index(name)].tolist() for name in ('grass', 'sky'))
    assert overlay(60, 60) == grass
    assert overlay(430, 280) == seen

    # Colours follow, there and not far away.
    page.click('[data-tool=select]')
    painted = visitor.canvas()
    assert change(painted, plain, *inside) > 5
    assert change(painted, plain, *outside) <= 1

    # Another class for all that hangs together, after one was picked.
    page.click('[data-tool=pick]')
    visitor.click(60, 60, size)
    assert page.inner_text('#painted') == 'Painted: grass'
    page.fill('#class-search', 'sky')
    page.click('#map-classes button:visible')
    page.click('[data-tool=fill]')
    visitor.click(60, 60, size)
    assert overlay(60, 60) == overlay(150, 60) == sky
    assert overlay(430, 280) == seen
    page.mouse.move(640, 10)

    page.click('#undo')
    visitor.rest()
    assert overlay(60, 60) == grass
    page.click('#undo')
    page.click('[data-tool=select]')
    visitor.rest()
    np.testing.assert_array_equal(visitor.canvas(), plain)
    page.keyboard.press('Control+Shift+z')
    visitor.rest()
    np.testing.assert_array_equal(visitor.canvas(), painted)

    # The file is what the command line makes of the edit, which is taken back, too.
    result = read_photo(visitor.saved('#download', tmp_path / 'result.png'))
    assert result.size == size
    np.testing.assert_allclose(lightness(result), lightness(read_photo(photos['cat'])), atol=1.5)
    file = visitor.saved('#save-edits', tmp_path / 'edits.json')
    edits = EditFile(file)
    assert edits.edit_of('cat.png').map[60, 60] == SEMANTIC_CLASSES.index('grass')
    jobs, predictor = plan([photos['cat']]), Predictor(SEMANTIC, detector='none')
    (outcome,) = color_album(predictor, jobs, ResultOptions(), ColourOptions(), PaceOptions(), edits=edits)
    np.testing.assert_array_equal(outcome.pixels, result.pixels)
    page.click('#free-map')
    visitor.rest()
    np.testing.assert_array_equal(visitor.canvas(), plain)
    page.set_input_files('#load-edits', file)
    visitor.rest()
    np.testing.assert_array_equal(visitor.canvas(), painted)
    assert visitor.complaints == []


def change(pixels: np.ndarray, others: np.ndarray, x: float, y: float) -> float:
    """How far two pictures differ around a point, in levels."""
    part = np.s_[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
    return float(np.abs(pixels[part] - others[part]).mean())


@pytest.fixture(scope='module')
def axe(tmp_path_factory) -> str:
    """The script that looks for what is in the way of people who do not see, or use no mouse."""
    folder = tmp_path_factory.mktemp('axe')
    if shutil.which('npm') is None:
        pytest.skip(f'{AXE} comes by npm, which is not here')
    packed = subprocess.run(['npm', 'pack', '--silent', AXE], cwd=folder, capture_output=True, text=True, timeout=60)
    if packed.returncode:
        pytest.skip(f'npm cannot get {AXE}: {packed.stderr.strip()[-200:]}')
    (archive,) = folder.glob('*.tgz')
    with tarfile.open(archive) as tar:
        return tar.extractfile('package/axe.min.js').read().decode()


def test_axe_finds_no_serious_fault(visit, server, map_server, photos, axe):
    for running, action in ((server, '#objects li button'), (map_server, '[data-tool=brush]')):
        visitor = visit(running, viewport={'width': 1280, 'height': 800})
        visitor.add(photos['cat'])
        visitor.page.click(action)
        visitor.rest()
        visitor.page.evaluate(axe)
        told = visitor.page.evaluate(
            'async () => { const { passes, violations } = await axe.run(); '
            'return [passes.length, violations.map(each => [each.impact, each.id])]; }'
        )
        assert told[0] > 20  # it has looked
        assert [each for each in told[1] if each[0] in ('serious', 'critical')] == []


def test_a_phone_with_touch(visit, server, photos):
    phone = {'viewport': {'width': 390, 'height': 844}, 'has_touch': True, 'is_mobile': True, 'device_scale_factor': 2}
    visitor = visit(server, **phone)
    page = visitor.page
    visitor.add(photos['cat'])
    wide = page.evaluate('() => document.documentElement.scrollWidth')
    assert wide <= 390
    visitor.keep('studio-phone')

    page.locator('[data-tool=point]').tap()
    size = (300, 451)
    left, top = visitor.place(225, 150, size)
    page.locator('#canvas').tap(position={'x': left, 'y': top})
    visitor.rest()
    assert page.locator('#clear-points').is_enabled()
    page.locator('#undo').tap()
    visitor.rest()
    assert page.locator('#clear-points').is_disabled()

    # A new object by a finger.
    page.locator('[data-tool=box]').tap()
    area = page.locator('#canvas').bounding_box()
    session = visitor.context.new_cdp_session(page)
    corners = [visitor.place(*corner, size) for corner in ((120, 60), (200, 140), (330, 240))]
    for kind, (x, y) in zip(('touchStart', 'touchMove', 'touchMove'), corners, strict=True):
        point = {'x': area['x'] + x, 'y': area['y'] + y}
        session.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': [point]})
    before = page.locator('#objects li button').count()
    session.send('Input.dispatchTouchEvent', {'type': 'touchEnd', 'touchPoints': []})
    visitor.rest()
    page.wait_for_selector('#objects button[aria-pressed=true]')
    assert page.locator('#objects li button').count() == before + 1
    assert visitor.complaints == []


def test_the_process_of_the_networks_is_killed_and_the_page_goes_on(visit, server, photos, tmp_path):
    visitor = visit(server, viewport={'width': 900, 'height': 600})
    page = visitor.page
    (tmp_path / 'text.jpg').write_text('no photo')
    page.set_input_files('#files', [tmp_path / 'text.jpg', photos['cat']])
    page.wait_for_selector('#album img')
    visitor.rest()
    assert 'text.jpg' in page.inner_text('#status')  # also after the other one was coloured
    children = subprocess.run(
        ['ps', '-ww', '-o', 'pid=,args=', '--ppid', str(server[1].pid)], capture_output=True, text=True
    )
    (worker,) = re.findall(r'^ *(\d+) .*spawn_main', children.stdout, re.MULTILINE)
    os.kill(int(worker), signal.SIGKILL)

    page.locator('#saturation').evaluate('element => { element.value = 0; }')
    page.dispatch_event('#saturation', 'change')
    page.wait_for_selector('#status:has-text("ended unexpectedly")')
    visitor.rest()

    assert page.inner_text('#status') == ''
    pixels = visitor.canvas()
    area = page.locator('#canvas').bounding_box()
    middle = pixels[round(area['height'] / 2) - 20 :, round(area['width'] / 2) - 20 :][:40, :40]
    assert np.ptp(middle, axis=-1).max() <= 2
