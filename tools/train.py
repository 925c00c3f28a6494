"""Trains a colorizer from a config.

    python tools/train.py CONFIG [--work-dir DIR] [--resume [CHECKPOINT]] [--amp] [--cfg-options KEY=VALUE ...]

Checkpoints and logs go to the work folder. A stage that begins with another one's networks takes that one's checkpoint:
`--cfg-options load_from=FILE`. Several processes: tools/dist_train.sh and tools/slurm_train.sh.
"""

import argparse
import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from insta_colorization.utils.cli import Command, Parser
from insta_colorization.utils.configs import add_config, load_config
from insta_colorization.utils.memory import keep_freed_memory

if TYPE_CHECKING:
    from mmengine.config import Config

AMP_WRAPPERS = ('AmpOptimWrapper', 'BFloat16OptimWrapper')

logger = logging.getLogger('insta_colorization')


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    add_config(parser, 'training config, by path or name')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; default: work_dirs/<config name>')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='',
        metavar='CHECKPOINT',
        help='go on from this checkpoint, or from the last one in the work folder; default: begin anew',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on a GPU, bfloat16 on a CPU')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help="scale the learning rate by the batch size over the config's"
    )
    text = 'job launcher'
    parser.add_argument('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none', help=text)
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by old launchers')


def training_config(args: argparse.Namespace) -> 'Config':
    """The config as the command line wants it.

    Raises:
        FileNotFoundError: the config or a checkpoint does not exist.
        ValueError: the settings do not fit each other; the sentence says which.
    """
    cfg = load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    if args.resume is not None:
        resume(cfg, last_checkpoint(Path(cfg.work_dir)) if args.resume == '' else Path(args.resume))
    check_start(cfg)
    if args.amp:
        use_mixed_precision(cfg)
    if args.auto_scale_lr:
        scale_learning_rate(cfg)
    leave_out_missing_tensorboard(cfg)
    return cfg


def last_checkpoint(work_dir: Path) -> Path:
    """The checkpoint that the work folder's `last_checkpoint` names; the folder may have been moved since.

    Raises:
        FileNotFoundError: there is none.
    """
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        raise FileNotFoundError(
            f'--resume finds no checkpoint in {work_dir}; leave it out for the first start, or name a checkpoint'
        )
    named = Path(pointer.read_text().strip())
    for path in (named, work_dir / named.name):
        if path.is_file():
            return path
    raise FileNotFoundError(f'{pointer} names the checkpoint {named}, but it does not exist')


def resume(cfg: 'Config', checkpoint: Path) -> None:
    """Has the training go on from a checkpoint, with the seed it began with.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or is no checkpoint of a training.
    """
    from insta_colorization.checkpoints import load_from_local

    if not checkpoint.is_file():
        raise FileNotFoundError(f'the checkpoint {checkpoint} to resume from does not exist')
    content = load_from_local(str(checkpoint), map_location='cpu')
    if not isinstance(content, dict) or not {'meta', 'optimizer', 'message_hub'} <= content.keys():
        raise ValueError(
            f'{checkpoint} holds no state of a training to resume; begin one with its weights by '
            f'--cfg-options load_from={checkpoint}'
        )
    cfg.resume, cfg.load_from = True, str(checkpoint)
    # The runner takes the seed from the checkpoint as well, but only after the order of the photos was made.
    cfg.merge_from_dict({'randomness.seed': content['meta']['seed']})


def check_start(cfg: 'Config') -> None:
    """Checks that there are the weights to begin with.

    Raises:
        FileNotFoundError: `load_from` does not exist.
        ValueError: a later stage has no `load_from`, or it does not exist.
    """
    from insta_colorization.models import Colorizer
    from insta_colorization.registry import MODELS

    start = cfg.get('load_from')
    exists = start and ('://' in start or Path(start).exists())
    model = MODELS.get(cfg.model.type)
    stage = model.stage if isinstance(model, type) and issubclass(model, Colorizer) else 1
    if not exists and stage > 1:
        fault = f'{start} does not exist' if start else 'none is given'
        raise ValueError(
            f"{Path(cfg.filename).name} trains stage {stage}, which begins with stage {stage - 1}'s checkpoint, but "
            f'{fault}; name it with --cfg-options load_from=FILE'
        )
    if start and not exists:
        raise FileNotFoundError(f'the checkpoint {start} to begin with (load_from) does not exist')


def use_mixed_precision(cfg: 'Config') -> None:
    """Makes the optimizer's wrapper one that autocasts, with all its other settings.

    Raises:
        ValueError: the config's wrapper is of a kind that has no counterpart.
    """
    import torch

    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind in AMP_WRAPPERS:
        return
    if kind != 'OptimWrapper':
        raise ValueError(f'--amp replaces an OptimWrapper, but the config has a {kind}')
    on_gpu = torch.cuda.is_available()
    cfg.merge_from_dict({'optim_wrapper.type': AMP_WRAPPERS[0 if on_gpu else 1]})
    if on_gpu:
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def scale_learning_rate(cfg: 'Config') -> None:
    """Has the runner scale the learning rate by the batch of all processes over the config's base batch.

    Raises:
        ValueError: the config does not say for which batch size its learning rate is.
    """
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError('--auto-scale-lr needs auto_scale_lr.base_batch_size, but the config has none')
    cfg.auto_scale_lr.enable = True


def leave_out_missing_tensorboard(cfg: 'Config') -> None:
    """Takes TensorBoard out of the config's visualizer where it is not installed."""
    backends = cfg.get('visualizer', {}).get('vis_backends', [])
    others = [backend for backend in backends if backend['type'] != 'TensorboardVisBackend']
    if len(others) < len(backends) and importlib.util.find_spec('tensorboard') is None:
        cfg.visualizer.vis_backends = others
        logger.warning('there will be no files for TensorBoard, which is not installed: pip install tensorboard')


def keep_memory(args: argparse.Namespace) -> None:
    """Keeps freed memory where a CPU trains."""
    import torch

    if not torch.cuda.is_available():
        keep_freed_memory()


def train(args: argparse.Namespace) -> None:
    """Trains."""
    from mmengine.runner import Runner

    from insta_colorization.checkpoints import register_reader
    from insta_colorization.engine.launchers import use_launcher

    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = training_config(args)
    use_launcher(cfg, args.launcher)
    register_reader()
    Runner.from_cfg(cfg).train()


STOPPED = 'stopped; repeat the command with --resume to go on from the last checkpoint'
IMPORTS = ('mmengine.runner', 'insta_colorization.models', 'insta_colorization.engine')
main = Command(__doc__, arguments, train, STOPPED, begin=keep_memory, imports=IMPORTS)

if __name__ == '__main__':
    sys.exit(main())
