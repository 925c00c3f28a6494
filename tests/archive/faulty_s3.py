"""A server of S3 on this machine whose answers are slow, and every n-th of which is 503."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

_BODY = b'<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'


class FaultyS3:
    """The server, as WSGI has it.

    Args:
        every: which answers are 503.
        seconds: how long it waits before each other one.

    Attributes:
        given: how many were 503.
        address: of the server, while it runs.
    """

    def __init__(self, every: int, seconds: float) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._every, self._seconds = every, seconds
        self._lock, self._count = threading.Lock(), 0
        self.given, self.address = 0, ''

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self._count += 1
            fails = self._count % self._every == 0
            self.given += fails
        if fails:
            start_response('503 Slow Down', [('Content-Type', 'application/xml'), ('Content-Length', str(len(_BODY)))])
            return [_BODY]
        time.sleep(self._seconds)
        return self._app(environ, start_response)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            'AWS_ACCESS_KEY_ID': 'test',
            'AWS_SECRET_ACCESS_KEY': 'test',
            'AWS_DEFAULT_REGION': 'us-east-1',
            'AWS_ENDPOINT_URL': self.address,
            'no_proxy': '127.0.0.1',
        }


@contextmanager
def faulty_s3(every: int = 9, seconds: float = 0.01) -> Iterator[FaultyS3]:
    """Within it the server runs; arguments as for `FaultyS3`."""
    app = FaultyS3(every, seconds)
    server = make_server('127.0.0.1', 0, app, threaded=True)
    app.address = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield app
    finally:
        server.shutdown()
