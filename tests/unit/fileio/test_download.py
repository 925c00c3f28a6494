import contextlib
import hashlib
import http.server
import socket
import threading
import time

import pytest

from insta_colorization.fileio.download import download, fetch, sha256

CONTENT = b'weights' * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


REDIRECTS = {'to-ftp': 'ftp://127.0.0.1/net.pth', 'to-file': 'file:///etc/passwd', 'to-itself': '/to-itself/net.pth'}


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`: whole, or in the way that the first folder of the path says."""

    def do_GET(self):
        way = self.path.split('/')[1]
        if way in REDIRECTS:
            self.send_response(302)
            self.send_header('Location', REDIRECTS[way])
            self.end_headers()
            return
        self.send_response(404 if way == 'absent' else 200)
        if way in ('endless', 'drops'):
            self.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(CONTENT if way == 'endless' else b'x')
                    time.sleep(0 if way == 'endless' else 0.02)
            return
        if way == 'promises':
            self.send_header('Content-Length', str(10**15))
            self.end_headers()
            self.wfile.write(CONTENT)
            return
        if way == 'chunks':
            self.protocol_version = 'HTTP/1.1'
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            self.wfile.write(b'%x\r\n' % len(CONTENT) + CONTENT[:100])
            return
        if way != 'unknown-size':
            self.send_header('Content-Length', str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100] if way == 'half' else CONTENT)

    def log_message(self, *args): ...


@pytest.fixture(scope='module')
def address():
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')


@pytest.mark.parametrize('way', ['whole', 'unknown-size'])
@pytest.mark.parametrize('name', ['net.pth', f'net-{DIGEST[:8]}.pth', f'net-{DIGEST}.onnx'])
def test_a_whole_file_is_kept(address, tmp_path, way, name):
    fetch(f'{address}/{way}/{name}', tmp_path / 'hub' / name)

    assert (tmp_path / 'hub' / name).read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / 'hub').iterdir()] == [name]


@pytest.mark.parametrize(
    ('way', 'name', 'reason'),
    [
        pytest.param('absent', 'net.pth', '^Not Found$', id='absent'),
        pytest.param('half', 'net.pth', '^retrieval incomplete: got only 100 out of 7000 bytes$', id='broken off'),
        pytest.param('chunks', 'net.pth', '^IncompleteRead', id='broken off in a chunk'),
        pytest.param(
            'whole',
            'net-01234567.pth',
            f'^the file is damaged: its sha256 begins with {DIGEST[:8]}$',
            id='another file',
        ),
    ],
)
def test_anything_else_is_not(address, tmp_path, way, name, reason):
    with pytest.raises(OSError, match=reason):
        fetch(f'{address}/{way}/{name}', tmp_path / name)

    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setattr('insta_colorization.fileio.download._TIMEOUT_SECONDS', 0.2)
    before = socket.getdefaulttimeout()

    with socket.create_server(('127.0.0.1', 0)) as silent, pytest.raises(OSError, match=r'^timed out$'):
        fetch(f'http://127.0.0.1:{silent.getsockname()[1]}/net.pth', tmp_path / 'net.pth')

    assert list(tmp_path.iterdir()) == []
    assert socket.getdefaulttimeout() == before


@pytest.mark.parametrize(
    ('way', 'limits', 'reason'),
    [
        pytest.param('endless', (5, 20000, 9), r'^it is longer than the 20000 bytes allowed$', id='endless'),
        pytest.param(
            'drops', (5, 20000, 0.1), r'^it takes longer than the 0\.1 s allowed, \d+ bytes came$', id='drops'
        ),
        pytest.param(
            'promises', (5, 20000, 9), '^retrieval incomplete: got only 7000 out of 10{15} bytes$', id='promises'
        ),
        pytest.param('to-ftp', (5, 20000, 9), 'unknown url type: ftp', id='FTP'),
        pytest.param('to-file', (5, 20000, 9), "url 'file:///etc/passwd' is not allowed", id='file'),
        pytest.param('to-itself', (5, 20000, 9), 'infinite loop', id='circle'),
    ],
)
def test_every_download_ends(address, way, limits, reason):
    with pytest.raises(OSError, match=reason):
        list(download(f'{address}/{way}/net.pth', *limits))


@pytest.mark.parametrize('url', ['file:///etc/passwd', 'ftp://127.0.0.1/a', 'data:,a'])
def test_only_http_is_an_address(url):
    with pytest.raises(OSError, match='unknown url type'):
        list(download(url, 1, 1, 1))


def test_sha256(tmp_path):
    (tmp_path / 'file').write_bytes(b'abc')

    # FIPS 180-2, appendix B.1.
    assert sha256(tmp_path / 'file') == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
