"""Measures a checkpoint on a config's test photos.

    python tools/test.py CONFIG [CHECKPOINT | --baseline gray|tint] [--out RESULTS.json] [--work-dir DIR]
        [--cfg-options KEY=VALUE...]

CHECKPOINT may have any known layout and come from any training stage. Without one a baseline is measured:
photos left grey, or photos in one tint, the one that gives just these photos the highest mean PSNR. The numbers come
with the protocol that they were measured by; tools/analysis_tools/report.py makes tables of the JSON files.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insta_colorization.utils.cli import Command, Parser, UsageError, add_options
from insta_colorization.utils.configs import add_config, load_config
from insta_colorization.utils.memory import keep_between_photos
from insta_colorization.utils.options import NetworkOptions

if TYPE_CHECKING:
    from mmengine.config import Config

    from insta_colorization.evaluation.metrics.captions import Painter


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    add_config(parser, 'config whose test photos and metrics are used, by path or name')
    parser.add_argument('checkpoint', nargs='?', help='weights, a file or a folder')
    text = 'baseline to evaluate without a checkpoint; default: gray'
    parser.add_argument('--baseline', choices=('gray', 'tint'), help=text)
    parser.add_argument('--out', type=Path, help='JSON file for the results')
    text = 'folder for logs and metrics.json; default: work_dirs/<config name>'
    parser.add_argument('--work-dir', type=Path, help=text)
    add_options(parser, NetworkOptions, only=('decoder', 'preset'))
    text = 'job launcher'
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help=text)
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def check(args: argparse.Namespace) -> None:
    """Raises `UsageError` for options that do not fit each other, or a decoder that there is not."""
    from insta_colorization.models.decoders import parse_decoder

    try:
        NetworkOptions(decoder=args.decoder, preset=args.preset)
        if args.decoder:
            parse_decoder(args.decoder)
    except ValueError as error:
        raise UsageError(str(error)) from error
    for option in ('decoder', 'preset'):
        if getattr(args, option) and not args.checkpoint:
            raise UsageError(f'--{option} needs a checkpoint, because a baseline is not decoded')
    if args.baseline and args.checkpoint:
        raise UsageError(f'--baseline {args.baseline} is measured without a checkpoint, but {args.checkpoint} is given')
    if args.out and args.out.is_dir():
        raise UsageError(f'--out must be a file, but {args.out} is a folder')


def run(args: argparse.Namespace) -> None:
    """Measures, prints and writes."""
    from mmengine.dist import is_main_process

    from insta_colorization.evaluation.protocol import as_text, write_results

    check(args)
    # Old launchers say it by argument, MMEngine reads the environment.
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.work_dir = str(args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(cfg.filename).stem}')
    results = measure(cfg, args)
    if is_main_process():
        print(as_text(results))
        for path in filter(None, (Path(cfg.work_dir) / 'metrics.json', args.out)):
            write_results(results, path)
            print(f'wrote {path}')


def measure(cfg: 'Config', args: argparse.Namespace) -> dict[str, Any]:
    """The results as `evaluation.document` has them; empty in all processes but the main one."""
    from mmengine.dist import is_main_process

    from insta_colorization.apis.build import colorizer_for
    from insta_colorization.checkpoints import load_checkpoint, register_reader
    from insta_colorization.engine.launchers import use_launcher
    from insta_colorization.engine.tester import Tester
    from insta_colorization.evaluation.baselines import GrayBaseline, TintBaseline, fit_tint
    from insta_colorization.evaluation.metrics import CaptionFollowing, PhotoMetric
    from insta_colorization.evaluation.protocol import document, warn_of_missing_boxes
    from insta_colorization.models.decoders import parse_decoder

    checkpoint = load_checkpoint(args.checkpoint) if args.checkpoint else None
    baseline = TintBaseline if args.baseline == 'tint' else GrayBaseline
    decoder = parse_decoder(args.decoder) if args.decoder else None
    model = colorizer_for(checkpoint, cfg.model, decoder, args.preset) if checkpoint else baseline()
    use_launcher(cfg, args.launcher)
    register_reader()
    tester = Tester(
        model,
        work_dir=cfg.work_dir,
        test_dataloader=cfg.test_dataloader,
        test_evaluator=cfg.test_evaluator,
        test_cfg=cfg.test_cfg,
        default_scope=cfg.default_scope,
        env_cfg=cfg.env_cfg,
        launcher=args.launcher,
        experiment_name=f'test_{Path(cfg.filename).stem}',
        cfg=cfg,
    )
    photos = tester.test_loop.dataloader
    warn_of_missing_boxes(photos.dataset, model)
    if args.baseline == 'tint':
        model.ab = fit_tint(photos, len(photos.dataset))
    metrics = [metric for metric in tester.test_loop.evaluator.metrics if isinstance(metric, PhotoMetric)]
    for metric in metrics:
        if isinstance(metric, CaptionFollowing) and checkpoint:
            metric.painter = painter(cfg, args)
    values = tester.test()
    if not is_main_process():
        return {}
    return document(Path(cfg.filename).stem, photos.dataset, values, metrics, model, checkpoint)


def painter(cfg: 'Config', args: argparse.Namespace) -> 'Painter':
    """Makes the pictures of which is measured how they follow captions: those that a user gets."""
    from insta_colorization.apis.predictor import Predictor

    predictor = Predictor(
        cfg, args.checkpoint, detector='none', decoder=args.decoder, preset=args.preset, precision='fp32'
    )
    return lambda pixels, instances, caption: predictor.predict(pixels, instances=instances, caption=caption).pixels


main = Command(__doc__, arguments, run, 'stopped; nothing was written', begin=lambda args: keep_between_photos())

if __name__ == '__main__':
    sys.exit(main())
