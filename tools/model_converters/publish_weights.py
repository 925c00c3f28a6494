"""Makes the small file that ships out of a training's checkpoint.

    python tools/model_converters/publish_weights.py CONFIG CHECKPOINT OUT.safetensors [--decoder regression:1.1]

Half precision, without optimizer and history; the averaged (EMA) weights if the training kept them, because MMEngine
saves those as the model's. What prediction must know about the weights goes into the file's header: the size they were
trained at and how their output is decoded. Prints the file's sha256, for its card.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from insta_colorization.checkpoints.io import load_checkpoint, save_checkpoint
from insta_colorization.fileio.download import sha256
from insta_colorization.models.decoders import parse_decoder
from insta_colorization.utils.cli import Parser, run_command
from insta_colorization.utils.configs import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('config', help='the config that trained the checkpoint, by path or name')
    parser.add_argument('checkpoint', help='what tools/train.py saved')
    parser.add_argument('out', type=Path, help='.safetensors file to write; an existing one is replaced')
    parser.add_argument('--decoder', help="regression[:GAIN] or annealed-mean[:T]; default: the config's")
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    return parser.parse_args(argv)


def header(cfg: Config, decoder: str | None) -> dict[str, str]:
    """What the file says about its weights.

    Args:
        cfg: the config that trained them.
        decoder: see `parse_decoder`; None for the config's.

    Raises:
        ValueError: the config has no input size, or there is no such decoder.
    """
    if 'input_size' not in cfg:
        raise ValueError(f'config {cfg.filename} has no `input_size`, but has {", ".join(cfg)}')
    own = cfg.model.get('decoder') or {'type': 'RegressionDecoder'}
    return {
        'config': Path(cfg.filename).stem,
        'input_size': str(cfg.input_size),
        'decoder': json.dumps(dict(own) if decoder is None else parse_decoder(decoder)),
        'mask_centre': str(cfg.model.get('mask_centre', 0.5)),
    }


def publish(args: argparse.Namespace) -> int:
    """Writes the file and prints its sha256; returns the exit status.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config or the checkpoint cannot be used, or the file's ending is unknown.
    """
    metadata = header(load_config(args.config), args.decoder)
    (written,) = save_checkpoint(load_checkpoint(args.checkpoint).state_dict, args.out, metadata=metadata, half=True)
    print(f'{written}: {written.stat().st_size / 2**20:.2f} MiB, sha256 {sha256(written)}')
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = parse_args(argv)
    return run_command(lambda: publish(args), debug=args.debug, when_stopped='stopped; nothing was written')


if __name__ == '__main__':
    sys.exit(main())
