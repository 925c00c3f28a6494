"""Compares the fused network with the full-image network at equal colourfulness, photo by photo.

    python tools/analysis_tools/compare_networks.py CONFIG CHECKPOINT [--preset NAME] [--equal photos] [--crops]
        [--photos N] [--out RESULTS.json] --cfg-options test_dataloader.dataset.data_root=PHOTOS
        test_dataloader.dataset.gt_instances=TRUE.json test_dataloader.dataset.instances=BOXES.json

A network with paler colours has the better PSNR, so the colours of every other way are scaled until the mean
colourfulness (CF) of the instances, or with --equal photos that of the photos, is that of the fused ones; the scale
stands in the table. The colours are those of the regression head as they are, unless a preset or a decoder is named.
PSNR and CF are those of tools/test.py. Differences are paired by photo, of instances by their mean in a photo.

With --crops also what the networks know of the objects alone: the colours of the crops, as the full-image and as the
instance network see them, laid into their boxes over the full-image network's.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from insta_colorization.utils.bootstrap import bootstrap
from insta_colorization.utils.cli import Command, Parser, UsageError, add_options, number
from insta_colorization.utils.configs import add_config, load_config
from insta_colorization.utils.options import NetworkOptions

if TYPE_CHECKING:
    from torch import Tensor

Values = dict[str, list[list[float]]]

# The metrics' levels by what the command line calls them.
LEVELS = {'photos': 'image', 'instances': 'instance'}


class Photo(NamedTuple):
    """A photo, and the ab (2, S, S) that each way gives it, by name."""

    sample: dict[str, Any]
    ab: 'dict[str, Tensor]'


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    add_config(parser, 'config whose test photos are used, by path or name')
    parser.add_argument('checkpoint', help='weights with all three networks')
    add_options(parser, NetworkOptions, only=('decoder', 'preset'))
    parser.add_argument('--equal', choices=[*LEVELS], default='instances', help='whose colourfulness is made equal')
    parser.add_argument('--crops', action='store_true', help='also the colours of the crops by themselves')
    parser.add_argument('--photos', type=number(int, 1), help='how many photos, the first ones; default: all')
    parser.add_argument('--out', type=Path, help='JSON file for the values of every photo')


def coloured(batch: Mapping[str, Any], model: Any, crops: bool) -> 'dict[str, Tensor]':
    """{way: ab (2, S, S)}, in network units, of a batch of one photo by the model's decoder."""
    import torch.nn.functional as F

    lightness, size = batch['lightness'], batch['lightness'].shape[-2:]
    classify = model.decoder.classify
    full = model.decoder(*model.image_net(lightness, classify=classify))[0]
    ways = {'full': full, 'fused': model.decoder(*model.colors(batch, classify=classify))[0]}
    for name in ('image_net', 'instance_net') if crops else ():
        laid = ways[f'crops, {name}'] = full.clone()
        # The best comes last, on top.
        boxes = batch['instances'].on_grid(size).tolist()
        for crop, (x0, y0, x1, y1) in reversed([*zip(batch['crop_lightness'], boxes, strict=True)]):
            ab = model.decoder(*getattr(model, name)(crop[None], classify=classify))
            laid[:, y0:y1, x0:x1] = F.interpolate(ab, (y1 - y0, x1 - x0), mode='bilinear', antialias=True)[0]
    return ways


def measured(photos: Sequence[Photo], way: str, scale: float, metric: Any) -> Values:
    """{level: a metric's value of each pair, for each photo} with the colours of a way scaled."""
    values: Values = {level.name: [] for level in metric.levels}
    metric.results.clear()
    metric.process(None, [{**photo.sample, 'pred_ab': photo.ab[way] * scale} for photo in photos])
    for result in metric.results:
        for level, pairs in result.values.items():
            values[level].append([pair[metric.name] for pair in pairs])
    return values


def mean(values: Sequence[Sequence[float]]) -> float:
    """Over all pairs of all photos."""
    return float(np.mean([value for pairs in values for value in pairs]))


def scale_for(target: float, colourfulness: Callable[[float], float]) -> float:
    """The scale whose colourfulness is the target; the two are nearly proportional."""
    scale = 1.0
    for _ in range(3):
        scale *= target / colourfulness(scale)
    return scale


def difference(values: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean over photos of the differences of their means, and its interval, see `bootstrap`."""
    pairs = zip(values, others, strict=True)
    return bootstrap([float(np.mean(mine) - np.mean(theirs)) for mine, theirs in pairs if mine])


def photos_of(args: argparse.Namespace) -> list[Photo]:
    """All photos with what each way makes of them."""
    import torch
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DefaultScope

    from insta_colorization.apis.build import colorizer_for
    from insta_colorization.checkpoints import load_checkpoint
    from insta_colorization.models import InstColorizer
    from insta_colorization.models.decoders import parse_decoder
    from insta_colorization.registry import DATASETS

    NetworkOptions(decoder=args.decoder, preset=args.preset)
    decoder = None if args.preset else parse_decoder(args.decoder or 'regression')
    cfg = load_config(args.config, args.cfg_options)
    model = colorizer_for(load_checkpoint(args.checkpoint), cfg.model, decoder, args.preset)
    if not isinstance(model, InstColorizer):
        raise UsageError(f'{args.checkpoint} has no fusion network to compare')
    if cfg.test_dataloader.dataset.get('instances') is None:
        raise UsageError('test_dataloader.dataset.instances names no boxes, so nothing would be fused')
    photos = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.inference_mode():
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        for index in range(min(len(dataset), args.photos or len(dataset))):
            batch = model.data_preprocessor(pseudo_collate([dataset[index]]))
            (sample,) = batch['data_samples']
            photos.append(Photo(sample.to_dict(), coloured(batch, model, args.crops)))
    return photos


def compare(args: argparse.Namespace) -> None:
    """Prints the table and writes the values."""
    from insta_colorization.evaluation.metrics import PSNR, Colorfulness
    from insta_colorization.evaluation.protocol import write_results

    photos, psnr, colour = photos_of(args), PSNR(), Colorfulness()

    def colourfulness(way: str, scale: float) -> float:
        return mean(measured(photos, way, scale, colour)[LEVELS[args.equal]])

    target = colourfulness('fused', 1)
    found: dict[str, dict[str, Any]] = {}
    for way in photos[0].ab:
        scale = 1.0 if way == 'fused' else scale_for(target, partial(colourfulness, way))
        both = {metric.name: measured(photos, way, scale, metric) for metric in (psnr, colour)}
        found[way] = {'scale': scale, **both}
    print(f'{len(photos)} photos\n{"":22}{"scale":>7}{"PSNR":>9}{"CF":>7}{"instances: PSNR":>17}{"CF":>7}')
    for way, values in found.items():
        figures = [mean(values[name][level]) for level in LEVELS.values() for name in ('PSNR', 'CF')]
        print('{:22}{:7.3f}{:9.3f}{:7.2f}{:17.3f}{:7.2f}'.format(way, values['scale'], *figures))
    for way in [way for way in found if way != 'full']:
        for level in LEVELS.values():
            gain = difference(*(found[name]['PSNR'][level] for name in (way, 'full')))
            print('{} - full, {}: {:+.3f} dB (95 % {:+.3f} to {:+.3f})'.format(way, level, *gain))
    if args.out:
        write_results(found, args.out)


main = Command(__doc__, arguments, compare, 'stopped; nothing was written')

if __name__ == '__main__':
    sys.exit(main())
