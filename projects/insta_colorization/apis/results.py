"""Writes the result of a photo and its side files, each file whole or not at all."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from insta_colorization.fileio import files
from insta_colorization.imaging.maps import write_map
from insta_colorization.imaging.photo import MAP_SUFFIX, QUALITY, Photo, naming_target, write_photo
from insta_colorization.imaging.rendering import colorize_pixels
from insta_colorization.utils.errors import as_unicode
from insta_colorization.visualization.sheets import fusion_sheet, map_sheet, sheet

from .marking import Marker, event_of
from .predictor import Prediction


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
        for name, drawn in self._sheets(prediction).items():
            write_photo(drawn, target.with_name(f'{target.name}.{name}.png'))
        if self.save_map and prediction.map is not None:
            write_map(prediction.map, target.with_name(target.name + MAP_SUFFIX))
        with naming_target(target):
            data = self.marker.encode(prediction, target.suffix, self.quality, file, target.name)
        if self.save_json:
            told = record | prediction.provenance | {'quality': self.quality, 'event': event_of(prediction, data)}
            files.write_whole(_as_json(told), target.with_name(f'{target.name}.json'))
        # The result comes last: if it exists, so do its side files, and a repeated run can skip it.
        with naming_target(target):
            files.write_whole(data, target)
        if self.keep_times and prediction.source.path is not None:
            with suppress(OSError):  # a URL has no file
                times = prediction.source.path.stat()
                os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
        return record

    def _sheets(self, prediction: Prediction) -> dict[str, np.ndarray]:
        """The sheets to look at, by the name that their files get."""
        sheets, instances, shares = {}, prediction.instances, prediction.sample.get('fusion_shares')
        classes = prediction.map if self.show_map else None
        if self.show_instances or shares or classes is not None:
            gray = colorize_pixels(prediction.source.rgb8, np.zeros((2, 1, 1), np.float32), upsampling='bilinear')
        if classes is not None:
            sheets['classes'] = map_sheet(gray, Photo(prediction.pixels).rgb8, classes)
        if self.show_instances:
            steering = prediction.sample.get('steering')
            words = steering.words if steering else {}
            sheets['instances'] = sheet(gray, Photo(prediction.pixels).rgb8, instances, words=words)
        if shares:
            sheets['fusion'] = fusion_sheet(gray, instances, shares)
        return sheets


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
