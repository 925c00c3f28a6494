"""Counts parameters and multiply-accumulates (MACs) of a config's networks.

    python tools/analysis_tools/get_flops.py CONFIG [--size 256] [--instances 0 1 4 8]

MACs are those of the convolutions. The class head is counted apart: it runs where a loss or the decoder asks for it,
and never on crops (the published code always runs it: 75.75 GMAC a network at 256 x 256, 729 for a photo with eight
instances). A photo without instances goes through the full-image network; one with R instances through the instance
network R times, as far as it is fused, and through the fusion network once.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from insta_colorization.models import Colorizer
from insta_colorization.models.backbones.zhang2017 import STRIDE
from insta_colorization.registry import build_model
from insta_colorization.structures import Instances
from insta_colorization.utils.cli import Command, Parser, UsageError, number
from insta_colorization.utils.configs import add_config, load_config


class Cost(NamedTuple):
    """MACs without and with the class head."""

    plain: int
    classified: int


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    add_config(parser)
    parser.add_argument('--size', type=int, help="side of the networks' input; default: the config's input_size")
    text = 'numbers of instances a photo'
    parser.add_argument('--instances', type=number(int, 0), nargs='+', default=[0, 1, 4, 8], help=text)


def cost_at(size: int, run: Callable[..., object]) -> Cost:
    """What `run(classify=...)` on an input of the smallest size costs on one of this size."""
    counts = []
    for classify in (False, True):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            run(classify=classify)
        # Convolutions cost in proportion to the area, to the last one.
        counts.append(counter.get_total_flops() // 2 * (size // STRIDE) ** 2)
    return Cost(*counts)


def lightness(count: int) -> Tensor:
    """Photos or crops of the smallest size."""
    return torch.zeros(count, 1, STRIDE, STRIDE)


def network_costs(model: Colorizer, size: int) -> dict[str, tuple[int, Cost | None]]:
    """{network: (parameters, cost of one photo or crop)}; that of the fusion network depends on the instances."""
    costs = {}
    for name in model.networks:
        network = getattr(model, name)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        run = partial(network, lightness(1))
        costs[name] = parameters, None if name == 'fusion_net' else cost_at(size, run)
    return costs


def costs_by_instances(model: Colorizer, size: int, counts: Sequence[int]) -> dict[int, Cost]:
    """{number of instances: what colouring one photo with so many costs}; without a fusion network there are none."""
    if 'fusion_net' not in model.networks:
        return {0: cost_at(size, partial(model.image_net, lightness(1)))}
    costs = {}
    for count in counts:
        boxes = torch.tensor([[0, 0, STRIDE, STRIDE]]).expand(count, 4)
        masks = torch.ones(count, STRIDE, STRIDE, dtype=torch.bool)
        instances = Instances(boxes, (STRIDE, STRIDE), masks=masks)
        batch = {'lightness': lightness(1), 'crop_lightness': lightness(count), 'instances': instances}
        costs[count] = cost_at(size, partial(model.colors, batch))
    return costs


def print_tables(args: argparse.Namespace) -> None:
    """Prints what the networks have and what photos cost."""
    if args.size is not None and (args.size <= 0 or args.size % STRIDE):
        raise UsageError(f'--size must be a positive multiple of {STRIDE}, but is {args.size}')
    config = load_config(args.config, args.cfg_options)
    size = args.size or config.get('input_size', 256)
    with torch.device('meta'):  # leaves out the initialization, which takes longest
        model = build_model({**config.model, 'losses': {}, 'decoder': None}).eval()
    model.to_empty(device='cpu')
    networks = network_costs(model, size)
    print(f'{f"networks at {size} x {size}":24}{"parameters":>14}{"GMAC":>10}{"with class head":>18}')
    for name, (parameters, cost) in networks.items():
        print(f'{name:24}{parameters:14,}{_in_giga(cost)}')
    print(f'{"all":24}{sum(parameters for parameters, _ in networks.values()):14,}\n')
    print(f'{"a photo with":24}{"":14}{"GMAC":>10}{"with class head":>18}')
    for count, cost in costs_by_instances(model, size, args.instances).items():
        print(f'{f"{count} instance" + ("" if count == 1 else "s"):38}{_in_giga(cost)}')


def _in_giga(cost: Cost | None) -> str:
    if cost is None:
        return f'{"see below":>10}'
    return f'{cost.plain / 1e9:10.2f}{cost.classified / 1e9:18.2f}'


main = Command(__doc__, arguments, print_tables)

if __name__ == '__main__':
    sys.exit(main())
