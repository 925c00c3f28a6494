"""Converts a checkpoint of any known layout to another one; see docs/checkpoints.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from insta_colorization.checkpoints.io import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from insta_colorization.checkpoints.layouts import PUBLISHED_FILES
from insta_colorization.utils.cli import Parser, run_command


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument('src', nargs='+', type=Path, help="a file, a folder with the paper's files, or those files")
    parser.add_argument('dst', type=Path, help='.pth or .safetensors file; for --to instacolorization a folder')
    parser.add_argument('--to', choices=('ours', 'instacolorization', 'mmagic'), default='ours', help='layout to write')
    parser.add_argument('--half', action='store_true', help='store the weights as float16, at half the size')
    parser.add_argument('--overwrite', action='store_true', help='replace what is at DST')
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    return parser.parse_args(argv)


def targets(checkpoint: Checkpoint, dst: Path, layout: str) -> list[Path]:
    """The files that a conversion writes."""
    if layout == 'instacolorization':
        return [dst / f'{PUBLISHED_FILES[network]}.pth' for network in checkpoint.networks]
    return [dst]


def convert(args: argparse.Namespace) -> int:
    """Converts and says what was read and written; returns the exit status.

    Raises:
        CheckpointError: the source cannot be read, or there is something at the destination already.
    """
    checkpoint = load_checkpoint(args.src[0] if len(args.src) == 1 else args.src)
    print(
        f'read {checkpoint.path}: layout {checkpoint.layout}, networks {", ".join(checkpoint.networks)}, '
        f'width {checkpoint.width:g}, {len(checkpoint.state_dict)} entries, mask centre {checkpoint.mask_centre:g}'
    )
    existing = [path for path in targets(checkpoint, args.dst, args.to) if path.exists()]
    if existing and not args.overwrite:
        raise CheckpointError(f'{existing[0]} exists already; --overwrite replaces it')
    metadata = {**checkpoint.metadata, 'mask_centre': f'{checkpoint.mask_centre:g}'}
    for path in save_checkpoint(checkpoint.state_dict, args.dst, args.to, metadata, args.half):
        print(f'wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)')
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = parse_args(argv)
    return run_command(lambda: convert(args), debug=args.debug, when_stopped='stopped')


if __name__ == '__main__':
    sys.exit(main())
