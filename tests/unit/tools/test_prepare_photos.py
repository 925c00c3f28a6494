import io
import re
import sys
import tarfile
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

COLOURS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


@pytest.fixture
def tool(monkeypatch) -> ModuleType:
    module = load_script('tools/dataset_converters/prepare_photos.py')
    monkeypatch.setitem(sys.modules, module.__name__, module)  # worker processes look it up by name
    return module


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / 'source'
    (folder / 'set').mkdir(parents=True)
    for number in range(30):
        Image.fromarray(np.roll(COLOURS, number)).save(folder / 'set' / f'{number}.jpg')
    Image.fromarray(COLOURS).save(folder / '0.webp')
    Image.new('RGB', (20, 12), (90, 90, 90)).save(folder / 'grey.png')
    (folder / 'broken.jpg').write_bytes(b'no photo')
    (folder / 'notes.txt').write_text('no photo')
    (folder / 'set' / '._0.jpg').write_bytes(b'what a Mac keeps beside 0.jpg')
    return folder


@pytest.fixture
def run(tool, tmp_path, capsys):
    def run(*arguments: object, out: str = 'out') -> tuple[int, str]:
        try:
            status = tool.main([*map(str, arguments), '--out', str(tmp_path / out), '--jobs', '1'])
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def lists(folder) -> tuple[list[str], list[str]]:
    return tuple((folder / f'{name}.txt').read_text().split() for name in ('train', 'val'))


@pytest.mark.slow
def test_photos_are_unpacked_byte_for_byte(run, source, tmp_path):
    status, printed = run(source)

    assert status == 0
    assert '1 broken, 1 grey, 31 kept' in printed
    train, val = lists(tmp_path / 'out')
    assert sorted(train + val) == sorted(['0.webp', *(f'set/{number}.jpg' for number in range(30))])
    for name in train + val:
        assert (tmp_path / 'out' / name).read_bytes() == (source / name).read_bytes()
    assert not (tmp_path / 'out' / 'grey.png').exists()


@pytest.mark.slow
def test_squares(run, source, tmp_path):
    run(source, '--size', 8)

    train, val = lists(tmp_path / 'out')
    assert {Image.open(tmp_path / 'out' / name).size for name in train + val} == {(8, 8)}
    assert {name.split('.')[1] for name in train + val} == {'png'}


@pytest.mark.slow
def test_both_hold_the_same_photos_back(run, source, tmp_path):
    run(source)
    run(source, '--size', 8, out='squares')

    whole, squares = lists(tmp_path / 'out')[1], lists(tmp_path / 'squares')[1]
    assert [name.split('.')[0] for name in whole] == [name.split('.')[0] for name in squares]
    assert 0 < len(whole) < 10


@pytest.mark.parametrize('size', [8, 256, None])
def test_grey_is_measured_at_one_size_whatever_is_written(run, tmp_path, size):
    # One strongly coloured pixel in 256 x 256 would vanish among the grey ones of an 8 x 8 square.
    dot = np.full((256, 256, 3), 128, np.uint8)
    dot[100, 100] = 255, 0, 0
    (tmp_path / 'source').mkdir()
    Image.fromarray(dot).save(tmp_path / 'source' / 'dot.png')

    status, printed = run(tmp_path / 'source', *(() if size is None else ('--size', size)))

    assert status == 0
    assert '1 kept' in printed


def test_no_part_of_a_photo_is_left(run, source, tmp_path, monkeypatch, tool):
    def full_disk(data, path):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(tool, 'write_whole', full_disk)

    status, printed = run(source)

    assert status == 1
    assert 'error: [Errno 28] No space left on device\n' in printed
    assert not [path for path in (tmp_path / 'out').rglob('*') if path.is_file()]


@pytest.mark.slow
def test_a_tar_is_as_good_as_a_folder(run, source, tmp_path):
    with tarfile.open(tmp_path / 'photos.tar', 'w') as archive:
        archive.add(source, '.')
    run(source)
    run(tmp_path / 'photos.tar', out='from_tar')

    assert [set(names) for names in lists(tmp_path / 'from_tar')] == [set(names) for names in lists(tmp_path / 'out')]


@pytest.mark.slow
def test_photos_that_are_there_are_kept(run, source, tmp_path):
    run(source)
    before = lists(tmp_path / 'out')
    (tmp_path / 'out' / '0.webp').write_bytes(b'mine')

    status, _ = run(source)

    assert status == 0
    assert lists(tmp_path / 'out') == before
    assert (tmp_path / 'out' / '0.webp').read_bytes() == b'mine'


@pytest.mark.slow
def test_the_first_of_two_photos_of_the_same_name(run, source, tmp_path):
    assert '31 kept, 31 of a name that another photo has' in run(source, source)[1]


def test_what_would_be_written_elsewhere_is_refused(run, tmp_path):
    with tarfile.open(tmp_path / 'photos.tar', 'w') as archive:
        member = tarfile.TarInfo('../mine.png')
        member.size = 3
        archive.addfile(member, io.BytesIO(b'abc'))

    status, printed = run(tmp_path / 'photos.tar')

    assert status == 1
    assert 'photos.tar holds ../mine.png, which would be written outside the folder\n' in printed
    assert not (tmp_path / 'mine.png').exists()


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        pytest.param(lambda path: None, 'No such file or directory', id='missing'),
        pytest.param(
            lambda path: path.write_bytes(b'text'), 'is neither a folder nor a tar that can be read', id='text'
        ),
        pytest.param(lambda path: path.mkdir(), 'no photo to train on in .*: none at all', id='empty'),
    ],
)
def test_bad_sources(run, tmp_path, make, message):
    make(tmp_path / 'given')

    status, printed = run(tmp_path / 'given')

    assert status == 1
    assert len([line for line in printed.splitlines() if line.startswith('error: ')]) == 1
    assert re.search(message, printed)
    assert not (tmp_path / 'out' / 'train.txt').exists()


def test_bad_size(run, source):
    assert run(source, '--size', 0) == (2, 'error: --size must be at least 1, but is 0; --help lists the options\n')
