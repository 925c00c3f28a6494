import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from insta_colorization.fileio import stores
from insta_colorization.fileio.files import scratch_folder, sweep, temporary_folder
from insta_colorization.fileio.stores import ChangedError, Folder, StoredFile


@pytest.fixture
def bucket() -> str:
    """A store in memory; what is special to S3 is tested on a server, in test_archives.py."""
    fsspec = pytest.importorskip('fsspec')
    store = fsspec.filesystem('memory')
    store.store.clear()
    return 'memory://bucket'


class TestFolder:
    @pytest.mark.parametrize(
        ('folder', 'address', 'name'),
        [
            ('/a', '/a/b/c.jpg', 'b/c.jpg'),
            ('/a', '/a/x/../c.jpg', 'c.jpg'),
            ('/a', '/ab/c.jpg', None),
            ('/a', '/a', None),
            ('/', '/c.jpg', 'c.jpg'),
            ('memory://bucket/a', 'memory://bucket/a/c.jpg', 'c.jpg'),
            ('memory://bucket/a/', 'memory://bucket/ab/c.jpg', None),
            ('memory://bucket/a', 'memory://bucket/a/../../c.jpg', None),
            ('memory://bucket', '/bucket/c.jpg', None),
        ],
    )
    def test_names_below_it(self, folder, address, name):
        assert Folder.at(folder).name_of(address) == name

    @pytest.mark.parametrize(
        ('folder', 'entry', 'address'),
        [
            ('/a', 'b/c.jpg', '/a/b/c.jpg'),
            ('/a', '/d/c.jpg', '/d/c.jpg'),
            ('/a', '../c.jpg', '/c.jpg'),
            ('/a', 'https://x/c.jpg', 'https://x/c.jpg'),
            ('memory://bucket/a', 'b/c.jpg', 'memory://bucket/a/b/c.jpg'),
            ('memory://bucket/a', 'file:///d/c.jpg', '/d/c.jpg'),
        ],
    )
    def test_entries_of_lists_may_be_relative(self, folder, entry, address):
        assert Folder.at(folder).join(entry) == address

    def test_contains_looks_through_links(self, tmp_path):
        (tmp_path / 'real' / 'in').mkdir(parents=True)
        (tmp_path / 'link').symlink_to('real')

        assert Folder.at(tmp_path / 'real').contains(Folder.at(tmp_path / 'link' / 'in'))
        assert not Folder.at(tmp_path / 'real').contains(Folder.at(tmp_path / 'other'))
        assert Folder.at('memory://b/a').contains(Folder.at('memory://b/a/c'))
        assert not Folder.at('memory://b/a').contains(Folder.at('memory://b/ac'))

    def test_a_store_is_listed_read_and_written(self, bucket, tmp_path):
        folder = Folder.at(bucket)
        folder.write('sub/a.txt', b'whole')
        (tmp_path / 'b').write_bytes(b'moved')
        folder.put('b.txt', tmp_path / 'b')

        assert sorted(folder.names()) == ['b.txt', 'sub/a.txt']
        assert folder.file('b.txt').read() == b'moved'
        assert folder.file('sub/a.txt').ends(2) == (5, b'wh', b'le')
        assert folder.file('no').ends() == (0, b'', b'')
        assert not (tmp_path / 'b').exists()

    def test_a_web_server_is_neither_listed_nor_written(self):
        with pytest.raises(ValueError, match='https://x/a cannot be listed'):
            list(Folder.at('https://x/a').names())
        with pytest.raises(ValueError, match='cannot be written to https://x/a'):
            Folder.at('https://x/a').write('b', b'')

    def test_a_protocol_that_nobody_knows(self):
        with pytest.raises(ValueError, match='gopher:// is no address that is read or written'):
            Folder.at('gopher://x')

    def test_a_library_that_lacks_is_named_with_the_command(self, monkeypatch):
        def lacks(*args, **settings):
            raise ImportError('Install s3fs to access S3')

        stores._filesystem.cache_clear()
        monkeypatch.setattr('fsspec.filesystem', lacks)
        with pytest.raises(ImportError, match=r'Install s3fs.*: pip install "insta_colorization\[cluster\]"'):
            Folder.at('s3://bucket')


class TestReading:
    @pytest.mark.parametrize('place', ['here', 'store'])
    def test_a_file_that_changes_meanwhile_is_told(self, place, bucket, tmp_path):
        folder = Folder.at(tmp_path if place == 'here' else bucket)
        folder.write('a', b'one')
        file = folder.file('a')
        assert file.read() == b'one'
        file.require_same()

        folder.write('a', b'other')

        with pytest.raises(ChangedError, match=r'a changed while it was coloured, from .*3.* to .*5'):
            file.require_same()

    def test_also_while_it_is_read(self, tmp_path, monkeypatch):
        (tmp_path / 'a').write_bytes(b'one')
        real = stores.open_regular

        def slow(path):
            file = real(path)
            os.utime(path, (1, 1))
            return file

        monkeypatch.setattr(stores, 'open_regular', slow)
        with pytest.raises(ChangedError, match='mtime_ns'):
            StoredFile(str(tmp_path / 'a')).read()

    def test_what_cannot_be_read_says_why(self, tmp_path, bucket):
        (tmp_path / 'long').write_bytes(b'12345')
        os.mkfifo(tmp_path / 'pipe')

        with pytest.raises(FileNotFoundError, match='no: there is no such file'):
            StoredFile(str(tmp_path / 'no')).read()
        with pytest.raises(FileNotFoundError, match='memory://bucket/no: there is no such file'):
            StoredFile(f'{bucket}/no').read()
        with pytest.raises(IsADirectoryError, match='it is a folder'):
            StoredFile(str(tmp_path)).read()
        with pytest.raises(OSError, match='it has 5 bytes, and 4 are allowed'):
            StoredFile(str(tmp_path / 'long')).read(4)
        with pytest.raises(OSError, match='pipe: Not a regular file'):
            StoredFile(str(tmp_path / 'pipe')).read()

    def test_web_servers_are_read_within_limits(self, monkeypatch):
        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == '/a.jpg' else 503)
                self.end_headers()
                self.wfile.write(b'photo')

            def log_message(self, *args: object) -> None: ...

        monkeypatch.setenv('no_proxy', '127.0.0.1')
        with ThreadingHTTPServer(('127.0.0.1', 0), Answers) as server:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            address = f'http://127.0.0.1:{server.server_port}'
            try:
                assert StoredFile(f'{address}/a.jpg').read() == b'photo'
                with pytest.raises(OSError, match=r'cannot read .*b\.jpg: .*Service Unavailable'):
                    StoredFile(f'{address}/b.jpg').read()
            finally:
                server.shutdown()


@pytest.mark.parametrize('private', [False, True], ids=['beside the results', 'of this user'])
def test_a_scratch_folder_is_gone_afterwards_and_swept_after_a_kill(private, tmp_path, monkeypatch):
    monkeypatch.setattr('insta_colorization.fileio.files._SECONDS_TO_LOCK', -1)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    left = tmp_path / f'.{"0" * 32}.tmp'
    left.mkdir()
    (left / 'part').write_bytes(b'1')

    with temporary_folder() if private else scratch_folder(tmp_path) as folder:
        (folder / 'a').write_bytes(b'1')
        sweep(tmp_path)
        assert (folder / 'a').exists()
        assert not private or folder.stat().st_mode & 0o777 == 0o700

    assert list(tmp_path.iterdir()) == []
