"""Pictures for those who would rather look: what went in and came out, and where each instance counted.

All pictures are RGB uint8, (H, W, 3).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from torch import Tensor

from .models import STAGES, InstColorizer
from .structures import Instances

SHEET_SIDE = 512
_BOX_COLOUR = (255, 196, 0)
_GAP = 6


def sheet(gray: np.ndarray, result: np.ndarray, instances: Instances) -> np.ndarray:
    """Grey photo, result and boxes with their scores side by side, each at most 512 pixels high and wide.

    Args:
        gray: (H, W, 3) uint8.
        result: (h, w, 3) uint8, of any size.
        instances: those of the photo.
    """
    small = _fit(gray)
    boxes = _draw(small, instances, scale=small.shape[1] / gray.shape[1])
    return _row([small, cv2.resize(result, small.shape[1::-1], interpolation=cv2.INTER_AREA), boxes])


def parse_rows(names: Sequence[str]) -> list[str]:
    """Row names such as `conv3` from row names or the paper's layer numbers, 3 for conv3.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    known = [row.name for row in STAGES]
    rows = [f'conv{name}' if name.isdecimal() else name for name in names]
    if unknown := [name for name, row in zip(names, rows, strict=True) if row not in known]:
        raise ValueError(f'there is no layer {unknown[0]}; known are {", ".join(known)} and their numbers')
    return rows


@contextmanager
def recorded_shares(model: InstColorizer, rows: Sequence[str]) -> Iterator[dict[str, tuple[Tensor, Tensor]]]:
    """Within it every forward pass leaves the fusion weights of these rows in the dictionary it yields.

    Yields:
        {row: (shares of the fused images (N, 1, H, W), shares of their instances (R, 1, H, W))}.
    """
    shares: dict[str, tuple[Tensor, Tensor]] = {}

    def record(row: str) -> None:
        fusion = model.fusion_net.fusions[row]
        handles.append(fusion.register_forward_hook(lambda _, args, __: shares.update({row: fusion.shares(*args)})))

    handles: list = []
    for row in rows:
        record(row)
    try:
        yield shares
    finally:
        for handle in handles:
            handle.remove()


def fusion_sheet(gray: np.ndarray, shares: Sequence[tuple[Tensor, Tensor]]) -> np.ndarray:
    """The fusion's weight maps of one photo, as in the paper's Figures 6 and 9: a line a row of the network.

    Args:
        gray: (H, W, 3) uint8.
        shares: for each row of the network the photo's share (1, h, w) and its instances' (R, h, w), in 0..1.
    """
    small = _fit(gray, side=SHEET_SIDE // 2)
    lines = []
    for image_share, instance_shares in shares:
        maps = [image_share[0], *instance_shares]
        lines.append(_row([small, *(_heat(share, small.shape[:2]) for share in maps)]))
    return np.vstack(lines)


def _heat(share: Tensor, size: tuple[int, int]) -> np.ndarray:
    values = (share.float().clamp(0, 1) * 255).byte().cpu().numpy()
    heat = cv2.applyColorMap(cv2.resize(values, size[::-1], interpolation=cv2.INTER_NEAREST), cv2.COLORMAP_VIRIDIS)
    return cv2.cvtColor(heat, cv2.COLOR_BGR2RGB)


def _fit(image: np.ndarray, side: int = SHEET_SIDE) -> np.ndarray:
    scale = min(1, side / max(image.shape[:2]))
    size = [max(1, round(extent * scale)) for extent in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _row(images: Sequence[np.ndarray]) -> np.ndarray:
    gap = np.full((images[0].shape[0], _GAP, 3), 255, np.uint8)
    return np.hstack([part for image in images for part in (image, gap)][:-1])


def _draw(image: np.ndarray, instances: Instances, scale: float) -> np.ndarray:
    drawn = image.copy()
    for box, score in zip((instances.boxes * scale).round().int().tolist(), instances.scores.tolist(), strict=True):
        cv2.rectangle(drawn, box[:2], box[2:], _BOX_COLOUR, 2)
        label = (box[0] + 3, min(box[1] + 14, drawn.shape[0] - 3))
        cv2.putText(drawn, f'{score:.2f}', label, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _BOX_COLOUR, 1, cv2.LINE_AA)
    return drawn
