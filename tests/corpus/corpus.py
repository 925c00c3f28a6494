"""A small photo in every container, depth, profile, orientation and damage, coloured as a folder and compared.

    python tests/corpus/corpus.py [--sample] [--keep FOLDER]

Nothing of it is stored: files are generated, and what their lightness must be follows from formulas. A damaged file
must be refused with a reason or, where its format cannot know, be a photo. The last line is the summary; the exit
status is 1 where anything else happened, each of which is named.
"""

import argparse
import io
import random
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
from PIL import Image
from skimage.color import rgb2lab

from insta_colorization.apis import ColorizationInferencer
from insta_colorization.checkpoints import save_checkpoint
from insta_colorization.imaging.decoders import libvips
from insta_colorization.imaging.photo import read_photo
from insta_colorization.models import ImageColorizer

HEIGHT, WIDTH = 40, 56
ORIENTATIONS = range(1, 9)
DAMAGES = ('none', 'half', 'head', 'empty', 'text', 'zeros', 'noise')
REFUSED = ('half', 'head', 'empty', 'text')
# Luminance of Display P3's primaries (SMPTE EG 432-1), whose curve is sRGB's.
P3_LUMINANCE = (0.2289746, 0.6917385, 0.0792869)
GAMMA = 1.8

# (stored pixels, orientation, profile) -> the bytes of a file.
Write = Callable[[np.ndarray, int, bytes | None], bytes]


@dataclass(frozen=True)
class Kind:
    """A container at one depth.

    Attributes:
        name: what its files are called.
        write: makes a file.
        colour: whether its pixels are (H, W, 3), and not (H, W).
        deep: whether results have 16 bits.
        within: how far the mean lightness may be from the truth.
        turns: whether it tells an orientation.
        profiles: whether it carries a profile.
        knows_its_end: whether a file that is cut can be told from a whole one.
    """

    name: str
    write: Write
    colour: bool = True
    deep: bool = False
    within: float = 0.6
    turns: bool = False
    profiles: bool = False
    knows_its_end: bool = True

    @property
    def suffix(self) -> str:
        """Of its files."""
        return f'.{self.name.partition("-")[0]}'


@dataclass(frozen=True)
class Case:
    """A file and what has to become of it.

    Attributes:
        name: of the file, below the folder.
        data: its bytes.
        kind: its container.
        lightness: (H, W) of the upright picture.
        verdict: 'read', 'refused', or 'either'.
    """

    name: str
    data: bytes
    kind: Kind
    lightness: np.ndarray
    verdict: str


def pillow(container: str, mode: str = '', exif: bool = False, **options: object) -> Write:
    """Writes by Pillow, in one of its modes."""

    def write(pixels: np.ndarray, orientation: int, profile: bytes | None) -> bytes:
        image, out = Image.fromarray(pixels), io.BytesIO()
        image = image.convert(mode) if mode else image
        own = dict(options)
        if exif and orientation > 1:
            block = Image.Exif()
            block[0x0112] = orientation
            own['exif'] = block
        if profile:
            own['icc_profile'] = profile
        image.save(out, container, **own)
        return out.getvalue()

    return write


def tiff(convert: Callable[[np.ndarray], np.ndarray] = np.asarray, **options: object) -> Write:
    """Writes a TIFF by tifffile."""

    def write(pixels: np.ndarray, orientation: int, profile: bytes | None) -> bytes:
        out, own = io.BytesIO(), {'photometric': 'rgb' if pixels.ndim == 3 else 'minisblack', **options}
        tags = [(274, 3, 1, orientation, True)] if orientation > 1 else []
        tifffile.imwrite(out, convert(pixels), extratags=tags, iccprofile=profile, metadata=None, **own)
        return out.getvalue()

    return write


def twelve_bits(pixels: np.ndarray, orientation: int, profile: bytes | None) -> bytes:
    """A TIFF of grey values of 12 bits, two in three bytes; the width is even."""
    first, second = (pixels[:, start::2].astype(np.uint32) * 4095 // 255 for start in (0, 1))
    data = np.dstack([first >> 4, (first & 15) << 4 | second >> 8, second & 255]).astype(np.uint8).tobytes()
    height, width = pixels.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 274: orientation, 277: 1, 278: height, 279: len(data)}
    tags[273] = 8 + 2 + 12 * 10 + 4
    entries = b''.join(struct.pack('<HHLL', tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b'II*\0' + struct.pack('<LH', 8, len(tags)) + entries + bytes(4) + data


def by_vips(suffix: str, **options: object) -> Write:
    """Writes by libvips, which has 16 bits of colours."""

    def write(pixels: np.ndarray, orientation: int, profile: bytes | None) -> bytes:
        vips = libvips()
        wide = pixels.dtype == np.uint16
        names = ('rgb16', 'grey16') if wide else ('srgb', 'b-w')
        image = vips.Image.new_from_array(pixels, interpretation=names[pixels.ndim == 2])
        image.set_type(vips.GValue.gint_type, 'orientation', orientation)
        if profile:
            image.set_type(vips.GValue.blob_type, 'icc-profile-data', profile)
        return image.write_to_buffer(suffix, **options)

    return write


def wide(pixels: np.ndarray) -> np.ndarray:
    """8 bits as 16."""
    return pixels.astype(np.uint16) * 257


def planes(pixels: np.ndarray) -> np.ndarray:
    """One band after the other."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    """Grey, then alpha."""
    return np.stack([pixels, np.full_like(pixels, 200)])


def lab(pixels: np.ndarray) -> np.ndarray:
    """CIELAB of 16 bits, as TIFF 6.0 has it."""
    return (rgb2lab(pixels) * (655.35, 256, 256)).round().astype(np.int32).astype(np.uint16)


def kinds() -> list[Kind]:
    """Every container at every depth that is read."""
    turned = {'turns': True, 'profiles': True}
    grey, deep = {**turned, 'colour': False}, {**turned, 'deep': True}
    tiled = {'planarconfig': 'separate', 'tile': (16, 16)}
    narrow = {'turns': True, 'colour': False}

    def pgm16(pixels: np.ndarray, orientation: int, profile: bytes | None) -> bytes:
        return b'P5 %d %d 65535\n' % pixels.shape[::-1] + wide(pixels).astype('>u2').tobytes()

    def deep_png(pixels: np.ndarray, orientation: int, profile: bytes | None) -> bytes:
        return by_vips('.png')(wide(pixels), orientation, profile)

    return [
        Kind('jpg', pillow('JPEG', exif=True, quality=95, subsampling=0), within=2, **turned),
        Kind(
            'jpg-progressive',
            pillow('JPEG', exif=True, quality=95, subsampling=0, progressive=True),
            within=2,
            **turned,
        ),
        Kind('jpg-grey', pillow('JPEG', exif=True, quality=95), within=2, **grey),
        Kind('jfif', pillow('JPEG', quality=95), within=2),
        Kind('png', pillow('PNG', exif=True), **turned),
        Kind('png-grey', pillow('PNG', exif=True), **grey),
        Kind('png-alpha', pillow('PNG', 'RGBA', exif=True), **turned),
        Kind('png-grey-alpha', pillow('PNG', 'LA', exif=True), **grey),
        Kind('png-palette', pillow('PNG', 'P', exif=True), turns=True, colour=False),
        Kind('png-16', deep_png, **deep),
        Kind('png-grey-16', deep_png, **deep, colour=False),
        Kind('apng', pillow('PNG')),
        Kind('tif', tiff(), **turned),
        Kind('tif-grey', tiff(), **grey),
        Kind('tif-big-endian', tiff(byteorder='>'), **turned),
        Kind('tif-bigtiff', tiff(bigtiff=True), **turned),
        Kind(
            'tif-bigtiff-big-endian',
            tiff(
                lambda pixels: (wide(~pixels) // 2).astype(np.int16),
                photometric='miniswhite',
                byteorder='>',
                bigtiff=True,
            ),
            **narrow,
            deep=True,
        ),
        Kind('tif-16', tiff(wide), **deep),
        Kind('tif-grey-16', tiff(wide), **deep, colour=False),
        Kind('tif-16-big-endian', tiff(wide, byteorder='>'), **deep),
        Kind('tif-white-is-zero', tiff(np.invert, photometric='miniswhite'), **narrow),
        Kind('tif-deflate', tiff(compression='deflate'), **turned),
        Kind('tif-lzw', pillow('TIFF', exif=True, compression='tiff_lzw'), **turned),
        Kind('tif-packbits', pillow('TIFF', exif=True, compression='packbits'), **turned),
        Kind('tif-jpeg', pillow('TIFF', exif=True, compression='jpeg', quality=95), within=2, **turned),
        Kind('tif-lzma', tiff(compression='lzma'), **turned),
        # Its pixels are shorter than a profile, so that half a file with one would have them all.
        Kind('tif-zstd', pillow('TIFF', exif=True, compression='zstd'), turns=True),
        Kind('tif-tiles', tiff(tile=(16, 16)), **turned),
        Kind('tif-planes', tiff(planes, planarconfig='separate'), **turned),
        Kind('tif-tiles-of-planes', tiff(planes, **tiled), **turned),
        Kind('tif-planes-grey-alpha', tiff(with_alpha, planarconfig='separate', extrasamples=['unassalpha']), **grey),
        Kind('tif-ycbcr', pillow('TIFF', 'YCbCr', exif=True), within=1, turns=True),
        Kind('tif-cielab-16', tiff(lab, photometric='cielab'), turns=True, deep=True),
        Kind('tif-12', twelve_bits, **narrow, deep=True),
        Kind('tif-float', tiff(lambda pixels: pixels / np.float32(255)), **deep),
        Kind('tif-float-grey', tiff(lambda pixels: (pixels / 255).astype(np.float16)), **narrow, deep=True),
        Kind('tif-signed', tiff(lambda pixels: (wide(pixels) // 2).astype(np.int16)), **narrow, deep=True),
        Kind('tif-32', tiff(lambda pixels: pixels.astype(np.uint32) * 16843009), turns=True, deep=True),
        Kind('tif-lzma-16', tiff(wide, compression='lzma'), **deep),
        Kind('tif-tiles-of-planes-16', tiff(lambda pixels: planes(wide(pixels)), **tiled), **deep),
        Kind('tif-64', tiff(lambda pixels: pixels / 255), **deep),
        Kind('webp', pillow('WEBP', exif=True, quality=95), within=3, **turned),
        Kind('webp-lossless', pillow('WEBP', exif=True, lossless=True), **turned),
        Kind('gif', pillow('GIF'), colour=False),
        Kind('bmp', pillow('BMP')),
        Kind('bmp-grey', pillow('BMP'), colour=False),
        Kind('dib', pillow('DIB')),
        Kind('ppm', pillow('PPM')),
        Kind('pgm', pillow('PPM'), colour=False),
        Kind('pgm-16', pgm16, colour=False, deep=True),
        Kind('jp2', pillow('JPEG2000')),
        Kind('jp2-grey', pillow('JPEG2000'), colour=False),
        Kind('avif', pillow('AVIF', quality=95, subsampling='4:4:4'), within=2),
        Kind('tga', pillow('TGA')),
        Kind('tga-rle', pillow('TGA', compression='tga_rle')),
        Kind('pcx', pillow('PCX')),
        Kind('sgi', pillow('SGI')),
        Kind('qoi', pillow('QOI')),
    ]


def picture(colour: bool) -> np.ndarray:
    """(H, W, 3) or (H, W) uint8: squares, which JPEG keeps, and another one in each corner, so that turns show."""
    values = np.random.default_rng(3).integers(20, 236, (HEIGHT // 8, WIDTH // 8, 3))
    values[0, 0], values[0, -1], values[-1, 0], values[-1, -1] = 250, 20, 90, 160
    pixels = np.kron(values, np.ones((8, 8, 1), int)).astype(np.uint8)
    return pixels if colour else pixels[..., 1]


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels as a file of this orientation has them (EXIF 2.3, tag 274)."""
    across = np.swapaxes(upright, 0, 1)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: across,
        6: across[::-1],
        7: across[::-1, ::-1],
        8: across[:, ::-1],
    }
    return np.ascontiguousarray(turned[orientation])


def grey_profile() -> bytes:
    """A minimal ICC profile of grey pixels whose curve is the power of `GAMMA` (ICC.1:2001-04)."""
    d50 = struct.pack('>3i', 63190, 65536, 54061)
    curve = struct.pack('>4s4xIH', b'curv', 1, round(GAMMA * 256))
    tags = {
        b'desc': b'desc' + bytes(4) + struct.pack('>I', 5) + b'grey\0' + bytes(78),
        b'cprt': b'text' + bytes(4) + b'none\0',
        b'wtpt': b'XYZ ' + bytes(4) + d50,
        b'kTRC': curve,
    }
    table, body = struct.pack('>I', len(tags)), b''
    for name, data in tags.items():
        table += name + struct.pack('>II', 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data.ljust(-(-len(data) // 4) * 4, b'\0')
    header = struct.pack('>I4x4s4s4s4s12x4s28x', 0, bytes([2, 0x20, 0, 0]), b'mntr', b'GRAY', b'XYZ ', b'acsp')
    whole = (header + d50).ljust(128, b'\0') + table + body
    return struct.pack('>I', len(whole)) + whole[4:]


def profiles(colour: bool) -> dict[str, bytes | None]:
    """The profiles that pictures come with, by name."""
    if not colour:
        return {'bare': None, 'gamma': grey_profile()}
    return {'bare': None, **{name: bytes(libvips().Image.profile_load(name)) for name in ('srgb', 'p3')}}


def lightness(pixels: np.ndarray, profile: str) -> np.ndarray:
    """(H, W), CIELAB's of pixels under a profile."""
    values = pixels / 255
    if profile == 'gamma':
        luminance = values**GAMMA
    elif profile == 'p3':
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        luminance = linear @ P3_LUMINANCE
    else:
        return rgb2lab(np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels)[..., 0]
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)


def damaged(data: bytes, damage: str, generator: random.Random) -> bytes:
    """What is left of a file."""
    if damage == 'half':
        return data[: len(data) // 2]
    if damage == 'head':
        return data[:10]
    if damage == 'empty':
        return b''
    if damage == 'text':
        return b'<!doctype html><title>404</title>'
    out, at = bytearray(data), len(data) // 2
    if damage == 'zeros':
        out[at : at + 16] = bytes(16)
    elif damage == 'noise':
        for _ in range(8):
            out[generator.randrange(len(out))] = generator.randrange(256)
    return bytes(out)


def cases(sample: bool = False) -> Iterator[Case]:
    """All of them, or one of each container, depth and damage, over which profiles and orientations take turns."""
    generator, turn = random.Random(0), 0
    for kind in kinds():
        upright = picture(kind.colour)
        known = profiles(kind.colour) if kind.profiles else {'bare': None}
        choices = list(product(ORIENTATIONS if kind.turns else [1], known))
        for damage in DAMAGES:
            turn += 1
            for orientation, profile in [choices[turn % len(choices)]] if sample else choices:
                data = kind.write(stored(upright, orientation), orientation, known[profile])
                cut = damage in REFUSED and (damage != 'half' or kind.knows_its_end)
                yield Case(
                    f'{kind.name}/{orientation}-{profile}-{damage}{kind.suffix}',
                    damaged(data, damage, generator),
                    kind,
                    lightness(upright, profile),
                    'read' if damage == 'none' else 'refused' if cut else 'either',
                )


def fault_of(case: Case, record: dict) -> str:
    """What is wrong with what became of a file; '' for nothing."""
    if record['status'] == 'failed':
        if case.verdict == 'read':
            return f'refused: {record["reason"]}'
        return f'no reason: {record["reason"]}' if 'unexpected' in record['reason'] else ''
    if case.verdict == 'refused':
        return 'read, though it is damaged'
    if case.verdict == 'either':
        return ''
    pixels = read_photo(record['output']).pixels
    if pixels.shape[:2] != case.lightness.shape:
        return f'its size is {pixels.shape[:2]}, not {case.lightness.shape}'
    if (pixels.dtype == np.uint16) != case.kind.deep:
        return f'its pixels are {pixels.dtype}'
    away = np.abs(rgb2lab(pixels / np.iinfo(pixels.dtype).max)[..., 0] - case.lightness).mean()
    return '' if away <= case.kind.within else f'its lightness is {away:.2f} away, not {case.kind.within:g}'


def check(found: Sequence[Case], folder: Path) -> tuple[Counter[str], list[str]]:
    """Colours files as a folder.

    Args:
        found: the files.
        folder: where they and their results are written.

    Returns:
        How many were read and refused, and what went wrong, a sentence a file.
    """
    for case in found:
        (folder / 'in' / case.name).parent.mkdir(parents=True, exist_ok=True)
        (folder / 'in' / case.name).write_bytes(case.data)
    weights = folder / 'weights.safetensors'
    network = ImageColorizer({'type': 'ColorizationBackbone', 'width': 1 / 32})
    save_checkpoint(network.state_dict(), weights, metadata={'input_size': '32'})
    inferencer = ColorizationInferencer(weights=weights, device='cpu', detector='none', show_progress=False)
    colour = partial(inferencer, on_error='collect')
    records = colour(folder / 'in', out_dir=folder / 'out', recursive=True, batch_size=16)['predictions']
    by_name = {record['photo']: record for record in records}
    counts: Counter[str] = Counter()
    faults = []
    for case in found:
        record = by_name.get(str(folder / 'in' / case.name))
        counts['missing' if record is None else 'refused' if record['status'] == 'failed' else 'read'] += 1
        if fault := 'not found in its folder' if record is None else fault_of(case, record):
            faults.append(f'{case.name}: {fault}')
    return counts, faults


def main(argv: Sequence[str] | None = None) -> int:
    """Checks the corpus; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sample', action='store_true', help='one file of each container, depth and damage')
    parser.add_argument('--keep', type=Path, metavar='FOLDER', help='where files and results stay; default: nowhere')
    args = parser.parse_args(argv)
    with TemporaryDirectory() as temporary:
        found = list(cases(args.sample))
        counts, faults = check(found, args.keep or Path(temporary))
    print(*faults, sep='\n', end='\n' if faults else '')
    print(f'{len(found)} files: {counts["read"]} read, {counts["refused"]} refused, {len(faults)} wrong')
    return min(len(faults), 1)


if __name__ == '__main__':
    sys.exit(main())
