"""Counts parameters and multiply-accumulates (MACs) of a config's networks.

    python tools/analysis_tools/get_flops.py CONFIG [--size 256] [--instances 0 1 4 8]

MACs are those of convolutions and products of matrices, of one photo with as many instances. The class head is counted
apart: it runs where a loss or the decoder asks for it, and never on crops (the published code always runs it: 75.75
GMAC a network at 256 x 256, 729 for a photo with eight instances).
"""

import argparse
import sys
from typing import TYPE_CHECKING

from insta_colorization.utils.cli import Command, Parser, UsageError, number
from insta_colorization.utils.configs import add_config, load_config

if TYPE_CHECKING:
    from insta_colorization.models import Colorizer


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    add_config(parser)
    parser.add_argument('--size', type=int, help="side of the networks' input; default: the config's input_size")
    text = 'numbers of instances per photo, if the model uses any'
    parser.add_argument('--instances', type=number(int, 0), nargs='+', default=[0, 1, 4, 8], help=text)


def macs(model: 'Colorizer', size: int, count: int, classify: bool) -> float:
    """MACs of colouring one photo with `count` instances at a size, with or without the class head."""
    import numpy as np
    import torch
    from mmengine.dataset import pseudo_collate
    from torch.utils.flop_counter import FlopCounterMode

    from insta_colorization.structures import Instances, Request

    # Convolutions cost in proportion to the area, to the last one, so the smallest size will do.
    side = model.size_divisor
    masks = (torch.ones(side, side, dtype=torch.bool),) * count
    boxes = torch.tensor([[0, 0, side, side]]).expand(count, 4)
    instances = Instances(boxes, torch.tensor([side, side]), masks=masks)
    packed = model.pack(np.zeros((side, side, 3), np.uint8), Request(instances), side)
    batch = model.data_preprocessor(pseudo_collate([packed]))
    model.decoder.classify = classify
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.predict(batch)
    return counter.get_total_flops() / 2 * (size / side) ** 2


def print_tables(args: argparse.Namespace) -> None:
    """Prints what the networks have and what photos cost."""
    import torch

    # Here, so that no constant of theirs is made without data below.
    import insta_colorization.models  # noqa: F401
    from insta_colorization.registry import build_model

    config = load_config(args.config, args.cfg_options)
    with torch.device('meta'):  # leaves out the initialization, which takes longest
        model = build_model({**config.model, 'losses': {}, 'decoder': None, 'presets': None}).eval()
    model.to_empty(device='cpu')
    size, divisor = args.size or config.get('input_size', model.native_size), model.size_divisor
    if size <= 0 or size % divisor:
        raise UsageError(f'--size must be a positive multiple of {divisor}, but is {size}')
    counts = {name: sum(value.numel() for value in getattr(model, name).parameters()) for name in model.networks}
    print(f'{"networks":24}{"parameters":>14}')
    for name, count in {**counts, 'all': sum(counts.values())}.items():
        print(f'{name:24}{count:14,}')
    print(f'\n{f"a photo at {size} x {size} with":28}{"GMAC":>10}{"with class head":>18}')
    for count in args.instances if 'instances' in model.uses else [0]:
        plain, classified = (macs(model, size, count, classify) / 1e9 for classify in (False, True))
        print(f'{f"{count} instance" + ("" if count == 1 else "s"):28}{plain:10.2f}{classified:18.2f}')


main = Command(__doc__, arguments, print_tables)

if __name__ == '__main__':
    sys.exit(main())
