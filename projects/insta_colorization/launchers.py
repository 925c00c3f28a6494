"""Training and testing by one or several processes, on GPUs or, where there are none, on CPUs."""

import ctypes
import logging
import os
from typing import Literal

import torch
from mmengine.config import Config, ConfigDict

Launcher = Literal['none', 'pytorch', 'slurm', 'mpi']

# Of glibc's malloc.h: no allocation by mmap, freed memory never goes back to the system, one arena for all threads.
_KEEP_MEMORY = {'M_MMAP_MAX': (-4, 0), 'M_TRIM_THRESHOLD': (-1, -1), 'M_ARENA_MAX': (-8, 1)}

logger = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Has this process keep what it frees for its next allocation; for training on a CPU.

    Each step takes and frees the same gigabytes. glibc would give every large block back, and the kernel map and clear
    it anew, which took up to 40 % of a step's time. Only blocks that are taken from now on are kept.

    Returns:
        Whether the C library can do that; glibc can.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in _KEEP_MEMORY.values())


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
