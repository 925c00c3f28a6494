"""Measures how well colours follow hints, and how little they depend on the size of the networks' input.

    python tools/analysis_tools/evaluate_hints.py [CONFIG] [CHECKPOINT] --img PHOTOS... --boxes COCO.json
        [--kind mask|box|points] [--[no-]strict-hints] [--sizes 128 512] [--out FIGURES.json]

The photos' own colours are the truth, all at 256 x 256. Objects count that are at least 16 pixels wide and high there
and 100 in area. What is printed:

- `gain`: dB of PSNR in the object's box that hints of the true mean colour of every object bring;
- `distance`: Lab units from the mean colour of one object of each photo to one of six colours, each hinted alone, that
  sRGB has at the object's lightness;
- `spill`: Lab units by which such a hint moves the mean of what is more than 32 pixels away from the object;
- `drift`: Lab units by which the mean colour of an object moves between the sizes.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from insta_colorization.utils.cli import Command, Parser, add_options, number
from insta_colorization.utils.options import ColourOptions, NetworkOptions

SIDE, FAR = 256, 32
LEAST_SIDE, LEAST_AREA = 16, 100
COLOURS, POINTS = 6, 5
KINDS = ('mask', 'box', 'points')


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('config', nargs='?', help="config, by path or name; default: the shipped weights' own")
    parser.add_argument('checkpoint', nargs='?', help='weights; default: the shipped ones')
    parser.add_argument('--img', nargs='+', required=True, help='photos in colour, folders or patterns')
    parser.add_argument('--boxes', required=True, metavar='FILE', help='COCO JSON with the segmentation of each object')
    parser.add_argument('--kind', choices=KINDS, default='mask', help='how an object is hinted')
    parser.add_argument('--certainty', type=number(float, 0, 1), default=0.5, help='of hints of a mask or box')
    parser.add_argument('--sizes', type=number(int, 1), nargs='+', default=[], help='sides of the input, for the drift')
    parser.add_argument('--max-photos', type=number(int, 1), help='how many photos, the first ones; default: all')
    add_options(parser, ColourOptions, only=('strict_hints',))
    add_options(parser, NetworkOptions, only=('device', 'decoder', 'preset'))
    parser.add_argument('--out', type=Path, help='JSON file for the figures')


@dataclass(frozen=True, eq=False)
class Thing:
    """An object of a photo.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the photo.
        whole: (h, w) bool, its mask in the box.
        cells: (256, 256) bool, its mask.
        window: where its box is there.
    """

    box: tuple[int, int, int, int]
    whole: np.ndarray
    cells: Any
    window: tuple[slice, slice]


def things_of(instances: Any) -> Iterator[Thing]:
    """The objects of a photo that are large enough."""
    import torch.nn.functional as F

    for index, (x0, y0, x1, y1) in enumerate(instances.on_grid((SIDE, SIDE)).tolist()):
        whole = instances.whole_mask(index)
        cells = F.interpolate(whole[None, None].float(), (SIDE, SIDE), mode='area')[0, 0] > 0.5
        if min(x1 - x0, y1 - y0) >= LEAST_SIDE and cells.sum() >= LEAST_AREA:
            box = tuple(instances.in_pixels()[index].tolist())
            yield Thing(box, instances.masks[index].numpy(), cells, (slice(y0, y1), slice(x0, x1)))


def hints_for(thing: Thing, ab: Sequence[float], kind: str, certainty: float) -> list[Any]:
    """The hints that give an object a colour, in Lab units."""
    from insta_colorization.structures import Hint

    colour = (float(ab[0]), float(ab[1]))
    if kind == 'points':
        rows, columns = thing.whole.nonzero()
        chosen = np.random.default_rng(len(rows)).choice(len(rows), POINTS)
        return [Hint.at(thing.box[0] + columns[n], thing.box[1] + rows[n], colour) for n in chosen]
    return [Hint(colour, thing.box, thing.whole if kind == 'mask' else None, certainty)]


def other_colours(lightness: float, count: int, generator: np.random.Generator) -> list[tuple[float, float]]:
    """Colours of all hues, of a chroma of 15 to 60 Lab units, that sRGB has at a lightness of 0..100."""
    from insta_colorization.colorspace import in_srgb

    hues = 2 * np.pi * (np.arange(count) + generator.random()) / count
    chroma = generator.uniform(15, 60, count)
    wanted = zip(np.full(count, lightness), chroma * np.cos(hues), chroma * np.sin(hues), strict=True)
    return [(a, b) for _, a, b in in_srgb([tuple(map(float, colour)) for colour in wanted]).tolist()]


def colours_of(predictor: Any, photo: Any, requests: Sequence[Any], strict: bool | None = None) -> Any:
    """(K, 2, 256, 256) in Lab units, of a photo with each of K requests."""
    import torch
    import torch.nn.functional as F

    from insta_colorization.colorspace import AB_RANGE
    from insta_colorization.imaging.following import follow_hints

    found = []
    for request in requests:
        (sample,) = predictor.color([predictor.pack(photo, request)])
        hints = [hint for hint in request.hints if hint.is_followed(strict)]
        found.append(follow_hints(sample.pred_ab, hints, photo.size))
    return AB_RANGE * F.interpolate(torch.stack(found), (SIDE, SIDE), mode='bilinear', align_corners=False)


def measure(predictor: Any, photo: Any, instances: Any, args: argparse.Namespace) -> dict[str, list[float]]:
    """The figures of one photo, a list for each."""
    import torch.nn.functional as F

    from insta_colorization.colorspace import AB_RANGE, rgb_to_lab
    from insta_colorization.evaluation.metrics import PSNR
    from insta_colorization.imaging.rendering import clipped_rgb
    from insta_colorization.imaging.resize import resize_photo, to_tensor
    from insta_colorization.structures import Request

    things = sorted(things_of(instances), key=lambda thing: -int(thing.cells.sum()))
    figures: dict[str, list[float]] = {'gain': [], 'distance': [], 'spill': [], 'drift': []}
    if not things:
        return figures
    truth = to_tensor(resize_photo(photo.rgb8, SIDE))
    lab = rgb_to_lab(truth.float() / 255)
    hinted = partial(hints_for, kind=args.kind, certainty=args.certainty)
    chosen = things[len(things) // 2]
    level = float(lab[0][chosen.cells].mean())
    others = other_colours(level, COLOURS, np.random.default_rng(len(things)))
    true = [hint for thing in things for hint in hinted(thing, lab[1:, thing.cells].mean(dim=1).tolist())]
    wishes = [(), tuple(true), *(tuple(hinted(chosen, colour)) for colour in others)]
    requests = [Request(instances, hints) for hints in wishes]
    plain, told, *changed = colours_of(predictor, photo, requests, args.strict_hints)

    for thing in things:
        part = (slice(None), *thing.window)
        psnr = [PSNR().measure(truth[part], clipped_rgb(truth, ab / AB_RANGE)[part])['PSNR'] for ab in (plain, told)]
        figures['gain'].append(psnr[1] - psnr[0])
    far = F.max_pool2d(chosen.cells[None, None].float(), 2 * FAR + 1, 1, FAR)[0, 0] == 0
    for colour, ab in zip(others, changed, strict=True):
        figures['distance'].append(float((ab[:, chosen.cells].mean(dim=1) - plain.new_tensor(colour)).norm()))
        if far.any():
            figures['spill'].append(float((ab - plain)[:, far].mean(dim=1).norm()))
    if args.sizes:
        own = predictor.input_size
        at_size = []
        for size in args.sizes:
            predictor.input_size = size
            at_size.append(colours_of(predictor, photo, requests[:1])[0])
        predictor.input_size = own
        for thing in things:
            means = [ab[:, thing.cells].mean(dim=1) for ab in at_size]
            figures['drift'].append(max(float((a - b).norm()) for a in means for b in means))
    return figures


def run(args: argparse.Namespace) -> None:
    """Measures, prints and writes."""
    from insta_colorization.apis.jobs import plan
    from insta_colorization.apis.predictor import Predictor
    from insta_colorization.fileio.boxes import open_boxes
    from insta_colorization.fileio.files import write_whole
    from insta_colorization.utils.progress import progress_bar

    predictor = Predictor(
        args.config, args.checkpoint, args.device, 'none', decoder=args.decoder, preset=args.preset, precision='fp32'
    )
    divisor = predictor.model.size_divisor
    if wrong := [size for size in args.sizes if size % divisor]:
        raise ValueError(f'sizes must be multiples of {divisor}, but got {wrong[0]}')
    jobs, boxes = plan(args.img)[: args.max_photos], open_boxes(args.boxes, masks=True)
    boxes.matched([job.name for job in jobs])
    figures: dict[str, list[float]] = {}
    with progress_bar() as tell:
        for done, job in enumerate(jobs, 1):
            photo = predictor.read(job.source, job.name)
            own = measure(predictor, photo, boxes.instances_of(job.name, photo.size), args)
            figures = {name: figures.get(name, []) + values for name, values in own.items()}
            tell(done, len(jobs))
    table = {name: _summary(values) for name, values in figures.items() if values}
    if not table:
        raise ValueError(f'none of the {len(jobs)} photos has an object of {LEAST_SIDE} x {LEAST_SIDE} pixels at size')
    print(f'{"":10}{"median":>9}{"mean":>9}{"count":>9}')
    for name, values in table.items():
        print(f'{name:10}{values["median"]:9.2f}{values["mean"]:9.2f}{values["count"]:9d}')
    if args.out is not None:
        write_whole(f'{json.dumps(table, indent=1)}\n'.encode(), args.out)
        print(f'wrote {args.out}')


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {'median': float(np.median(values)), 'mean': float(np.mean(values)), 'count': len(values)}


main = Command(__doc__, arguments, run, 'stopped; nothing was written')

if __name__ == '__main__':
    sys.exit(main())
