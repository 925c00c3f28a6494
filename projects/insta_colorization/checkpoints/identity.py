"""What weights and libraries are called where a result says how it came about."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from insta_colorization.fileio.download import sha256

from .io import SUFFIXES

_LIBRARIES = (
    *('insta_colorization', 'torch', 'torchvision', 'numpy', 'pillow', 'mmengine', 'mmagic'),
    *('lpips', 'pytorch-fid', 'scipy'),
)


def versions() -> dict[str, str]:
    """{library: version} of what has a say in the numbers; a library that is not installed is left out."""
    found = {'python': platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def identity(path: Path) -> dict[str, Any]:
    """Name and sha256 of a checkpoint: of its file, or by name of each file of weights in its folder."""
    if path.is_file():
        return {'name': path.name, 'sha256': sha256(path)}
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    return {'name': path.name, 'sha256': {file.name: sha256(file) for file in files}}
