"""Boxes from files in place of a detector."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from insta_colorization.fileio.boxes import NpzFile, open_boxes
from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances

from .base import check_image, image_size

logger = logging.getLogger(__name__)


@MODELS.register_module()
class CachedDetector:
    """Looks boxes up instead of detecting them.

    Args:
        path: FILE, FOLDER or RESULTS.json:ANNOTATIONS.json; see `fileio.boxes.open_boxes`, also for what it raises.
        image_file: see `open_boxes`.
        masks: see `open_boxes`.
        score_thr: see `InstanceDetector`. Boxes without scores count as 1.
    """

    def __init__(
        self,
        path: str | Path,
        image_file: str | Path | None = None,
        masks: bool = False,
        score_thr: float = 0.0,
    ) -> None:
        self.boxes = open_boxes(path, image_file, masks)
        self.score_thr = score_thr

    def check(self, paths: Sequence[str]) -> None:
        """Looks all photos of a run up before it begins, and warns if some have no boxes; see `BoxFile.matched`."""
        matched = self.boxes.matched(paths)
        if matched < len(paths):
            logger.warning('%s has boxes for %d of the %d photos', self.boxes.path, matched, len(paths))

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """Looks each photo up by its path; see `InstanceDetector.detect`.

        Raises:
            ValueError: `paths` is missing or not as long as `images`, or a box is not finite or is inverted.
        """
        for image in images:
            check_image(image)
        file = self.boxes.path
        if paths is None:
            if type(self.boxes) is not NpzFile or len(images) != 1:
                raise ValueError(f'the boxes in {file} are found by the path of each photo, but none was given')
            paths = [str(file.with_suffix(''))]
        return [self.boxes.instances_of(path, image_size(image)) for image, path in zip(images, paths, strict=True)]
