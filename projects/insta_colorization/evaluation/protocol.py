"""What a test measured and how: the protocol beside the numbers, as JSON and as text.

Numbers in this field differ with the size, the resize rule, the colour round trip and the version of a network as much
as with the method; without the protocol they cannot be compared.
"""

import json
import logging
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from insta_colorization.checkpoints.io import SUFFIXES, Checkpoint
from insta_colorization.checkpoints.layouts import NETWORKS
from insta_colorization.evaluation.metrics.base import LEVELS, MIN_SIDE, PhotoMetric, PhotoResult
from insta_colorization.fileio.download import sha256
from insta_colorization.fileio.files import write_whole

from .baselines import TintBaseline

_LIBRARIES = (
    *('insta_colorization', 'torch', 'torchvision', 'numpy', 'pillow', 'mmengine', 'mmagic'),
    *('lpips', 'pytorch-fid', 'scipy'),
)

logger = logging.getLogger(__name__)


def check_boxes(cfg: Config, model: nn.Module) -> None:
    """Makes sure before a test that its boxes will be read, and warns if the model wants some and gets none.

    Raises:
        ValueError: the test dataset is given boxes, but its pipeline would leave them alone.
    """
    dataset = cfg.test_dataloader.dataset
    given = [name for name in ('instances', 'gt_instances') if dataset.get(name)]
    if given and _step(dataset, 'LoadInstances') is None:
        raise ValueError(
            f'test_dataloader.dataset.{given[0]} is {dataset[given[0]]}, '
            'but the pipeline has no LoadInstances to read it'
        )
    if hasattr(model, 'fusion_net') and _boxes(dataset) is None:
        logger.warning(
            'the weights hold a fusion network, but test_dataloader.dataset.instances names no boxes for it: '
            'all photos go through the full-image network'
        )


def document(
    cfg: Config,
    values: Mapping[str, float],
    metrics: Sequence[PhotoMetric],
    model: nn.Module,
    checkpoint: Checkpoint | None,
) -> dict[str, Any]:
    """Everything about one test, ready for JSON.

    Args:
        cfg: the config that was tested; its file's name is what tables call the result.
        values: what the evaluator returned, {level/name: value}.
        metrics: the evaluator's metrics, of this package, after the evaluation.
        model: the model that predicted.
        checkpoint: the weights that fill it; None for a baseline without any.

    Returns:
        `protocol`, `metrics` by level, `not_computed` {metric: reason}, `photos` with the values of each photo and of
        each of its true instances and how many instances were fused into it (`used`), `skipped` with the reason for
        each photo that was not measured.

    Raises:
        ValueError: no metric of this package was evaluated, or there was no photo that it could measure.
    """
    if not metrics:
        raise ValueError('the config has no metric of insta_colorization in test_evaluator, so there is no protocol')
    results = metrics[0].photos
    measured = [result for result in results if result.skipped is None]
    if not measured:
        reason = f'; the first: {results[0].skipped}' if results else ''
        raise ValueError(f'none of the {len(results)} test photos could be measured{reason}')
    folder = cfg.test_dataloader.dataset.get('data_root')
    return {
        'protocol': protocol(cfg, measured, len(results), metrics, model, checkpoint),
        'metrics': _by_level(values),
        'not_computed': {name: reason for metric in metrics for name, reason in metric.not_computed.items()},
        'photos': _photos(metrics, folder, fused=hasattr(model, 'fusion_net')),
        'skipped': [{'photo': _name(r.photo, folder), 'reason': r.skipped} for r in results if r.skipped is not None],
    }


def protocol(
    cfg: Config,
    measured: Sequence[PhotoResult],
    num_listed: int,
    metrics: Sequence[PhotoMetric],
    model: nn.Module,
    checkpoint: Checkpoint | None,
) -> dict[str, Any]:
    """How the numbers came about.

    Args:
        cfg: see `document`.
        measured: the results of one metric for the photos that were measured.
        num_listed: how many photos the dataset has, skipped ones included.
        metrics: see `document`.
        model: see `document`.
        checkpoint: see `document`.
    """
    dataset = cfg.test_dataloader.dataset
    networks = [name for name in NETWORKS if hasattr(model, name)]
    fused = 'fusion_net' in networks
    sizes = sorted({result.size for result in measured})
    return {
        'config': Path(cfg.filename).stem if cfg.filename else None,
        'model': type(model).__name__,
        'tint': {'ab': list(model.ab), 'unit': 'CIELAB'} if isinstance(model, TintBaseline) else None,
        'checkpoint': None if checkpoint is None else identity(checkpoint.path),
        'networks': networks,
        'num_photos_fused': sum(result.used > 0 for result in measured) if fused else 0,
        'decoder': _decoder(model) if networks else None,
        'dataset': dataset.get('data_root'),
        'list': dataset.get('ann_file') or None,
        'boxes': {'networks': _boxes(dataset) if fused else None, 'truth': dataset.get('gt_instances')},
        'selection': _step(dataset, 'SelectInstances') if fused else None,
        'num_photos': len(measured),
        'num_skipped': num_listed - len(measured),
        'size': list(sizes[0]) if len(sizes) == 1 else [list(size) for size in sizes],
        'network_size': _network_size(dataset),
        'resize': 'squashed whatever the aspect, Pillow bilinear with antialiasing; the prediction ab bilinear, torch',
        'colours': 'lightness of the true photo and predicted ab, CIELAB (D65) to sRGB, clipped, rounded to 8 bit',
        'instance_level': 'both pictures cropped by the true boxes scaled to size, floored; mean over all instances',
        'num_instances': sum(result.large for result in measured),
        'instances_left_out': {
            'crowds': sum(result.crowds for result in measured),
            'small': sum(result.small for result in measured),
            'small_means': f'a side under {MIN_SIDE} pixels at size',
        },
        'metrics': {metric.name: metric.protocol for metric in metrics},
        'versions': versions(),
    }


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


def write_results(results: Mapping[str, Any], path: Path) -> None:
    """Writes a `document` as JSON, whole or not at all; the folder is made if need be.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole((json.dumps(results, indent=1) + '\n').encode(), path)


def as_text(results: Mapping[str, Any]) -> str:
    """A `document` for people: the protocol, the table, then what was not computed and which photos were skipped."""
    lines = ['protocol', *(f'  {key}: {_plain(value)}' for key, value in results['protocol'].items()), '']
    levels = [level for level in results['metrics'] if results['metrics'][level]]
    names = dict.fromkeys(name for level in levels for name in results['metrics'][level])
    width = max(map(len, names), default=0)
    lines.append(' '.join([' ' * width, *(f'{level:>10}' for level in levels)]))
    for name in names:
        cells = [results['metrics'][level].get(name) for level in levels]
        lines.append(' '.join([f'{name:{width}}', *(f'{"-":>10}' if v is None else f'{v:>10.4f}' for v in cells)]))
    lines += [f'not computed: {name}: {reason}' for name, reason in results['not_computed'].items()]
    lines += [f'skipped: {entry["photo"]}: {entry["reason"]}' for entry in results['skipped']]
    return '\n'.join(lines)


def _by_level(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Values by level; those of another project's metrics, which know no levels, under `other`."""
    levels: dict[str, dict[str, float]] = {level: {} for level in LEVELS}
    for key, value in values.items():
        level, _, name = key.partition('/')
        if level in LEVELS:
            levels[level][name] = float(value)
        else:
            levels.setdefault('other', {})[key] = float(value)
    return levels


def _photos(metrics: Sequence[PhotoMetric], folder: str | None, *, fused: bool) -> list[dict[str, Any]]:
    """The values of all metrics, photo by photo."""
    columns = [metric.photos for metric in metrics if metric.per_photo and not metric.not_computed]
    photos = []
    for results in zip(*columns, strict=True):
        if results[0].skipped is not None:
            continue
        image = {name: value for result in results for name, value in result.image.items()}
        # A metric may be restricted to whole photos, and then has nothing to say about instances.
        parts = zip(*(result.instances for result in results if result.instances), strict=True)
        instances = [{name: value for part in parts_of_one for name, value in part.items()} for parts_of_one in parts]
        used = results[0].used if fused else 0
        photos.append({'photo': _name(results[0].photo, folder), 'used': used, 'image': image, 'instance': instances})
    return photos


def _name(photo: str, folder: str | None) -> str:
    """A photo's path below the dataset's folder."""
    path = Path(photo)
    return path.relative_to(folder).as_posix() if folder and path.is_relative_to(folder) else path.name


def _decoder(model: nn.Module) -> str:
    decoder = getattr(model, 'decoder', None)
    settings = {name: getattr(decoder, name, None) for name in ('temperature', 'gain')}
    said = [f'{name} {value:g}' for name, value in settings.items() if value is not None]
    return ', '.join([type(decoder).__name__, *said])


def _boxes(dataset: Mapping[str, Any]) -> str | None:
    """The file of the boxes that the networks were given, as far as the dataset has any; see `ColorizationDataset`."""
    listed = str(dataset.get('ann_file', ''))
    if (_step(dataset, 'SelectInstances') or {}).get('source') == 'gt_instances':
        return dataset.get('gt_instances')
    return dataset.get('instances') or (listed if listed.endswith('.json') else None)


def _network_size(dataset: Mapping[str, Any]) -> int | None:
    """The side of the squares that the networks saw: the last size in the pipeline."""
    resize = _step(dataset, 'ResizePhoto')
    return None if resize is None else resize.get('size')


def _step(dataset: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    """The settings of the last transform of this kind, if the pipeline has one."""
    steps = [step for step in dataset.get('pipeline', []) if step['type'].rpartition('.')[2] == kind]
    return {key: value for key, value in steps[-1].items() if key != 'type'} if steps else None


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ''.join(f'\n    {key}: {_plain(item)}' for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ', '.join(map(str, value)) or 'none'
    return 'none' if value is None else str(value)
