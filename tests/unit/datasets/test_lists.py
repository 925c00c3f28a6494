import pytest

from insta_colorization.datasets.lists import held_back, photos_in, read_list, write_list


@pytest.mark.parametrize(
    ('present', 'photos'),
    [
        ([], []),
        (['b.jpg', 'set/a.PNG', 'set/deep/c.tif'], ['b.jpg', 'set/a.PNG', 'set/deep/c.tif']),
        (['a.jpg', '._a.jpg', '.cache/b.jpg', 'set/.trash/c.jpg', 'notes.txt'], ['a.jpg']),
        (['a.jpg', 'folder.jpg/'], ['a.jpg']),
    ],
    ids=['empty', 'any depth', 'hidden', 'a folder named like a photo'],
)
def test_photos_of_a_folder(tmp_path, present, photos):
    for name in present:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).mkdir() if name.endswith('/') else (tmp_path / name).touch()

    assert photos_in(tmp_path) == photos


def test_what_is_written_is_read(tmp_path):
    write_list(['a.png', 'b c/d.jpg'], tmp_path / 'list.txt')

    assert read_list(tmp_path / 'list.txt') == ['a.png', 'b c/d.jpg']
    assert [path.name for path in tmp_path.iterdir()] == ['list.txt']


def test_a_tenth_is_held_back_whatever_the_suffix():
    names = [f'set/{number}.jpg' for number in range(3000)]

    held = [name for name in names if held_back(name)]

    assert 250 < len(held) < 350
    assert [name for name in names if held_back(name.replace('.jpg', '.png'))] == held


def test_the_same_photos_stay_held_back():
    # Recorded: a trained model must not meet its validation photos in the next training.
    assert [number for number in range(40) if held_back(f'set/{number}.jpg')] == [2, 8, 15, 35, 36, 37]
