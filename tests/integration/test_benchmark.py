"""tools/analysis_tools/benchmark.py at a sixteenth of the width; how long anything takes is not looked at."""

import importlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from insta_colorization.models.insta.fusion import Grid
from insta_colorization.structures import Instances

ROOT = Path(__file__).resolve().parents[2]
SMALL = ['--width', '0.0625', '--size', '64', '--threads', '1', '--repeats', '1', '--batch-sizes', '1', '--sizes']
CHECKS = {
    'ab difference from the baseline, float32',
    'float32: time end to end / baseline',
    "float32: the fusion's own part / baseline",
    'float32: peak memory / baseline',
    'bfloat16: time end to end / float32 baseline',
    'bfloat16: mean ab error, Lab units',
    'bfloat16: 99th percentile of the ab error, Lab units',
    'float32: time end to end with 8 instances / with none',
    'float32: networks alone with 8 instances / with none',
    'batch of 8 photos / 8 single ones',
    'large photo, 8 instances: peak RSS, GB',
    'large photo, 64 instances: peak RSS, GB',
    'GPU: photos per second at the best batch size',
    'GPU: share of the matrix rate',
    'GPU: latency of one photo without detector, ms',
    'GPU: bandwidth of the fused kernel / copy rate',
    'GPU: training steps per second, stage full',
    'GPU: training steps per second, stage instance',
    'GPU: training steps per second, stage fusion',
    'folder: photos per second',
    'folder: RSS after the first photos and the last, MB',
    'folder: peak RSS after the first photos / until then',
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope='module')
def tool(patch) -> ModuleType:
    """The tool, which finds its parts beside it when it runs as a script; its jobs stay in this process."""
    patch.syspath_prepend(ROOT / 'tools' / 'analysis_tools')
    jobs = importlib.import_module('benchmarking.jobs')
    tool = importlib.import_module('benchmark')
    patch.setattr(tool, 'run_job', lambda name, setup, **settings: jobs.JOBS[name](setup, **settings))
    patch.setattr(tool, 'LARGE_SIZE', (160, 240))
    # What is measured must not depend on the processor that the tests run on.
    patch.setattr(torch.cpu, 'get_capabilities', lambda: {'avx512_bf16': True})
    return tool


@pytest.fixture(scope='module')
def results(tool, tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp('benchmark')
    photos = path / 'photos'
    photos.mkdir()
    for index in range(3):
        Image.fromarray(np.full((20, 30, 3), 80 * index, np.uint8)).save(photos / f'{index}.png')
    options = ['--instances', '0', '8', '--large', '--folder', str(photos), '--out-dir', str(path / 'out')]
    assert tool.main([*SMALL, *options]) == 0
    results = json.loads((path / 'out' / 'benchmark.json').read_text())
    return results | {'section': (path / 'out' / 'benchmark.md').read_text(), 'out': path / 'out'}


def row(results: dict, implementation: str, precision: str, instances: int) -> dict:
    wanted = (implementation, precision, instances)
    (found,) = [r for r in results['rows'] if (r['implementation'], r['precision'], r['instances']) == wanted]
    return found


def test_every_check_is_there_and_none_passes_unmeasured(results):
    checks = results['checks']
    assert set(checks) == CHECKS
    unmeasured = {name for name, check in checks.items() if check['measured'] is None}
    assert unmeasured == {name for name in CHECKS if name.startswith('GPU') or name.startswith('batch of 8')}
    for name in unmeasured:
        assert checks[name]['passed'] is None
        assert checks[name]['note'].startswith('not measured')


def test_outputs_agree_with_the_baseline(results):
    assert results['checks']['ab difference from the baseline, float32']['passed'] is True
    for instances in (0, 8):
        # Different order of operations: equal to the last bit would mean that one was compared with itself.
        assert 0 < row(results, 'ours', 'fp32', instances)['ab_difference'] < 1e-5


def test_stages_add_up_and_bfloat16_differs_a_little(results):
    for one in results['rows']:
        around = sum(one[stage] for stage in ('decode', 'prepare', 'merge', 'encode'))
        assert one['total'] == pytest.approx(one['networks'] + around)
        assert min(one[stage] for stage in ('decode', 'detect', 'prepare', 'merge', 'encode', 'full')) > 0
        assert (one['instance'] > 0) == (one['fusion'] > 0) == (one['instances'] > 0)
        assert one['full'] + one['instance'] + one['fusion'] < one['networks']
    assert 0 < row(results, 'ours', 'bf16', 8)['ab_error']['mean'] < 2


def test_ratios_are_to_the_baseline_of_as_many_instances(results):
    ours, baseline = row(results, 'ours', 'fp32', 8), row(results, 'loop and pad', 'fp32', 8)
    assert ours['total_ratio'] == pytest.approx(ours['total'] / baseline['total'])
    assert results['checks']['float32: time end to end / baseline']['measured'] == ours['total_ratio']
    assert 'total_ratio' not in baseline


def test_the_section_and_the_plot_can_be_published(results):
    assert results['section'].startswith('## Results\n')
    assert 'random, all three networks, width 0.0625' in results['section']
    assert results['section'].count('| ours | ') == 4
    assert all(name in results['section'] for name in CHECKS)
    with Image.open(results['out'] / 'benchmark.png') as plot:
        assert plot.format == 'PNG'


def test_a_folder_runs_with_real_weights(results):
    assert results['folder']['networks'] == ['image_net', 'instance_net', 'fusion_net']
    assert (results['folder']['photos'], results['folder']['failed']) == (3, 0)


def test_a_baseline_that_differs_fails_the_run(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('benchmarking.baseline.UNCOVERED_LOGIT', 0.0)
    monkeypatch.setattr(tool, 'run_job', lambda *args, **settings: 1.0)

    status = tool.main([*SMALL, '--precision', 'fp32', '--instances', '1', '--out-dir', str(tmp_path)])

    assert status == 1
    assert 'error: ab differs from the baseline by up to' in capsys.readouterr().err
    checks = json.loads((tmp_path / 'benchmark.json').read_text())['checks']
    assert set(checks) == CHECKS


def test_a_case_whose_process_was_killed_is_left_out(tool, tmp_path, monkeypatch):
    killed = {'implementation': 'loop and pad', 'precision': 'fp32', 'batch': 1, 'instances': 1, 'size': 64}
    monkeypatch.setattr(tool, 'run_job', lambda name, setup, case: None if case == killed else 1.0)

    assert tool.main([*SMALL, '--precision', 'fp32', '--instances', '1', '--out-dir', str(tmp_path)]) == 0

    rows = json.loads((tmp_path / 'benchmark.json').read_text())['rows']
    assert [(r['implementation'], r['instances']) for r in rows] == [('loop and pad', 0), ('ours', 0), ('ours', 1)]


def test_a_process_of_its_own_measures_memory(tool, fused_weights):
    jobs = importlib.import_module('benchmarking.jobs')
    setup = tool.Setup(None, str(fused_weights), tool.bundled_photo(), [[10, 10, 90, 80]], 'cpu', 1, 'none')
    case = {'implementation': 'ours', 'precision': 'fp32', 'batch': 1, 'instances': 1, 'size': 64}

    assert 0 < jobs.run_job('memory_of_case', setup, case=case) < 500


def test_a_process_that_fails_is_told_from_one_that_was_killed(tool, monkeypatch):
    jobs = importlib.import_module('benchmarking.jobs')
    setup = tool.Setup(None, None, 'photo.png', [], 'cpu', 1)

    def ends_with(status: int) -> None:
        ended = subprocess.CompletedProcess([], status, '', 'Traceback:\nValueError: no boxes')
        monkeypatch.setattr(subprocess, 'run', lambda *args, **kwargs: ended)

    ends_with(-signal.SIGKILL)
    assert jobs.run_job('large_photo', setup, precision='fp32') is None
    ends_with(1)
    with pytest.raises(ValueError, match=r'the measurement large_photo .* ended with ValueError: no boxes'):
        jobs.run_job('large_photo', setup, precision='fp32')


PEAK = """
import sys
import time
import torch
sys.path.insert(0, sys.argv[1])
from benchmarking import memory

def run():
    kept = torch.ones(75_000_000)  # 300 MB
    time.sleep(0.5)

if sys.argv[2] == 'watch':
    memory.set_back_peak = lambda: False
print(memory.peak_memory(run))
"""


@pytest.mark.parametrize('how', ['kernel', 'watch'])
def test_peak_memory_of_a_process(tool, how):
    # A process of its own: in this one, what earlier tests freed may still be at hand.
    folder = Path(tool.__file__).parent
    done = subprocess.run([sys.executable, '-c', PEAK, folder, how], capture_output=True, text=True, check=True)

    assert float(done.stdout) == pytest.approx(300, abs=20)


class FakeKernel:
    """Memory as the kernel would report it: 500 MB in use, 700 at most until its high-water mark is set back."""

    def __init__(self, sets_back: bool | None) -> None:
        self.sets_back = sets_back
        self.memory = {'VmRSS': 500.0, 'VmHWM': 700.0}

    def write_text(self, path: Path, text: str) -> int:
        assert (str(path), text) == ('/proc/self/clear_refs', '5')
        if self.sets_back is None:
            raise PermissionError(f'{path} cannot be written')
        if self.sets_back:
            self.memory['VmHWM'] = self.memory['VmRSS']
        return len(text)

    def run(self) -> None:
        self.memory['VmRSS'] = 600.0
        self.memory['VmHWM'] = max(self.memory['VmHWM'], 600.0)
        time.sleep(0.1)
        self.memory['VmRSS'] = 550.0


@pytest.mark.parametrize('sets_back', [True, False, None])
def test_peak_memory_is_what_was_there_at_once(tool, monkeypatch, sets_back):
    memory = importlib.import_module('benchmarking.memory')
    kernel = FakeKernel(sets_back)
    monkeypatch.setattr(memory, 'resident_memory', lambda field='VmRSS': kernel.memory[field])
    monkeypatch.setattr(Path, 'write_text', lambda *args: kernel.write_text(*args))

    assert memory.peak_memory(kernel.run) == 100


def test_memory_in_use_is_not_above_the_most(tool):
    memory = importlib.import_module('benchmarking.memory')

    assert 100 < memory.resident_memory() <= memory.resident_memory('VmHWM') + memory.SLACK


def test_a_watch_splits_at_the_first_photos(tool):
    memory = importlib.import_module('benchmarking.memory')
    watch = memory.Watch(lambda: 0)
    watch.seen = [(0, 10.0), (1, 30.0), (2, 20.0), (3, 25.0), (4, 22.0)]

    assert watch.split(2) == {'rss_first': 20.0, 'rss_last': 22.0, 'peak_first': 30.0, 'peak_rest': 25.0}


def test_the_growth_is_that_of_a_photo_and_of_its_networks(tool):
    growth = importlib.import_module('benchmarking.checks').growth
    common = {'implementation': 'ours', 'batch': 1}
    rows = [
        {**common, 'precision': 'fp32', 'instances': 0, 'total': 20.0, 'networks': 10.0},
        {**common, 'precision': 'fp32', 'instances': 8, 'total': 180.0, 'networks': 170.0},
        {**common, 'precision': 'bf16', 'instances': 0, 'total': 10.0, 'networks': 4.0},
        {**common, 'precision': 'bf16', 'instances': 8, 'total': 50.0, 'networks': 32.0},
    ]
    names = [f'float32: {title} with 8 instances / with none' for title in ('time end to end', 'networks alone')]

    checks = growth(rows)
    assert [checks[name]['measured'] for name in names] == [9, 17]
    assert [checks[name]['passed'] for name in names] == [True, False]
    assert [checks[name]['note'] for name in names] == ['in bfloat16: 5.00', 'in bfloat16: 8.00']
    assert [growth(rows[1:])[name]['measured'] for name in names] == [None, None]
    assert growth(rows[:2])[names[0]]['note'] == ''


def test_figures_of_a_gpu_are_checked(tool, results, fused_weights, monkeypatch):
    setup = tool.Setup(None, str(fused_weights), tool.bundled_photo(), [[10, 10, 90, 80]], 'cpu', 1, 'none')
    args = tool.parse_args([*SMALL, '--instances', '8'])
    monkeypatch.setattr(tool, 'matrix_rate', lambda device: 1e9)
    monkeypatch.setattr(tool, 'copy_rate', lambda device: 4e9)
    monkeypatch.setattr(tool, 'fusion_bandwidth', lambda device, channels, size: 1e9 if channels == 8 else 0)
    monkeypatch.setattr(
        tool, 'training_rate', lambda stage, *rest: {'full': 3.0, 'instance': 2.0, 'fusion': 1.0}[stage]
    )

    gpu = tool.gpu_figures(args, tool.Subject(setup, baseline=False), 'cpu')
    checks = tool.all_checks({**results, 'gpu': gpu, 'settings': {**results['settings'], 'device': 'cuda'}})

    assert set(checks) == CHECKS
    assert checks['float32: time end to end / baseline']['note'] == 'not measured: the device is cuda, not the CPU'
    milliseconds = row(results, 'ours', 'bf16', 8)['networks']
    assert checks['GPU: photos per second at the best batch size']['measured'] == pytest.approx(1000 / milliseconds)
    assert checks['GPU: latency of one photo without detector, ms']['measured'] == milliseconds
    # Nine networks of the published 75 GMAC at 1/256 of the products and 1/16 of the area; the weight nets, which do
    # not get narrower inside, come on top.
    assert 9 * 75e9 / 256 / 16 < gpu['macs_per_photo'] < 1e9
    share = gpu['macs_per_photo'] * 1000 / milliseconds / 1e9
    assert checks['GPU: share of the matrix rate']['measured'] == pytest.approx(share)
    assert checks['GPU: training steps per second, stage instance']['measured'] == 2
    bandwidth = checks['GPU: bandwidth of the fused kernel / copy rate']
    assert (bandwidth['measured'], bandwidth['passed']) == (0.25, False)
    assert bandwidth['note'].endswith('copy rate 4 GB/s')


def test_rates_of_this_processor(tool):
    rates = importlib.import_module('benchmarking.accelerator')

    assert rates.copy_rate('cpu', size=2**20, repeats=2) > 1e7
    assert rates.fusion_bandwidth('cpu', 8, 32, batch=2, instances=2, repeats=2) > 1e4


def test_what_the_fusion_has_to_move(tool):
    rates = importlib.import_module('benchmarking.accelerator')
    # Two boxes of 4 x 4 cells that share 2 x 4; a whole crop has 36 values.
    found = Instances(torch.tensor([[0.0, 0, 4, 4], [2, 0, 6, 4]]), (6, 6))

    assert rates._moved(Grid(found, (6, 6)), 3, 6) == (2 * 24 + 2 * 36) * 3 * 2


@pytest.mark.parametrize('stage', ['full', 'instance', 'fusion'])
def test_training_steps_of_every_stage_are_timed(tool, stage):
    accelerator = importlib.import_module('benchmarking.accelerator')
    assert accelerator.training_rate(stage, 'cpu', width=1 / 16, size=16, batch=2, instances=2, steps=1) > 0


def test_without_the_checkout_boxes_have_to_be_given(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tool, 'GOLDEN', tmp_path / 'insta_coffee.npz')

    assert tool.main([*SMALL, '--out-dir', str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f'error: the golden boxes {tmp_path}/insta_coffee.npz do not exist: that needs the checkout; give --boxes\n'
    )


@pytest.mark.parametrize(
    ('options', 'status', 'message'),
    [
        (['--size', '60'], 2, 'sizes must be positive multiples of 8, but got 60'),
        (['--instances', '-1'], 2, '--instances must be at least 0, but got -1'),
        (['--batch-sizes', '0'], 2, '--batch-sizes must be at least 1, but got 0'),
        (['--width', '0'], 2, '--width must be positive, but got 0'),
        (['--precision', 'fp16'], 1, "precision 'fp16' needs a GPU"),
        (['--folder', 'nowhere'], 1, 'the folder nowhere does not exist'),
        (['--photo', 'nowhere.jpg'], 1, 'nowhere.jpg'),
        (['--boxes', 'nowhere.json'], 1, 'nowhere.json'),
        (['insta_fusion_cocostuff_256x256', '{image_weights}'], 1, 'holds the image_net alone'),
    ],
)
def test_errors_are_one_sentence(tool, tmp_path, capsys, image_weights, options, status, message):
    argv = [*SMALL, '--out-dir', str(tmp_path), *(option.format(image_weights=image_weights) for option in options)]
    if '{image_weights}' in options:
        # Positional arguments come before the list that `--sizes` takes.
        argv = [*argv[-2:], *argv[:-2]]
    try:
        ended = tool.main(argv)
    except SystemExit as error:
        ended = error.code

    assert ended == status
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1
    assert message in errors[0]
    assert not list(tmp_path.glob('benchmark.*'))
