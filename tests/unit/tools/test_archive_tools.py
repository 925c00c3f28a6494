"""What the tools of archives make of their options; what a job does is in test_archive_tasks.py."""

from pathlib import Path

import pytest
from scripts import load_script

from insta_colorization.apis import archive
from insta_colorization.apis.archive import Summary
from insta_colorization.apis.archive_tasks import ColorTask, DetectTask, EvaluateTask
from insta_colorization.fileio.stores import Folder
from insta_colorization.utils.options import ArchiveOptions, PaceOptions


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs a tool in an empty folder; gives its status, what it printed, and what the job would have got."""
    got: list = []

    def run_archive(source, task, manifest=None, options=None, beside=()):
        got.append((source, task, manifest, options, list(beside)))
        return Summary(5, 2, 2, {'missing': 1}, 1.0, 1.0, 4.0, {}, 1.0, 16, 1, 1.0, 0.0, 1, {'PSNR': 23.456789})

    monkeypatch.setattr(archive, 'run_archive', run_archive)
    monkeypatch.chdir(tmp_path)

    def run(tool: str, *args: str):
        try:
            status = load_script(f'tools/{tool}.py').main(args)
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err, got[-1] if got else None

    return run


@pytest.mark.slow
def test_detect_archive(run, tmp_path):
    (tmp_path / 'net.onnx').touch()
    (tmp_path / 'opencv').mkdir()
    options = (
        '--score-thr',
        '0.3',
        '--top-k',
        '9',
        '--masks',
        '--batch-size',
        '4',
        '--chunk',
        '8',
        '--manifest',
        'm.csv',
    )

    status, text, got = run('detect_archive', 'net.onnx', 'photos', 's3://boxes', *options)

    task = DetectTask(Folder('s3://boxes'), str(tmp_path / 'net.onnx'), 0.3, top_k=9, masks=True)
    pace = PaceOptions(batch_size=4)
    assert got == ('photos', DetectTask(**vars(task) | {'pace': pace}), 'm.csv', ArchiveOptions(chunk=8), [])
    assert (status, text) == (
        1,
        '2 searched, 2 skipped (they exist; --overwrite makes them again), 1 failed (1 missing; '
        's3://boxes/failures.parquet), in 4 s, 0.50 photos a second; results are in s3://boxes\n',
    )
    assert run('detect_archive', 'opencv', 'photos', 'boxes')[2][1].detector == 'opencv'


def test_evaluate_archive(run, tmp_path):
    status, text, got = run(
        'evaluate_archive', 'truth', 'coloured', 'out', '--lpips', '--format', 'same', '--workers', '0'
    )

    coloured = Folder(str(tmp_path / 'coloured'))
    task = EvaluateTask(Folder(str(tmp_path / 'out')), coloured, 'same', lpips=True, pace=PaceOptions(workers=0))
    assert got == ('truth', task, None, ArchiveOptions(), [coloured])
    assert (status, text.splitlines()[1]) == (1, 'means of 4: PSNR 23.46')


def test_colorize_archive_takes_boxes_in_place_of_a_detector(run, tmp_path):
    (tmp_path / 'mine.pth').touch()

    task = run('colorize_archive', 'photos', 'out', '--boxes', 'boxes', '--checkpoint', 'mine.pth')[2][1]

    assert isinstance(task, ColorTask)
    assert task.boxes == Folder(str(tmp_path / 'boxes'))
    assert task.predictor['weights'] == str(Path('mine.pth').resolve())
    assert task.predictor['detector'] is None
    status, text, _ = run('colorize_archive', 'photos', 'out', '--boxes', 'boxes', '--detector', 'opencv')
    assert (status, text.split(';')[0]) == (2, 'error: argument --boxes: not allowed with argument --detector')
