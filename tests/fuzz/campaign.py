"""Damages files of every kind, kills writers and fills disks, and looks whether anything worse than a sentence happens.

    python tests/fuzz/campaign.py [--seed N] [--images N] [--checkpoints N] [--boxes N] [--kills N] [--races N]

Generated files are mutated and read in processes of their own. The last line is the summary; the exit status is 1 after
any traceback, crash, hang, spike of memory, started program or lost file, each of which is named with its file.
"""

import argparse
import io
import json
import os
import pickle
import random
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from insta_colorization.apis.jobs import load, plan
from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.fileio.boxes import open_boxes
from insta_colorization.fileio.files import sweep
from insta_colorization.imaging.photo import decode_photo, load_rgb, read_photo, write_photo
from insta_colorization.models import ImageColorizer

# Seconds for one file, and bytes that reading small ones may take beyond what was there before.
PATIENCE = 30
SPIKE = 2**30
PROGRAMS = ('subprocess.Popen', 'os.exec', 'os.posix_spawn', 'os.spawn', 'os.system')
KINDS = ('traceback', 'crash', 'hang', 'spike', 'program', 'lost')

Check = Callable[[Path], object]


def photos() -> dict[str, bytes]:
    """A small file of every container and of several modes."""
    colour = Image.effect_noise((48, 40), 60).convert('RGB')
    deep = Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48) * 30)
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: 'Zeiss'})
    variants: dict[str, list[tuple[Image.Image, dict[str, Any]]]] = {
        'JPEG': [
            (colour, {'exif': exif, 'dpi': (300, 300)}),
            (colour.convert('CMYK'), {}),
            (colour, {'progressive': 1}),
        ],
        'PNG': [(colour, {'exif': exif}), (deep, {}), (colour.quantize(9), {}), (colour.convert('LA'), {})],
        'TIFF': [(colour, {'exif': exif}), (deep, {'compression': 'tiff_lzw'}), (colour, {'compression': 'jpeg'})],
        'WEBP': [(colour, {'exif': exif}), (colour, {'lossless': True})],
        'AVIF': [(colour, {})],
        'GIF': [(colour.quantize(9), {})],
        'PPM': [(colour, {}), (deep.convert('I'), {})],
        **{kind: [(colour, {})] for kind in ('BMP', 'TGA', 'PCX', 'SGI', 'ICO', 'DDS', 'JPEG2000', 'QOI')},
    }
    return {
        f'{number}.{kind.lower()}': _encoded(image, kind, options)
        for kind, images in variants.items()
        for number, (image, options) in enumerate(images)
    }


def _encoded(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def checkpoints(folder: Path) -> dict[str, bytes]:
    """A tiny network in every container, with what a runner writes beside it."""
    state = ImageColorizer({'type': 'ColorizationBackbone', 'width': 1 / 32}).state_dict()
    for name in ('a.pth', 'b.safetensors'):
        save_checkpoint(state, folder / name, metadata={'input_size': '64'})
    content = {'state_dict': state, 'message_hub': {'lr': np.arange(9.0)}, 'meta': {'seed': 1}}
    torch.save(content, folder / 'c.pth')
    torch.save(content, folder / 'd.pth', _use_new_zipfile_serialization=False)
    (folder / 'e.pth').write_bytes(pickle.dumps({'state_dict': {'model1.0.weight': np.zeros(3)}}, protocol=2))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def boxes(folder: Path) -> dict[str, bytes]:
    """Files of boxes of every kind."""
    polygon = {'segmentation': [[1, 1, 20, 1, 20, 20]], 'bbox': [1, 1, 19, 19], 'image_id': 1, 'category_id': 1}
    runs = {**polygon, 'segmentation': {'size': [40, 48], 'counts': [100, 200, 1620]}, 'score': 0.5}
    image = {'id': 1, 'file_name': 'x.png', 'width': 48, 'height': 40}
    content = {'images': [image], 'annotations': [polygon, runs], 'categories': [{'id': 1, 'name': 'cat'}]}
    (folder / 'x.json').write_text(json.dumps(content))
    arrays = {'bbox': np.array([[1, 1, 20, 20]], np.float32), 'scores': np.ones(1), 'labels': np.array([3])}
    np.savez_compressed(folder / 'x.npz', **arrays, masks=np.ones((1, 40, 48), bool))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def mutated(data: bytes, generator: random.Random) -> bytes:
    """A file with a few of the damages that files get, by chance or on purpose."""
    out = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 4, 9))):
        at, size = generator.randrange(max(1, len(out))), generator.choice((1, 2, 4, 8, 64))
        if generator.random() < 0.5:
            at %= 256  # headers decide the most
        damage = generator.randrange(6)
        if damage == 0:
            out[at : at + 1] = bytes([generator.randrange(256)])
        elif damage == 1:
            out[at : at + size] = generator.choice((b'\xff', b'\0', b'\x7f')) * size
        elif damage == 2:
            out[at : at + size] = b''
        elif damage == 3:
            start = generator.randrange(max(1, len(out)))
            out[at:at] = out[start : start + size]
        elif damage == 4:
            out[at : at + size] = generator.randbytes(size)
        elif generator.random() < 0.3:
            del out[at:]
    return bytes(out)


def swapped(data: bytes, generator: random.Random) -> bytes:
    """JSON in which a value is another one."""
    odd = ('[]', '{}', 'null', '"x"', '-1', '1e400', '9' * 400, 'NaN', '["x"]', '640000', '"\\ud800"', '[' * 5000)
    tokens = data.decode().replace('{', ' { ').replace('[', ' [ ').replace(',', ' , ').replace('}', ' } ').split(' ')
    tokens[generator.randrange(len(tokens))] = generator.choice(odd)
    return ''.join(tokens).encode()


def check_photo(path: Path) -> None:
    """Reads a file in both ways; both know only their own error."""
    for read in (read_photo, load_rgb):
        with suppress(ValueError):
            read(path)


def check_boxes(path: Path) -> None:
    """Uses what a file says about a photo."""
    with suppress(ValueError):
        found = open_boxes(path, masks=True)
        found.annotations_of('/d/x.png')
        found.instances_of('/d/x.png', (40, 48))


def check_checkpoint(path: Path) -> None:
    """Reads a checkpoint."""
    with suppress(ValueError):
        load_checkpoint(path)


def _serve(check: Check, paths: Sequence[Path], answers: Connection) -> None:
    """Checks files one after the other, in a process of its own."""
    started: list[str] = []
    sys.addaudithook(lambda event, args: started.append(event) if event in PROGRAMS else None)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries print by themselves
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in paths:
        finding = ''
        try:
            check(path)
        except Exception as error:
            finding = f'traceback {type(error).__name__}: {error}'[:200]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if (peak - before) * 1024 > SPIKE:
            finding = f'spike of {(peak - before) >> 10} MiB'
        before = max(before, peak - (SPIKE >> 11))
        answers.send(f'program {started.pop()}' if started else finding)


def run(check: Check, paths: Sequence[Path], patience: float = PATIENCE) -> Iterator[tuple[str, Path]]:
    """Checks files in processes that may crash and hang; yields (finding, file)."""
    left = list(paths)
    while left:
        answers, sender = get_context('fork').Pipe(duplex=False)
        process = get_context('fork').Process(target=_serve, args=(check, left, sender))
        process.start()
        sender.close()
        for number, path in enumerate(left):
            try:
                finding = answers.recv() if answers.poll(patience) else 'hang'
            except EOFError:
                process.join()
                finding = f'crash {process.exitcode}'
            if finding:
                yield finding, path
            if finding.startswith(('hang', 'crash')):
                left = left[number + 1 :]
                break
        else:
            left = []
        process.kill()
        process.join()


def campaign(
    check: Check, files: dict[str, bytes], count: int, folder: Path, generator: random.Random
) -> Iterator[tuple[str, Path]]:
    """Checks `count` mutations of files, a hundred a process."""
    for first in range(0, count, 100):
        paths = []
        for number in range(first, min(first + 100, count)):
            name = generator.choice(sorted(files))
            change = swapped if name.endswith('.json') and generator.random() < 0.7 else mutated
            paths.append(folder / f'{number}_{name}')
            paths[-1].write_bytes(change(files[name], generator))
        found = list(run(check, paths))
        yield from found
        for path in set(paths) - {path for _, path in found}:
            path.unlink()


def _write_for_ever(folder: Path, limit: int | None) -> None:
    if limit is not None:  # as on a full disk
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for number in range(10**6):
        try:
            write_photo(np.full((200, 300, 3), number % 256, np.uint8), folder / f'{number % 9}.png')
        except OSError:
            os._exit(0)


def kills(count: int, folder: Path, generator: random.Random) -> Iterator[tuple[str, Path]]:
    """Kills writers and fills their disks; what is visible must be whole, and nothing may stay behind it."""
    for number in range(count):
        place = folder / str(number)
        place.mkdir()
        limit = generator.randrange(100, 2000) if number % 3 == 0 else None
        writer = get_context('fork').Process(target=_write_for_ever, args=(place, limit))
        writer.start()
        writer.join(0.05 + generator.random() / 2)
        writer.kill()
        writer.join()
        for left in place.glob('.*.tmp'):
            os.utime(left, (0, 0))
        sweep(place)
        torn = partial(decode_whole, place)
        yield from run(torn, sorted(place.iterdir()))


def decode_whole(folder: Path, path: Path) -> None:
    """Raises for a file that is not a whole photo of one colour."""
    pixels = read_photo(path).pixels
    assert path.suffix == '.png', 'lost: a part of a file stays'
    assert (pixels == pixels[0, 0]).all(), 'lost: a torn file'


def races(count: int, files: dict[str, bytes], folder: Path, generator: random.Random) -> Iterator[tuple[str, Path]]:
    """Reads valid BMPs and damaged files in four threads: none fails for another one, nor takes its reason."""
    path = folder / 'race'
    path.write_bytes(b'')

    def race(_: Path) -> None:
        damaged = [mutated(files[name], generator) for name in sorted(files) for _ in range(5)]
        contents = [files['0.bmp']] * count + damaged * (count // (4 * len(damaged)) + 1)
        generator.shuffle(contents)
        alone = {data: _reason(data) for data in set(contents)}
        assert not alone[files['0.bmp']]
        with ThreadPoolExecutor(4) as pool:
            for data, reason in zip(contents, pool.map(_reason, contents), strict=True):
                assert reason == alone[data], f'lost: {reason!r} instead of {alone[data]!r}'

    if count:
        yield from run(race, [path], patience=600)


def _reason(data: bytes) -> str:
    try:
        decode_photo(data, 'x')
    except ValueError as error:
        return str(error)
    return ''


class _Odd(BaseHTTPRequestHandler):
    """Answers that break off, promise too much, lead elsewhere or are no photo."""

    def do_GET(self) -> None:
        way = self.path.strip('/').split('.')[0]
        self.send_response(302 if way == 'away' else 200)
        self.send_header('Location', 'file:///etc/passwd') if way == 'away' else None
        self.send_header('Content-Length', str(10**15)) if way == 'promise' else None
        self.end_headers()
        self.wfile.write(b'%!PS' if way == 'postscript' else b'\x89PNG')

    def log_message(self, *args: Any) -> None: ...


def paths_and_urls(folder: Path) -> Iterator[tuple[str, Path]]:
    """Plans and reads a folder of entries that are no files, and addresses of a server on this machine."""
    os.environ['no_proxy'] = '127.0.0.1'
    place = folder / 'odd'
    place.mkdir()
    (place / 'circle.png').symlink_to('circle.png')
    (place / 'zero.png').symlink_to('/dev/zero')
    (place / 'passwd.png').symlink_to('/etc/passwd')
    os.mkfifo(place / 'pipe.png')
    for name in (b'\xff\xfe.png', b'\x1b[2J.png', b'a\nb.png', b'-x.png', b'[1]*.png'):
        (place / os.fsdecode(name)).write_bytes(b'x')
    with ThreadingHTTPServer(('127.0.0.1', 0), _Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ways = ('short', 'promise', 'away', 'postscript', '%00', 'x' * 300, '..%2f..%2fetc%2fpasswd')
        addresses = [f'http://127.0.0.1:{server.server_port}/{way}.png' for way in ways]

        def check(_: Path) -> None:
            for job in plan([place, *addresses], folder / 'out'):
                assert job.target.parent == folder / 'out'
                try:
                    load(job.source)
                except ValueError:
                    pass
                else:
                    raise AssertionError(f'{job.name} was read')

        yield from run(check, [place])
        server.shutdown()


def main() -> int:
    """Runs the parts; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {
        'seed': 0,
        'images': 3000,
        'checkpoints': 500,
        'boxes': 500,
        'kills': 60,
        'races': 3000,
    }.items():
        parser.add_argument(f'--{name}', type=int, default=default, metavar='N', help=f'default: {default}')
    parser.add_argument('--keep', type=Path, metavar='FOLDER', help='where files that did harm are kept')
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin, counts = time.monotonic(), Counter(dict.fromkeys(KINDS, 0))
    with TemporaryDirectory() as temporary:
        folders = {name: Path(temporary) / name for name in ('files', 'weights', 'boxes', 'kills')}
        for folder in folders.values():
            folder.mkdir()
        generator, files = random.Random(args.seed), photos()
        parts = {
            'images': campaign(check_photo, files, args.images, folders['files'], generator),
            'checkpoints': campaign(
                check_checkpoint, checkpoints(folders['weights']), args.checkpoints, folders['files'], generator
            ),
            'boxes': campaign(check_boxes, boxes(folders['boxes']), args.boxes, folders['files'], generator),
            'kills': kills(args.kills, folders['kills'], generator),
            'races': races(args.races, files, folders['files'], generator),
            'paths': paths_and_urls(folders['files']),
        }
        for part, findings in parts.items():
            for finding, path in findings:
                kind = 'lost' if 'lost: ' in finding else finding.split()[0]
                counts[kind] += 1
                print(f'{part}: {finding}: {path.name}')
                if args.keep and path.is_file():
                    args.keep.mkdir(parents=True, exist_ok=True)
                    (args.keep / path.name).write_bytes(path.read_bytes())
    done = ', '.join(f'{getattr(args, name)} {name}' for name in ('images', 'checkpoints', 'boxes', 'kills', 'races'))
    found = ', '.join(f'{counts[kind]} {kind}' for kind in KINDS)
    print(f'fuzz: seed {args.seed}, {done} in {time.monotonic() - begin:.0f} s: {found}')
    return 1 if counts.total() else 0


if __name__ == '__main__':
    sys.exit(main())
