"""What the benchmark must show: each check with its target and what was measured."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .subject import BASELINE, OURS

Row = Mapping[str, Any]
Check = dict[str, Any]
AGREEMENT = 1e-5
INSTANCES = 8
LARGE_COUNTS = (8, 64)
# The networks' multiply-accumulates with eight instances over those without.
ARITHMETIC = 9.6


def at_most(limit: float, measured: float | None, note: str = '') -> Check:
    """A check of a figure that should not be above its target; None is not measured, and the note says why."""
    passed = None if measured is None else measured <= limit
    return {'target': f'<= {limit:g}', 'measured': measured, 'passed': passed, 'note': note}


def at_least(limit: float, measured: float | None, note: str = '') -> Check:
    """A check of a figure that should not be below its target."""
    passed = None if measured is None else measured >= limit
    return {'target': f'>= {limit:g}', 'measured': measured, 'passed': passed, 'note': note}


def reported(measured: Any, note: str = '') -> Check:
    """A figure without a target."""
    return {'target': None, 'measured': measured, 'passed': None, 'note': note}


def find(rows: Iterable[Row], **wanted: Any) -> Row | None:
    """The first row with these entries."""
    return next((row for row in rows if all(row[name] == value for name, value in wanted.items())), None)


def all_checks(results: Mapping[str, Any]) -> dict[str, Check]:
    """The checks by name, measured or not.

    Args:
        results: what `benchmark.py` writes, without the checks: `settings`, `machine`, `rows`, `errors`, `large`,
            `folder`, `gpu`.
    """
    settings, rows = results['settings'], results['rows']
    here = [row for row in rows if row['size'] == settings['size']]
    cpu = settings['device'] == 'cpu'
    if cpu:
        checks = against_baseline(here) | half_precision(here, results)
    else:
        why = f'not measured: the device is {settings["device"]}, not the CPU'
        checks = {name: at_most(limit, None, why) for name, limit in CPU_LIMITS.items()}
    return checks | growth(here) | large_photos(results) | on_gpu(here, results) | folder(results)


CPU_LIMITS = {
    'ab difference from the baseline, float32': AGREEMENT,
    'float32: time end to end / baseline': 0.7,
    "float32: the fusion's own part / baseline": 0.35,
    'float32: peak memory / baseline': 0.35,
    'bfloat16: time end to end / float32 baseline': 0.33,
    'bfloat16: mean ab error, Lab units': 0.5,
    'bfloat16: 99th percentile of the ab error, Lab units': 3.0,
}


def against_baseline(rows: Sequence[Row]) -> dict[str, Check]:
    """Point 1: float32 with eight instances beside the published way."""
    ours = find(rows, implementation=OURS, precision='fp32', batch=1, instances=INSTANCES)
    names = list(CPU_LIMITS)[:4]
    if ours is None or find(rows, implementation=BASELINE, instances=INSTANCES) is None:
        why = f'not measured: needs fp32, {INSTANCES} instances, batch size 1 and the baseline'
        return {name: at_most(CPU_LIMITS[name], None, why) for name in names}
    # Every float32 row has to agree, whatever its batch or number of instances.
    differences = [row['ab_difference'] for row in rows if row.get('ab_difference') is not None]
    figures = [max(differences), ours['total_ratio'], ours['fusion_ratio'], ours['memory_ratio']]
    notes = ['the worst of all float32 rows', '', '', '']
    notes[2] = f'timed by itself; as fused less plain network: {ours["fusion_by_difference_ratio"]:.3f}'
    return {
        name: at_most(CPU_LIMITS[name], figure, note) for name, figure, note in zip(names, figures, notes, strict=True)
    }


def half_precision(rows: Sequence[Row], results: Mapping[str, Any]) -> dict[str, Check]:
    """Point 2: bfloat16's time beside the float32 baseline, and its error."""
    time, mean, tail = list(CPU_LIMITS)[4:]
    row = find(rows, implementation=OURS, precision='bf16', batch=1, instances=INSTANCES)
    native = bool(results['machine']['bf16_instructions'])
    why = (
        'not measured: needs bf16, 8 instances and the baseline' if native else 'this CPU has no bfloat16 instructions'
    )
    ratio = row.get('total_ratio') if row is not None and native else None
    errors = results['errors']
    figures = errors.get(errors.get('counts', ''), {})
    note = errors.get('note', 'not measured: needs fp32 and bf16 with batch size 1')
    return {
        time: at_most(CPU_LIMITS[time], ratio, '' if ratio is not None else why),
        mean: at_most(CPU_LIMITS[mean], figures.get('mean'), note),
        tail: at_most(CPU_LIMITS[tail], figures.get('p99'), note),
    }


def growth(rows: Sequence[Row]) -> dict[str, Check]:
    """Point 3: what instances and batches cost."""
    batches = {}
    for row in rows:
        single = find(rows, implementation=OURS, precision='fp32', batch=1, instances=row['instances'])
        if row['implementation'] == OURS and row['precision'] == 'fp32' and row['batch'] == 8 and single:
            batches[row['instances']] = row['networks'] / single['networks']
    each = ', '.join(f'{count} instances: {value:.3f}' for count, value in sorted(batches.items()))
    return {
        f'float32: {title} with 8 instances / with none': _growth(rows, name)
        for name, title in (('total', 'time end to end'), ('networks', 'networks alone'))
    } | {
        'batch of 8 photos / 8 single ones': at_most(
            1.05,
            max(batches.values(), default=None),
            f'the worst of {each}' if batches else 'not measured: needs fp32 with batch sizes 1 and 8',
        ),
    }


def _growth(rows: Sequence[Row], name: str) -> Check:
    """One of the times with eight instances over that with none."""
    cost = {}
    for precision in ('fp32', 'bf16'):
        some, none = (
            find(rows, implementation=OURS, precision=precision, batch=1, instances=count) for count in (INSTANCES, 0)
        )
        cost[precision] = some[name] / none[name] if some and none else None
    note = f'in bfloat16: {cost["bf16"]:.2f}' if cost['bf16'] else ''
    return at_most(
        ARITHMETIC, cost['fp32'], note if cost['fp32'] else 'not measured: needs fp32 with 0 and 8 instances'
    )


def large_photos(results: Mapping[str, Any]) -> dict[str, Check]:
    """Point 4: GB that a large photo needs above libraries and weights."""
    checks = {}
    for count in LARGE_COUNTS:
        found = results['large'].get(str(count))
        note = 'not measured: needs --large'
        if results['large']:
            note = 'its process was killed, probably for its memory'
        if found:
            note = f'{found["megapixels"]:.1f} megapixels, {found["precision"]}, {found["seconds"]:.1f} s'
        checks[f'large photo, {count} instances: peak RSS, GB'] = at_most(
            1.5, found['peak_mb'] / 1000 if found else None, note
        )
    return checks


def on_gpu(rows: Sequence[Row], results: Mapping[str, Any]) -> dict[str, Check]:
    """Point 5: a GPU's figures, bfloat16 with eight instances."""
    gpu = results['gpu'] or {}
    why = '' if gpu else 'not measured: the device is no GPU'
    fast = [
        row
        for row in rows
        if gpu and (row['implementation'], row['precision'], row['instances']) == (OURS, 'bf16', INSTANCES)
    ]
    best = min(fast, key=lambda row: row['networks'], default=None)
    single = find(fast, batch=1)
    rate = 1000 / best['networks'] if best else None
    share = rate * gpu['macs_per_photo'] / gpu['macs_per_second'] if best else None
    note = f'batch size {best["batch"]}' if best else why or 'not measured: needs bf16 and 8 instances'
    return {
        'GPU: photos per second at the best batch size': reported(rate, note),
        'GPU: share of the matrix rate': at_least(0.45, share, note),
        'GPU: latency of one photo without detector, ms': at_most(12, single['networks'] if single else None, note),
        'GPU: bandwidth of the fused kernel / copy rate': at_least(
            0.6,
            gpu['blended_per_second'] / gpu['copied_per_second'] if gpu else None,
            why or f'the last row, 16 photos; copy rate {gpu["copied_per_second"] / 1e9:.0f} GB/s',
        ),
        **{
            f'GPU: training steps per second, stage {stage}': reported(gpu.get('training', {}).get(stage), why)
            for stage in ('full', 'instance', 'fusion')
        },
    }


def folder(results: Mapping[str, Any]) -> dict[str, Check]:
    """Point 6: a folder's rate, and whether its memory stays flat."""
    found = results['folder']
    note = 'not measured: needs --folder'
    growth = None
    if found:
        note = f'{found["photos"]} photos, {found["failed"]} failed, networks {", ".join(found["networks"])}'
        growth = found['peak_rest'] / found['peak_first']
    return {
        'folder: photos per second': reported(found['photos_per_second'] if found else None, note),
        'folder: RSS after the first photos and the last, MB': reported(
            [found['rss_first'], found['rss_last']] if found else None, f'first {found["first"]}' if found else note
        ),
        'folder: peak RSS after the first photos / until then': at_most(1.05, growth, note),
    }
