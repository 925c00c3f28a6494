"""Training and testing by one or several processes, on GPUs or, where there are none, on CPUs."""

import logging
import os
from typing import Literal

import torch
from mmengine.config import Config, ConfigDict

Launcher = Literal['none', 'pytorch', 'slurm', 'mpi']

logger = logging.getLogger(__name__)


def use_launcher(cfg: Config, launcher: Launcher) -> None:
    """Prepares a config, and on CPUs this process, for MMEngine's runner under a launcher.

    On GPUs each process has its own and batch norm is synchronized. On CPUs the processes talk by gloo and each one has
    its own batch norm, because torch's synchronized one does not run there.

    Args:
        cfg: changed in place.
        launcher: what started the processes; 'none' for a single one.

    Raises:
        ValueError: there are GPUs, but none for this process; or there are none and the launcher needs them.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return
    if torch.cuda.is_available():
        _use_gpus(cfg)
    elif launcher == 'pytorch':
        _use_cpus(cfg)
    else:
        raise ValueError(f'launcher {launcher} needs GPUs, but found none; processes on CPUs need the launcher pytorch')


def _use_gpus(cfg: Config) -> None:
    rank, gpus = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
    if rank >= gpus:
        raise ValueError(f'process {rank} of this machine needs a GPU of its own, but there are {gpus}')
    cfg.setdefault('sync_bn', 'torch')


def _use_cpus(cfg: Config) -> None:
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})
    # MMEngine would give both calls a GPU.
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')
    wrapper = {'type': 'MMDistributedDataParallel', 'broadcast_buffers': False, 'device_ids': None}
    wrapper['find_unused_parameters'] = cfg.get('find_unused_parameters', False)
    cfg.model_wrapper_cfg = ConfigDict({**wrapper, **cfg.get('model_wrapper_cfg', {})})
    logger.info('there is no GPU: %d CPU processes, each with its own batch norm', torch.distributed.get_world_size())
