"""Any detector of MMDetection, by config and checkpoint."""

import difflib
import importlib.util
import logging
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from insta_colorization.checkpoints.safe_load import numpy_globals
from insta_colorization.fileio.download import fetch
from insta_colorization.registry import MODELS
from insta_colorization.structures import COCO_CLASSES, Instances, Size

from .base import image_size, lightness_copies

if TYPE_CHECKING:
    from mmdet.structures import DetDataSample

logger = logging.getLogger(__name__)

# The paper's Mask R-CNN X101 is Detectron2's, trained for three epochs' schedules at several scales; so is this one.
DEFAULT_CONFIG = 'mask-rcnn_x101-64x4d_fpn_ms-poly_3x_coco'

_INSTALL = 'pip install "mmdet>=3.3,<3.4" and mmcv 2.1 with its compiled ops (docs/get_started.md)'
_MAX_ASPECT = 32


@MODELS.register_module()
class MMDetDetector:
    """A model of MMDetection; masks are kept when the model gives them and they are wanted.

    Photos run one after the other, so that what is found in one does not depend on the padding its neighbours need.

    Args:
        config: a config file, the name of a config that mmdet ships, or a `Config`.
        checkpoint: a file or URL; None takes the weights that mmdet publishes for a config of its own, from torch's hub
            folder or from the network.
        device: where the model runs.
        score_thr: see `InstanceDetector`.
        random_weights: builds the model without weights, for tests.
        cfg_options: changes to the config, by dotted key.
        masks: whether masks are wanted; without them the mask head of a two-stage model does not run.

    Raises:
        ImportError: mmdet or mmcv's compiled ops are not installed.
        FileNotFoundError: the checkpoint is not there and could not be fetched.
        ValueError: there is no such config, or the checkpoint does not belong to it.
    """

    def __init__(
        self,
        config: str | Path | Config = DEFAULT_CONFIG,
        checkpoint: str | Path | None = None,
        device: str | torch.device = 'cpu',
        score_thr: float = 0.7,
        random_weights: bool = False,
        cfg_options: dict[str, Any] | None = None,
        masks: bool = True,
    ) -> None:
        self.score_thr = score_thr
        self._masks = masks
        if random_weights and checkpoint is not None:
            raise ValueError(f'random_weights leaves no use for the checkpoint {checkpoint}')
        # Everything that may be missing comes before the import of mmdet, which takes seconds.
        config_path = None if isinstance(config, Config) else find_config(config)
        weights = None if random_weights else _find_checkpoint(config_path, checkpoint)
        init_detector = _mmdet_apis().init_detector
        cfg = config if isinstance(config, Config) else Config.fromfile(config_path)
        if cfg_options:
            cfg.merge_from_dict(cfg_options)
        self._scope = cfg.get('default_scope', 'mmdet')
        with self._in_scope():
            # The weights are loaded here, strictly and without running code, which `init_detector` would not do.
            self._model = init_detector(cfg, None, device=str(device))
        self._classes = COCO_CLASSES
        if weights is None:
            self._model.init_weights()
        else:
            self._classes = _load_weights(self._model, weights)
        if not masks and getattr(self._model, 'with_roi_head', False) and self._model.roi_head.with_mask:
            self._model.roi_head.mask_head = None

    def detect(self, images: list[np.ndarray], paths: Sequence[str] | None = None) -> list[Instances]:
        """Runs the model on each photo; see `InstanceDetector.detect`."""
        copies = [_bound_aspect(lightness_copies(image)) for image in images]
        if not copies:
            return []
        with self._in_scope():
            results = _mmdet_apis().inference_detector(self._model, copies)
        return [self._instances(result, image_size(image)) for result, image in zip(results, images, strict=True)]

    def _instances(self, result: 'DetDataSample', size: Size) -> Instances:
        found = result.pred_instances.cpu()
        masks = found.get('masks') if self._masks else None
        masks = None if masks is None else torch.as_tensor(masks)[:, : size[0], : size[1]]
        # A model may know more classes than its checkpoint names.
        labels = found.labels.where(found.labels < len(self._classes), -1)
        return Instances.clipped(found.bboxes, size, found.scores, masks, labels, self._classes)

    @contextmanager
    def _in_scope(self) -> Iterator[None]:
        # mmdet sets its own default scope for good, and with it no type of ours would be found any more.
        # It also resets the warning filters, so that its remarks are recorded rather than filtered.
        with DefaultScope.overwrite_default_scope(self._scope), warnings.catch_warnings(record=True):
            yield


def find_config(config: str | Path) -> Path:
    """A config file, given by its path or by the name under which the installed mmdet ships it.

    Raises:
        ImportError: mmdet is not installed.
        ValueError: neither; the message has close names.
    """
    path = Path(config)
    if path.is_file():
        return path
    shipped = {found.stem: found for found in _shipped_configs()}
    name = path.name.removesuffix('.py')
    if name in shipped:
        return shipped[name]
    close = difflib.get_close_matches(name, shipped, n=3)
    hint = f'; close names are {", ".join(close)}' if close else f' among its {len(shipped)} configs'
    raise ValueError(f'there is no detector config {config}, neither as a file nor in mmdet{hint}')


def _shipped_configs() -> list[Path]:
    spec = importlib.util.find_spec('mmdet')
    if spec is None or spec.origin is None:
        raise ImportError(f'MMDetDetector needs mmdet, which is not installed: {_INSTALL}')
    return sorted((Path(spec.origin).parent / '.mim' / 'configs').glob('*/*.py'))


def _mmdet_apis() -> Any:
    # It brings albumentations, which asks the network for its newest version at import.
    os.environ.setdefault('NO_ALBUMENTATIONS_UPDATE', '1')
    try:
        import mmdet.apis
    except (ImportError, AssertionError) as error:  # mmdet asserts its mmcv version
        raise ImportError(f'MMDetDetector needs mmdet ({error}): {_INSTALL}') from error
    return mmdet.apis


def _find_checkpoint(config_path: Path | None, checkpoint: str | Path | None) -> Path:
    if checkpoint is not None and not str(checkpoint).startswith(('http://', 'https://')):
        if not Path(checkpoint).is_file():
            raise FileNotFoundError(f'there is no detector checkpoint {checkpoint}; {_alternatives()}')
        return Path(checkpoint)
    url = str(checkpoint) if checkpoint is not None else _published_url(config_path)
    if url is None:
        raise FileNotFoundError(
            f'mmdet publishes no weights for {config_path or "this config"}: give a checkpoint; {_alternatives()}'
        )
    target = Path(torch.hub.get_dir()) / 'checkpoints' / url.rsplit('/', 1)[-1]
    try:
        if not target.is_file():
            fetch(url, target)
    except OSError as error:
        raise FileNotFoundError(
            f'the detector weights {target.name} could not be fetched from {url} ({error}): put the file into '
            f'{target.parent}; {_alternatives()}'
        ) from error
    return target


def _alternatives() -> str:
    return 'the detectors `opencv` and `none`, a YOLOX .onnx file and files of boxes work without it'


def _published_url(config_path: Path | None) -> str | None:
    """The address of the weights in the metafile beside a config of mmdet."""
    from mmengine.fileio import load

    if config_path is None or not (config_path.parent / 'metafile.yml').is_file():
        return None
    models = load(config_path.parent / 'metafile.yml').get('Models', [])
    return next((m.get('Weights') for m in models if Path(m.get('Config', '')).name == config_path.name), None)


def _load_weights(model: torch.nn.Module, path: Path) -> tuple[str, ...]:
    """Loads a checkpoint; returns the names of the classes it was trained on, COCO's where it does not say."""
    try:
        with torch.serialization.safe_globals(numpy_globals()):
            content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # the unpickler stumbles over damaged files in its own ways, an IndexError among them
        raise ValueError(f'{path} is not a checkpoint that can be read safely: {_reason(error)}') from error
    weights = content.get('state_dict', content) if isinstance(content, dict) else None
    if not isinstance(weights, dict):
        raise ValueError(f'{path} is not a checkpoint: it holds a {type(content).__name__}')
    try:
        mismatch = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ValueError(f'{path} does not belong to {type(model).__name__}: {error}') from error
    missing = [key for key in mismatch.missing_keys if not key.endswith('num_batches_tracked')]
    if missing:
        raise ValueError(
            f'{path} does not belong to {type(model).__name__}: it lacks {len(missing)} entries, such as {missing[0]}'
        )
    if mismatch.unexpected_keys:
        logger.info('%s has %d entries that the model does not use', path, len(mismatch.unexpected_keys))
    meta = content.get('meta', {})
    # mmdet 3 writes `dataset_meta`, with keys in either case, and mmdet 2 `CLASSES`.
    said = {key.lower(): value for key, value in {**meta, **meta.get('dataset_meta', {})}.items()}
    return tuple(said.get('classes') or COCO_CLASSES)


def _reason(error: Exception) -> str:
    code = re.search(r'Unsupported global: GLOBAL (\S+)', str(error))
    if code:
        return f'beside tensors it holds code, {code[1]}; tools/model_converters/publish_model.py of mmdet drops it'
    return (str(error).splitlines() or [type(error).__name__])[0]


def _bound_aspect(image: np.ndarray) -> np.ndarray:
    """Repeats the edge of very long photos, whose short side mmdet's `Resize` would round to nothing."""
    height, width = image.shape[:2]
    least = math.ceil(max(height, width) / _MAX_ASPECT)
    missing = max(0, least - height), max(0, least - width)
    return np.pad(image, ((0, missing[0]), (0, missing[1]), (0, 0)), mode='edge') if any(missing) else image
