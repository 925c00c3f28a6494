"""A studio in the browser: open photos, click, compare, save.

    insta-studio [--port 8000] [--checkpoint FILE] [--detector NAME] [--root FOLDER]

By default it only accepts connections from this machine; another --host needs --token. Photos are kept in a temporary
folder and deleted when it ends.
"""

import argparse
import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from insta_colorization.fileio.files import temporary_folder
from insta_colorization.utils.cli import Command, Parser, UsageError, add_options, chosen, number
from insta_colorization.utils.options import MarkOptions, NetworkOptions, ObjectOptions

_EXTRA = 'the studio needs FastAPI, uvicorn and python-multipart: pip install "insta_colorization[studio]"'
_OBJECTS = ('detector', 'max_instances', 'score_thr', 'min_size')


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on')
    parser.add_argument('--port', type=number(int, 0, 65535), default=8000, help='0 takes a free one')
    parser.add_argument('--token', help='8 or more letters, digits, - and _ that every visitor needs')
    text = 'let anyone who reaches --host see and change all photos, without a token'
    parser.add_argument('--open-to-everybody', action='store_true', help=text)
    parser.add_argument('--name', action='append', default=[], help='another name of this host; may be repeated')
    parser.add_argument('--root', type=Path, metavar='FOLDER', help='photos that can be opened by name')
    limits = parser.add_argument_group('limits')
    limits.add_argument('--max-megabytes', type=number(int, 1), default=200, help='of one photo')
    limits.add_argument('--max-pixels', type=number(int, 1), default=100_000_000, help='of one photo')
    limits.add_argument('--max-gigabytes', type=number(float, 0), default=4.0, help='of all photos together')
    limits.add_argument('--max-hours', type=number(float, 0), default=12.0, help='before unused photos are deleted')
    limits.add_argument('--max-waiting', type=number(int, 1), default=32, help='waiting requests; further ones get 503')
    parser.add_argument('--checkpoint', help='weights, file or folder; default: the shipped ones')
    parser.add_argument('--config', help="config, by path or name; default: the weights' own")
    add_options(parser, ObjectOptions, 'objects', only=_OBJECTS)
    add_options(parser, NetworkOptions, 'networks')
    add_options(parser, MarkOptions, 'marks')


def run(args: argparse.Namespace) -> None:
    """Serves until it is stopped."""
    from .guard import Rules, is_loopback

    if args.token is not None and not re.fullmatch(r'[\w-]{8,}', args.token, re.ASCII):
        raise UsageError(f'--token must be 8 or more letters, digits, - and _, but got {len(args.token)} characters')
    if not is_loopback(args.host) and args.token is None and not args.open_to_everybody:
        raise UsageError(f'--host {args.host} can be reached by others: give --token WORD, or --open-to-everybody')
    if args.root is not None and not args.root.is_dir():
        raise FileNotFoundError(f'there is no folder {args.root}')
    try:
        import uvicorn

        from .app import Studio, create_app
    except ImportError as error:
        raise ImportError(_EXTRA) from error
    from .store import Store
    from .worker import EngineProcess, Worker

    predictor = {name: getattr(args, name) for name in _OBJECTS}
    predictor |= vars(chosen(args, NetworkOptions)) | {'max_pixels': args.max_pixels}
    predictor |= {'weights': args.checkpoint, 'config': args.config}
    rules = Rules(args.host, args.token, args.max_megabytes * 2**20, tuple(args.name))
    worker = Worker(EngineProcess(predictor, marks=chosen(args, MarkOptions)), args.max_waiting)
    with _listening(args.host, args.port) as listener, temporary_folder() as folder:
        tempfile.tempdir = str(folder)  # where uploads are spooled, too
        store = Store(folder, int(args.max_gigabytes * 2**30), args.max_hours * 3600)
        try:
            worker.start()
            # As many may be sent as can wait, and one is at work.
            studio = Studio(worker, store, rules, args.root, sending=args.max_waiting + 1)
            config = uvicorn.Config(
                create_app(studio),
                log_level='warning',
                server_header=False,
                timeout_graceful_shutdown=2,
                ws='none',
            )
            # The connections that come meanwhile wait in the listener.
            print(f'studio: {_address(args, listener)}', flush=True)
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            worker.stop()
            tempfile.tempdir = None


def _listening(host: str, port: int) -> socket.socket:
    """A listening socket; raises `OSError` if it cannot listen."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family, backlog=512)
    except OSError as error:
        raise OSError(f'cannot listen on {host}, port {port}: {error.strerror or error}') from error


def _address(args: Any, listener: socket.socket) -> str:
    host = f'[{args.host}]' if ':' in args.host else args.host
    token = '' if args.token is None else f'?token={args.token}'
    return f'http://{host}:{listener.getsockname()[1]}/{token}'


main = Command(__doc__, arguments, run, 'stopped; the photos are deleted', imports=())


def script() -> None:
    """The command `insta-studio`."""
    sys.exit(main())
