"""Measures a checkpoint on a config's test photos.

    python tools/test.py CONFIG [CHECKPOINT] [--out metrics.json] [--work-dir DIR] [--cfg-options KEY=VALUE...]

CHECKPOINT may have any known layout. Without one, photos left grey are measured, as the baseline.
"""

import argparse
import json
from pathlib import Path

from mmengine.config import DictAction
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from insta_colorization.checkpoints import load_checkpoint
from insta_colorization.models import GrayBaseline
from insta_colorization.models.assembly import colorizer_for
from insta_colorization.recipes import load_config


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path, help='config whose test photos and metrics are used')
    parser.add_argument('checkpoint', nargs='?', help='weights, a file or a folder')
    parser.add_argument('--out', type=Path, help='JSON file for the metrics')
    parser.add_argument('--work-dir', help='folder for logs; default work_dirs/<config name>')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='settings that override the config')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    args = parser.parse_args()

    cfg = load_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    DefaultScope.get_instance('test', scope_name=cfg.default_scope)
    model = colorizer_for(load_checkpoint(args.checkpoint), cfg.model) if args.checkpoint else GrayBaseline()
    runner = Runner(
        model,
        work_dir=args.work_dir or f'work_dirs/{args.config.stem}',
        test_dataloader=cfg.test_dataloader,
        test_evaluator=cfg.test_evaluator,
        test_cfg=cfg.test_cfg,
        default_scope=cfg.default_scope,
        env_cfg=cfg.env_cfg,
        launcher=args.launcher,
        experiment_name=f'test_{args.config.stem}',
        cfg=cfg,
    )
    metrics = runner.test()
    if args.out:
        args.out.write_text(json.dumps(metrics, indent=1) + '\n')


if __name__ == '__main__':
    main()
