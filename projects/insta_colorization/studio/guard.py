"""Access control for the studio: hosts, origins, the token, request sizes, and security headers."""

import hmac
import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

_LOOPBACK = ('localhost', '127.0.0.1', '::1')
_HEADERS = {
    # Scripts, styles and requests from our own host only; pictures are shown from `blob:` URLs.
    'content-security-policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'no-referrer',
    'cross-origin-resource-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'cache-control': 'no-store',
}


@dataclass(frozen=True)
class Rules:
    """Which requests are accepted.

    Attributes:
        host: the address that the server listens on.
        token: what every request must carry; None for none.
        max_bytes: the size limit of a request's body.
        names: further host names of the server.
    """

    host: str = '127.0.0.1'
    token: str | None = None
    max_bytes: int = 200 * 2**20
    names: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def knows(self, host: str | None) -> bool:
        """Whether a `Host` header names this server.

        A page of another site can make its own name resolve to this server (DNS rebinding); the browser then sends that
        name. Addresses are safe, because they are not resolved.
        """
        name = _hostname(host)
        if name is None:
            return False
        if name in (*_LOOPBACK, *self.names):
            return True
        return not self.is_local and (name == self.host or _is_address(name))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return host == 'localhost' or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hostname(host: str | None) -> str | None:
    """A `Host` without its port; None where it is missing or malformed."""
    try:
        return urlsplit(f'//{host}').hostname if host else None
    except ValueError:  # brackets that hold no address
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class TooLargeError(Exception):
    """A request's body is larger than allowed."""


class Guard:
    """ASGI middleware that refuses requests that the rules do not allow, before any of the body is read.

    Args:
        app: the application behind it.
        rules: which requests are accepted.
    """

    def __init__(self, app: Any, rules: Rules) -> None:
        self.app = app
        self.rules = rules

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        headers = {key.decode('latin-1').lower(): value.decode('latin-1') for key, value in scope.get('headers', ())}
        refusal = self._refusal(scope, headers)
        if scope['type'] != 'http':
            await send({'type': 'websocket.close', 'code': 1008})
        elif refusal is not None:
            await _refuse(send, *refusal)
        elif self.rules.token is not None and scope['path'] == '/' and 'token' in parse_qs(_query(scope)):
            # The page's URL carries the token only once; after that a cookie does.
            cookie = f'{_cookie_of(headers["host"])}={self.rules.token}; HttpOnly; SameSite=Strict; Path=/'
            await _answer(send, 303, b'', {'location': '/', 'set-cookie': cookie})
        else:
            await self.app(scope, _Limited(receive, self.rules.max_bytes), _with_headers(send))

    def _refusal(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        """The status and the message of a refusal, or None if the request is allowed."""
        rules, host, origin = self.rules, headers.get('host'), headers.get('origin')
        if not rules.knows(host):
            return 403, f'this studio is not called {host!r}'
        if origin is not None and origin.partition('://')[2] != host:
            return 403, f'requests from pages of {origin!r} are refused'
        if headers.get('sec-fetch-site') == 'cross-site' and scope['path'].startswith('/api'):
            return 403, 'requests from pages of other sites are refused'
        if rules.token is not None and not any(_same(each, rules.token) for each in _tokens(scope, headers)):
            return 401, 'this studio needs its token: open the address that it printed when it started'
        length = headers.get('content-length', '0')
        if not length.isdecimal():
            return 400, f'the length of a request must be a number, but got {length!r}'
        if int(length) > rules.max_bytes:
            return 413, too_large(rules.max_bytes)
        return None


def too_large(max_bytes: int) -> str:
    """The message for a body that exceeds `max_bytes`."""
    return f'a file may have at most {max_bytes / 2**20:g} MiB'


class _Limited:
    """Receives a body and raises `TooLargeError` once it exceeds `max_bytes`, whatever its header says."""

    def __init__(self, receive: Any, max_bytes: int) -> None:
        self._receive = receive
        self._left = max_bytes

    async def __call__(self) -> Any:
        message = await self._receive()
        self._left -= len(message.get('body', b''))
        if self._left < 0:
            raise TooLargeError
        return message


def _with_headers(send: Any) -> Any:
    async def sending(message: Any) -> None:
        if message['type'] == 'http.response.start':
            given = {key.lower() for key, _ in message['headers']}
            own = ((key.encode(), value.encode()) for key, value in _HEADERS.items())
            message = {**message, 'headers': [*message['headers'], *(each for each in own if each[0] not in given)]}
        await send(message)

    return sending


async def _refuse(send: Any, status: int, text: str) -> None:
    await _answer(send, status, json.dumps({'detail': text}).encode(), {'content-type': 'application/json'})


async def _answer(send: Any, status: int, body: bytes, headers: dict[str, str]) -> None:
    all_headers = {**headers, 'content-length': str(len(body))}
    start = {'status': status, 'headers': [(key.encode(), value.encode()) for key, value in all_headers.items()]}
    await _with_headers(send)({'type': 'http.response.start', **start})
    await send({'type': 'http.response.body', 'body': body})


def _tokens(scope: Any, headers: dict[str, str]) -> Iterable[str]:
    """The tokens in a request: in its `Authorization`, its cookie, and the URL of the page."""
    kind, _, token = headers.get('authorization', '').partition(' ')
    if kind.lower() == 'bearer':
        yield token
    own = _cookie_of(headers.get('host', ''))
    # Python's own parser drops all cookies after one that it does not like, such as one that holds JSON.
    for cookie in headers.get('cookie', '').split(';'):
        name, _, value = cookie.partition('=')
        if name.strip() == own:
            yield value.strip()
    if scope['path'] == '/':
        yield from parse_qs(_query(scope)).get('token', ())


def _cookie_of(host: str) -> str:
    """The name of the cookie with the token: browsers send a host's cookies to all of its ports."""
    port = re.search(r':(\d+)$', host)
    return f'studio_token_{port[1]}' if port else 'studio_token'


def _same(given: str, token: str) -> bool:
    """Compares tokens in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


def _query(scope: Any) -> str:
    return scope.get('query_string', b'').decode('latin-1')
