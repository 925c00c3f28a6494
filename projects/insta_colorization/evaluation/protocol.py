"""What a test measured and how: the protocol beside the numbers, as JSON and as text.

Model, photos and metrics each describe themselves; here it is joined.

Numbers in this field differ with the size, the resize rule, the colour round trip and the version of a network as much
as with the method; without the protocol they cannot be compared.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from insta_colorization.checkpoints import Checkpoint
from insta_colorization.checkpoints.identity import identity, versions
from insta_colorization.fileio.files import write_whole
from insta_colorization.models import Colorizer

from .metrics.base import PhotoMetric
from .metrics.levels import LEVELS

logger = logging.getLogger(__name__)


def warn_of_missing_boxes(dataset: Dataset, model: Colorizer) -> None:
    """Warns before a test if the model makes use of instances and the photos have none for it."""
    boxes = _described(dataset).get('boxes')
    if 'instances' in model.uses and boxes is not None and boxes['networks'] is None:
        logger.warning(
            '%s makes use of instances, but test_dataloader.dataset.instances names no boxes for it: '
            'it colours all photos as a whole',
            type(model).__name__,
        )


def document(
    config: str | None,
    dataset: Dataset,
    values: Mapping[str, float],
    metrics: Sequence[PhotoMetric],
    model: Colorizer,
    checkpoint: Checkpoint | None,
) -> dict[str, Any]:
    """Everything about one test, ready for JSON.

    Args:
        config: the name of the config that was tested, by which tables call the result.
        dataset: the photos; one of another project need not say anything about itself.
        values: what the evaluator returned, {level/name: value}.
        metrics: the evaluator's metrics, of this package, after the evaluation.
        model: the model that predicted.
        checkpoint: the weights that fill it; None for a baseline without any.

    Returns:
        `protocol`, `metrics` by level, `not_computed` {metric: reason}, `photos` with the values of each photo at each
        level and how many instances the model was given (`used`), `skipped` with the reason for each photo that was not
        measured.

    Raises:
        ValueError: no metric of this package was evaluated, or there was no photo that it could measure.
    """
    if not metrics:
        raise ValueError('the config has no metric of insta_colorization in test_evaluator, so there is no protocol')
    results = metrics[0].photos
    if not metrics[0].measured:
        reason = f'; the first: {results[0].skipped}' if results else ''
        raise ValueError(f'none of the {len(results)} test photos could be measured{reason}')
    folder = _described(dataset).get('dataset')
    return {
        'protocol': protocol(config, dataset, metrics, model, checkpoint),
        'metrics': _by_level(values),
        'not_computed': {name: reason for metric in metrics for name, reason in metric.not_computed.items()},
        'photos': _photos(metrics, folder, use_instances='instances' in model.uses),
        'skipped': [{'photo': _name(r.photo, folder), 'reason': r.skipped} for r in results if r.skipped is not None],
    }


def protocol(
    config: str | None,
    dataset: Dataset,
    metrics: Sequence[PhotoMetric],
    model: Colorizer,
    checkpoint: Checkpoint | None,
) -> dict[str, Any]:
    """How the numbers came about: what model, photos and metrics say about themselves; arguments as for `document`."""
    photos = _described(dataset)
    if 'instances' not in model.uses:
        photos |= {'boxes': {**photos.get('boxes', {}), 'networks': None}, 'selection': None}
    fused = sum(result.used > 0 for result in metrics[0].measured) if 'instances' in model.uses else 0
    joined: dict[str, Any] = {
        'config': config,
        'checkpoint': None if checkpoint is None else identity(checkpoint.path),
        **model.describe(),
        **photos,
        'num_photos_fused': fused,
    }
    for metric in metrics:
        described = metric.describe()
        joined |= {**described, 'metrics': {**joined.get('metrics', {}), **described['metrics']}}
    return {**joined, 'versions': versions()}


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
    levels: dict[str, dict[str, float]] = {name: {} for name, level in LEVELS.items() if level.parts == 'pictures'}
    for key, value in values.items():
        level, _, name = key.partition('/')
        if level in LEVELS:
            levels.setdefault(level, {})[name] = float(value)
        else:
            levels.setdefault('other', {})[key] = float(value)
    return levels


def _photos(metrics: Sequence[PhotoMetric], folder: str | None, *, use_instances: bool) -> list[dict[str, Any]]:
    """The values of all metrics, photo by photo: of one pair a level, or of each of its pairs."""
    columns = [metric.photos for metric in metrics if metric.per_photo and not metric.not_computed]
    photos = []
    for results in zip(*columns, strict=True):
        if results[0].skipped is not None:
            continue
        entry: dict[str, Any] = {'photo': _name(results[0].photo, folder), 'used': results[0].used * use_instances}
        for name, level in LEVELS.items():
            # A metric may be restricted to some levels, and then has nothing to say about the others.
            parts = zip(*(result.values[name] for result in results if result.values.get(name)), strict=True)
            pairs = [{key: value for part in parts_of_one for key, value in part.items()} for parts_of_one in parts]
            if pairs or level.parts == 'pictures':
                entry[name] = pairs[0] if level.single and pairs else {} if level.single else pairs
        photos.append(entry)
    return photos


def _name(photo: str, folder: str | None) -> str:
    """A photo's path below the dataset's folder."""
    path = Path(photo)
    return path.relative_to(folder).as_posix() if folder and path.is_relative_to(folder) else path.name


def _described(dataset: Dataset) -> dict[str, Any]:
    return dataset.describe() if hasattr(dataset, 'describe') else {}


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ''.join(f'\n    {key}: {_plain(item)}' for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ', '.join(map(str, value)) or 'none'
    return 'none' if value is None else str(value)
