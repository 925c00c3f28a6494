"""Makes one checkpoint out of several trainings, for the next part of a training or for publishing.

    python tools/model_converters/combine_checkpoints.py SEED_1.pth SEED_2.pth OUT.safetensors
    python tools/model_converters/combine_checkpoints.py SYSTEM.safetensors OUT.safetensors --networks image_net
    python tools/model_converters/combine_checkpoints.py SYSTEM.safetensors OUT.safetensors --onto IMAGE.safetensors
    python tools/model_converters/combine_checkpoints.py SYSTEM.safetensors OUT.safetensors --replace STAGE_2.pth

OUT has the mean of the checkpoints, which must be of the same networks; `--onto` then puts it on a full-image network
that was trained on, where the other networks keep what they had learnt beside theirs; `--replace` takes whole networks
of another checkpoint; `--networks` keeps some alone, as the first training stages begin with. What the first
checkpoint says about itself, such as its presets, stays.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from insta_colorization.utils.cli import Command, Parser


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('src', nargs='+', type=Path, help='checkpoints of the same networks, of any known layout')
    parser.add_argument('dst', type=Path, help='.pth or .safetensors file')
    text = 'a checkpoint of image_net alone, which takes the place of that of SRC'
    parser.add_argument('--onto', type=Path, metavar='CHECKPOINT', help=text)
    text = 'a checkpoint of some of the networks, which take the places of those of SRC'
    parser.add_argument('--replace', type=Path, metavar='CHECKPOINT', help=text)
    parser.add_argument('--networks', nargs='+', metavar='NAME', help='the networks to write; default: all')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing DST')


def require(held: Sequence[str], wanted: Sequence[str], source: Path) -> None:
    """Insists that a checkpoint holds some networks.

    Raises:
        CheckpointError: one is lacking.
    """
    from insta_colorization.checkpoints import CheckpointError

    if lacking := [name for name in wanted if name not in held]:
        raise CheckpointError(f'{source} has no {" and no ".join(lacking)}, but {", ".join(held)}')


def combine(args: argparse.Namespace) -> None:
    """Combines and says what was read and written.

    Raises:
        CheckpointError: a source cannot be read, the sources do not fit together or were trained with other settings,
            a network is lacking, or there is something at the destination already.
    """
    from insta_colorization.checkpoints import (
        CheckpointError,
        averaged,
        load_checkpoint,
        rebased,
        require_same_settings,
        save_checkpoint,
    )

    if args.dst.exists() and not args.overwrite:
        raise CheckpointError(f'{args.dst} exists already; --overwrite replaces it')
    checkpoints = [load_checkpoint(path) for path in args.src]
    for checkpoint in checkpoints:
        print(f'read {checkpoint.path}: {checkpoint.summary}')
    weights = averaged(checkpoints)
    if args.onto is not None:
        onto = load_checkpoint(args.onto)
        print(f'onto {onto.path}: {onto.summary}')
        require_same_settings(checkpoints[0], onto)
        weights = rebased(weights, onto)
    held = checkpoints[0].networks
    if args.replace is not None:
        other = load_checkpoint(args.replace)
        print(f'replacing by {other.path}: {other.summary}')
        require(held, other.networks, args.src[0])
        require_same_settings(checkpoints[0], other)
        weights = {**weights, **other.state_dict}
    if args.networks is not None:
        require(held, args.networks, args.src[0])
        weights = {name: value for name, value in weights.items() if name.split('.', 1)[0] in args.networks}
    settings = {name: f'{value:g}' for name, value in checkpoints[0].settings.items()}
    (written,) = save_checkpoint(weights, args.dst, metadata={**checkpoints[0].metadata, **settings})
    print(f'wrote {written} ({written.stat().st_size / 2**20:.1f} MiB)')


main = Command(__doc__, arguments, combine)

if __name__ == '__main__':
    sys.exit(main())
