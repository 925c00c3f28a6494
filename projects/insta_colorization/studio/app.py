"""The HTTP API of the studio, and its page."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from insta_colorization import __version__
from insta_colorization.utils.errors import as_unicode

from .guard import Guard, Rules, TooLargeError, too_large
from .store import FullError, Kept, Store
from .worker import BusyError, LostError, RefusedError, ReplacedError, Worker

logger = logging.getLogger(__name__)

PAGE = Path(__file__).parent / 'page'
_MAX_JSON_BYTES = 8 * 2**20
_SECONDS_TO_RETRY = 2
_SECONDS_BETWEEN_TIDYING = 60
_FORMATS = {'png': 'image/png', 'jpg': 'image/jpeg', 'tif': 'image/tiff', 'webp': 'image/webp'}

_COLOR = {
    'oneOf': [
        {'type': 'string', 'description': 'a CSS name or #rrggbb; gray for no colour'},
        {'type': 'array', 'items': {'type': 'number'}, 'minItems': 2, 'maxItems': 2, 'description': 'a, b of CIELAB'},
        {'type': 'null', 'description': 'the networks choose'},
    ]
}
_BOX = {'type': 'array', 'items': {'type': 'number'}, 'minItems': 4, 'maxItems': 4, 'description': 'x0, y0, x1, y1'}
_POINT = {'type': 'array', 'items': {'type': 'number'}, 'minItems': 2, 'maxItems': 2, 'description': 'x, y'}
_OBJECT = {
    'type': 'object',
    'required': ['box'],
    'properties': {
        'box': _BOX,
        'outline': {'type': 'array', 'items': {'type': 'array', 'items': _POINT}, 'description': 'polygons'},
        'label': {'type': 'string', 'nullable': True},
        'color': _COLOR,
        'on': {'type': 'boolean', 'default': True},
    },
}
_EDIT = {
    'type': 'object',
    'properties': {
        'size': {'type': 'array', 'items': {'type': 'integer'}, 'description': 'height and width of the photo'},
        'objects': {'type': 'array', 'items': _OBJECT, 'description': 'missing: the detector finds them'},
        'points': {
            'type': 'array',
            'items': {
                'type': 'object',
                'required': ['point', 'color'],
                'properties': {'point': _POINT, 'color': _COLOR, 'radius': {'type': 'number', 'minimum': 0}},
            },
        },
        'map': {'type': 'string', 'format': 'byte', 'description': 'PNG of the class of each pixel, in base64'},
        'caption': {'type': 'string', 'nullable': True},
        'preset': {'type': 'string', 'nullable': True},
        'saturation': {'type': 'number', 'minimum': 0},
        'strength': {'type': 'number', 'minimum': 0, 'maximum': 1},
    },
}
_ONE_OBJECT = {
    'type': 'object',
    'required': ['object'],
    'properties': {'object': _OBJECT, 'size': _EDIT['properties']['size']},  # type: ignore[index]
}
_FILE = {
    'type': 'object',
    'required': ['file'],
    'properties': {
        'file': {'type': 'string', 'format': 'binary'},
        'edit': {'type': 'string', 'description': 'JSON, see colorize; of one-shot requests alone'},
    },
}


@dataclass(frozen=True)
class Studio:
    """The parts of a studio.

    Attributes:
        worker: runs inference.
        store: keeps the photos.
        rules: which requests are accepted.
        root: folder whose photos can be opened by name; None for none.
        sending: how many uploads may be in progress at once.
    """

    worker: Worker
    store: Store
    rules: Rules = field(default_factory=Rules)
    root: Path | None = None
    sending: int = 8


class Api:
    """The handlers of requests.

    Args:
        studio: the parts they use.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self._receiving = 0

    async def health(self) -> dict[str, Any]:
        """What the studio can do."""
        return {
            'status': 'ok',
            'version': __version__,
            'max_bytes': self.studio.rules.max_bytes,
            'root': self.studio.root is not None,
            **self.studio.worker.about,
        }

    async def upload(self, request: Request) -> JSONResponse:
        """Stores a photo, the part `file` of a form; responds with its id, name, size and objects."""
        async with _Uploaded(self, request) as (file, name, _):
            return await self._keep(file, name)

    async def listing(self) -> list[str]:
        """The names of the photos below the root folder."""
        return list(await run_in_threadpool(self._listed))

    async def open_listed(self, request: Request) -> JSONResponse:
        """Stores a photo of the root folder, `{"name": ...}`, like an upload."""
        name = (await _json_of(request)).get('name')
        # Names are looked up in the listing and never used as paths.
        path = (await run_in_threadpool(self._listed)).get(name) if isinstance(name, str) else None
        if path is None:
            raise HTTPException(404, 'there is no such photo in the folder')
        if path.stat().st_size > self.studio.rules.max_bytes:
            raise HTTPException(413, too_large(self.studio.rules.max_bytes))
        with path.open('rb') as file:
            return await self._keep(file, path.name)

    async def colorize(
        self, number: str, request: Request, size: str = 'preview', session: str = '', sequence: int = 0
    ) -> Response:
        """Colours a photo with an edit; responds with a PNG of the preview's size, or of its own with `size=full`.

        Of the requests of one `session` for a photo only the newest counts: an older one that is still waiting, or
        arrives late, gets 409.
        """
        photo, edit = self._photo(number), await _json_of(request)
        if size not in ('preview', 'full'):
            raise HTTPException(422, f'size must be preview or full, but got {size!r}')
        own = photo.client(session)
        if sequence:
            if sequence <= own.sequence:
                raise HTTPException(409, 'a newer request has come before this one')
            own.sequence = sequence
        key = ('colorize', number, session, size) if session else None
        picture = await self._do('colorize', str(photo.path), photo.name, edit, size == 'full', key=key)
        if sequence >= own.sequence:
            own.edit = edit
        return Response(picture, media_type='image/png')

    async def gray(self, number: str, size: str = 'preview') -> Response:
        """The photo without colour, as PNG."""
        photo = self._photo(number)
        return Response(await self._do('gray', str(photo.path), photo.name, size == 'full'), media_type='image/png')

    async def map(self, number: str) -> Response:
        """The map of classes that colours follow if an edit has none, as an indexed PNG of the preview's size."""
        photo = self._photo(number)
        return Response(await self._do('map', str(photo.path), photo.name), media_type='image/png')

    async def result(self, number: str, format: str = 'png', session: str = '') -> Response:
        """The photo as the newest edit coloured it, at its own size, with its depth and metadata."""
        photo = self._photo(number)
        return await self._result(photo, photo.edit_of(session), format)

    async def result_of(self, number: str, request: Request, format: str = 'png') -> Response:
        """The photo as an edit colours it, at its own size, with its depth and metadata."""
        return await self._result(self._photo(number), await _json_of(request), format)

    async def _result(self, photo: Kept, edit: Mapping[str, Any], format: str) -> Response:
        if format not in _FORMATS:
            raise HTTPException(422, f'format must be one of {", ".join(_FORMATS)}, but got {format!r}')
        picture = await self._do('result', str(photo.path), photo.name, edit, f'.{format}')
        named = {'content-disposition': f'attachment; filename="coloured.{format}"'}
        return Response(picture, media_type=_FORMATS[format], headers=named)

    async def suggest(self, number: str, request: Request) -> list[dict[str, Any]]:
        """The likely colours of an object, `{"object": ..., "size": [h, w]}`."""
        photo = self._photo(number)
        return await self._do('suggest', str(photo.path), photo.name, _one_object(await _json_of(request)))

    async def outline(self, number: str, request: Request) -> dict[str, Any]:
        """The outline of what is visible in the box of an object, `{"object": ..., "size": [h, w]}`."""
        photo = self._photo(number)
        found = await self._do('outline', str(photo.path), photo.name, _one_object(await _json_of(request)))
        return {'outline': found}

    async def caption(self, number: str, request: Request) -> dict[str, Any]:
        """Which words of an edit's caption are about which object, and which were not understood."""
        photo = self._photo(number)
        return await self._do('caption', str(photo.path), photo.name, await _json_of(request))

    async def variants(self, number: str, request: Request, count: int = 3, seed: int = 0) -> dict[str, Any]:
        """Other likely colours [a, b] of an edit's objects, `count` times."""
        photo = self._photo(number)
        edit = await _json_of(request)
        return {'variants': await self._do('variants', str(photo.path), photo.name, edit, count, seed)}

    async def remove(self, number: str) -> Response:
        """Deletes a photo."""
        self._photo(number)
        self.studio.store.remove(number)
        return Response(status_code=204)

    async def one_shot(self, request: Request, format: str = 'png') -> Response:
        """Colours the photo in the part `file` of a form, by the edit in its part `edit`; nothing is kept."""
        if format not in _FORMATS:
            raise HTTPException(422, f'format must be one of {", ".join(_FORMATS)}, but got {format!r}')
        async with _Uploaded(self, request) as (file, name, text):
            edit = _parsed(text.encode()) if text else {}
            photo = await self._receive(file, name)
            try:
                picture = await self._do('color_file', str(photo.path), photo.name, edit, f'.{format}')
            finally:
                self.studio.store.drop(photo)
        return Response(picture, media_type=_FORMATS[format])

    async def _keep(self, file: BinaryIO, name: str) -> JSONResponse:
        photo, store = await self._receive(file, name), self.studio.store
        try:
            photo.about = await self._do('open', str(photo.path), photo.name)
        except BaseException:
            store.drop(photo)
            raise
        return JSONResponse({'id': store.add(photo), 'name': photo.name, **photo.about}, 201)

    async def _receive(self, file: BinaryIO, name: str) -> Kept:
        self.studio.store.tidy()  # what is too old makes room
        return await run_in_threadpool(self.studio.store.receive, file, name)

    def _photo(self, number: str) -> Kept:
        try:
            return self.studio.store.get(number)
        except KeyError:
            raise HTTPException(404, 'there is no such photo; it may have been deleted after a time') from None

    def _listed(self) -> dict[str, Path]:
        """{name: path} of the photos below the root folder; names are valid Unicode, as JSON requires."""
        from insta_colorization.imaging.photo import photos_below

        root = self.studio.root
        if root is None:
            return {}
        inside = (path for path in photos_below(root) if path.resolve().is_relative_to(root.resolve()))
        return dict(sorted((as_unicode(path.relative_to(root).as_posix()), path) for path in inside if path.is_file()))

    async def _do(self, name: str, *args: Any, key: Any = None) -> Any:
        return await asyncio.wrap_future(self.studio.worker.submit(name, *args, key=key))


class _Uploaded:
    """Receives the file of a form, its name, and the text of its part `edit`; limits concurrent uploads."""

    def __init__(self, api: Api, request: Request) -> None:
        self._api = api
        self._request = request
        self._form: Any = None

    async def __aenter__(self) -> tuple[BinaryIO, str, str]:
        if self._api._receiving >= self._api.studio.sending:
            raise BusyError
        self._api._receiving += 1
        try:
            return await self._read()
        except BaseException:
            await self.__aexit__()
            raise

    async def _read(self) -> tuple[BinaryIO, str, str]:
        if not self._request.headers.get('content-type', '').startswith('multipart/form-data'):
            raise HTTPException(415, 'a photo must be sent as the part `file` of a form (multipart/form-data)')
        self._form = await self._request.form(max_files=1, max_fields=2, max_part_size=_MAX_JSON_BYTES)
        file, edit = self._form.get('file'), self._form.get('edit', '')
        if not isinstance(file, UploadFile) or not isinstance(edit, str):
            raise HTTPException(422, 'the form must have a photo as its part `file`')
        if not file.size:
            raise HTTPException(422, f'{_shown(file.filename)} is empty')
        return file.file, file.filename or 'photo', edit

    async def __aexit__(self, *error: object) -> None:
        self._api._receiving -= 1
        if self._form is not None:
            await self._form.close()


def create_app(studio: Studio) -> Guard:
    """The application behind its guard."""
    api = Api(studio)

    @asynccontextmanager
    async def tidying(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(_tidy(studio.store))
        yield
        task.cancel()

    # FastAPI's own documentation pages load scripts from other sites.
    app = FastAPI(
        title='insta_colorization studio',
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url='/api/openapi.json',
        lifespan=tidying,
    )
    edit, one, file = (_body(schema) for schema in (_EDIT, _ONE_OBJECT, _FILE))
    app.get('/api/health')(api.health)
    app.get('/api/folder')(api.listing)
    app.post('/api/folder', status_code=201, openapi_extra=_body({'type': 'object'}))(api.open_listed)
    app.post('/api/photos', status_code=201, openapi_extra=file)(api.upload)
    app.delete('/api/photos/{number}', status_code=204, response_class=Response)(api.remove)
    pictures: dict[str, Any] = {'response_class': Response, 'responses': {200: {'content': {'image/png': {}}}}}
    app.post('/api/photos/{number}/colorize', openapi_extra=edit, **pictures)(api.colorize)
    app.get('/api/photos/{number}/gray', **pictures)(api.gray)
    app.get('/api/photos/{number}/map', **pictures)(api.map)
    app.get('/api/photos/{number}/result', **pictures)(api.result)
    app.post('/api/photos/{number}/result', openapi_extra=edit, **pictures)(api.result_of)
    app.post('/api/photos/{number}/suggest', openapi_extra=one)(api.suggest)
    app.post('/api/photos/{number}/outline', openapi_extra=one)(api.outline)
    app.post('/api/photos/{number}/caption', openapi_extra=edit)(api.caption)
    app.post('/api/photos/{number}/variants', openapi_extra=edit)(api.variants)
    app.post('/api/colorize', openapi_extra=file, **pictures)(api.one_shot)
    app.mount('/', StaticFiles(directory=PAGE, html=True))
    soon = {'retry-after': str(_SECONDS_TO_RETRY)}
    for kind, status, text, headers in (
        (BusyError, 503, 'the studio is busy; try again in a moment', soon),
        (
            LostError,
            503,
            'the process that colours has ended unexpectedly and starts again; try again in a moment',
            soon,
        ),
        (ReplacedError, 409, 'a newer request has taken the place of this one', None),
        (FullError, 507, 'the studio has no room for more photos; remove some', None),
        (TooLargeError, 413, too_large(studio.rules.max_bytes), None),
        (ClientDisconnect, 400, 'the upload was interrupted', None),
    ):
        app.add_exception_handler(kind, _told(status, text, headers))
    app.add_exception_handler(RefusedError, lambda _, error: JSONResponse({'detail': str(error)}, 422))
    app.add_exception_handler(OSError, _disk)
    app.add_exception_handler(Exception, _mistake)
    return Guard(app, studio.rules)


async def _tidy(store: Store) -> None:
    """Deletes old photos even if no requests come."""
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_TIDYING)
        store.tidy()


def _told(status: int, text: str, headers: Mapping[str, str] | None) -> Any:
    async def handler(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({'detail': text}, status, headers)

    return handler


async def _disk(request: Request, error: Exception) -> JSONResponse:
    """For errors with the server's own files, above all the spool of uploads."""
    from insta_colorization.fileio.files import disk_is_full

    if disk_is_full(error):
        return JSONResponse({'detail': 'the studio has no room for more photos; its disk is full'}, 507)
    return await _mistake(request, error)


async def _mistake(request: Request, error: Exception) -> JSONResponse:
    logger.error('%s %s failed', request.method, request.url.path, exc_info=error)
    return JSONResponse({'detail': 'this cannot be done because of a mistake in the studio; its log has more'}, 500)


def _body(schema: Mapping[str, Any]) -> dict[str, Any]:
    kind = 'multipart/form-data' if schema is _FILE else 'application/json'
    return {'requestBody': {'required': True, 'content': {kind: {'schema': schema}}}}


async def _json_of(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_JSON_BYTES:
            raise HTTPException(413, f'an edit may have at most {_MAX_JSON_BYTES // 2**20} MiB')
    return _parsed(bytes(data))


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data, parse_constant=_no_number)
        if b'\\u' in data:  # an escape may be half a character, which no answer could repeat
            json.dumps(content, ensure_ascii=False).encode()
    except (RecursionError, ValueError) as error:
        raise HTTPException(422, f'the request is not JSON: {str(error)[:200]}') from None
    if not isinstance(content, dict):
        raise HTTPException(422, 'the request must be an object of JSON')
    return content


def _no_number(name: str) -> float:
    raise ValueError(f'{name} is no number')


def _one_object(content: Mapping[str, Any]) -> dict[str, Any]:
    """An edit with a single object."""
    return {'objects': [content.get('object')], **({'size': content['size']} if 'size' in content else {})}


def _shown(name: str | None) -> str:
    from .store import tidy_name

    return tidy_name(name or '')
