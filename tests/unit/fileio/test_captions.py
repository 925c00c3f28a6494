import json

import pytest

from insta_colorization.fileio.captions import CaptionFile, PairFile


@pytest.fixture
def write(tmp_path):
    def write(content, name: str = 'captions.json') -> CaptionFile:
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return CaptionFile(path)

    return write


@pytest.mark.parametrize(
    ('content', 'name'),
    [
        ([['a.jpg', 'a red bus'], ['deep/b.jpg', 'a dog']], 'pairs.json'),
        ({'a.jpg': ['a red bus'], 'deep/b.jpg': 'a dog'}, 'lists.json'),
        ('photo,caption\na.jpg,a red bus\ndeep/b.jpg,"a dog"\n', 'titled.csv'),
        ('a.jpg\ta red bus\n\ndeep/b.jpg\ta dog', 'bare.tsv'),
        (b'\xef\xbb\xbfa.jpg,a red bus\r\ndeep/b.jpg,a dog\r\n', 'windows.csv'),
    ],
)
def test_forms(write, content, name):
    captions = write(content, name)

    assert captions.of('/photos/a.jpg') == ('a red bus',)
    assert captions.of('/photos/deep/b.jpg') == ('a dog',)
    assert captions.of('/photos/b.jpg') == ()
    captions.check(['/photos/a.jpg', '/photos/deep/b.jpg'])


def test_a_caption_of_two_lines_in_a_table_keeps_its_words_apart(write):
    assert write('photo,caption\na.jpg,"a red\nbus"\n', 'a.csv').of('a.jpg') == ('a red\nbus',)


def test_a_caption_that_is_there_twice_counts_once(write):
    write([['a.jpg', 'a bus'], ['a.jpg', 'a bus']]).check(['a.jpg'])


def test_photos_without_a_caption_are_told(write, caplog):
    write({'a.jpg': 'a bus'}).check(['a.jpg', 'b.jpg'])

    assert 'has captions for 1 of the 2 photos' in caplog.text


@pytest.mark.parametrize(
    ('content', 'name', 'message'),
    [
        ('{"a.jpg": ', 'a.json', 'a.json is not JSON'),
        ('3', 'a.json', r'must have \{photo: caption\} or a list of \[photo, caption\], but has 3'),
        ([['a.jpg']], 'a.json', r"\['a.jpg'\] is not a photo and its caption"),
        ({'a.jpg': [1]}, 'a.json', r"\('a.jpg', \[1\]\) is not a photo and its caption"),
        ({'a.jpg': ['?!']}, 'a.json', r"photo a.jpg: a caption must have words, but got '\?!'"),
        ('a.jpg,a bus,red', 'a.csv', 'line 1: it must have a photo and a caption, but has 3 columns'),
        ('a.jpg,a bus\nb.jpg,"a "red" bus"', 'a.csv', "a.csv, line 2: ',' expected after"),
        ('a.jpg,', 'a.csv', "photo a.jpg: a caption must have words, but got ''"),
        ('a.jpg,gr\xfcn'.encode('latin-1'), 'a.csv', 'a.csv is not UTF-8'),
        ('{"a.jpg": "bus"}'.encode('utf-16'), 'a.json', 'a.json is not UTF-8'),
    ],
)
def test_bad_files(write, content, name, message):
    with pytest.raises(ValueError, match=message):
        write(content, name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='no file of captions'):
        CaptionFile(tmp_path / 'none.json')


def test_only_unknown_photos(write):
    with pytest.raises(ValueError, match=r'captions for 1 photos \(x.jpg\), but not for any of the 2 .* such as a.jpg'):
        write({'x.jpg': 'a bus'}).check(['a.jpg', 'b.jpg'])


def test_two_captions_of_a_photo(write):
    captions = write([['a.jpg', 'a red bus'], ['a.jpg', f'a {"very " * 100}blue bus'], ['b.jpg', 'a dog']])

    captions.check(['b.jpg'])
    with pytest.raises(ValueError, match=r"has 2 captions for a.jpg, 'a red bus' and 'a very .{50,60}\.\.\., but a"):
        captions.check(['a.jpg'])


class TestPairs:
    @pytest.fixture
    def read(self, write, tmp_path):
        captions = write({'a.jpg': ['A Red bus.', 'a dog', 'A Red bus.'], 'b.jpg': 'a cat'})

        def read(content) -> PairFile:
            path = tmp_path / 'pairs.json'
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            return PairFile(path, captions)

        return read

    def test_nouns_and_colours_of_each_caption(self, read):
        pairs = read({'a.jpg': [[[3, 2]], [], [[3, 2]]]})

        assert pairs.of('photos/a.jpg', 'A Red bus.') == (('bus', 'red'),)
        assert pairs.of('photos/a.jpg', 'a dog') == pairs.of('b.jpg', 'a cat') == ()

    @pytest.mark.parametrize(
        ('content', 'message'),
        [
            ('{', 'is not JSON'),
            ([1], r'must have \{photo: \[\[\[noun, colour\], \.\.\.\], \.\.\.\]\}, but has \[1\]'),
            ({'a.jpg': [[]]}, r'photo a.jpg: \[\[\]\] are no lists for 3 captions'),
            ({'c.jpg': [[]]}, r'photo c.jpg: \[\[\]\] are no lists for 0 captions'),
            ({'b.jpg': [[[3, 1]]]}, r"\[3, 1\] are no two of the 2 words of 'a cat'"),
            ({'b.jpg': [[[1]]]}, r"\[1\] are no two of the 2 words of 'a cat'"),
        ],
    )
    def test_files_that_do_not_fit(self, read, content, message):
        with pytest.raises(ValueError, match=message):
            read(content)

    def test_a_file_that_is_not_there(self, write, tmp_path):
        with pytest.raises(FileNotFoundError, match='no file of nouns and their colours'):
            PairFile(tmp_path / 'none.json', write({'a.jpg': 'a cat'}))
