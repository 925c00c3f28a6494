"""Writes the result of a photo and its side files, each file whole or not at all."""

import io
import json
import os
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from insta_colorization.fileio import files
from insta_colorization.imaging.decoders import MAX_PIXELS, ImageReadError, open_by_pillow
from insta_colorization.imaging.maps import write_map
from insta_colorization.imaging.photo import MAP_SUFFIX, QUALITY, Photo, naming_target
from insta_colorization.imaging.rendering import colorize_pixels
from insta_colorization.utils.errors import as_unicode
from insta_colorization.visualization.sheets import fusion_sheet, map_sheet, sheet

from .jobs import RECORD, SHEETS
from .marking import Marker, event_of
from .predictor import Prediction

# What a sheet's PNG says of itself. It goes into no result: of a photo's texts only XMP does.
_SHEET = 'insta_colorization: a sheet'


@dataclass(frozen=True)
class ResultWriter:
    """Writes results.

    Attributes:
        show_instances: whether to write a sheet (grey | result | boxes) as `<result>.instances.png`.
        save_json: whether to write the record and its provenance as `<result>.json`.
        save_map: whether to write the classes that colours follow as `<result>.map.png`, see `write_map`.
        show_map: whether to write a sheet (grey | classes | result) as `<result>.classes.png`.
        quality: of JPEG and WebP, 1 to 100.
        keep_times: whether results get the times of their photos' files.
        marker: marks and encodes the results.
    """

    show_instances: bool = False
    save_json: bool = False
    save_map: bool = False
    show_map: bool = False
    quality: int = QUALITY
    keep_times: bool = False
    marker: Marker = field(default_factory=Marker)

    def write(self, prediction: Prediction, target: Path, file: Path | None = None) -> dict[str, Any]:
        """Writes a result and its side files; a sample with `fusion_shares` gets `<result>.fusion.png` as well.

        The record and the sheets of an earlier result are removed where no new ones take their places. A map stays: it
        may have been corrected by hand.

        Args:
            prediction: the result.
            target: the file to write.
            file: the file that the photo was read from; None if there is none.

        Returns:
            The photo's record, with its `output` and its `marks`.

        Raises:
            OSError: a file cannot be written.
            ValueError: the photo cannot be signed, see `Marker.encode`.
        """
        record = prediction.record | {'output': str(target), 'marks': self.marker.options.marks}
        make_folder(target.parent)
        sheets = self._sheets(prediction)
        for suffix, drawn in sheets.items():
            path = target.with_name(target.name + suffix)
            with naming_target(path):
                files.write_whole(_as_png(drawn), path)
        if self.save_map and prediction.map is not None:
            write_map(prediction.map, target.with_name(target.name + MAP_SUFFIX))
        with naming_target(target):
            data = self.marker.encode(prediction, target.suffix, self.quality, file, target.name)
        if self.save_json:
            told = record | prediction.provenance | {'quality': self.quality, 'event': event_of(prediction, data)}
            files.write_whole(_as_json(told), target.with_name(target.name + RECORD))
        # The result comes last: if it exists, so do its side files, and a repeated run can skip it.
        with naming_target(target):
            remove_old(target, (*sheets, *([RECORD] if self.save_json else ())))
            files.write_whole(data, target)
        if self.keep_times and prediction.source.path is not None:
            with suppress(OSError):  # a URL has no file
                times = prediction.source.path.stat()
                os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        return record

    def _sheets(self, prediction: Prediction) -> dict[str, np.ndarray]:
        """The sheets to look at, by the suffix that their files get."""
        sheets, instances, shares = {}, prediction.instances, prediction.sample.get('fusion_shares')
        classes = prediction.map if self.show_map else None
        if self.show_instances or shares or classes is not None:
            gray = colorize_pixels(prediction.source.rgb8, np.zeros((2, 1, 1), np.float32), upsampling='bilinear')
        if classes is not None:
            sheets['.classes.png'] = map_sheet(gray, Photo(prediction.pixels).rgb8, classes)
        if self.show_instances:
            steering = prediction.sample.get('steering')
            words = steering.words if steering else {}
            sheets['.instances.png'] = sheet(gray, Photo(prediction.pixels).rgb8, instances, words=words)
        if shares:
            sheets['.fusion.png'] = fusion_sheet(gray, instances, shares)
        return sheets


def remove_old(target: Path, written: Container[str]) -> None:
    """Removes what tells of an earlier result of this name: its record and its sheets, and nothing else.

    Args:
        target: the result.
        written: the suffixes of `SIDE_FILES` that are of the new result.

    Raises:
        OSError: a file cannot be removed.
    """
    for suffix in (*SHEETS, RECORD):
        path = target.with_name(target.name + suffix)
        if suffix not in written and path.is_file() and (_is_sheet(path) or _is_record(path, target)):
            path.unlink()


def _is_sheet(path: Path) -> bool:
    """Whether a file is a sheet, and not the result of a photo that was called like one."""
    try:
        with open_by_pillow(path, MAX_PIXELS) as image:
            return image.info.get('Software') == _SHEET
    except ImageReadError:
        return False


def _is_record(path: Path, target: Path) -> bool:
    """Whether a file is the record of a result; other programs put JSON beside pictures, too."""
    try:
        told = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return False
    is_ours = isinstance(told, dict) and {'photo', 'status', 'output'} <= told.keys()
    return is_ours and str(told['output']).rpartition('/')[2] == as_unicode(target.name)


def _as_png(sheet: np.ndarray) -> bytes:
    """The PNG of a sheet, which says that it is one."""
    out, told = io.BytesIO(), PngInfo()
    told.add_text('Software', _SHEET)
    Image.fromarray(sheet).save(out, 'PNG', pnginfo=told)
    return out.getvalue()


def _as_json(record: dict[str, Any]) -> bytes:
    # Not every JSON reader accepts what is not Unicode in a file name.
    told = record | {key: as_unicode(record[key]) for key in ('photo', 'output')}
    return (json.dumps(told, indent=1) + '\n').encode()


def make_folder(folder: Path) -> None:
    """Makes a folder to write to.

    Raises:
        OSError: it cannot be written.
    """
    try:
        files.make_folder(folder)
    except OSError as error:
        reason = 'it is a file' if isinstance(error, FileExistsError) else error.strerror
        raise OSError(f'cannot write to the folder {folder}: {reason}') from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OSError(f'cannot write to the folder {folder}: Permission denied')
