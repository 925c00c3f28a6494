"""Two CPU processes measure what one measures, on a number of photos that they cannot share evenly."""

import json
import subprocess
from pathlib import Path

import forked
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NUM_PHOTOS = 7

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven small photos with boxes, the third of them broken, and a config for fused networks at 64 x 64."""
    folder = tmp_path_factory.mktemp('distributed')
    (folder / 'photos').mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(NUM_PHOTOS):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        coarse.resize((90 + index, 70), Image.Resampling.BICUBIC).save(folder / 'photos' / f'{index}.png')
        images.append({'id': index, 'file_name': f'{index}.png', 'width': 90 + index, 'height': 70})
        for box in ([0, 0, 40, 40], [30, 20, 50, 50], [0, 0, 9, 60])[: index % 4]:
            annotations.append({'id': len(annotations), 'image_id': index, 'bbox': box, 'iscrowd': index % 2})
    (folder / 'photos' / '2.png').write_bytes(b'no photo')
    (folder / 'true.json').write_text(json.dumps({'images': images, 'annotations': annotations}))
    pipeline = [
        {'type': 'LoadPhoto', 'keep_broken': True},
        {'type': 'LoadInstances'},
        {'type': 'SelectInstances'},
        {'type': 'CropInstances', 'size': 64},
        {'type': 'ResizePhoto', 'size': 64},
        {'type': 'PackColorization'},
    ]
    boxes = str(folder / 'true.json')
    dataset = {
        **{'type': 'ColorizationDataset', 'data_root': str(folder / 'photos'), 'test_mode': True},
        **{'instances': boxes, 'gt_instances': boxes, 'pipeline': pipeline},
    }
    sampler = {'type': 'PhotoSampler', 'shuffle': False}
    loader = {'batch_size': 2, 'num_workers': 0, 'sampler': sampler, 'dataset': dataset}
    (folder / 'small.py').write_text(
        f'_base_ = [{str(ROOT / "configs/_base_/default_runtime.py")!r}]\n'
        "model = dict(type='InstColorizer')\n"
        f'test_dataloader = {loader!r}\n'
        "test_evaluator = [dict(type='PSNR'), dict(type='SSIM'), dict(type='Colorfulness')]\n"
        "test_cfg = dict(type='TestLoop')\n"
    )
    return folder


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=60)


def assert_same(found: object, expected: object) -> None:
    """Equal but for the rounding of networks that saw other batches."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    else:
        assert found == (pytest.approx(expected, rel=1e-4) if isinstance(expected, float) else expected)


def test_two_processes_give_the_results_of_one(folder, fused_weights):
    one = forked.run(ROOT / 'tools' / 'test.py', 'small.py', fused_weights, '--out', 'one.json', cwd=folder)
    assert one.returncode == 0, one.stderr[-3000:]

    options = ('--launcher', 'pytorch', '--out', 'two.json', '--work-dir', 'logs')
    two = forked.run(ROOT / 'tools' / 'test.py', 'small.py', fused_weights, *options, cwd=folder, processes=2)
    assert two.returncode == 0, two.stdout[-3000:] + two.stderr[-3000:]

    expected = json.loads((folder / 'one.json').read_text())
    assert [entry['photo'] for entry in expected['photos']] == ['0.png', '1.png', *(f'{n}.png' for n in range(3, 7))]
    assert [entry['photo'] for entry in expected['skipped']] == ['2.png']
    # Boxes of odd photos are crowds; the small one of photo 2 is not counted, because that photo was not measured.
    assert expected['protocol']['num_instances'] == 2
    assert expected['protocol']['instances_left_out']['crowds'] == 1 + 3 + 1
    assert expected['protocol']['num_photos_fused'] == 1
    assert_same(json.loads((folder / 'two.json').read_text()), expected)
    assert two.stdout.count('wrote two.json') == 1


@pytest.mark.parametrize(('script', 'least'), [('dist_test.sh', 3), ('slurm_test.sh', 4)])
def test_usage(folder, script, least):
    done = run([str(ROOT / 'tools' / script), *['x'] * (least - 1)], folder)

    assert done.returncode == 2
    assert done.stderr.startswith(f'error: usage: {ROOT}/tools/{script} ')
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize(('gpus', 'per_node'), [(4, 4), (16, 8)])
def test_slurm_starts_a_process_for_each_gpu(tmp_path, gpus, per_node):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    command = f'PATH={tmp_path}:$PATH GPUS={gpus} {ROOT}/tools/slurm_test.sh part job config.py "" --out a.json'

    words = run(['bash', '-c', command], tmp_path).stdout.splitlines()

    assert {f'--gres=gpu:{per_node}', f'--ntasks={gpus}', f'--ntasks-per-node={per_node}'} < set(words)
    assert words[:3] == ['-p', 'part', '--job-name=job']
    assert words[words.index('-u') + 2 :] == ['config.py', '', '--launcher', 'slurm', '--out', 'a.json']
