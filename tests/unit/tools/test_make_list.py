import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

NAMES = [f'ILSVRC2012_val_{number:08d}.JPEG' for number in range(1, 6)]


@pytest.fixture
def tool(monkeypatch) -> ModuleType:
    module = load_script('tools/dataset_converters/make_list.py')
    monkeypatch.setitem(sys.modules, module.__name__, module)  # worker processes look it up by name
    return module


@pytest.fixture
def folder(tmp_path):
    """Five photos: the first is broken, the second grey."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number, name in enumerate(NAMES):
        colours = np.random.default_rng(number).integers(0, 256, (12, 20, 3), dtype=np.uint8)
        Image.fromarray(colours).save(folder / name)
    Image.new('RGB', (20, 12), (90, 90, 90)).save(folder / NAMES[1])
    (folder / NAMES[0]).write_bytes(b'no photo')
    return folder


@pytest.fixture
def run(tool, folder, tmp_path, capsys):
    """Runs the tool; gives its status, what it printed, and the list."""

    def run(*options: object, folder=folder, target=('--out', tmp_path / 'out.txt')) -> tuple[int, str, list[str]]:
        try:
            status = tool.main([str(item) for item in (folder, *target, '--jobs', 1, *options)])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        written = tmp_path / 'out.txt'
        return status, printed.out + printed.err, written.read_text().split('\n')[:-1] if written.exists() else []

    return run


def test_all_photos(run):
    status, printed, names = run()

    assert (status, names) == (0, NAMES)
    assert '5 of 5 photos' in printed


@pytest.mark.parametrize(('least', 'kept'), [(0, NAMES[1:]), (10, NAMES[2:])])
def test_broken_and_grey_photos_are_left_out(run, least, kept):
    _, printed, names = run('--min-ab-range', least)

    assert names == kept
    assert f'{len(kept)} of 5 photos, {4 - len(kept)} grey, 1 broken' in printed


@pytest.mark.parametrize(
    'official',
    [
        pytest.param(f'{NAMES[3]}\n\n{NAMES[2]}\n', id='names'),
        pytest.param(f'/data/imagenet/val/{NAMES[3]} 65\n/data/imagenet/val/{NAMES[2]} 970\n', id='paths-and-labels'),
        pytest.param(f'n01/{NAMES[3]},4\nn02/{NAMES[2]},5\n', id='commas'),
        pytest.param(np.array([3, 2]), id='indices'),
    ],
)
def test_an_official_list_in_its_order(run, tmp_path, official):
    file = tmp_path / ('official.txt' if isinstance(official, str) else 'official.npy')
    file.write_text(official) if isinstance(official, str) else np.save(file, official)

    assert run('--names', file)[2] == [NAMES[3], NAMES[2]]


def test_names_in_the_folders_of_their_classes(tool):
    present = ['a/one.jpg', 'b/one.jpg', 'b/two.jpg']

    found, missing = tool.find(['/x/b/one.jpg', 'c/two.jpg', 'c/one.jpg', 'a/one.jpg', 'three.jpg'], present)

    assert found == ['b/one.jpg', 'b/two.jpg', 'a/one.jpg']
    assert missing == ['c/one.jpg', 'three.jpg']


def test_split(run, folder):
    for number in range(60):
        (folder / f'{number}.png').touch()

    status, _, _ = run(target=('--split',))

    train, val = ((folder / f'{name}.txt').read_text().split() for name in ('train', 'val'))
    assert status == 0
    assert sorted(train + val) == sorted(path.name for path in folder.iterdir() if path.suffix != '.txt')
    assert 0 < len(val) < 15


def test_a_stopped_run_goes_on(tool, run, monkeypatch):
    opened = []
    honest = tool.fate_of

    def fate_of(name, **settings):
        opened.append(name)
        if len(opened) == 4:
            raise KeyboardInterrupt
        return honest(name, **settings)

    class Pool:
        """In this process, so that the test can watch."""

        def __init__(self, *args, **settings): ...
        def __enter__(self):
            return self

        def __exit__(self, *error): ...
        def imap(self, work, names, chunksize):
            return map(work, names)

    monkeypatch.setattr(tool, 'Pool', Pool)
    monkeypatch.setattr(tool, 'fate_of', fate_of)

    assert run('--min-ab-range', 10)[0] == 130
    status, _, names = run('--min-ab-range', 10)

    assert (status, names) == (0, NAMES[2:])
    assert opened == [*NAMES[:4], *NAMES[3:]]


@pytest.mark.parametrize(
    ('official', 'message'),
    [
        ('x.jpg\nILSVRC2012_val_00000003.JPEG 7\n', r'1 of the 2 photos on {file} are not in {folder}, such as x.jpg'),
        (None, 'the list {file} does not exist'),
        (np.zeros((2, 2)), '{file} must hold one row of integers, but holds float64 of shape (2, 2)'),
    ],
)
def test_bad_official_lists(run, folder, tmp_path, official, message):
    file = tmp_path / ('official.npy' if isinstance(official, np.ndarray) else 'official.txt')
    if isinstance(official, str):
        file.write_text(official)
    elif official is not None:
        np.save(file, official)

    status, printed, names = run('--names', file)

    assert (status, printed, names) == (1, f'error: {message.format(file=file, folder=folder)}\n', [])


def test_a_missing_folder(run, tmp_path):
    assert run(folder=tmp_path / 'none')[:2] == (1, f'error: the folder {tmp_path}/none does not exist\n')


def test_nothing_is_left(run, folder):
    for name in NAMES[2:]:
        (folder / name).unlink()

    status, printed, names = run('--min-ab-range', 10)

    assert (status, names) == (1, [])
    assert f'error: no photo is left of 2 in {folder}\n' in printed


@pytest.mark.parametrize('target', [(), ('--out', 'a', '--split')], ids=['neither', 'both'])
def test_one_target(run, target):
    status, printed, _ = run(target=target)

    assert status == 2
    assert printed.startswith('error: ')
