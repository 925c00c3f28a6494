"""Writes sheets of what a config's dataset gives the networks: their grey, the photo, its boxes, and below the crops.

    python tools/analysis_tools/browse_dataset.py CONFIG [--subset train|val|test] [--num 20] [--out-dir DIR]

Everything is shown after the pipeline, as the networks get it: squashed, cropped, mirrored, and in grey as the data
preprocessor makes it (in training that of the 8-bit grey photo, in testing the photo's own lightness).
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import track

from insta_colorization.utils.cli import Command, Parser, number
from insta_colorization.utils.configs import add_config, load_config


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    add_config(parser)
    parser.add_argument('--subset', choices=('train', 'val', 'test'), default='train', help='which data loader')
    parser.add_argument('--num', type=number(int, 1), default=20, help='how many photos, the first ones')
    parser.add_argument('--out-dir', type=Path, default=Path('results/dataset'), help='folder for the sheets')


def browse(args: argparse.Namespace) -> None:
    """Writes the sheets and says where.

    Raises:
        ValueError: the config has no such loader.
    """
    import torch
    from mmengine.registry import DefaultScope

    from insta_colorization.imaging.photo import write_photo
    from insta_colorization.registry import DATASETS, SCOPE, build_model
    from insta_colorization.visualization.batches import sheet_of

    config = load_config(args.config, args.cfg_options)
    loader = config.get(f'{args.subset}_dataloader')
    if loader is None:
        raise ValueError(f'config {config.filename} has no {args.subset}_dataloader')
    with DefaultScope.overwrite_default_scope(SCOPE):
        dataset = DATASETS.build(loader.dataset)
    preprocessor = build_model(config.model.get('data_preprocessor') or {'type': 'ColorizationPreprocessor'})
    args.out_dir.mkdir(parents=True, exist_ok=True)
    count = min(args.num, len(dataset))
    for index in track(range(count), 'photos', console=Console(stderr=True), transient=True):
        packed = dataset[index]
        with torch.inference_mode():
            picture = sheet_of(packed, preprocessor, training=args.subset == 'train')
        write_photo(picture, args.out_dir / f'{index:06}_{Path(packed["data_samples"].img_path).stem}.png')
    print(f'{count} of {len(dataset)} photos are shown in {args.out_dir}')


main = Command(__doc__, arguments, browse)

if __name__ == '__main__':
    sys.exit(main())
