"""The detector that ships: a head on the encoder of the colour weights that ship, so that nothing is downloaded.

Shape legend: N photos of one batch, A cells over all grids, C classes.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from insta_colorization.checkpoints.safe_load import CheckpointError, read_file
from insta_colorization.colorspace import L_CENTRE, L_RANGE, lightness_to_gray
from insta_colorization.registry import MODELS
from insta_colorization.structures import COCO_CLASSES, Instances, Size
from insta_colorization.utils.configs import PACKAGE

from .base import image_size, lightness_copies
from .dense_head import DenseHead, averaged
from .encoder import encoder_for
from .nms import best_of_cells

WEIGHTS = PACKAGE / 'weights' / 'embedded_detector.safetensors'
COLOUR_WEIGHTS = PACKAGE / 'weights' / 'insta_fusion_lite.safetensors'
_DIVISOR = 32
_BATCH = 8
# How much the score of a box depends on how sure its class is; chosen on photos with true boxes.
_CERTAINTY = 0.25


@MODELS.register_module()
class EmbeddedDetector:
    """What a file of `tools/model_converters/publish_detector.py` holds, on the encoder that it was trained on.

    That is a head and, where the file has one, the copy of the encoder's last blocks that was trained with it.

    Photos are scaled to about the same number of pixels, their shape kept up to the rounding of their sides to
    multiples of 32; those that then have one size run together.

    Args:
        path: that file.
        encoder: colour weights with the encoder.
        device: where both run.
        score_thr: see `InstanceDetector`.
        side: root of the pixels that a photo is scaled to; None for what the file says.
        mirrored: whether the mirror image is looked at, too, which takes twice as long; None for what the file says.

    Raises:
        CheckpointError: a file cannot be read.
        FileNotFoundError: there is no such file.
        ValueError: the head's file is not one, knows other classes than COCO's, or was trained on another encoder.
    """

    def __init__(
        self,
        path: str | Path = WEIGHTS,
        encoder: str | Path = COLOUR_WEIGHTS,
        device: str | torch.device = 'cpu',
        score_thr: float = 0.3,
        side: int | None = None,
        mirrored: bool | None = None,
    ) -> None:
        self.path = Path(path)
        self.score_thr = score_thr
        for file in (self.path, Path(encoder)):
            if not file.is_file():
                raise FileNotFoundError(f'there is no detector file {file}')
        entries, said = _read(self.path)
        self.encoder = encoder_for(encoder, said['rows'], said['above'])
        if self.encoder.sha256 != said['encoder']:
            raise ValueError(
                f'{self.path} was trained on the encoder {said["encoder"][:8]}, but {encoder} holds '
                f'{self.encoder.sha256[:8]}; docs/detectors.md says how to train it on another one'
            )
        self.side = said['side'] if side is None else side
        self.mirrored = said['mirrored'] if mirrored is None else mirrored
        self.device = torch.device(device)
        try:
            head = {name.removeprefix('head.'): value for name, value in entries.items() if name.startswith('head.')}
            self._head = DenseHead.of_shape(self.encoder.feature_info, head)
            parts = nn.ModuleDict({'head': self._head})
            if isinstance(self.encoder, nn.Module):
                parts['encoder'] = self.encoder
            parts.load_state_dict(entries)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f'{self.path} does not belong to {type(self).__name__}: {error}') from error
        parts.eval().requires_grad_(False).to(self.device)

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """Runs the network on all photos; see `InstanceDetector.detect`."""
        pictures = [_picture(image, self.side) for image in images]
        alike: dict[Size, list[int]] = defaultdict(list)
        for number, picture in enumerate(pictures):
            alike[image_size(picture)].append(number)
        found: dict[int, Instances] = {}
        for numbers in alike.values():
            for start in range(0, len(numbers), _BATCH):
                batch = numbers[start : start + _BATCH]
                sizes = [image_size(images[number]) for number in batch]
                results = self._detect(np.stack([pictures[number] for number in batch]), sizes)
                found.update(zip(batch, results, strict=True))
        return [found[number] for number in range(len(images))]

    @torch.no_grad()
    def _detect(self, pictures: np.ndarray, sizes: Sequence[Size]) -> list[Instances]:
        """The instances in pictures (N, H, W) of photos of these sizes."""
        gray = torch.from_numpy(pictures).to(self.device)
        found = self._head(self.encoder(gray))
        if self.mirrored:
            found = averaged(found, self._head(self.encoder(gray.flip(-1))), gray.shape[-1])
        certainty, classes = found.classes.softmax(dim=-1).max(dim=-1)
        scores = found.quality.sigmoid() * certainty**_CERTAINTY
        boxes, scores, classes = (part.cpu().numpy() for part in (found.boxes, scores, classes))
        height, width = pictures.shape[1:]
        scales = [np.array([width / size[1], height / size[0]] * 2) for size in sizes]
        return [
            best_of_cells(boxes[n], scores[n], classes[n], len(COCO_CLASSES), sizes[n], scales[n], True)
            for n in range(len(sizes))
        ]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The entries, and what the file says about them: `encoder`, `rows`, `above`, `side` and `mirrored`."""
    content = read_file(path)
    entries, meta = (content.get(name) or {} if isinstance(content, Mapping) else {} for name in ('state_dict', 'meta'))
    if not {'encoder', 'rows', 'side'} <= meta.keys() or 'head.classes.weight' not in entries:
        raise CheckpointError(f'{path} is not a detector of tools/model_converters/publish_detector.py')
    known = len(entries['head.classes.weight'])
    if known != len(COCO_CLASSES):
        raise CheckpointError(
            f'{path} knows {known} classes, but COCO, whose names it is given, has {len(COCO_CLASSES)}'
        )
    said = {'encoder': meta['encoder'], 'rows': json.loads(meta['rows']), 'above': meta.get('above')}
    parts = {name: value.float() if value.is_floating_point() else value for name, value in entries.items()}
    return parts, {**said, 'side': int(meta['side']), 'mirrored': meta.get('mirrored') == 'true'}


def _picture(image: np.ndarray, side: int) -> np.ndarray:
    """The grey picture (H, W) uint8 that the encoder sees of a photo."""
    height, width = image_size(image)
    scale = side / sqrt(height * width)
    rows, columns = (max(_DIVISOR, round(length * scale / _DIVISOR) * _DIVISOR) for length in (height, width))
    lightness = lightness_copies(image)[..., 0]
    smaller = rows * columns < lightness.size
    scaled = cv2.resize(lightness, (columns, rows), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return _gray_of_lightness()[scaled]


@cache
def _gray_of_lightness() -> np.ndarray:
    """(256,) uint8, the grey sRGB value of each 8-bit lightness."""
    lightness = (torch.arange(256.0) / 255 * 100 - L_CENTRE) / L_RANGE
    return (lightness_to_gray(lightness[None, None])[0, 0] * 255).round().byte().numpy()
