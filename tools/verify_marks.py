"""Reads back how files say that they were colourised: the marks in their XMP and their C2PA manifests.

    python tools/verify_marks.py FILE ... [--json] [--trust CERTIFICATES.pem] [--max-pixels N]

The exit status is 1 if a file has no mark, cannot be read, or has an invalid manifest.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from insta_colorization.utils.cli import Command, Parser, add_options, chosen
from insta_colorization.utils.errors import as_unicode, printable
from insta_colorization.utils.options import InputOptions


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('files', nargs='+', metavar='FILE', help='results')
    parser.add_argument('--json', action='store_true', help='print a list of objects, one per file')
    text = 'PEM file of certificates, one of which a manifest must be signed under; default: any signer'
    parser.add_argument('--trust', type=Path, metavar='FILE', help=text)
    add_options(parser, InputOptions)


def run(args: argparse.Namespace) -> int:
    """Reads and prints; returns the exit status, 1 with a file whose marks do not hold."""
    from insta_colorization.imaging.verification import verify

    limit = chosen(args, InputOptions).max_pixels
    anchors = None if args.trust is None else args.trust.read_text(errors='replace')
    if anchors is not None and '-----BEGIN CERTIFICATE-----' not in anchors:
        raise ValueError(f'{args.trust} holds no certificate in PEM form')
    found = [verify(Path(file), anchors, limit) for file in args.files]
    if args.json:
        print(json.dumps([{**each, 'file': as_unicode(each['file'])} for each in found], indent=1))
    else:
        print('\n'.join(line for each in found for line in lines(each)))
    return 0 if all(each['holds'] for each in found) else 1


def lines(found: dict[str, Any]) -> list[str]:
    """What was found in a file, as text."""
    xmp, manifest = found['xmp'], found['c2pa']
    told = [] if found['error'] is None else [found['error']]
    if xmp is not None:
        told.append(f'XMP: {xmp["source_type"] or "no digital source type"}')
        for entry in xmp['history']:
            fields = (entry.get(name, '') for name in ('action', 'when', 'softwareAgent', 'parameters'))
            told.append(f'XMP history: {" ".join(filter(None, fields))}')
    if manifest is not None:
        problems = f' ({", ".join(manifest["problems"])})' if manifest['problems'] else ''
        told.append(f'C2PA: {manifest["state"]}{problems}, signed by {manifest["signer"] or "an unknown signer"}')
        told.append(f'C2PA actions: {", ".join(each["action"] for each in manifest["actions"])}')
        told.append(f'C2PA parent: {", ".join(manifest["parents"]) or "none"}')
    verdict = 'marked' if found['holds'] else 'NOT marked' if xmp is manifest is None else 'marks do not hold'
    return [printable(f'{found["file"]}: {verdict}'), *(printable(f'  {text}') for text in told)]


main = Command(__doc__, arguments, run, imports=())

if __name__ == '__main__':
    sys.exit(main())
