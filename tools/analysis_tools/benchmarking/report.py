"""A benchmark's results as a Markdown section and a plot."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .subject import OURS

Row = Mapping[str, Any]
MISSING = '–'
STAGES = ('decode', 'detect', 'prepare', 'full', 'instance', 'fusion', 'merge', 'encode', 'total')
PLOT = 'benchmark.png'


def markdown(results: Mapping[str, Any]) -> str:
    """The section with the machine, the one table, the checks and the plot."""
    return (
        '\n\n'.join(
            [
                '## Results',
                circumstances(results),
                grid(*table(results['rows'])),
                '### What it must show',
                grid(
                    ('check', 'target', 'measured', 'passed', 'note'),
                    [check_row(*c) for c in results['checks'].items()],
                ),
                f'![Time and memory against instances and size]({PLOT})',
            ]
        )
        + '\n'
    )


def circumstances(results: Mapping[str, Any]) -> str:
    """Machine, weights and photo in a paragraph."""
    machine, settings = results['machine'], results['settings']
    instructions = ', '.join(machine['bf16_instructions']) or 'none'
    height, width = settings['photo_size']
    drawn = settings['boxes_drawn']
    boxes = f'boxes: {settings["boxes"]}' + (f' and {drawn} drawn at random' if drawn else '')
    return (
        f'{machine["cpu"]}, {machine["cores"]} logical cores, threads of torch: {machine["threads"]}, '
        f'{machine["memory_gb"]} GB, bfloat16 instructions: {instructions}; GPU: {machine["gpu"] or "none"}; '
        f'device {settings["device"]}; Python {machine["python"]}, torch {machine["torch"]}. '
        f'Weights: {settings["weights"]}. Photo: {settings["photo"]}, {width} x {height}; {boxes}. '
        f'Detector timed: {settings["detector"]}. Medians of {settings["repeats"]} interleaved rounds, ms a photo; '
        f'ratios are to the float32 loop-and-pad baseline with as many instances at the same size.'
    )


def table(rows: Sequence[Row]) -> tuple[Sequence[str], list[list[str]]]:
    """Header and lines of the one table."""
    header = ['', 'precision', 'size', 'instances', 'batch', *STAGES, '÷ baseline', 'fusion ÷ baseline']
    header += ['peak MB', 'MB ÷ baseline', 'ab difference', 'ab error, Lab (mean / 99 %)']
    lines = []
    for row in rows:
        error = row.get('ab_error')
        lines.append(
            [
                row['implementation'],
                row['precision'],
                *(str(row[name]) for name in ('size', 'instances', 'batch')),
                *(number(row[name], '.1f') for name in STAGES),
                *(number(row.get(f'{name}_ratio'), '.2f') for name in ('total', 'fusion')),
                number(row['memory'], '.0f'),
                number(row.get('memory_ratio'), '.2f'),
                number(row.get('ab_difference'), '.1e'),
                f'{error["mean"]:.3f} / {error["p99"]:.3f}' if error else MISSING,
            ]
        )
    return header, lines


def check_row(name: str, check: Mapping[str, Any]) -> list[str]:
    """A line of the table of checks."""
    passed = {True: 'yes', False: '**no**', None: MISSING}[check['passed']]
    return [name, check['target'] or MISSING, measured_text(check['measured']), passed, check['note'] or MISSING]


def measured_text(value: Any) -> str:
    """A figure, or several, in three digits."""
    if isinstance(value, list):
        return ', '.join(measured_text(one) for one in value)
    return 'not measured' if value is None else f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'


def number(value: float | None, form: str) -> str:
    """A figure, or a dash."""
    return MISSING if value is None else format(value, form)


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return '\n'.join(f'| {" | ".join(line)} |' for line in (header, ['---'] * len(header), *rows))


def plot(results: Mapping[str, Any]) -> bytes:
    """Time and memory of single photos against the number of instances and against the networks' size, as a PNG."""
    from matplotlib.figure import Figure

    settings, single = results['settings'], [row for row in results['rows'] if row['batch'] == 1]
    most = max(settings['instances'])
    by_instances = [row for row in single if row['size'] == settings['size']]
    by_size = [row for row in single if row['instances'] == most]
    figure = Figure(figsize=(11, 8), layout='constrained')
    axes = figure.subplots(2, 2)
    for column, (rows, along, title) in enumerate(
        [
            (by_instances, 'instances', f'instances, at {settings["size"]} x {settings["size"]}'),
            (by_size, 'size', f"side of the networks' input, with {most} instances"),
        ]
    ):
        draw(axes[0][column], rows, along, lambda row: row['networks'] / 1000)
        draw(axes[1][column], rows, along, lambda row: row['memory'])
        axes[1][column].set_xlabel(title)
    axes[0][0].set_ylabel('networks, s a photo')
    axes[1][0].set_ylabel('peak memory above libraries and weights, MB')
    axes[0][0].legend()
    out = io.BytesIO()
    figure.savefig(out, format='png', dpi=120)
    return out.getvalue()


def draw(axis: Any, rows: Sequence[Row], along: str, value: Callable[[Row], float | None]) -> None:
    """One line for each implementation and precision."""
    kinds = dict.fromkeys((row['implementation'], row['precision']) for row in rows)
    for implementation, precision in kinds:
        own = [row for row in rows if (row['implementation'], row['precision']) == (implementation, precision)]
        points = sorted((row[along], measured) for row in own if (measured := value(row)) is not None)
        marker = 'o' if implementation == OURS else 's'
        axis.plot(*zip(*points, strict=True), marker=marker, label=f'{implementation}, {precision}')
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
