import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import small_runs
from mmengine.runner import Runner
from small_runs import saved

from insta_colorization.engine.hooks import checkpoint as module


def make_runner(folder: Path, **settings: Any) -> Runner:
    """Without averaged weights, which are measured each time that they are saved."""
    return small_runs.make_runner(folder, hook={'type': 'InvalidLossHook'}, **settings)


@contextmanager
def small_disk(limit: int) -> Iterator[None]:
    """Within it no file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob('*.pth'))


def last(folder: Path) -> str:
    return Path((folder / 'last_checkpoint').read_text()).name


class TestWholeCheckpoints:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ('keep', 'kept'),
        [
            pytest.param(1, ['iter_4.pth'], id='one'),
            pytest.param(2, ['iter_3.pth', 'iter_4.pth'], id='two'),
            pytest.param(-1, [f'iter_{step}.pth' for step in (1, 2, 3, 4)], id='all'),
        ],
    )
    def test_the_newest_stay(self, tmp_path, keep, kept):
        make_runner(tmp_path, iters=4, checkpoint={'max_keep_ckpts': keep}).train()

        assert checkpoints(tmp_path) == kept
        assert last(tmp_path) == 'iter_4.pth'
        assert not list(tmp_path.glob('.*'))

    @pytest.mark.parametrize(('save', 'kept'), [(1, ['iter_1.pth', 'iter_2.pth']), (100, ['iter_2.pth'])])
    def test_a_run_ends_in_time(self, tmp_path, monkeypatch, save, kept):
        clock = iter([100.0, 107.0, 111.0])
        monkeypatch.setattr(module, 'monotonic', lambda: next(clock))

        make_runner(tmp_path, iters=4, save=save, checkpoint={'max_seconds': 10}).train()

        assert checkpoints(tmp_path) == kept
        assert last(tmp_path) == 'iter_2.pth'

    @pytest.mark.slow
    @pytest.mark.parametrize('keep', [1, 2])
    def test_a_full_disk_leaves_the_previous_ones(self, tmp_path, keep):
        make_runner(tmp_path, iters=2, checkpoint={'max_keep_ckpts': keep}).train()
        before = {path.name: path.read_bytes() for path in tmp_path.glob('*.pth')}
        resumed = {'resume': True, 'load_from': str(tmp_path / 'iter_2.pth'), 'checkpoint': {'max_keep_ckpts': keep}}

        with (
            small_disk(100_000),
            pytest.raises(OSError, match=r'cannot save .*iter_3\.pth: File too large; .*--resume'),
        ):
            make_runner(tmp_path, iters=4, **resumed).train()

        assert {path.name: path.read_bytes() for path in tmp_path.glob('*.pth')} == before
        assert last(tmp_path) == 'iter_2.pth'
        assert not list(tmp_path.glob('.*'))
        make_runner(tmp_path, iters=4, **resumed).train()
        assert last(tmp_path) == 'iter_4.pth'

    def test_no_space_left_is_said_in_a_sentence(self, tmp_path, monkeypatch):
        def write_whole(data: bytes, path: Path) -> None:
            raise OSError(errno.ENOSPC, 'No space left on device')

        monkeypatch.setattr(module, 'write_whole', write_whole)

        with pytest.raises(
            OSError, match=r'^cannot save \S+iter_1.pth: No space left on device; what was saved before'
        ):
            make_runner(tmp_path).train()

        assert not checkpoints(tmp_path)

    def test_an_old_one_goes_only_after_the_new_one_is_named(self, tmp_path, monkeypatch):
        seen = []
        original = Path.unlink

        def unlink(path: Path, missing_ok: bool = False) -> None:
            seen.append((path.name, checkpoints(tmp_path), last(tmp_path)))
            original(path, missing_ok)

        monkeypatch.setattr(Path, 'unlink', unlink)
        make_runner(tmp_path, iters=2, checkpoint={'max_keep_ckpts': 1}).train()

        assert seen == [('iter_1.pth', ['iter_1.pth', 'iter_2.pth'], 'iter_2.pth')]

    @pytest.mark.slow
    def test_a_resumed_run_removes_what_a_killed_one_left(self, tmp_path, monkeypatch):
        def killed(self, steps):
            if len(steps) > 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module.WholeCheckpointHook, '_forget', lambda self, steps: None)
            make_runner(tmp_path, iters=1, checkpoint={'max_keep_ckpts': 1}).train()
        (tmp_path / '.0123.tmp').write_bytes(b'half')
        with monkeypatch.context() as patch:
            patch.setattr(module.WholeCheckpointHook, '_forget', killed)
            runner = make_runner(
                tmp_path, iters=2, checkpoint={'max_keep_ckpts': 1}, resume=True, load_from=str(tmp_path / 'iter_1.pth')
            )
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        assert checkpoints(tmp_path) == ['iter_1.pth', 'iter_2.pth']

        make_runner(
            tmp_path, iters=3, checkpoint={'max_keep_ckpts': 1}, resume=True, load_from=str(tmp_path / 'iter_2.pth')
        ).train()

        assert checkpoints(tmp_path) == ['iter_3.pth']
        assert not list(tmp_path.glob('.*.tmp'))

    @pytest.mark.slow
    def test_the_best_one_is_kept_as_well(self, tmp_path):
        runner = make_runner(
            tmp_path, val_interval=1, checkpoint={'max_keep_ckpts': 1, 'save_best': 'auto', 'rule': 'greater'}
        )
        runner.train()

        best = [name for name in checkpoints(tmp_path) if name.startswith('best_')]
        assert len(best) == 1
        assert saved(tmp_path, 3)['message_hub']['runtime_info']['best_ckpt'].endswith(best[0])
