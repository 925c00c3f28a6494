"""Sends the real studio damaged photos and requests, crowds and a long day's work, and measures how soon it answers.

    python tests/fuzz/studio.py [--seed N] [--uploads N] [--edits N] [--crowd N] [--clicks N] [--day N] [--width N]

The last line is the summary; the exit status is 1 after any traceback in an answer, crash, answer mixed up or lost,
file outside the studio's folder or left behind, or memory that grows.
"""

import argparse
import io
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import httpx
import numpy as np
from campaign import mutated, photos, swapped
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
# Bytes by which the processes may grow between the first fifth of a day's work and its end.
GROWTH = 64 * 2**20
EDIT = {
    'objects': [{'box': [4, 4, 30, 30], 'outline': [[[5, 5], [29, 6], [20, 29]]], 'label': 'cat', 'color': '#b03020'}],
    'points': [{'point': [20, 20], 'color': 'blue', 'radius': 2}],
    **{'caption': 'a red cat', 'preset': 'vivid', 'saturation': 1.1, 'strength': 0.9},
}


class Server(NamedTuple):
    """A running studio: what asks it, its number, and the folder below which it has its own."""

    client: httpx.Client
    pid: int
    folder: Path

    @property
    def processes(self) -> list[str]:
        """The numbers of the server and of its process of the networks."""
        return [str(self.pid), *Path(f'/proc/{self.pid}/task/{self.pid}/children').read_text().split()]

    def memory(self) -> int:
        """Bytes that they have now, without what they share."""
        return sum(map(_private, self.processes))

    def worked(self) -> float:
        """Seconds of processors that they have used."""
        stats = (Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split() for pid in self.processes)
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf('SC_CLK_TCK')

    def upload(self, data: bytes, name: str = 'a.png') -> httpx.Response:
        return self.client.post('/api/photos', files={'file': (name, data)})


def _private(pid: str) -> int:
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith('Private_'))


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """A studio whose temporary files go below a folder of its own."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        env = {**os.environ, 'TMPDIR': name, 'PYTHONPATH': str(ROOT / 'projects')}
        command = [sys.executable, str(ROOT / 'tools' / 'serve.py'), '--port', '0', *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=folder)
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[-1]
            limits = httpx.Limits(max_connections=None)
            with httpx.Client(base_url=address, timeout=PATIENCE, limits=limits) as client:
                yield Server(client, process.pid, folder)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        left = sorted(folder.rglob('*'))
        if process.returncode != 143 or left:
            raise AssertionError(f'the studio ended with {process.returncode} and left {left}')


def gray_photo(size: tuple[int, int], value: int | None = None) -> bytes:
    """A PNG of this (width, height): one value, or a texture."""
    image = Image.effect_noise(size, 60) if value is None else Image.new('L', size, value)
    out = io.BytesIO()
    image.save(out, 'PNG')
    return out.getvalue()


def fault_of(answer: httpx.Response, allowed: set[int], folder: Path) -> str | None:
    """What is wrong with an answer."""
    if answer.status_code not in allowed:
        return f'status {answer.status_code}'
    text = answer.text if 'json' in answer.headers.get('content-type', '') else ''
    return 'traceback' if 'Traceback' in text else 'path' if str(folder) in text or str(ROOT) in text else None


def uploads(server: Server, count: int, generator: random.Random) -> Iterator[str]:
    """Damaged photos."""
    files = sorted(photos().items())
    for number in range(count):
        name, data = files[number % len(files)]
        answer = server.upload(mutated(data, generator), generator.choice([name, f'../../{name}', '/etc/passwd']))
        if fault := fault_of(answer, {201, 422}, server.folder):
            yield f'upload {number} of {name}: {fault}'
        if answer.status_code == 201:
            server.client.delete(f'/api/photos/{answer.json()["id"]}')


def edits(server: Server, count: int, generator: random.Random) -> Iterator[str]:
    """Damaged edits."""
    number = server.upload(gray_photo((48, 40))).json()['id']
    data = json.dumps(EDIT).encode()
    for attempt in range(count):
        answer = server.client.post(
            f'/api/photos/{number}/colorize', content=generator.choice((mutated, swapped))(data, generator)
        )
        if fault := fault_of(answer, {200, 422}, server.folder):
            yield f'edit {attempt}: {fault}'


def crowd(server: Server, count: int, counts: Counter) -> Iterator[str]:
    """So many one-shot requests at once, each for a lightness of its own."""

    def send(number: int) -> tuple[int, httpx.Response]:
        size, value = (16 + number % 50, 12 + number // 50), 20 + number % 200
        files = {'file': ('a.png', gray_photo(size, value))}
        return number, server.client.post('/api/colorize', files=files, data={'edit': '{"strength": 0}'})

    with ThreadPoolExecutor(count) as threads:
        answers = list(threads.map(send, range(count)))
    for number, answer in answers:
        counts[answer.status_code] += 1
        if answer.status_code == 200:
            pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
            right = pixels.shape[:2] == (12 + number // 50, 16 + number % 50)
            if not right or abs(pixels.astype(int) - (20 + number % 200)).max() > 1:
                yield f'one-shot {number}: the picture of another one'
        elif answer.status_code != 503 or 'retry-after' not in answer.headers:
            yield f'one-shot {number}: status {answer.status_code}'


def clicks(server: Server, count: int) -> tuple[float, float]:
    """Seconds until an object of a photo of 12 megapixels has another colour: the median, and those of a processor."""
    with Image.open(ROOT / 'demo' / 'astronaut.jpg') as photo:
        out = io.BytesIO()
        photo.convert('L').resize((3464, 3464)).save(out, 'JPEG')
    opened = server.upload(out.getvalue(), 'a.jpg').json()
    edit: dict[str, Any] = {'size': opened['size'], 'objects': opened['objects']}
    seconds, worked = [], 0.0
    for number in range(count + 1):
        edit['objects'][0]['color'] = f'#{40 + number:02x}60a0'
        begin = time.perf_counter()
        server.client.post(f'/api/photos/{opened["id"]}/colorize', json=edit).raise_for_status()
        seconds.append(time.perf_counter() - begin)
        worked = worked or server.worked()  # the first one also runs the networks
    return statistics.median(seconds[1:]), (server.worked() - worked) / count


def day(server: Server, count: int, width: int, generator: random.Random) -> list[int]:
    """Private bytes of the processes after each fifth of so many requests of many kinds, for photos of this width."""
    memory = []
    opened: dict[str, Any] = {}
    height = width * 3 // 4
    for number in range(count):
        if number % 25 == 0:
            if opened:
                server.client.delete(f'/api/photos/{opened["id"]}')
            opened = server.upload(gray_photo((width + number % 7, height))).json()
        box = [width // 12, height // 9, width // 2, height * 7 // 9]
        objects = [{'box': box, 'color': f'#{generator.randrange(2**24):06x}'}]
        edit = {'objects': objects, 'saturation': 0.5 + generator.random(), 'caption': None}
        if number % 5 == 4:
            edit['points'] = [{'point': [generator.randrange(width), generator.randrange(height)], 'color': 'red'}]
        size = 'full' if number % 20 == 19 else 'preview'
        answer = server.client.post(f'/api/photos/{opened["id"]}/colorize?size={size}', json=edit)
        answer.raise_for_status()
        if (number + 1) * 5 // count > len(memory):
            memory.append(server.memory())
    return memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seed', type=int, default=1)
    defaults = {'uploads': 2000, 'edits': 500, 'crowd': 200, 'clicks': 20, 'day': 500}
    for name, default in defaults.items():
        parser.add_argument(f'--{name}', type=int, default=default)
    parser.add_argument('--width', type=int, default=1200, help="of the photos of a day's work")
    parser.add_argument('--weights', help='checkpoint; default: the shipped one')
    args = parser.parse_args()
    generator, faults, told = random.Random(args.seed), [], []
    begin = time.monotonic()
    with serving('--max-waiting', '16', *(['--checkpoint', args.weights] if args.weights else [])) as server:
        if args.clicks:
            told.append('{:.2f} s a click, {:.2f} s of it on a processor'.format(*clicks(server, args.clicks)))
        if args.day:
            memory = day(server, args.day, args.width, generator)
            told.append(f'{", ".join(str(each >> 20) for each in memory)} MiB after each fifth of {args.day} requests')
            growth = memory[-1] - memory[0]
            faults += [f'memory grew by {growth} bytes'] if growth > GROWTH else []
        counts: Counter = Counter()
        if args.crowd:
            faults += crowd(server, args.crowd, counts)
            told.append(f'{counts[200]} of {args.crowd} at once answered, {counts[503]} refused for now')
        faults += [*uploads(server, args.uploads, generator), *edits(server, args.edits, generator)]
        outside = [path for path in server.folder.iterdir() if not path.name.startswith(('.', 'home-'))]
        faults += [f'{path} was written' for path in outside]
    for fault in faults:
        print(fault)
    done = f'seed {args.seed}, {args.uploads} uploads, {args.edits} edits, {time.monotonic() - begin:.0f} s'
    print(f'studio: {done}: {"; ".join(told)}: {len(faults)} faults')
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
