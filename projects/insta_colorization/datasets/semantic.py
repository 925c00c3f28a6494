"""True maps of classes beside training photos; `ColorizationSample.semantic_map` has them from then on."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform

from insta_colorization.fileio.boxes import tails
from insta_colorization.imaging.maps import read_map
from insta_colorization.registry import TRANSFORMS
from insta_colorization.structures import UNKNOWN, SemanticMap
from insta_colorization.utils.ranges import share


@TRANSFORMS.register_module()
class LoadSemanticMap(BaseTransform):
    """Reads the true map of a photo, a grey or indexed PNG (`imaging.maps.read_map`), into `results['semantic_map']`.

    A photo whose map lacks, cannot be read or has another size gives None, and so does no other.

    Args:
        folder: where the maps are, under the photos' paths as far as they are the same there, with the suffix `.png`;
            None for beside their photos.
        required: whether a photo without a map gives None; otherwise nothing is known of it.
    """

    def __init__(self, folder: str | None = None, required: bool = True) -> None:
        self.folder = folder
        self.required = required

    def transform(self, results: dict) -> dict | None:  # noqa: D102
        size = results['img'].shape[:2]
        path = next(filter(os.path.isfile, self._places(Path(results['img_path']))), None)
        try:
            if path is None:
                if self.required and 'skipped' not in results:
                    raise ValueError(f'{results["img_path"]} has no map {self.folder or "beside it"}')
                ids = np.full(size, UNKNOWN, np.uint8)
            else:
                ids = read_map(path, unknown=True)
                if ids.shape != size and 'skipped' not in results:
                    raise ValueError(f'the map {path} has size {ids.shape}, but its photo has {size}')
        except ValueError as error:
            results['skipped'] = str(error)
            return None
        results['semantic_map'] = SemanticMap(ids)
        return results

    def _places(self, photo: Path) -> Iterator[Path]:
        name = photo.with_suffix('.png')
        return (Path(self.folder, tail) for tail in tails(name)) if self.folder else iter([name])


@TRANSFORMS.register_module()
class ForgetMap(BaseTransform):
    """Leaves nothing known of a share of the maps, so that the networks learn from what the segmenter sees as well.

    Args:
        prob: the share.

    Raises:
        ValueError: it lies outside [0, 1].
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = share('prob', prob)

    def transform(self, results: dict) -> dict:  # noqa: D102
        if 'semantic_map' in results and np.random.rand() < self.prob:
            results['semantic_map'] = SemanticMap(np.full_like(results['semantic_map'].ids, UNKNOWN))
        return results
