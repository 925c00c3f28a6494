"""Makes the small file of the embedded detector out of a training's checkpoint.

    python tools/model_converters/publish_detector.py CONFIG CHECKPOINT OUT.safetensors

Half precision; the averaged (EMA) weights if the training kept them. The file holds the head and, where the config's
`model.above` is set, the copied blocks of the encoder; its header names the encoder, which is the config's
`model.encoder`, the size of the photos that it is for, and whether their mirror images are looked at.
Prints the file's sha256, for its card.
"""

import argparse
import json
import sys
from pathlib import Path

from insta_colorization.utils.cli import Command, Parser, number
from insta_colorization.utils.configs import add_config, load_config


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    add_config(parser, 'the config that trained the checkpoint, by path or name')
    parser.add_argument('checkpoint', help='what tools/train.py saved')
    parser.add_argument('out', type=Path, help='.safetensors file to write; an existing one is replaced')
    parser.add_argument(
        '--side', type=number(int, 32), default=256, help='root of the pixels that photos are scaled to'
    )
    parser.add_argument('--mirrored', action='store_true', help='the mirror image of each photo is looked at, too')
    parser.add_argument(
        '--sharpness', type=number(float, 0), default=1.0, help='factor on the logit of the score, about --centre'
    )
    parser.add_argument('--centre', type=number(float, 0, 1), default=0.5, help='score that becomes 0.5')


def publish(args: argparse.Namespace) -> None:
    """Writes the file and prints its sha256.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config or the checkpoint cannot be used.
    """
    import torch
    from safetensors.torch import save

    from insta_colorization.checkpoints.io import find_entries
    from insta_colorization.checkpoints.safe_load import read_file
    from insta_colorization.fileio.download import sha256
    from insta_colorization.fileio.files import write_whole
    from insta_colorization.registry import build_model

    cfg = load_config(args.config, args.cfg_options)
    model = build_model({**cfg.model, 'cache': None})
    model.load_state_dict(find_entries(read_file(Path(args.checkpoint))))
    quality = model.head.quality
    with torch.no_grad():
        quality.weight.mul_(args.sharpness)
        quality.bias.sub_(torch.logit(torch.tensor(args.centre))).mul_(args.sharpness)
    entries = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    said = {'encoder': model.encoder.sha256, 'rows': json.dumps([*model.encoder.feature_info]), 'side': str(args.side)}
    if (above := cfg.model.get('above')) is not None:
        said['above'] = above
    if args.mirrored:
        said['mirrored'] = 'true'
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(save(entries, metadata={'config': Path(cfg.filename).stem, **said}), args.out)
    print(f'{args.out}: {args.out.stat().st_size / 2**20:.2f} MiB, sha256 {sha256(args.out)}')


main = Command(__doc__, arguments, publish, 'stopped; nothing was written')

if __name__ == '__main__':
    sys.exit(main())
