import pytest
import torch
from mmengine.config import Config

from insta_colorization.engine.launchers import use_launcher


@pytest.fixture
def cfg() -> Config:
    return Config({'env_cfg': {'dist_cfg': {'backend': 'nccl'}}})


@pytest.fixture
def cpus(monkeypatch):
    """A machine without GPUs; yields what the process groups were opened with."""
    opened = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'init_process_group', opened.append)
    monkeypatch.setattr(torch.distributed, 'get_world_size', lambda: 2)
    return opened


@pytest.fixture
def gpus(monkeypatch):
    """A machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)


@pytest.mark.parametrize('machine', ['cpus', 'gpus'])
def test_a_single_process_needs_nothing(cfg, machine, request):
    request.getfixturevalue(machine)

    use_launcher(cfg, 'none')

    assert cfg.to_dict() == {'env_cfg': {'dist_cfg': {'backend': 'nccl'}}, 'launcher': 'none'}


def test_cpus_talk_by_gloo_and_have_their_own_batch_norms(cfg, cpus, caplog):
    caplog.set_level('INFO', 'insta_colorization')
    cfg.find_unused_parameters = True

    use_launcher(cfg, 'pytorch')

    assert cpus == [cfg.env_cfg.dist_cfg.backend] == ['gloo']
    assert 'sync_bn' not in cfg
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters
    assert [record.message for record in caplog.records] == [
        'there is no GPU: 2 CPU processes, each with its own batch norm'
    ]


def test_other_launchers_need_gpus(cfg, cpus):
    with pytest.raises(ValueError, match='launcher slurm needs GPUs, but found none'):
        use_launcher(cfg, 'slurm')


def test_gpus_synchronize_batch_norm(cfg, gpus, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '1')

    use_launcher(cfg, 'pytorch')

    assert cfg.sync_bn == 'torch'
    assert cfg.env_cfg.dist_cfg.backend == 'nccl'
    assert 'model_wrapper_cfg' not in cfg


def test_a_config_decides_about_its_batch_norms(cfg, gpus, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    cfg.sync_bn = None

    use_launcher(cfg, 'slurm')

    assert cfg.sync_bn is None


def test_every_process_needs_a_gpu(cfg, gpus, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '2')

    with pytest.raises(ValueError, match='process 2 of this machine needs a GPU of its own, but there are 2'):
        use_launcher(cfg, 'pytorch')
