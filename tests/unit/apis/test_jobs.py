import errno
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from insta_colorization.apis.jobs import SIDE_FILES, load, natural_key, plan
from insta_colorization.imaging.photo import READABLE_SUFFIXES, ImageReadError, encode_photo, write_photo

GRAY = np.full((4, 6), 128, np.uint8)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b'x')


def names_of(jobs) -> list[str]:
    return [Path(job.source).name for job in jobs]


def targets_of(jobs, out_dir) -> list[str]:
    return [str(job.target.relative_to(out_dir)) for job in jobs]


class TestInputs:
    def test_folder_lists_photos_in_numeric_order_and_nothing_else(self, tmp_path):
        touch(tmp_path, 'frame10.png', 'frame9.PNG', 'frame1.jpg', 'notes.txt', '._frame1.jpg', 'deeper/frame2.png')
        (tmp_path / 'folder.png').mkdir()

        assert names_of(plan([tmp_path])) == ['frame1.jpg', 'frame9.PNG', 'frame10.png']

    def test_recursive_folder(self, tmp_path):
        touch(tmp_path, 'b/2.png', 'b/10.png', 'a.png', '.cache/hidden.png')

        assert names_of(plan([tmp_path], recursive=True)) == ['a.png', '2.png', '10.png']

    def test_pattern(self, tmp_path):
        touch(tmp_path, 'b10.tif', 'b9.tif', 'c.png')

        assert names_of(plan([str(tmp_path / 'b*.tif')])) == ['b9.tif', 'b10.tif']

    def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(self, tmp_path):
        touch(tmp_path, 'photo[1].png', 'photo1.png')

        assert names_of(plan([tmp_path / 'photo[1].png'])) == ['photo[1].png']

    def test_a_file_named_twice_is_done_once(self, tmp_path, monkeypatch):
        touch(tmp_path, 'a.png')
        monkeypatch.chdir(tmp_path)

        assert len(plan(['a.png', tmp_path / 'a.png', '*.png', tmp_path])) == 1

    def test_a_link_is_a_photo_of_its_own(self, tmp_path):
        touch(tmp_path, 'frame1.png')
        (tmp_path / 'frame2.png').symlink_to(tmp_path / 'frame1.png')

        assert names_of(plan([tmp_path])) == ['frame1.png', 'frame2.png']

    def test_arrays_keep_their_pixels(self):
        jobs = plan([GRAY, GRAY])

        assert [job.name for job in jobs] == ['array 0', 'array 1']
        assert load(jobs[0].source).size == (4, 6)

    def test_images_and_bytes(self):
        data = encode_photo(GRAY, '.png')

        jobs = plan([Image.fromarray(GRAY), data])

        assert [job.name for job in jobs] == ['image 0', 'bytes 1']
        assert [load(job.source).size for job in jobs] == [(4, 6), (4, 6)]

    def test_no_inputs_no_jobs(self):
        assert plan([]) == []

    @pytest.mark.parametrize(
        ('item', 'kind', 'message'),
        [
            pytest.param('{}/none.png', FileNotFoundError, 'none.png does not exist', id='missing'),
            pytest.param('{}/*.tif', FileNotFoundError, r'no file matches the pattern .*\*\.tif', id='pattern'),
            pytest.param('{}', ValueError, 'holds no photo .*--recursive looks into', id='folder without photos'),
            pytest.param('', ValueError, "but got ''", id='empty string'),
            pytest.param(7, TypeError, 'but got int', id='number'),
        ],
    )
    def test_what_is_no_input_is_named(self, tmp_path, item, kind, message):
        touch(tmp_path, 'deeper/a.png')
        item = item.format(tmp_path) if isinstance(item, str) else item

        with pytest.raises(kind, match=message):
            plan([item])


class TestWhatAFolderHolds:
    def test_all_that_is_readable_is_read_and_the_rest_counted(self, tmp_path, caplog):
        photos = ['a.jpg', 'b.jfif', 'c.JPE', 'd.jp2', 'e.avif', 'f.gif', 'g.pgm', 'h.tga']
        touch(tmp_path, *photos, 'i.heic', 'j.HEIC', 'k.mp4', 'README', '.hidden.txt', 'deep/l.txt')

        with caplog.at_level('INFO', 'insta_colorization'):
            assert names_of(plan([tmp_path])) == photos

        assert caplog.messages == [f'{tmp_path}: left out 2 .heic, 1 .mp4, 1 without a suffix']

    def test_each_suffix_that_is_listed_can_be_read(self, tmp_path):
        pixels = Image.new('RGB', (8, 8), 'grey')
        kinds = {'.jfif': 'JPEG', '.jpe': 'JPEG', '.pbm': 'PPM', '.pgm': 'PPM', '.pnm': 'PPM', '.dib': 'DIB'}
        kinds |= {'.jp2': 'JPEG2000', '.j2k': 'JPEG2000', '.apng': 'PNG'}
        for suffix in set(READABLE_SUFFIXES) - {'.psd'}:  # which Pillow does not write
            path = tmp_path / f'a{suffix}'
            pixels.save(path, kinds.get(suffix, Image.registered_extensions().get(suffix)))
            assert load(path).size == (8, 8), suffix

    def test_thumbnails_and_waste_baskets_of_servers_are_no_photos(self, tmp_path):
        touch(tmp_path, 'x/a.jpg', 'x/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg', '#recycle/b.jpg', '__MACOSX/c.jpg')

        assert names_of(plan([tmp_path], recursive=True)) == ['a.jpg']

    def test_linked_folders_are_searched_once(self, tmp_path):
        touch(tmp_path, 'album/x/a.jpg', 'elsewhere/b.jpg')
        (tmp_path / 'album' / 'a-link').symlink_to('x')
        (tmp_path / 'album' / 'there').symlink_to('../elsewhere')
        (tmp_path / 'album' / 'x' / 'up').symlink_to('..')
        out = tmp_path / 'out'

        jobs = plan([tmp_path / 'album'], out, recursive=True)

        assert targets_of(jobs, out) == ['there/b.png', 'x/a.png']

    def test_a_folder_may_be_called_like_a_pattern(self, tmp_path, monkeypatch):
        touch(tmp_path, 'album [1923]/b10.tif', 'album [1923]/b9.tif', 'album 1/c.tif')
        monkeypatch.chdir(tmp_path)

        assert names_of(plan(['album [1923]/*.tif'])) == ['b9.tif', 'b10.tif']
        assert names_of(plan(['album ?/*.tif'])) == ['c.tif']


class TestPages:
    @pytest.fixture
    def scans(self, tmp_path) -> Path:
        pages = [Image.new('L', (8, 6), 40 * number) for number in range(1, 4)]
        pages[0].save(tmp_path / 'three.tif', save_all=True, append_images=pages[1:])
        pages[0].save(tmp_path / 'one.tif')
        (tmp_path / 'broken.tif').write_bytes(b'II*')
        return tmp_path

    def test_all_of_them_are_photos(self, scans):
        out = scans / 'out'
        jobs = plan([scans], out, pages='all')

        names = ['broken.png', 'one.png', 'three_page1.png', 'three_page2.png', 'three_page3.png']
        assert targets_of(jobs, out) == names
        assert [load(job.source).pixels[0, 0, 0] for job in jobs[1:]] == [40, 40, 80, 120]
        assert jobs[3].name == f'{scans}/three.tif (page 2)'

    def test_one_of_them_by_its_number(self, scans):
        jobs = plan([scans / 'three.tif', scans / 'one.tif'], pages='2')

        assert load(jobs[0].source).pixels[0, 0, 0] == 80
        with pytest.raises(ImageReadError, match=r'one\.tif: it has no page 2, but 1'):
            load(jobs[1].source)

    def test_are_counted_up_to_the_limit_of_pixels_that_holds_for_reading(self, scans):
        allowed, refused = (plan([scans / 'three.tif'], pages='all', max_pixels=most) for most in (48, 47))

        assert len(allowed) == 3
        assert names_of(refused) == ['three.tif']

    def test_a_page_never_replaces_its_file(self, scans):
        (scans / 'three_page2.tif').hardlink_to(scans / 'three.tif')

        with pytest.raises(ValueError, match=r'the result of .*three\.tif \(page 2\) would replace the photo'):
            plan([scans / 'three.tif'], scans, suffix='tif', pages='all')


class TestTargets:
    def test_recursive_results_mirror_the_folder(self, tmp_path):
        touch(tmp_path / 'album', 'a.jpg', 'x/a.jpg', 'x/y/a.jpg')
        out = tmp_path / 'out'

        assert targets_of(plan([tmp_path / 'album'], out, recursive=True), out) == ['a.png', 'x/a.png', 'x/y/a.png']

    def test_recursive_pattern_mirrors_below_its_fixed_part(self, tmp_path):
        touch(tmp_path / 'album', 'x/a.jpg', 'y/a.jpg')
        out = tmp_path / 'out'

        jobs = plan([str(tmp_path / 'album' / '*' / '*.jpg')], out, recursive=True)

        assert targets_of(jobs, out) == ['x/a.png', 'y/a.png']

    @pytest.mark.parametrize(
        ('names', 'suffix', 'expected'),
        [
            pytest.param(['a.jpg', 'b.jpg'], '.png', ['a.png', 'b.png'], id='plain'),
            pytest.param(['a.jpg', 'a.png', 'b.jpg'], '.png', ['a_jpg.png', 'a_png.png', 'b.png'], id='same stem'),
            pytest.param(['x/a.jpg', 'y/a.jpg'], '.png', ['a_jpg.png', 'a_jpg-2.png'], id='same name'),
            pytest.param(
                ['a.jpg', 'a.png', 'a_jpg.tif'], '.png', ['a_jpg-2.png', 'a_png.png', 'a_jpg.png'], id='taken'
            ),
            pytest.param(
                ['a.JPG', 'a.png', 'b.bmp', 'c'], 'same', ['a.jpg', 'a.png', 'b.png', 'c.png'], id='own suffix'
            ),
            pytest.param(['a.b.tif'], 'PNG', ['a.b.png'], id='two dots'),
            pytest.param(['a', 'a.png'], '.png', ['a.png', 'a_png.png'], id='no suffix'),
        ],
    )
    def test_every_photo_gets_a_name_of_its_own(self, tmp_path, names, suffix, expected):
        touch(tmp_path / 'in', *names)
        out = tmp_path / 'out'

        jobs = plan([tmp_path / 'in' / name for name in names], out, suffix=suffix)

        assert targets_of(jobs, out) == expected

    @pytest.mark.parametrize('letter', ['x', 'ß', '\udcff'], ids=ascii)
    def test_long_names_leave_room_for_what_stands_beside_a_result(self, tmp_path, letter):
        stem = letter * (250 // len(os.fsencode(letter)))
        touch(tmp_path / 'in', f'{stem}.jpg', f'{stem}.png', f'{stem[:-1]}a.tif')

        targets = [job.target for job in plan([tmp_path / 'in'], tmp_path / 'out')]

        assert len(set(targets)) == 3
        for target in targets:
            assert target.name.startswith(stem[:60])
            for ending in SIDE_FILES:
                touch(tmp_path / 'out', target.name + ending)

    def test_what_was_written_is_no_photo_of_the_next_run(self, tmp_path):
        touch(tmp_path, 'a.jpg', 'x/b.jpg')
        out = tmp_path / 'coloured'
        first = plan([tmp_path], out, recursive=True)
        for job in first:
            touch(out, str(job.target.relative_to(out)))

        again = plan([tmp_path], out, recursive=True)

        assert [job.target for job in again] == [job.target for job in first]

    def test_results_among_the_photos_of_a_folder_are_refused(self, tmp_path):
        touch(tmp_path, 'a.jpg')

        with pytest.raises(ValueError, match='results would lie among the photos of'):
            plan([tmp_path], tmp_path / '.', suffix='same')

    @pytest.mark.parametrize('suffix', ['same', '.png'])
    def test_a_photo_is_never_replaced(self, tmp_path, suffix):
        touch(tmp_path, 'a.png')

        with pytest.raises(ValueError, match=r'would replace the photo .*a\.png'):
            plan([tmp_path / 'a.png'], tmp_path, suffix=suffix)

    def test_a_photo_is_never_replaced_by_the_result_of_another(self, tmp_path):
        touch(tmp_path, 'album/x/a.jpg', 'out/x/a.png')
        (tmp_path / 'link').symlink_to(tmp_path / 'out')

        with pytest.raises(ValueError, match=r'result of .*a\.jpg would replace the photo .*a\.png'):
            plan([tmp_path / 'album', tmp_path / 'out/x/a.png'], tmp_path / 'link', recursive=True)

    def test_beside_its_photo_a_result_of_another_format_is_fine(self, tmp_path):
        touch(tmp_path, 'a.jpg')

        assert plan([tmp_path / 'a.jpg'], tmp_path)[0].target == tmp_path / 'a.png'

    def test_unknown_format(self):
        with pytest.raises(ValueError, match=r"one of png, jpg, .* or same, but got 'gif'"):
            plan([], suffix='gif')


@pytest.mark.parametrize(
    ('names', 'expected'),
    [
        pytest.param(['f10', 'f9', 'f1'], ['f1', 'f9', 'f10'], id='numbers'),
        pytest.param(['f2b', 'f2a', 'f10a'], ['f2a', 'f2b', 'f10a'], id='text behind numbers'),
        pytest.param(['f007', 'f7', 'f6'], ['f6', 'f007', 'f7'], id='leading zeros'),
        pytest.param(['b', 'A', 'a', '1'], ['1', 'A', 'a', 'b'], id='case'),
        pytest.param(['x10/f1', 'x9/f2'], ['x9/f2', 'x10/f1'], id='folders'),
        pytest.param(
            ['s.v2.100.png', 's.v10.1.png', 's.v2.98.png'], ['s.v2.98.png', 's.v2.100.png', 's.v10.1.png'], id='film'
        ),
    ],
)
def test_natural_key(names, expected):
    assert [str(path) for path in sorted(map(Path, names), key=natural_key)] == expected


@pytest.fixture
def server(tmp_path):
    """The address of a server of the files in `tmp_path`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(tmp_path), **kwargs)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f'http://127.0.0.1:{running.server_port}'
        running.shutdown()


class TestUrl:
    def test_is_read_and_gives_the_result_its_name(self, tmp_path, server):
        write_photo(GRAY, tmp_path / 'my photo.png')

        (job,) = plan([f'{server}/my%20photo.png?size=1'], tmp_path / 'out', suffix='same')

        assert job.target == tmp_path / 'out' / 'my photo.png'
        assert load(job.source).size == (4, 6)

    def test_without_a_name(self, tmp_path, server):
        (job,) = plan([server], tmp_path, suffix='same')

        assert job.target == tmp_path / 'photo.png'

    @pytest.mark.parametrize('name', ['none.png', 'no photo.png'])
    def test_that_cannot_be_read_is_named_with_the_reason(self, server, name):
        (job,) = plan([f'{server}/{name}'])

        with pytest.raises(ImageReadError, match=f'cannot read http.*{name}: .+'):
            load(job.source)

    def test_of_no_server(self):
        (job,) = plan(['http://127.0.0.1:9/a.png'])

        with pytest.raises(ImageReadError, match=r'cannot read .*a\.png: .*refused'):
            load(job.source)


class TestOddEntries:
    def test_fail_by_themselves(self, tmp_path):
        """Links to nowhere, and a pipe that nobody will ever write to."""
        touch(tmp_path, 'a.png')
        (tmp_path / 'b.png').symlink_to('b.png')
        (tmp_path / 'c.png').symlink_to(tmp_path / 'none')
        os.mkfifo(tmp_path / 'd.png')

        jobs = plan([tmp_path], tmp_path / 'out')

        reasons = []
        for job in jobs[1:]:
            with pytest.raises(ImageReadError, match=f'^cannot read {job.source}: ') as refusal:
                load(job.source)
            reasons.append(str(refusal.value).partition('.png: ')[2])
        assert names_of(jobs) == ['a.png', 'b.png', 'c.png', 'd.png']
        assert reasons == ['Too many levels of symbolic links', 'No such file or directory', 'Not a regular file']

    def test_a_link_into_a_folder_that_may_not_be_entered(self, tmp_path, monkeypatch):
        touch(tmp_path, 'a.png')
        (tmp_path / 'b.png').symlink_to(tmp_path / 'locked' / 'b.png')
        stat = os.stat

        def locked(path, *args, **kwargs):
            if str(path).endswith('b.png') and kwargs.get('follow_symlinks', True):
                raise PermissionError(errno.EACCES, 'Permission denied', str(path))
            return stat(path, *args, **kwargs)

        monkeypatch.setattr('os.stat', locked)

        assert names_of(plan([tmp_path], tmp_path / 'out')) == ['a.png', 'b.png']

    @pytest.mark.parametrize('name', ['a%00.png', 'x' * 250 + '.png', '%FF' * 300])
    def test_addresses_whose_names_no_file_can_have(self, tmp_path, name):
        touch(tmp_path, 'a.png')

        jobs = plan([tmp_path / 'a.png', f'http://127.0.0.1:9/{name}'], tmp_path / 'out')

        assert targets_of(jobs, tmp_path / 'out') == ['a.png', 'photo.png']


class TestSourcesStay:
    """What a file is, the file system says, not its path."""

    def test_a_hard_link_to_a_photo_is_that_photo(self, tmp_path):
        touch(tmp_path, 'in/a.png', 'out/keep')
        (tmp_path / 'out/a.png').hardlink_to(tmp_path / 'in/a.png')

        with pytest.raises(ValueError, match=r'would replace the photo .*out/a\.png'):
            plan([tmp_path / 'in'], tmp_path / 'out')

    @pytest.mark.parametrize('ending', SIDE_FILES)
    def test_what_stands_beside_a_result_replaces_no_photo(self, tmp_path, ending):
        touch(tmp_path, 'a.jpg', f'a.png{ending}')

        with pytest.raises(ValueError, match=f'result of .*a.jpg would replace the photo .*a.png{ending}'):
            plan([tmp_path / 'a.jpg', tmp_path / f'a.png{ending}'], tmp_path)

    def test_a_second_mount_of_the_photos_is_their_folder(self, tmp_path, mounted):
        touch(tmp_path, 'photos/a.png', 'photos/x/b.png')
        mounted(tmp_path / 'photos', tmp_path / 'out')

        with pytest.raises(ValueError, match='results would lie among the photos of'):
            plan([tmp_path / 'photos'], tmp_path / 'out')
        with pytest.raises(ValueError, match=r'would replace the photo .*out/a\.png'):
            plan([tmp_path / 'photos/a.png'], tmp_path / 'out')

    def test_results_on_a_second_mount_are_no_photos_of_the_next_run(self, tmp_path, mounted):
        touch(tmp_path, 'photos/a.png', 'photos/x/b.png')
        mounted(tmp_path / 'photos/x', tmp_path / 'out')

        assert names_of(plan([tmp_path / 'photos'], tmp_path / 'out', recursive=True)) == ['a.png']


@pytest.fixture
def mounted():
    """Mounts one folder at a second place, as containers do."""
    made = []

    def mount(folder: Path, place: Path) -> None:
        place.mkdir(exist_ok=True)
        if subprocess.run(['mount', '--bind', folder, place], capture_output=True).returncode:
            pytest.skip('this user may not mount')
        made.append(place)

    if not shutil.which('mount'):
        pytest.skip('there is no mount command')
    yield mount
    for place in made:
        subprocess.run(['umount', place], check=True)


class TestAddresses:
    @pytest.mark.parametrize('scheme', ['http', 'HTTP', 'Https'])
    def test_a_password_is_not_told(self, tmp_path, scheme):
        (job,) = plan([f'{scheme}://me:secret@127.0.0.1:9/a.png'], tmp_path)

        assert job.name == f'{scheme}://127.0.0.1:9/a.png'
        with pytest.raises(ImageReadError, match='cannot read') as refusal:
            load(job.source)
        assert 'secret' not in str(refusal.value)

    @pytest.mark.parametrize('url', ['file:///etc/passwd', 'ftp://me:secret@host/a.png'])
    def test_of_another_kind(self, url):
        with pytest.raises(
            ValueError, match=r'^\w+://\S+ is no address that is read: only http:// and https://'
        ) as refusal:
            plan([url])
        assert 'secret' not in str(refusal.value)

    def test_that_is_longer_than_allowed(self, tmp_path, server, monkeypatch):
        monkeypatch.setattr('insta_colorization.apis.jobs._MAX_BYTES', 9)
        write_photo(GRAY, tmp_path / 'a.png')

        with pytest.raises(ImageReadError, match=r'cannot read http.*a\.png: it is longer than the 9 bytes allowed'):
            load(f'{server}/a.png')

    def test_a_home_of_nobody(self):
        with pytest.raises(FileNotFoundError, match=r'~nobody-of-that-name/x\.png does not exist'):
            plan(['~nobody-of-that-name/x.png'])
