"""From what a config or a command line says to a detector."""

import inspect
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from insta_colorization.registry import MODELS, SCOPE

from .base import InstanceDetector
from .mmdet import DEFAULT_CONFIG, find_config

logger = logging.getLogger(__name__)

# What a command line calls them; files and mmdet's configs name themselves.
NAMES = {'none': 'NoDetector', 'embedded': 'EmbeddedDetector', 'opencv': 'OpenCVDetector', 'mmdet': 'MMDetDetector'}
_EMBEDDED = 'embedded'
_KNOWN = (
    f'{", ".join(NAMES)}, auto, a .onnx file, a file of boxes (.json, RESULTS.json:ANNOTATIONS.json, .npz or a '
    'folder of .npz), or an mmdet config as CONFIG or CONFIG:CHECKPOINT'
)

Spec = str | Path | Mapping[str, Any] | InstanceDetector


def build_detector(
    spec: Spec = 'auto',
    device: str = 'cpu',
    configured: Spec | None = None,
    masks: bool | None = None,
    **overrides: Any,
) -> InstanceDetector:
    """Builds a detector.

    Args:
        spec: an entry of the registry (`dict(type='OnnxDetector', path=...)`), a detector, which is returned as it is,
            or a string: `none`, `embedded`, `opencv`, `mmdet`, `auto`, a `.onnx` file, a file or folder of boxes
            (`RESULTS.json:ANNOTATIONS.json` for COCO results), or an mmdet config by path or name, optionally followed
            by `:CHECKPOINT`.
        device: for the detectors that have a choice.
        configured: what `auto` tries first; mmdet's Mask R-CNN when not given. If its library or weights are neither
            here nor to be fetched, `auto` takes the embedded detector and logs why.
        masks: whether masks are wanted of the detectors that have a choice, which is work; None leaves it to them.
        **overrides: arguments of the detector, such as `score_thr`; None leaves the detector's own.

    Raises:
        ValueError: an unknown name or type; the message lists the known ones.
        FileNotFoundError: the file, or the weights of the model, are not there.
        ImportError: the library of the detector is not installed.
    """
    overrides = {name: value for name, value in overrides.items() if value is not None}
    if isinstance(spec, str | Path):
        if str(spec) == 'auto':
            return _build_auto(configured, device, masks, overrides)
        spec = _parse(str(spec))
    if isinstance(spec, Mapping):
        return _build(dict(spec), device, masks, overrides)
    if not isinstance(spec, InstanceDetector):
        raise TypeError(f'a detector has `detect` and `score_thr`, but got {type(spec).__name__}')
    for name, value in overrides.items():
        setattr(spec, name, value)
    return spec


def _build(spec: dict[str, Any], device: str, masks: bool | None, overrides: dict[str, Any]) -> InstanceDetector:
    name = spec.pop('type', None)
    detector = _find_type(name) if isinstance(name, str) else name
    if detector is None or not hasattr(detector, 'detect'):
        raise ValueError(f'there is no detector type {name}; registered are {", ".join(_registered())}')
    parameters = inspect.signature(detector).parameters
    if 'device' in parameters:
        spec.setdefault('device', device)
    if 'masks' in parameters and masks is not None:
        spec.setdefault('masks', masks)
    return detector(**{**spec, **overrides})


def _find_type(name: str) -> type | None:
    # A bare name that is not ours would wake the whole of MMagic's zoo just to say that it is not there either.
    own = MODELS.module_dict.get(name.removeprefix(f'{SCOPE}.'))
    return MODELS.get(name) if own is None and '.' in name else own


def _registered() -> list[str]:
    return sorted(name for name, kind in MODELS.module_dict.items() if hasattr(kind, 'detect'))


def _parse(text: str) -> dict[str, Any]:
    if text in NAMES:
        return {'type': NAMES[text]}
    if text.endswith('.onnx'):
        return {'type': 'OnnxDetector', 'path': text}
    if text.endswith(('.json', '.npz')) or Path(text).is_dir():
        return {'type': 'CachedDetector', 'path': text}
    first, _, second = text.partition(':')
    if not second and not first.endswith('.py') and not _is_mmdet_name(first):
        raise ValueError(f'there is no detector {text!r}; known are {_KNOWN}')
    return {'type': 'MMDetDetector', 'config': first, **({'checkpoint': second} if second else {})}


def _is_mmdet_name(name: str) -> bool:
    try:
        find_config(name)
    except (ImportError, ValueError):
        return False
    return True


def _build_auto(
    configured: Spec | None, device: str, masks: bool | None, overrides: dict[str, Any]
) -> InstanceDetector:
    wanted = {'type': NAMES['mmdet']} if configured is None else configured
    try:
        detector = build_detector(wanted, device, masks=masks, **overrides)
    except (ImportError, FileNotFoundError) as error:
        _say(logging.INFO, f'detector: the embedded one, because {error}')
        return build_detector(_EMBEDDED, device, **overrides)
    _say(logging.INFO, f'detector: {_title(wanted)}, as configured; its weights are here')
    return detector


def _title(spec: Spec) -> str:
    """What a line of text calls a detector: its type and the model behind it."""
    if not isinstance(spec, Mapping):
        return str(spec) if isinstance(spec, str | Path) else type(spec).__name__
    model = spec.get('config', DEFAULT_CONFIG if spec['type'] == NAMES['mmdet'] else spec.get('path'))
    return f'{spec["type"]} ({model})' if model else str(spec['type'])


@cache
def _say(level: int, message: str) -> None:
    """Logs a message once per process."""
    logger.log(level, message)
