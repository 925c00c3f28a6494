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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from torch import nn

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints.io import load_checkpoint
from insta_colorization.engine.launchers import use_launcher
from insta_colorization.evaluation.baselines import GrayBaseline, TintBaseline, fit_tint
from insta_colorization.evaluation.metrics import PhotoMetric
from insta_colorization.evaluation.protocol import as_text, check_boxes, document, write_results
from insta_colorization.models.decoders import parse_decoder
from insta_colorization.utils.cli import Parser, run_command
from insta_colorization.utils.configs import load_config
from insta_colorization.utils.memory import keep_between_photos

BASELINES: dict[str, type[TintBaseline]] = {'gray': GrayBaseline, 'tint': TintBaseline}


class Tester(Runner):
    """A runner whose processes each measure photos of their own with a plain model.

    `DistributedDataParallel` is for gradients, and refuses a model without any.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:  # noqa: D102
        return model.to(get_device())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument('config', help='config whose test photos and metrics are used, by path or name')
    parser.add_argument('checkpoint', nargs='?', help='weights, a file or a folder')
    parser.add_argument(
        '--baseline', choices=list(BASELINES), help='what is measured without a checkpoint; default gray'
    )
    parser.add_argument('--out', type=Path, help='JSON file for the results')
    parser.add_argument(
        '--work-dir', type=Path, help='folder for logs and metrics.json; default work_dirs/<config name>'
    )
    parser.add_argument('--decoder', help='regression[:GAIN] or annealed-mean[:TEMPERATURE]')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    args = parser.parse_args(argv)
    try:
        args.decoder = parse_decoder(args.decoder) if args.decoder else None
    except ValueError as error:
        parser.error(str(error))
    if args.decoder and not args.checkpoint:
        parser.error('--decoder needs a checkpoint, because a baseline is not decoded')
    if args.baseline and args.checkpoint:
        parser.error(f'--baseline {args.baseline} is measured without a checkpoint, but {args.checkpoint} is given')
    if args.out and args.out.is_dir():
        parser.error(f'--out must be a file, but {args.out} is a folder')
    # Old launchers say it by argument, MMEngine reads the environment.
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def run(args: argparse.Namespace) -> int:
    """Measures, prints and writes; returns the exit status."""
    cfg = load_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    cfg.work_dir = str(args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(cfg.filename).stem}')
    results = measure(cfg, args)
    if is_main_process():
        print(as_text(results))
        for path in filter(None, (Path(cfg.work_dir) / 'metrics.json', args.out)):
            write_results(results, path)
            print(f'wrote {path}')
    return 0


def measure(cfg: Config, args: argparse.Namespace) -> dict[str, Any]:
    """The results as `evaluation.document` has them; empty in all processes but the main one."""
    checkpoint = load_checkpoint(args.checkpoint) if args.checkpoint else None
    baseline = BASELINES[args.baseline or 'gray']
    model = colorizer_for(checkpoint, cfg.model, args.decoder) if checkpoint else baseline()
    check_boxes(cfg, model)
    use_launcher(cfg, args.launcher)
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
    if args.baseline == 'tint':
        photos = tester.test_loop.dataloader
        model.ab = fit_tint(photos, len(photos.dataset))
    values = tester.test()
    if not is_main_process():
        return {}
    metrics = [metric for metric in tester.test_loop.evaluator.metrics if isinstance(metric, PhotoMetric)]
    return document(cfg, values, metrics, model, checkpoint)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = parse_args(argv)
    return run_command(lambda: run(args), debug=args.debug, when_stopped='stopped; nothing was written')


if __name__ == '__main__':
    keep_between_photos()
    sys.exit(main())
