"""Converts a checkpoint of any known layout to another one; see docs/checkpoints.md."""

import argparse
import sys
from pathlib import Path

from insta_colorization.utils.cli import Command, Parser


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('src', nargs='+', type=Path, help='a file, a folder with published files, or those files')
    parser.add_argument('dst', type=Path, help='.pth or .safetensors file; for a layout of several files a folder')
    text = "the layout to write, ours or one of the family's, such as instacolorization or mmagic"
    parser.add_argument('--to', metavar='LAYOUT', default='ours', help=text)
    parser.add_argument('--half', action='store_true', help='store the weights as float16, at half the size')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing DST')


def convert(args: argparse.Namespace) -> None:
    """Converts and says what was read and written.

    Raises:
        CheckpointError: the source cannot be read, or there is something at the destination already.
    """
    from insta_colorization.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

    checkpoint = load_checkpoint(args.src[0] if len(args.src) == 1 else args.src)
    settings = {name: f'{value:g}' for name, value in checkpoint.settings.items()}
    print(
        f'read {checkpoint.path}: layout {checkpoint.layout}, networks {checkpoint.summary}, '
        f'{len(checkpoint.state_dict)} entries',
        *(f'{name.replace("_", " ")} {value}' for name, value in settings.items()),
        sep=', ',
    )
    targets = checkpoint.family.layout_to_write(args.to).targets(args.dst, checkpoint.networks)
    existing = [path for path in targets if path.exists()]
    if existing and not args.overwrite:
        raise CheckpointError(f'{existing[0]} exists already; --overwrite replaces it')
    metadata = {**checkpoint.metadata, **settings}
    for path in save_checkpoint(checkpoint.state_dict, args.dst, args.to, metadata, args.half):
        print(f'wrote {path} ({path.stat().st_size / 2**20:.1f} MiB)')


main = Command(__doc__, arguments, convert)

if __name__ == '__main__':
    sys.exit(main())
