import hashlib
import http.server
import socket
import threading

import pytest

from insta_colorization.fileio.download import fetch, sha256

CONTENT = b'weights' * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `CONTENT`: whole, or in the way that the first folder of the path says."""

    def do_GET(self):
        way = self.path.split('/')[1]
        self.send_response(404 if way == 'absent' else 200)
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
        thread = threading.Thread(target=server.serve_forever)
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


def test_sha256(tmp_path):
    (tmp_path / 'file').write_bytes(b'abc')

    # FIPS 180-2, appendix B.1.
    assert sha256(tmp_path / 'file') == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
