import random
from pathlib import Path

import pytest

from insta_colorization.apis.archive_manifest import PhotoRequest, read_manifest
from insta_colorization.apis.archive_plan import Plan, natural_text
from insta_colorization.apis.jobs import natural_key, plan
from insta_colorization.fileio.stores import Folder


@pytest.fixture
def folder(tmp_path) -> Path:
    """Empty files with the names that photos have."""
    names = (
        'a.jpg',
        'a.png',
        'a_jpg.tif',
        'b10.jpg',
        'b9.JPG',
        'B9.png',
        'sub/a.jpg',
        'sub/a.tif',
        'note.txt',
        '._x.jpg',
    )
    for name in names:
        (tmp_path / 'photos' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'photos' / name).touch()
    return tmp_path / 'photos'


def planned(tmp_path: Path, source: Path | str, manifest: str | None = None, suffix: str = '.png') -> Plan:
    return Plan.make(tmp_path / 'plan.sqlite', Folder.at(source), Folder.at(tmp_path / 'out'), suffix, manifest)


def pairs(made: Plan, size: int = 1000) -> list[tuple[str, str]]:
    return [(photo.source, photo.name) for photo in made.chunk(0, size)]


@pytest.mark.parametrize('suffix', ['.png', 'same', '.jpg'])
def test_order_and_names_are_those_of_a_folder(folder, tmp_path, suffix):
    jobs = plan([folder], tmp_path / 'out', recursive=True, suffix=suffix)

    made = pairs(planned(tmp_path, folder, suffix=suffix))

    assert made == [(job.name, str(job.target.relative_to(tmp_path / 'out'))) for job in jobs]


def test_texts_sort_like_paths():
    generator = random.Random(0)
    paths = [Path(''.join(generator.choices('aB1290-_.é٣/', k=generator.randrange(1, 9)))) for _ in range(500)]

    assert sorted(set(paths), key=lambda path: natural_text(str(path))) == sorted(set(paths), key=natural_key)


def test_chunks_are_all_photos_once(folder, tmp_path):
    made = planned(tmp_path, folder)
    chunks = [made.chunk(index, 3) for index in range(4)]

    assert [len(chunk) for chunk in chunks] == [3, 3, 2, 0]
    assert [photo for chunk in chunks for photo in chunk] == made.chunk(0, 1000)
    assert len(made) == 8


def test_results_below_the_source_by_a_link_are_no_photos(folder, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'x.png').touch()
    (folder / 'results').symlink_to(tmp_path / 'out')

    assert len(planned(tmp_path, folder)) == 8


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('m.txt', 'b/1.jpg\r\n\n#2.jpg\n'),
        ('m.jsonl', '{"path": "b/1.jpg", "year": 1901}\n\n"#2.jpg"\n'),
        ('m.csv', 'year,path\n1901,b/1.jpg\n,#2.jpg\n'),
        ('m.csv', 'path,page\nb/1.jpg,1,one more\n#2.jpg\n'),
    ],
)
def test_manifests(tmp_path, name, text):
    (tmp_path / name).write_text('\ufeff' + text)

    assert [row.path for row in read_manifest(str(tmp_path / name))] == ['b/1.jpg', '#2.jpg']


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('m.xls', '', r'must be a file of .txt, .jsonl, .csv, but got .*m.xls'),
        ('m.jsonl', '{"path": "a"}\n{', r'line 2 of .* is not JSON'),
        ('m.jsonl', '{"file": "a"}', r"line 1 of .* has no 'path' that is a text: \{\"file\""),
        ('m.csv', 'a,b\n1,2\n', r"must have a column 'path', but has a, b"),
        ('m.csv', '', r"must have a column 'path', but has none"),
        ('m.csv', 'path,b\n,2\n', r"line 2 of .* has no 'path'"),
    ],
)
def test_what_is_no_manifest_says_where(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)

    with pytest.raises(ValueError, match=message):
        list(read_manifest(str(tmp_path / name)))


def test_entries_that_cannot_be_done_are_refused_by_kind(folder, tmp_path):
    manifest = tmp_path / 'm.txt'
    lines = ('a.jpg', 'sub/../a.jpg', str(tmp_path / 'out' / 'x.png'), 'https://me:word@x/p/c.jpg', '../a.jpg')
    manifest.write_text('\n'.join(lines))
    made = planned(tmp_path, folder, str(manifest))

    assert [name for _, name in pairs(made)] == ['a_jpg.png', 'c.png', 'a_jpg-2.png']
    assert sorted(failure.kind for failure in made.refused()) == ['duplicate', 'inside-target']
    assert 'was named before' in next(failure.reason for failure in made.refused() if failure.kind == 'duplicate')


@pytest.mark.parametrize(
    ('said', 'request_'),
    [
        ({}, PhotoRequest()),
        ({'caption': '', 'hints': '', 'boxes': None, 'page': '', 'year': '1901'}, PhotoRequest()),
        ({'caption': 'a red bus', 'page': '12'}, PhotoRequest('a red bus', page=12)),
        ({'hints': '[{"object": 0, "color": "red"}]'}, PhotoRequest(hints=[{'object': 0, 'color': 'red'}])),
        ({'hints': [], 'page': 3}, PhotoRequest(page=3)),
        ({'hints': 'h.json', 'boxes': 's3://b/c.NPZ'}, PhotoRequest(hints='/p/h.json', boxes='/p/s3://b/c.NPZ')),
    ],
)
def test_what_a_row_says(said, request_):
    assert PhotoRequest.parse(said, '/p/{}'.format) == request_


@pytest.mark.parametrize(
    ('said', 'message'),
    [
        ({'caption': '...'}, r"a caption must have words, but got '\.\.\.'"),
        ({'caption': 7}, '`caption` must be a text, but got 7'),
        ({'hints': {'a': 1}}, r"`hints` must be a list of hints or the path of a file, but got \{'a': 1\}"),
        ({'hints': '[{'}, '`hints` are not JSON: '),
        ({'hints': '[{"object": 0, "color": "rad"}]'}, "`hints`, hint 0: there is no colour 'rad'"),
        ({'boxes': 'a.json'}, r"`boxes` must be a file of \.npz, but got 'a\.json'"),
        *(
            ({'page': page}, f'`page` must be a whole number from 1, but got {page!r}')
            for page in ('0', 'two', -1, 1.5, True)
        ),
    ],
)
def test_what_a_row_cannot_say(said, message):
    with pytest.raises(ValueError, match=message):
        PhotoRequest.parse(said, str)


def test_what_is_wished_of_photos_is_planned_and_bad_rows_are_refused(folder, tmp_path):
    manifest = tmp_path / 'm.csv'
    manifest.write_text(
        'path,year,page,caption,boxes\n'
        'a.jpg,1901,,"a red bus, a blue sky",\n'
        'sub/a.tif,,2,,b.npz\n'
        'sub/a.tif,,3,,\n'
        'sub/a.tif,,2,,\n'
        'a.png,,two,,\n'
    )
    made = planned(tmp_path, folder, str(manifest))

    photos = made.chunk(0, 9)
    assert [(photo.name, photo.own) for photo in photos] == [
        ('a.png', 'a.jpg'),
        ('sub/a_page2.png', 'sub/a_page2.tif'),
        ('sub/a_page3.png', 'sub/a_page3.tif'),
    ]
    boxes = str(folder / 'b.npz')
    wished = [PhotoRequest('a red bus, a blue sky'), PhotoRequest(boxes=boxes, page=2), PhotoRequest(page=3)]
    assert [photo.said for photo in photos] == wished
    refused = {failure.kind: failure for failure in made.refused()}
    assert refused.keys() == {'duplicate', 'request'}
    assert refused['request'].photo == str(folder / 'a.png')
    assert refused['request'].reason == f"line 6 of {manifest}: `page` must be a whole number from 1, but got 'two'"


def test_files_of_boxes_are_named_after_the_whole_name(folder, tmp_path):
    made = planned(tmp_path, folder, suffix='.npz')

    assert all(name == f'{Path(source).relative_to(folder)}.npz' for source, name in pairs(made))


def test_names_that_are_no_unicode_stay(tmp_path):
    (tmp_path / 'm.txt').write_bytes(b'/p/M\xfcnchen.jpg\n/p/M\xfcnchen.jpg\n')
    made = planned(tmp_path, tmp_path / 'photos', str(tmp_path / 'm.txt'))

    assert pairs(made) == [('/p/M\udcfcnchen.jpg', 'M\udcfcnchen.png')]
    assert [failure.photo for failure in made.refused()] == ['/p/M\\udcfcnchen.jpg']


def test_no_photo_at_all_is_told(tmp_path):
    (tmp_path / 'm.txt').touch()
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'out').mkdir()

    with pytest.raises(ValueError, match=r'm\.txt names no photo'):
        planned(tmp_path, tmp_path / 'photos', str(tmp_path / 'm.txt'))
    with pytest.raises(ValueError, match='photos names no photo'):
        planned(tmp_path / 'photos', tmp_path / 'photos')
    with pytest.raises(OSError, match=r'cannot list .*none: there is no such folder'):
        planned(tmp_path / 'out', tmp_path / 'none')
