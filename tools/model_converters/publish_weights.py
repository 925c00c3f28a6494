"""Makes the small file that ships out of a training's checkpoint.

    python tools/model_converters/publish_weights.py CONFIG CHECKPOINT OUT.safetensors [--decoder regression:1.1]

Half precision, without optimizer and history; the averaged (EMA) weights if the training kept them, because MMEngine
saves those as the model's. What prediction must know about the weights goes into the file's header: the size they were
trained at, how their output is decoded and the presets that the config's model has. Prints the file's sha256, for its
card.
"""

import argparse
import json
import sys
from pathlib import Path

from insta_colorization.utils.cli import Command, Parser
from insta_colorization.utils.configs import load_config


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('config', help='the config that trained the checkpoint, by path or name')
    parser.add_argument('checkpoint', help='what tools/train.py saved')
    parser.add_argument('out', type=Path, help='.safetensors file to write; an existing one is replaced')
    parser.add_argument('--decoder', help="regression[:GAIN] or annealed-mean[:T]; default: the config's")


def publish(args: argparse.Namespace) -> None:
    """Writes the file and prints its sha256.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: the config or the checkpoint cannot be used, or the file's ending is unknown.
    """
    from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
    from insta_colorization.fileio.download import sha256
    from insta_colorization.models.decoders import parse_decoder

    cfg = load_config(args.config)
    if 'input_size' not in cfg:
        raise ValueError(f'config {cfg.filename} has no `input_size`, but has {", ".join(cfg)}')
    hints = {'hints': 'sampled'} if 'SampleHints' in str(cfg.get('train_pipeline')) else {}
    presets = {'presets': json.dumps(cfg.model.presets)} if cfg.model.get('presets') else {}
    decoder = {} if args.decoder is None else {'decoder': json.dumps(parse_decoder(args.decoder))}
    checkpoint = load_checkpoint(args.checkpoint)
    trained = {'config': Path(cfg.filename).stem, 'input_size': str(cfg.input_size)}
    metadata = {**trained, **checkpoint.family.metadata(cfg.model), **hints, **presets, **decoder}
    (written,) = save_checkpoint(checkpoint.state_dict, args.out, metadata=metadata, half=True)
    print(f'{written}: {written.stat().st_size / 2**20:.2f} MiB, sha256 {sha256(written)}')


main = Command(__doc__, arguments, publish, 'stopped; nothing was written')

if __name__ == '__main__':
    sys.exit(main())
