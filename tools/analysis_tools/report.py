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
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from insta_colorization.fileio.files import write_whole
from insta_colorization.utils.bootstrap import CONFIDENCE, RESAMPLES, bootstrap
from insta_colorization.utils.cli import Command, Parser

COLUMNS = ('LPIPS', 'PSNR', 'SSIM')
LEVELS = ('image', 'instance')
MISSING = '–'

# Su, Chu, Huang, CVPR 2020: LPIPS, PSNR, SSIM; * is fine-tuned on COCO-Stuff. Table 1's three sets, then Table 2.
Figures = tuple[float, float, float]
TABLE1_SETS = ('ImageNet ctest10k', 'COCO-Stuff val', 'Places205 val')
PAPER: dict[str, tuple[Figures, Figures, Figures, Figures]] = {
    'Iizuka 2016': ((0.200, 23.636, 0.917), (0.185, 23.863, 0.922), (0.146, 25.581, 0.950), (0.192, 23.444, 0.900)),
    'Larsson 2016': ((0.188, 25.107, 0.927), (0.183, 25.061, 0.930), (0.161, 25.722, 0.951), (0.179, 25.249, 0.914)),
    'Zhang 2016': ((0.238, 21.791, 0.892), (0.234, 21.838, 0.895), (0.205, 22.581, 0.921), (0.219, 22.213, 0.877)),
    'Zhang 2017': ((0.145, 26.166, 0.932), (0.138, 26.823, 0.937), (0.149, 25.823, 0.948), (0.154, 26.447, 0.918)),
    'DeOldify': ((0.187, 23.537, 0.914), (0.180, 23.692, 0.920), (0.161, 23.983, 0.939), (0.174, 23.923, 0.904)),
    'Lei 2019': ((0.202, 24.522, 0.917), (0.191, 24.588, 0.922), (0.175, 25.072, 0.942), (0.177, 24.914, 0.908)),
    'Su 2020': ((0.134, 26.980, 0.933), (0.125, 27.777, 0.940), (0.130, 27.167, 0.954), (0.115, 28.339, 0.929)),
    'Zhang 2017 *': ((0.140, 26.482, 0.932), (0.128, 27.251, 0.938), (0.153, 25.720, 0.947), (0.149, 26.675, 0.919)),
    'Su 2020 *': ((0.125, 27.562, 0.937), (0.110, 28.592, 0.944), (0.120, 27.800, 0.957), (0.095, 29.522, 0.938)),
}
# The whole system, a row of all three parts of Table 3, and what its recipes' names begin with.
WHOLE_CONFIG, WHOLE_PREFIX = 'fusion_both', 'insta_fusion'
WHOLE_FIGURES: Figures = (0.110, 28.592, 0.944)
# {title: {row: (name of the config, the paper's figures where they are known)}}
TABLE3: dict[str, dict[str, tuple[str, Figures | None]]] = {
    '(a) fused layers': {
        'none': ('fusion_none', (0.128, 27.251, 0.938)),
        'encoder': ('fusion_encoder', (0.120, 28.146, 0.942)),
        'decoder': ('fusion_decoder', (0.117, 27.959, 0.941)),
        'both': (WHOLE_CONFIG, WHOLE_FIGURES),
    },
    '(b) boxes': {
        'top 8 by score': (WHOLE_CONFIG, WHOLE_FIGURES),
        'random 8': ('boxes_random8', (0.113, 28.386, 0.943)),
        'by threshold': ('boxes_threshold', (0.117, 28.139, 0.942)),
        'ground truth': ('boxes_gt', (0.111, 28.470, 0.944)),
    },
    '(c) weighted sum': {
        'box as mask': ('weights_box', None),
        'true mask': ('weights_mask', None),
        'learned': (WHOLE_CONFIG, WHOLE_FIGURES),
    },
}
ABLATIONS = frozenset(config for rows in TABLE3.values() for config, _ in rows.values())
# {group: the least number of instances in it}; recipes choose at most eight, but --cfg-options may allow more.
GROUPS = {'0': 0, '1': 1, '2': 2, '3-4': 3, '5-8': 5, '9 or more': 9}


class Result(NamedTuple):
    """One JSON file of tools/test.py under the name that tables call it by."""

    name: str
    content: Mapping[str, Any]

    @property
    def protocol(self) -> Mapping[str, Any]:
        """How it was measured."""
        return self.content['protocol']

    @property
    def is_system(self) -> bool:
        """Whether it belongs into Tables 1 and 2: it is no ablation."""
        return self.name not in ABLATIONS or self.name == WHOLE_CONFIG

    @property
    def is_detected(self) -> bool:
        """Whether it was fused with boxes other than the true ones."""
        boxes = self.protocol.get('boxes') or {}
        fused = 'fusion_net' in (self.protocol.get('networks') or ())
        return fused and boxes.get('networks') not in (None, boxes.get('truth'))

    def figures(self, level: str) -> dict[str, float]:
        """{metric: value} of `image` or `instance`."""
        return {name: float(value) for name, value in self.content['metrics'].get(level, {}).items()}

    def cell(self, level: str) -> str:
        """LPIPS / PSNR / SSIM in one cell."""
        return cell([self.figures(level).get(column) for column in COLUMNS])

    def psnr(self, level: str = 'image') -> dict[str, float]:
        """{photo: PSNR in dB}, of its instances the mean; photos without an instance have none at that level."""
        values = {
            entry['photo']: [entry['image']] if level == 'image' else entry['instance']
            for entry in self.content['photos']
        }
        found = {photo: [item['PSNR'] for item in items if 'PSNR' in item] for photo, items in values.items()}
        return {photo: float(np.mean(psnr)) for photo, psnr in found.items() if psnr}

    def used(self) -> dict[str, int]:
        """{photo: how many instances the networks were given}, of the photos whose PSNR was measured."""
        photos = self.content['photos']
        return {entry['photo']: entry['used'] for entry in photos if 'used' in entry and 'PSNR' in entry['image']}


class Difference(NamedTuple):
    """A paired comparison: the mean difference in PSNR over photos and its interval, in dB."""

    mean: float
    low: float
    high: float
    num_photos: int

    @property
    def interval(self) -> str:
        """From where to where."""
        return f'{self.low:+.3f} to {self.high:+.3f}'

    def __str__(self) -> str:
        return f'{self.mean:+.3f}' + (f' ({self.interval})' if self.num_photos > 1 else '')


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
    named = [result for result in results if result.name == config]
    if config == WHOLE_CONFIG:
        named += [result for result in results if result.name.startswith(WHOLE_PREFIX)]
    return named[0] if named else None


def compare(
    result: Result, baseline: Result, level: str = 'image', photos: Collection[str] | None = None
) -> Difference:
    """Bootstraps the difference in PSNR over the photos that both have; equal seeds give equal intervals.

    At the instance level the mean of a photo's instances is what is paired. `photos` restricts it to some of them.

    Raises:
        ValueError: they have no photo in common.
    """
    values, others = result.psnr(level), baseline.psnr(level)
    common = sorted(values.keys() & others.keys() & (values.keys() if photos is None else set(photos)))
    if not common:
        raise ValueError(
            f'{result.name} and {baseline.name} have none of their {len(values)} and {len(others)} photos in common'
        )
    return Difference(*bootstrap([values[photo] - others[photo] for photo in common]), len(common))


def by_instances(results: Sequence[Result], baseline: Result | None) -> tuple[Result | None, list[Group]]:
    """Groups the photos by the counts of the first system that was fused with detected boxes.

    Results of other photos are left out, so that all figures of a group are of the same photos.

    Returns:
        That system, None where there is no such one, and the groups.
    """
    counted = next((r for r in results if r.is_system and r.is_detected and r.used()), None)
    if counted is None:
        return None, []
    used = counted.used()
    shown = [r for r in results if r.is_system] + [r for r in results if r is baseline and not r.is_system]
    psnr = {result.name: result.psnr() for result in shown}
    shown = [result for result in shown if psnr[result.name].keys() & used.keys()]
    common = set(used).intersection(*(psnr[result.name] for result in shown))
    compared = [r for r in shown if r is not baseline] if any(r is baseline for r in shown) else []
    group_of = {photo: bisect_right(list(GROUPS.values()), used[photo]) - 1 for photo in common}
    groups = []
    for number_of_group, label in enumerate(GROUPS):
        photos = sorted(photo for photo, group in group_of.items() if group == number_of_group)
        if photos:
            means = {r.name: float(np.mean([psnr[r.name][photo] for photo in photos])) for r in shown}
            differences = {r.name: compare(r, baseline, photos=photos) for r in compared if baseline is not None}
            groups.append(Group(label, len(photos), means, differences))
    return counted, groups


def report(results: Sequence[Result], baseline: Result | None) -> dict[str, bytes]:
    """{name: content} of all files of the report."""
    counted, groups = by_instances(results, baseline)
    parts = [
        '# Results beside the paper',
        "Figures marked as the paper's are quoted from Su, Chu, Huang: *Instance-aware Image Colorization*, CVPR 2020 "
        '(\\* fine-tuned on COCO-Stuff). The others were measured by `tools/test.py`; only figures of the same photos '
        'compare. LPIPS: less is better, PSNR in dB and SSIM: more is better.',
        *measured(results),
        *tables_1_and_2([result for result in results if result.is_system]),
        *table_3(results),
        '## PSNR against the number of instances',
        *instances_table(counted, groups, baseline),
        *more_metrics(results),
        *([] if baseline is None else differences(results, baseline)),
        *protocols(results),
    ]
    files = {'report.md': ('\n\n'.join(parts) + '\n').encode(), 'report.png': plot(results)}
    if baseline is not None and any(group.differences for group in groups):
        files['report_instances.png'] = plot_instances(groups, baseline.name)
    return files


def measured(results: Sequence[Result]) -> list[str]:
    """PSNR beside colourfulness, of everything measured."""
    rows = []
    for result in results:
        row: dict[str, Any] = {'method': result.name}
        for level, prefix in zip(LEVELS, ('', 'instances: '), strict=True):
            figures = result.figures(level)
            color, truth = figures.get('CF'), figures.get('CF_truth')
            row |= {f'{prefix}PSNR': figures.get('PSNR'), f'{prefix}median PSNR': figures.get('PSNR_median')}
            row |= {f'{prefix}CF': color, f'{prefix}CF / truth': color / truth if truth and color is not None else None}
        rows.append({**row, 'photos': result.protocol['num_photos']})
    note = (
        'Neither PSNR nor colourfulness (CF) says much alone: grey has a good PSNR on pale photos, and wrong colours '
        "have a CF too. CF / truth is the mean CF as a share of the true pictures'."
    )
    return ['## Measured', note, grid(rows)]


def tables_1_and_2(systems: Sequence[Result]) -> list[str]:
    """Table 1, whole photos, and Table 2, instances."""
    sets = [f'{name}: {" / ".join(COLUMNS)}' for name in TABLE1_SETS]
    empty = dict.fromkeys(('measured here', 'photos'))
    table1: list[dict[str, Any]] = [
        {'method': name, 'source': 'paper', **dict(zip(sets, map(cell, figures), strict=False)), **empty}
        for name, figures in PAPER.items()
    ]
    table1 += [
        {'method': r.name, 'source': 'measured', 'measured here': r.cell('image'), 'photos': r.protocol['num_photos']}
        for r in systems
    ]
    table2: list[dict[str, Any]] = [
        {
            'method': name,
            'source': 'paper',
            **dict(zip(COLUMNS, of_instances, strict=True)),
            'instances': TABLE1_SETS[1],
        }
        for name, (*_, of_instances) in PAPER.items()
    ]
    for result in systems:
        figures = {column: result.figures('instance').get(column) for column in COLUMNS}
        count = result.protocol.get('num_instances')
        table2.append({'method': result.name, 'source': 'measured', **figures, 'instances': count})
    return ['## Table 1: whole photos', grid(table1), '## Table 2: instances', grid(table2)]


def table_3(results: Sequence[Result]) -> list[str]:
    """Table 3: what each part of the method contributes, on whole photos and on instances."""
    parts = ['## Table 3: ablations']
    for title, lines in TABLE3.items():
        rows = []
        for label, (config, figures) in lines.items():
            result = find(results, config)
            known: dict[str, Any] = {'': label, 'config': result.name if result else config}
            known |= {f'paper: {" / ".join(COLUMNS)}': cell(figures) if figures else MISSING}
            found = (
                (result.cell('image'), result.cell('instance'), result.protocol['num_photos']) if result else [None] * 3
            )
            rows.append(known | dict(zip(('measured: photo', 'measured: instances', 'photos'), found, strict=True)))
        parts += [f'### {title}', grid(rows)]
    return [*parts, 'The paper finds both masks of (c) clearly worse than learned weights.']


def instances_table(counted: Result | None, groups: Sequence[Group], baseline: Result | None) -> list[str]:
    """PSNR of whole photos by the number of instances in them, and how it differs from the baseline's."""
    if counted is None or not groups:
        return ['No result was fused with detected boxes and says how many of them each photo had.']
    note = (
        'Mean PSNR of whole photos, in dB. Photos are grouped, for all columns alike, by the number of instances that '
        f'the networks of {counted.name} were given (boxes: {counted.protocol["boxes"]["networks"]}). Results of other '
        'photos have no column.'
    )
    if groups[0].differences:
        note += (
            f' Differences are paired by photo; in brackets their {CONFIDENCE:.0%} interval by {RESAMPLES} bootstrap '
            'resamples of the group, seed 0, where it has more than one photo. report_instances.png shows them.'
        )
    rows = [
        {'instances': group.label, 'photos': group.num_photos, **group.psnr}
        | {f'{name} − {baseline.name}': str(found) for name, found in group.differences.items() if baseline}
        for group in groups
    ]
    return [note, grid(rows)]


def more_metrics(results: Sequence[Result]) -> list[str]:
    """What else was measured, at both levels."""
    rows = [
        {'method': r.name, 'level': level, **{name: figures.get(name) for name in figures if name not in COLUMNS}}
        for r in results
        for level in LEVELS
        if (figures := r.figures(level))
    ]
    return ['## Other metrics', grid(rows)] if any(len(row) > 2 for row in rows) else []


def differences(results: Sequence[Result], baseline: Result) -> list[str]:
    """Every other result against the baseline, paired by photo."""
    interval = f'{CONFIDENCE:.0%} interval'
    names = ('method', 'level', 'mean difference in PSNR, dB', interval, 'photos')
    rows = []
    for result in results:
        for level in LEVELS if result is not baseline else ():
            if result.psnr(level) and baseline.psnr(level):
                found = compare(result, baseline, level)
                values = (result.name, level, f'{found.mean:+.3f}', found.interval, found.num_photos)
                rows.append(dict(zip(names, values, strict=True)))
    note = f'Paired by photo (instances by their mean in a photo), {RESAMPLES} bootstrap resamples, seed 0.'
    return [f'## Against {baseline.name}', grid(rows or [dict.fromkeys(names)]), note]


def protocols(results: Sequence[Result]) -> list[str]:
    """How each result was measured, as far as it bears on comparing them, and what could not be computed."""
    rows = []
    causes = defaultdict(list)
    for result in results:
        used = result.protocol
        rows.append(
            {
                'method': result.name,
                'checkpoint': (used.get('checkpoint') or {}).get('name'),
                'networks': ', '.join(used.get('networks') or []) or None,
                'decoder': used.get('decoder') or None,
                'photos': used['num_photos'],
                'skipped': used.get('num_skipped'),
                'size': ' x '.join(map(str, used.get('size', []))),
                'boxes of the networks': (used.get('boxes') or {}).get('networks'),
            }
        )
        for cause in result.content['not_computed'].items():
            causes[cause].append(result.name)
    notes = [f'- {metric} of {", ".join(names)} was not computed: {why}' for (metric, why), names in causes.items()]
    return ['## Protocol', grid(rows), *(['\n'.join(notes)] if notes else [])]


def grid(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of rows {column: value}; the columns are those of all rows, what a row lacks is a dash."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ['---'] * len(names), *([number(row.get(name)) for name in names] for row in rows)]
    escaped = ([text.replace('*', '\\*').replace('|', '\\|') for text in line] for line in lines)
    return '\n'.join(f'| {" | ".join(line)} |' for line in escaped)


def number(value: Any) -> str:
    """A figure as the paper rounds it, a dash for None, or else its text."""
    return MISSING if value is None else f'{value:.3f}' if isinstance(value, float) else str(value)


def cell(figures: Sequence[float | None]) -> str:
    """LPIPS / PSNR / SSIM in one cell."""
    return ' / '.join(map(number, figures))


def plot(results: Sequence[Result]) -> bytes:
    """PSNR of everything measured, and of the three ablations beside the paper's, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 9), layout='constrained')
    axes = figure.subplots(2, 2).flatten()
    overall = {r.name: [r.figures(level).get('PSNR') for level in LEVELS] for r in results}
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
    for name, data in report(results, baseline).items():
        write_whole(data, args.out_dir / name)
        print(f'wrote {args.out_dir / name}')


main = Command(__doc__, arguments, run, 'stopped; nothing was written')

if __name__ == '__main__':
    sys.exit(main())
