"""Collects the JSON results of tools/test.py into the paper's Tables 1 to 3, beside the paper's own numbers.

    python tools/analysis_tools/report.py [NAME=]RESULTS.json ... --out-dir DIR [--baseline NAME]

Writes DIR/report.md and DIR/report.png. A result is called by its config's name unless NAME= says otherwise; the names
of configs/insta/ablations (fusion_none, boxes_gt, ...) put it into Table 3. With --baseline, every result is compared
with that one photo by photo, and where a result was fused with detected boxes, DIR/report_instances.png shows the
differences against the number of instances.
"""

import argparse
import io
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from insta_colorization.fileio.files import write_whole
from insta_colorization.utils.cli import Command, Parser

COLUMNS = ('LPIPS', 'PSNR', 'SSIM')
MISSING = '–'

# Su, Chu, Huang, CVPR 2020: LPIPS, PSNR, SSIM; * is fine-tuned on COCO-Stuff.
Figures = tuple[float, float, float]
TABLE1_SETS = ('ImageNet ctest10k', 'COCO-Stuff val', 'Places205 val')
TABLE1: dict[str, tuple[Figures, Figures, Figures]] = {
    'Iizuka 2016': ((0.200, 23.636, 0.917), (0.185, 23.863, 0.922), (0.146, 25.581, 0.950)),
    'Larsson 2016': ((0.188, 25.107, 0.927), (0.183, 25.061, 0.930), (0.161, 25.722, 0.951)),
    'Zhang 2016': ((0.238, 21.791, 0.892), (0.234, 21.838, 0.895), (0.205, 22.581, 0.921)),
    'Zhang 2017': ((0.145, 26.166, 0.932), (0.138, 26.823, 0.937), (0.149, 25.823, 0.948)),
    'DeOldify': ((0.187, 23.537, 0.914), (0.180, 23.692, 0.920), (0.161, 23.983, 0.939)),
    'Lei 2019': ((0.202, 24.522, 0.917), (0.191, 24.588, 0.922), (0.175, 25.072, 0.942)),
    'Su 2020': ((0.134, 26.980, 0.933), (0.125, 27.777, 0.940), (0.130, 27.167, 0.954)),
    'Zhang 2017 *': ((0.140, 26.482, 0.932), (0.128, 27.251, 0.938), (0.153, 25.720, 0.947)),
    'Su 2020 *': ((0.125, 27.562, 0.937), (0.110, 28.592, 0.944), (0.120, 27.800, 0.957)),
}
TABLE2: dict[str, Figures] = {
    'Iizuka 2016': (0.192, 23.444, 0.900),
    'Larsson 2016': (0.179, 25.249, 0.914),
    'Zhang 2016': (0.219, 22.213, 0.877),
    'Zhang 2017': (0.154, 26.447, 0.918),
    'DeOldify': (0.174, 23.923, 0.904),
    'Lei 2019': (0.177, 24.914, 0.908),
    'Su 2020': (0.115, 28.339, 0.929),
    'Zhang 2017 *': (0.149, 26.675, 0.919),
    'Su 2020 *': (0.095, 29.522, 0.938),
}
WHOLE_SYSTEM: Figures = (0.110, 28.592, 0.944)
# {title: {row: (name of the config, the paper's figures where they are known)}}
TABLE3: dict[str, dict[str, tuple[str, Figures | None]]] = {
    '(a) fused layers': {
        'none': ('fusion_none', (0.128, 27.251, 0.938)),
        'encoder': ('fusion_encoder', (0.120, 28.146, 0.942)),
        'decoder': ('fusion_decoder', (0.117, 27.959, 0.941)),
        'both': ('fusion_both', WHOLE_SYSTEM),
    },
    '(b) boxes': {
        'top 8 by score': ('fusion_both', WHOLE_SYSTEM),
        'random 8': ('boxes_random8', (0.113, 28.386, 0.943)),
        'by threshold': ('boxes_threshold', (0.117, 28.139, 0.942)),
        'ground truth': ('boxes_gt', (0.111, 28.470, 0.944)),
    },
    '(c) weighted sum': {
        'box as mask': ('weights_box', None),
        'true mask': ('weights_mask', None),
        'learned': ('fusion_both', WHOLE_SYSTEM),
    },
}
ABLATIONS = frozenset(config for rows in TABLE3.values() for config, _ in rows.values())
# The whole system, a row of all three parts of Table 3, and what its recipes' names begin with.
WHOLE_CONFIG = 'fusion_both'
WHOLE_PREFIX = 'insta_fusion'
# {group: the numbers of instances in it}; recipes choose at most eight, but --cfg-options may allow more.
GROUPS = {
    '0': range(1),
    '1': range(1, 2),
    '2': range(2, 3),
    '3-4': range(3, 5),
    '5-8': range(5, 9),
    '9 or more': range(9, sys.maxsize),
}

RESAMPLES = 10_000
CONFIDENCE = 0.95


class Result(NamedTuple):
    """One JSON file of tools/test.py under the name that tables call it by."""

    name: str
    content: Mapping[str, Any]

    def figures(self, level: str) -> dict[str, float]:
        """{metric: value} of `image` or `instance`."""
        return self.content['metrics'].get(level, {})

    @property
    def num_photos(self) -> int:
        """How many photos were measured."""
        return self.content['protocol']['num_photos']


class Difference(NamedTuple):
    """A paired comparison: the mean difference in PSNR over photos and its interval, in dB."""

    mean: float
    low: float
    high: float
    num_photos: int


class Group(NamedTuple):
    """Photos in which about equally many instances were coloured on their own.

    Attributes:
        label: how many instances.
        num_photos: how many photos; all figures are of the same ones.
        psnr: {result: mean PSNR of the whole photos, in dB}.
        differences: {result: its difference to the baseline}; empty without a baseline.
    """

    label: str
    num_photos: int
    psnr: dict[str, float]
    differences: dict[str, Difference]


class ByInstances(NamedTuple):
    """Photos grouped by the number of instances that the networks of the result `counted` were given."""

    counted: Result
    baseline: Result | None
    groups: list[Group]


def load_result(text: str) -> Result:
    """Reads `[NAME=]RESULTS.json`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a result of tools/test.py.
    """
    name, separator, path = text.partition('=')
    if not separator or Path(text).is_file():
        name, path = '', text
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f'the results {file} do not exist')
    try:
        content = json.loads(file.read_bytes())
        name = name or content['protocol']['config']
        complete = all(isinstance(content[part], dict) for part in ('protocol', 'metrics', 'not_computed'))
        complete = complete and isinstance(content['photos'], list) and 'num_photos' in content['protocol']
    except (ValueError, KeyError, TypeError):
        complete = False
    if not complete or not name:
        raise ValueError(f'{file} is not a result of tools/test.py: it lacks the protocol, the metrics or the photos')
    return Result(name, content)


def find(results: Sequence[Result], config: str) -> Result | None:
    """The result of a row of Table 3; without a `fusion_both` that of a recipe of stage 3 stands for it."""
    named = next((result for result in results if result.name == config), None)
    if named is not None or config != WHOLE_CONFIG:
        return named
    return next((result for result in results if result.name.startswith(WHOLE_PREFIX)), None)


def compare(
    result: Result, baseline: Result, level: str = 'image', photos: Collection[str] | None = None
) -> Difference:
    """Bootstraps the difference in PSNR over the photos that both have; equal seeds give equal intervals.

    At the instance level the mean of a photo's instances is what is paired. `photos` restricts it to some of them.

    Raises:
        ValueError: they have no photo in common.
    """
    values, others = (psnr_by_photo(entry, level) for entry in (result, baseline))
    common = sorted(values.keys() & others.keys() & (values.keys() if photos is None else set(photos)))
    if not common:
        raise ValueError(
            f'{result.name} and {baseline.name} have none of their {len(values)} and {len(others)} photos in common'
        )
    differences = np.array([values[photo] - others[photo] for photo in common])
    generator = np.random.default_rng(0)
    means = [generator.choice(differences, len(differences)).mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(float(differences.mean()), float(low), float(high), len(common))


def psnr_by_photo(result: Result, level: str) -> dict[str, float]:
    """{photo: PSNR in dB}; photos without an instance have none at the instance level."""
    if level == 'image':
        return {
            entry['photo']: entry['image']['PSNR'] for entry in result.content['photos'] if 'PSNR' in entry['image']
        }
    return {
        entry['photo']: float(np.mean([instance['PSNR'] for instance in entry['instance']]))
        for entry in result.content['photos']
        if any('PSNR' in instance for instance in entry['instance'])
    }


def by_instances(results: Sequence[Result], baseline: Result | None) -> ByInstances | None:
    """Groups the photos by the counts of the first system fused with detected boxes; None where there is no such one.

    Results of other photos are left out, so that all figures of a group are of the same photos.
    """
    counted = next((result for result in systems(results) if detected(result) and used_by_photo(result)), None)
    if counted is None:
        return None
    used = used_by_photo(counted)
    shown = [*systems(results), *(result for result in results if result is baseline and not is_system(result))]
    psnr = {result.name: psnr_by_photo(result, 'image') for result in shown}
    shown = [result for result in shown if psnr[result.name].keys() & used.keys()]
    common = set(used).intersection(*(psnr[result.name] for result in shown))
    baseline = next((result for result in shown if result is baseline), None)
    groups = []
    for label, counts in GROUPS.items():
        photos = sorted(photo for photo in common if used[photo] in counts)
        if photos:
            means = {r.name: float(np.mean([psnr[r.name][photo] for photo in photos])) for r in shown}
            groups.append(Group(label, len(photos), means, differences_in(photos, shown, baseline)))
    return ByInstances(counted, baseline, groups)


def differences_in(
    photos: Collection[str], results: Sequence[Result], baseline: Result | None
) -> dict[str, Difference]:
    """{result: its difference to the baseline in these photos}, of all results but the baseline."""
    if baseline is None:
        return {}
    return {r.name: compare(r, baseline, photos=photos) for r in results if r is not baseline}


def detected(result: Result) -> bool:
    """Whether the result was fused with boxes other than the true ones."""
    used = result.content['protocol']
    boxes = used.get('boxes') or {}
    return 'fusion_net' in (used.get('networks') or ()) and boxes.get('networks') not in (None, boxes.get('truth'))


def used_by_photo(result: Result) -> dict[str, int]:
    """{photo: how many instances the networks were given}, of the photos whose PSNR was measured."""
    return {
        entry['photo']: entry['used']
        for entry in result.content['photos']
        if 'used' in entry and 'PSNR' in entry['image']
    }


def markdown(results: Sequence[Result], baseline: Result | None, grouped: ByInstances | None) -> str:
    """The whole report."""
    parts = [
        '# Results beside the paper',
        "Figures marked as the paper's are quoted from Su, Chu, Huang: *Instance-aware Image Colorization*, CVPR 2020 "
        '(\\* fine-tuned on COCO-Stuff). The others were measured by `tools/test.py`; only figures of the same photos '
        'compare. LPIPS: less is better, PSNR in dB and SSIM: more is better.',
        *measured(results),
        *table1(results),
        *table2(results),
        *table3(results),
        *instances_table(grouped),
        *more_metrics(results),
        *([] if baseline is None else differences(results, baseline)),
        *protocols(results),
    ]
    return '\n\n'.join(parts) + '\n'


def measured(results: Sequence[Result]) -> list[str]:
    """PSNR beside colourfulness, of everything measured."""
    columns = ('PSNR', 'median PSNR', 'CF', 'CF / truth')
    header = ['method', *columns, *(f'instances: {column}' for column in columns), 'photos']
    rows = [[r.name, *psnr_and_color(r, 'image'), *psnr_and_color(r, 'instance'), str(r.num_photos)] for r in results]
    note = (
        'Neither PSNR nor colourfulness (CF) says much alone: grey has a good PSNR on pale photos, and wrong colours '
        "have a CF too. CF / truth is the mean CF as a share of the true pictures'."
    )
    return ['## Measured', note, grid(header, rows)]


def psnr_and_color(result: Result, level: str) -> list[str]:
    """Mean and median PSNR, CF, and CF as a share of the truth's."""
    figures = result.figures(level)
    color, truth = figures.get('CF'), figures.get('CF_truth')
    share = color / truth if color is not None and truth else None
    return numbers([figures.get('PSNR'), figures.get('PSNR_median'), color, share])


def table1(results: Sequence[Result]) -> list[str]:
    """Table 1: whole photos."""
    header = [
        'method',
        'source',
        *(f'{name}: {" / ".join(COLUMNS)}' for name in TABLE1_SETS),
        'measured here',
        'photos',
    ]
    rows = [[name, 'paper', *map(cell, figures), MISSING, MISSING] for name, figures in TABLE1.items()]
    rows += [
        [result.name, 'measured', *[MISSING] * len(TABLE1_SETS), cell_of(result, 'image'), str(result.num_photos)]
        for result in systems(results)
    ]
    return ['## Table 1: whole photos', grid(header, rows)]


def table2(results: Sequence[Result]) -> list[str]:
    """Table 2: instances."""
    header = ['method', 'source', *COLUMNS, 'instances']
    rows = [[name, 'paper', *numbers(figures), 'COCO-Stuff val'] for name, figures in TABLE2.items()]
    for result in systems(results):
        figures = result.figures('instance')
        counted = str(result.content['protocol'].get('num_instances', MISSING))
        rows.append([result.name, 'measured', *numbers([figures.get(column) for column in COLUMNS]), counted])
    return ['## Table 2: instances', grid(header, rows)]


def table3(results: Sequence[Result]) -> list[str]:
    """Table 3: what each part of the method contributes, on whole photos and on instances."""
    header = ['', 'config', f'paper: {" / ".join(COLUMNS)}', 'measured: photo', 'measured: instances', 'photos']
    parts = ['## Table 3: ablations']
    for title, lines in TABLE3.items():
        rows = []
        for label, (config, figures) in lines.items():
            result = find(results, config)
            measured = [MISSING] * 3
            if result is not None:
                measured = [cell_of(result, 'image'), cell_of(result, 'instance'), str(result.num_photos)]
            rows.append([label, result.name if result else config, cell(figures) if figures else MISSING, *measured])
        parts += [f'### {title}', grid(header, rows)]
    return [*parts, 'The paper finds both masks of (c) clearly worse than learned weights.']


def instances_table(grouped: ByInstances | None) -> list[str]:
    """PSNR of whole photos by the number of instances in them, and how it differs from the baseline's."""
    title = '## PSNR against the number of instances'
    if grouped is None or not grouped.groups:
        return [title, 'No result was fused with detected boxes and says how many of them each photo had.']
    names, compared = (list(part) for part in (grouped.groups[0].psnr, grouped.groups[0].differences))
    boxes = grouped.counted.content['protocol']['boxes']['networks']
    notes = [
        'Mean PSNR of whole photos, in dB. Photos are grouped, for all columns alike, by the number of instances that '
        f'the networks of {grouped.counted.name} were given (boxes: {boxes}). Results of other photos have no column.'
    ]
    header = ['instances', 'photos', *names]
    if grouped.baseline is not None and compared:
        header += [f'{name} − {grouped.baseline.name}' for name in compared]
        notes.append(
            f'Differences are paired by photo; in brackets their {CONFIDENCE:.0%} interval by {RESAMPLES} bootstrap '
            'resamples of the group, seed 0, where it has more than one photo. report_instances.png shows them.'
        )
    rows = []
    for group in grouped.groups:
        differences = [difference_cell(group.differences[name]) for name in compared]
        rows.append([group.label, str(group.num_photos), *numbers([group.psnr[n] for n in names]), *differences])
    return [title, ' '.join(notes), grid(header, rows)]


def difference_cell(difference: Difference) -> str:
    """A difference and its interval in one cell; a single photo has no interval."""
    mean, low, high, count = difference
    return f'{mean:+.3f} ({low:+.3f} to {high:+.3f})' if count > 1 else f'{mean:+.3f}'


def more_metrics(results: Sequence[Result]) -> list[str]:
    """What else was measured, at both levels."""
    levels = ('image', 'instance')
    names = dict.fromkeys(name for r in results for level in levels for name in r.figures(level) if name not in COLUMNS)
    rows = [
        [result.name, level, *(number(result.figures(level).get(name)) for name in names)]
        for result in results
        for level in levels
        if result.figures(level)
    ]
    if not names:
        return []
    return ['## Other metrics', grid(['method', 'level', *names], rows)]


def differences(results: Sequence[Result], baseline: Result) -> list[str]:
    """Every other result against the baseline, paired by photo."""
    rows = []
    for result in results:
        for level in ('image', 'instance') if result is not baseline else ():
            if psnr_by_photo(result, level) and psnr_by_photo(baseline, level):
                mean, low, high, count = compare(result, baseline, level)
                rows.append([result.name, level, f'{mean:+.3f}', f'{low:+.3f} to {high:+.3f}', str(count)])
    header = ['method', 'level', 'mean difference in PSNR, dB', f'{CONFIDENCE:.0%} interval', 'photos']
    note = f'Paired by photo (instances by their mean in a photo), {RESAMPLES} bootstrap resamples, seed 0.'
    return [f'## Against {baseline.name}', grid(header, rows), note]


def protocols(results: Sequence[Result]) -> list[str]:
    """How each result was measured, as far as it bears on comparing them, and what could not be computed."""
    header = ['method', 'checkpoint', 'networks', 'decoder', 'photos', 'skipped', 'size', 'boxes of the networks']
    rows: list[list[str]] = []
    causes: dict[tuple[str, str], list[str]] = {}
    for result in results:
        used = result.content['protocol']
        checkpoint = (used.get('checkpoint') or {}).get('name', MISSING)
        networks = ', '.join(used.get('networks') or []) or MISSING
        counts = [str(result.num_photos), str(used.get('num_skipped', MISSING))]
        size = ' x '.join(map(str, used.get('size', [])))
        boxes = (used.get('boxes') or {}).get('networks') or MISSING
        rows.append([result.name, checkpoint, networks, used.get('decoder') or MISSING, *counts, size, str(boxes)])
        for cause in result.content['not_computed'].items():
            causes.setdefault(cause, []).append(result.name)
    notes = [f'- {metric} of {", ".join(names)} was not computed: {why}' for (metric, why), names in causes.items()]
    return ['## Protocol', grid(header, rows), *(['\n'.join(notes)] if notes else [])]


def systems(results: Sequence[Result]) -> list[Result]:
    """The results that belong into Tables 1 and 2: all but the ablations."""
    return [result for result in results if is_system(result)]


def is_system(result: Result) -> bool:
    """Whether the result is no ablation."""
    return result.name not in ABLATIONS or result.name == WHOLE_CONFIG


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(escaped(text) for text in line)} |' for line in lines)


def escaped(text: str) -> str:
    """A text whose stars and bars are no Markdown."""
    return text.replace('*', '\\*').replace('|', '\\|')


def cell(figures: Sequence[float | None]) -> str:
    """LPIPS / PSNR / SSIM in one cell."""
    return ' / '.join(numbers(figures))


def cell_of(result: Result, level: str) -> str:
    """A result's LPIPS / PSNR / SSIM in one cell."""
    return cell([result.figures(level).get(column) for column in COLUMNS])


def numbers(figures: Sequence[float | None]) -> list[str]:
    """Numbers as the paper rounds them."""
    return [number(figure) for figure in figures]


def number(figure: float | None) -> str:
    """A number as the paper rounds it, or a dash."""
    return MISSING if figure is None else f'{figure:.3f}'


def plot(results: Sequence[Result]) -> bytes:
    """PSNR of everything measured, and of the three ablations beside the paper's, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 9), layout='constrained')
    axes = figure.subplots(2, 2).flatten()
    overall = {r.name: [r.figures('image').get('PSNR'), r.figures('instance').get('PSNR')] for r in results}
    draw_bars(axes[0], 'measured', overall, ('whole photos', 'instances'))
    for axis, (title, lines) in zip(axes[1:], TABLE3.items(), strict=True):
        bars = {}
        for label, (config, figures) in lines.items():
            found = find(results, config)
            bars[label] = [figures[1] if figures else None, found.figures('image').get('PSNR') if found else None]
        draw_bars(axis, title, bars, ("the paper's, COCO-Stuff val", 'measured'))
    return as_png(figure)


def draw_bars(axis: Any, title: str, bars: Mapping[str, Sequence[float | None]], series: Sequence[str]) -> None:
    """Grouped bars of PSNR; what is None leaves a gap."""
    width = 0.8 / len(series)
    for index, label in enumerate(series):
        heights = [values[index] for values in bars.values()]
        at = [place + (index - (len(series) - 1) / 2) * width for place in range(len(bars))]
        drawn = axis.bar(at, [height or 0 for height in heights], width, label=label)
        axis.bar_label(drawn, [f'{height:.2f}' if height else '' for height in heights], fontsize=8)
    known = [height for values in bars.values() for height in values if height]
    # Differences of a decibel are what matters, and bars from 0 would hide them; the legend needs the room above.
    low, high = max(0, min(known, default=1) - 3), max(known, default=1)
    axis.set_ylim(low, high + 0.3 * (high - low))
    axis.set_xticks(range(len(bars)), list(bars), rotation=20, ha='right')
    axis.set_ylabel('PSNR, dB (not from 0)')
    axis.set_title(title)
    axis.legend(fontsize=8, loc='upper center', ncols=len(series))


def plot_instances(groups: Sequence[Group], baseline: str) -> bytes:
    """The differences to the baseline against the number of instances, with their intervals, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout='constrained')
    axis = figure.subplots()
    names = list(groups[0].differences)
    for index, name in enumerate(names):
        found = [group.differences[name] for group in groups]
        # Side by side, so that intervals do not hide each other.
        at = np.arange(len(groups)) + (index - (len(names) - 1) / 2) * 0.6 / len(names)
        line = axis.plot(at, [difference.mean for difference in found], 'o-', linewidth=0.8, label=name)[0]
        axis.vlines(at, [d.low for d in found], [d.high for d in found], color=line.get_color())
    axis.axhline(0, color='grey', linewidth=0.8)
    axis.set_xticks(range(len(groups)), [f'{group.label}\n({group.num_photos} photos)' for group in groups])
    axis.set_xlabel('instances that the networks were given')
    axis.set_ylabel(f'PSNR of the photo − that of {baseline}, dB')
    axis.set_title(f'Mean difference and its {CONFIDENCE:.0%} interval')
    axis.legend(fontsize=8)
    return as_png(figure)


def as_png(figure: Any) -> bytes:
    """A Matplotlib figure as a file."""
    out = io.BytesIO()
    figure.savefig(out, format='png', dpi=120)
    return out.getvalue()


def arguments(parser: Parser) -> None:
    """Adds the arguments."""
    parser.add_argument('results', nargs='+', metavar='[NAME=]RESULTS.json', help='what tools/test.py wrote')
    parser.add_argument('--out-dir', type=Path, required=True, help='folder for report.md and the plots')
    parser.add_argument('--baseline', metavar='NAME', help='result that the others are compared with photo by photo')


def report_files(results: Sequence[Result], baseline: Result | None) -> dict[str, bytes]:
    """{name: content} of all files of the report."""
    grouped = by_instances(results, baseline)
    files = {'report.md': markdown(results, baseline, grouped).encode(), 'report.png': plot(results)}
    if grouped is not None and grouped.baseline is not None and any(group.differences for group in grouped.groups):
        files['report_instances.png'] = plot_instances(grouped.groups, grouped.baseline.name)
    return files


def run(args: argparse.Namespace) -> None:
    """Reads, writes the files and names them."""
    results = [load_result(text) for text in args.results]
    names = [result.name for result in results]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f'{names.count(twice)} results are named {twice}; NAME=RESULTS.json gives each its own name')
    baseline = None
    if args.baseline is not None:
        baseline = next((result for result in results if result.name == args.baseline), None)
        if baseline is None:
            raise ValueError(f'there is no result named {args.baseline}; there are {", ".join(names)}')
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for name, data in report_files(results, baseline).items():
        write_whole(data, args.out_dir / name)
        print(f'wrote {args.out_dir / name}')


main = Command(__doc__, arguments, run, 'stopped; nothing was written')

if __name__ == '__main__':
    sys.exit(main())
