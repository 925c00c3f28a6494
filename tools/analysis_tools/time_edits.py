"""Measures how soon colours follow an edit of the map: of the weights that ship, beside networks of the published size.

    python tools/analysis_tools/time_edits.py PHOTO [--edits 20]

An edit paints a disc of a fortieth of the photo's width with another class, somewhere in the photo. Times are medians
of seconds from the stroke to the colours of the preview and of the networks' full input; `first` is that of a photo
just opened, its map seen by the segmenter. The published networks have random weights, on which their time does not
depend.
"""

import argparse
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from insta_colorization.utils.cli import Command, Parser, add_options, number
from insta_colorization.utils.options import NetworkOptions

if TYPE_CHECKING:
    import numpy as np

    from insta_colorization.models.semantic import SemanticColorizer

_PREVIEW = 160


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('photo', type=Path, help='a photo of any size')
    parser.add_argument('--edits', type=number(int, 1), default=20, help='how many edits are timed')
    add_options(parser, NetworkOptions, only=('device',))


def measure(args: argparse.Namespace) -> None:
    """Prints the table.

    Raises:
        ImageReadError: the photo cannot be read.
    """
    import torch

    from insta_colorization.apis import Predictor
    from insta_colorization.imaging.photo import load_rgb
    from insta_colorization.models.semantic import SemanticColorizer

    image = load_rgb(args.photo)
    shipped = Predictor(config='semantic_color_lite_256x256', device=args.device, detector='none')
    published = SemanticColorizer().to(shipped.device).eval()
    print(f'{torch.get_num_threads()} threads, {shipped.device.type}; seconds')
    print(f'{"networks":12}{"size":>6}{"first":>8}{"edit":>8}')
    for name, model, full in (
        ('shipped', shipped.model, shipped.input_size),
        ('published', published, published.native_size),
    ):
        for size in (_PREVIEW, full):
            first, edit = _times(model, image, size, args.edits)
            print(f'{name:12}{size:6}{first:8.3f}{edit:8.3f}')


def _times(model: 'SemanticColorizer', image: 'np.ndarray', size: int, edits: int) -> tuple[float, float]:
    """Seconds to the first colours and, the median, from an edit to its colours."""
    import numpy as np

    from insta_colorization.models.semantic.editing import EditingSession
    from insta_colorization.structures import NUM_CLASSES

    EditingSession(model, image, size=size).colors()  # what only the first photo of a process takes
    start = perf_counter()
    session = EditingSession(model, image, size=size)
    session.colors()
    first = perf_counter() - start
    generator = np.random.default_rng(0)
    height, width = image.shape[:2]
    times = []
    for _ in range(edits):
        point = (generator.uniform(0, width), generator.uniform(0, height))
        start = perf_counter()
        session.editor.brush([point], int(generator.integers(NUM_CLASSES)), max(1, width // 40))
        session.colors()
        times.append(perf_counter() - start)
    return first, median(times)


main = Command(__doc__, arguments, measure, 'stopped')

if __name__ == '__main__':
    sys.exit(main())
