"""Several processes train as one does with the same photos in each step; here they are CPU processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
# Batch norm looks at the photos of its own process, so it is in evaluation mode for the comparison.
CONFIG = f"""
_base_ = ['{ROOT}/configs/_base_/default_runtime.py', '{ROOT}/configs/insta/_base_/models/insta_full.py']
model = dict(image_net=dict(width=1 / 16), norm_eval=True)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='PhotoSampler', shuffle=True),
    dataset=dict(
        type='ColorizationDataset',
        data_root='photos',
        pipeline=[
            dict(type='LoadPhoto'),
            dict(type='RandomCropPhoto', min_side=0.5),
            dict(type='RandomFlipPhoto'),
            dict(type='ResizePhoto', size=32),
            dict(type='PackColorization'),
        ],
    ),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=5)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.03, momentum=0.9))
default_hooks = dict(logger=dict(interval=1))
log_processor = dict(window_size=1)
auto_scale_lr = dict(enable=False, base_batch_size=8)
"""
# Each process says what its hooks did with a loss that is invalid in the second one alone.
HOOKS = """
import types
from pathlib import Path

import torch
from insta_colorization.engine.hooks import InvalidLossHook, MeanLossHook
from insta_colorization.structures import ColorizationSample

torch.distributed.init_process_group('gloo')
rank = torch.distributed.get_rank()
runner = types.SimpleNamespace(work_dir='.', iter=6)
batch = {'data_samples': [ColorizationSample(metainfo={'img_path': f'{rank}.jpg'})]}
good = {'loss': torch.tensor(1.0 + rank)}
InvalidLossHook().after_train_iter(runner, 0, batch, good)
MeanLossHook().after_train_iter(runner, 0, batch, good)
try:
    InvalidLossHook().after_train_iter(runner, 0, batch, {'loss': torch.tensor([1.0, float('inf')][rank])})
except FloatingPointError as error:
    Path(f'said_{rank}.txt').write_text(f'{good["loss"].item()} {error}')
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Eight photos and the config."""
    folder = tmp_path_factory.mktemp('distributed')
    (folder / 'photos').mkdir()
    generator = np.random.default_rng(0)
    for index in range(8):
        coarse = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((48, 40)).save(folder / 'photos' / f'{index}.png')
    (folder / 'config.py').write_text(CONFIG)
    return folder


def run(folder: Path, *command: object) -> subprocess.CompletedProcess:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PYTHON': sys.executable,
        'PORT': str(port),
        'PYTHONWARNINGS': 'ignore',
    }
    return subprocess.run(list(map(str, command)), cwd=folder, env=env, capture_output=True, text=True, timeout=200)


def loss_curve(work_dir: Path) -> list[float]:
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    return [record['loss'] for record in records if 'loss' in record]


# The one test that has several processes as a user starts them; what the other scripts start is asked below.
@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(folder):
    one = forked.run(ROOT / 'tools' / 'train.py', 'config.py', '--work-dir', 'one', cwd=folder)
    two = run(
        folder,
        *(ROOT / 'tools' / 'dist_train.sh', 'config.py', 2, '--work-dir', 'two'),
        *('--auto-scale-lr', '--cfg-options', 'train_dataloader.batch_size=2', 'auto_scale_lr.base_batch_size=4'),
    )
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr

    expected = loss_curve(folder / 'one')
    assert len(expected) == 10
    assert expected[-1] < 0.98 * expected[0]
    # The order of the sums differs, and that alone.
    np.testing.assert_allclose(loss_curve(folder / 'two'), expected, rtol=1e-5)
    weights = [torch.load(folder / name / 'epoch_5.pth', weights_only=False)['state_dict'] for name in ('one', 'two')]
    for name, value in weights[0].items():
        torch.testing.assert_close(
            weights[1][name], value, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: name + text
        )
    assert two.stderr.count('there is no GPU: 2 CPU processes, each with its own batch norm') >= 1


@pytest.mark.slow
def test_more_processes_than_photos(folder):
    (folder / 'one.txt').write_text('0.png\n')

    done = forked.run(
        *(ROOT / 'tools' / 'train.py', 'config.py', '--launcher', 'pytorch', '--work-dir', 'none', '--cfg-options'),
        f'train_dataloader.dataset.ann_file={folder / "one.txt"}',
        cwd=folder,
        processes=2,
    )

    assert done.returncode != 0
    assert 'error: the dataset has 1 photos, but there are 2 processes\n' in done.stderr
    assert not list((folder / 'none').glob('*.pth'))


@pytest.mark.slow
def test_a_loss_that_is_invalid_in_one_process_stops_all(folder):
    (folder / 'hooks.py').write_text(HOOKS)

    done = forked.run(folder / 'hooks.py', cwd=folder, processes=2)

    assert done.returncode == 0, done.stderr
    for rank in range(2):
        said = (folder / f'said_{rank}.txt').read_text()
        assert said.startswith('1.5 loss is inf in iteration 7')
        assert said.endswith('the first is 1.jpg')
    assert json.loads((folder / 'invalid_loss.json').read_text()) == {
        'iteration': 7,
        'losses': {'loss': 'inf'},
        'img_paths': ['1.jpg'],
    }


@pytest.mark.parametrize('script', ['dist_train.sh', 'slurm_train.sh'])
def test_a_missing_argument_is_one_line(tmp_path, script):
    done = run(tmp_path, ROOT / 'tools' / script, 'config.py')

    assert done.returncode == 2
    assert done.stderr.startswith('error: usage: ')
    assert done.stderr.count('\n') == 1


@pytest.fixture
def words(tmp_path):
    """Runs a script, by its path from another folder, with a Python that prints what it would start."""
    fake = tmp_path / 'python'
    fake.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)

    def started(script: str, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        own = {name: value for name, value in os.environ.items() if name != 'PORT'}
        command = [os.path.relpath(ROOT / 'tools' / script, tmp_path), *arguments]
        settings = {**own, 'PYTHON': str(fake), **env}
        return subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True)

    return started


@pytest.mark.parametrize(
    ('script', 'arguments', 'expected'),
    [
        ('dist_train.sh', ['c.py', '2', '--amp'], ['train.py', 'c.py', '--launcher', 'pytorch', '--amp']),
        ('dist_test.sh', ['c.py', '', '2'], ['test.py', 'c.py', '', '--launcher', 'pytorch']),
        ('dist_detect.sh', ['opencv', '2', 'a b'], ['detect_instances.py', 'opencv', 'a b', '--launcher', 'pytorch']),
    ],
)
def test_runs_on_one_machine_take_free_ports(words, tmp_path, script, arguments, expected):
    with socket.socket() as first:
        first.bind(('', 0))
        first.listen()
        taken = first.getsockname()[1]
        lines = words(script, *arguments).stdout.splitlines()
        done = words(script, *arguments, PORT=str(taken))

    ports = [line.removeprefix('--master_port=') for line in lines if line.startswith('--master_port=')]
    assert ports != [str(taken)]
    assert 1024 < int(ports[0]) < 65536
    assert '--nproc_per_node=2' in lines
    assert [Path(lines[7]).name, *lines[8:]] == expected
    assert (tmp_path / lines[7]).is_file()
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr.startswith(f'error: PORT {taken} cannot be used ([Errno 98] Address already in use); another')
    assert done.stderr.count('\n') == 1


def test_several_machines_agree_on_a_port(words):
    machines = {'NNODES': '2', 'MASTER_ADDR': '127.0.0.1'}
    for rank in '01':
        done = words('dist_train.sh', 'c.py', '2', NODE_RANK=rank, PORT='28731', **machines)
        assert '--master_port=28731' in done.stdout.splitlines()
    assert '--master_port=29500' in words('dist_train.sh', 'c.py', '2', NODE_RANK='1', **machines).stdout


def test_slurm_starts_a_process_for_each_gpu(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    command = ['bash', '-c', f'PATH={tmp_path}:$PATH GPUS=4 {ROOT}/tools/slurm_train.sh part job config.py work --amp']

    words = run(tmp_path, *command).stdout.splitlines()

    assert {'--job-name=job', '--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4', '--cpus-per-task=5'} < set(words)
    assert words[:2] == ['-p', 'part']
    assert words[words.index('-u') + 2 :] == ['config.py', '--work-dir', 'work', '--launcher', 'slurm', '--amp']
