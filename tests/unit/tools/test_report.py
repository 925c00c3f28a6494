import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scripts import load_script

# What the protocol says of a result that was fused with detected boxes.
FUSED = {
    'networks': ['image_net', 'instance_net', 'fusion_net'],
    'boxes': {'networks': 'detected.json', 'truth': 'true.json'},
}


@pytest.fixture(scope='module')
def tool() -> ModuleType:
    return load_script('tools/analysis_tools/report.py')


@pytest.fixture
def save(tmp_path):
    """Writes a result of tools/test.py with the PSNR of each photo; returns its path.

    With the numbers of instances that were `used` in each photo it is one that was fused with detected boxes.
    """

    def save(
        config: str,
        psnr: dict[str, float],
        file: str | None = None,
        *,
        used: dict[str, int] | None = None,
        protocol: dict | None = None,
        instance: dict[str, float] | None = None,
        **metrics: float,
    ) -> Path:
        mean = float(np.mean(list(psnr.values())))
        content = {
            'protocol': {'config': config, 'num_photos': len(psnr), 'num_instances': 5, 'size': [256, 256]},
            'metrics': {'image': {'PSNR': mean, **metrics}, 'instance': {'PSNR': mean + 1, **(instance or {})}},
            'not_computed': {'LPIPS': 'there are no weights'},
            'photos': [
                {'photo': photo, 'image': {'PSNR': value}, 'instance': [{'PSNR': value + 1}, {'PSNR': value + 3}]}
                for photo, value in psnr.items()
            ],
            'skipped': [],
        }
        if used is not None:
            content['protocol'] |= FUSED
            for entry in content['photos']:
                entry['used'] = used[entry['photo']]
        content['protocol'] |= protocol or {}
        path = tmp_path / (file or f'{config}.json')
        path.write_text(json.dumps(content))
        return path

    return save


@pytest.fixture(autouse=True)
def no_bars(request, tool, monkeypatch):
    """Leaves out report.png, which takes most of the time, where it is not what the test is about."""
    if not request.node.get_closest_marker('slow'):
        monkeypatch.setattr(tool, 'plot', lambda results: b'')


def rows(text: str, section: str) -> dict[str, list[str]]:
    """The lines of the table under a heading, by their first cell."""
    part = text.split(f'{section}\n', 1)[1].split('\n#', 1)[0]
    lines = [
        [cell.strip() for cell in line.strip('|').split('|')] for line in part.splitlines() if line.startswith('|')
    ]
    return {line[0]: line[1:] for line in lines[2:]}


def report(tool: ModuleType, out: Path, *args: str | Path) -> str:
    assert tool.main([*map(str, args), '--out-dir', str(out)]) == 0
    return (out / 'report.md').read_text()


class TestTables:
    def test_measured_rows_stand_under_the_papers(self, tool, save, tmp_path):
        text = report(tool, tmp_path, save('grey', {'a': 20, 'b': 21}, SSIM=0.9))

        table = rows(text, '## Table 1: whole photos')
        assert table['Su 2020 \\*'][:3] == ['paper', '0.125 / 27.562 / 0.937', '0.110 / 28.592 / 0.944']
        assert table['grey'] == ['measured', '–', '–', '–', '– / 20.500 / 0.900', '2']
        table = rows(text, '## Table 2: instances')
        assert table['Zhang 2017'] == ['paper', '0.154', '26.447', '0.918', 'COCO-Stuff val']
        assert table['grey'] == ['measured', '–', '21.500', '–', '5']

    def test_the_papers_figures_are_those_of_the_shared_tables(self, tool, shared):
        lines = (shared / 'paper' / 'TABLES.md').read_text().splitlines()
        cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines if line.startswith('|')]
        methods = [[row[0].replace('the paper', 'Su 2020'), *row[1:]] for row in cells if len(row) == 4]
        table1 = {name: [tool.cell(figures) for figures in row[:3]] for name, row in tool.PAPER.items()}
        table2 = {name: [tool.number(figure) for figure in row[3]] for name, row in tool.PAPER.items()}

        assert {row[0]: row[1:] for row in methods if row[0] in table1 and '/' in row[1]} == table1
        assert {row[0]: row[1:] for row in methods if row[0] in table2 and '/' not in row[1]} == table2
        for label, figures in (cell for row in cells[-4:] for cell in (row[:2], row[2:])):
            part = '(a) fused layers' if label in tool.TABLE3['(a) fused layers'] else '(b) boxes'
            assert tool.cell(tool.TABLE3[part][label][1]) == figures

    def test_ablations_stand_in_table_3_alone(self, tool, save, tmp_path):
        text = report(tool, tmp_path, save('fusion_none', {'a': 20}), save('weights_mask', {'a': 19}))

        assert rows(text, '### (a) fused layers')['none'][1:3] == ['0.128 / 27.251 / 0.938', '– / 20.000 / –']
        assert rows(text, '### (a) fused layers')['encoder'][1:3] == ['0.120 / 28.146 / 0.942', '–']
        assert rows(text, '### (c) weighted sum')['true mask'][:3] == ['weights_mask', '–', '– / 19.000 / –']
        assert 'fusion_none' not in rows(text, '## Table 1: whole photos')

    @pytest.mark.parametrize('name', ['insta_fusion_cocostuff_256x256', 'fusion_both'])
    def test_the_whole_system_stands_in_all_three_parts(self, tool, save, tmp_path, name):
        text = report(tool, tmp_path, save(name, {'a': 24}))

        for part, row in (
            ('(a) fused layers', 'both'),
            ('(b) boxes', 'top 8 by score'),
            ('(c) weighted sum', 'learned'),
        ):
            assert rows(text, f'### {part}')[row] == [
                *(name, '0.110 / 28.592 / 0.944', '– / 24.000 / –', '– / 25.000 / –', '1')
            ]
        assert name in rows(text, '## Table 1: whole photos')

    def test_a_named_whole_system_comes_before_a_recipe_of_stage_3(self, tool, save, tmp_path):
        text = report(tool, tmp_path, save('insta_fusion_mine', {'a': 23}), save('fusion_both', {'a': 24}))

        assert rows(text, '### (b) boxes')['top 8 by score'][0] == 'fusion_both'

    def test_every_row_of_table_3_has_a_recipe(self, tool, root):
        recipes = {path.stem for path in (root / 'configs' / 'insta' / 'ablations').glob('*.py')}

        assert recipes == tool.ABLATIONS

    def test_a_result_can_be_named(self, tool, save, tmp_path):
        path = save('insta_full_cocostuff_256x256', {'a': 20})

        text = report(tool, tmp_path, f'boxes_gt={path}', f'stage 1={path}')

        assert rows(text, '### (b) boxes')['ground truth'][2] == '– / 20.000 / –'
        assert rows(text, '## Table 1: whole photos').keys() >= {'stage 1'}

    def test_what_was_not_computed_is_said_once(self, tool, save, tmp_path):
        text = report(tool, tmp_path, save('grey', {'a': 20}), save('ours', {'a': 20}))

        assert text.count('LPIPS of grey, ours was not computed: there are no weights') == 1

    def test_other_metrics(self, tool, save, tmp_path):
        text = report(tool, tmp_path, save('grey', {'a': 20}, FID_tf=12.3456, CF=0.5))

        assert '| grey | image | 12.346 | 0.500 |' in text
        assert '| grey | instance | – | – |' in text

    @pytest.mark.slow
    def test_the_plot_is_a_picture(self, tool, save, tmp_path):
        report(tool, tmp_path, save('fusion_none', {'a': 20}))

        assert (tmp_path / 'report.png').read_bytes().startswith(b'\x89PNG')


class TestMeasured:
    def test_psnr_and_colour_stand_together_at_both_levels(self, tool, save, tmp_path):
        colors = {'PSNR_median': 21.5, 'CF': 30.0, 'CF_truth': 40.0}
        text = report(
            tool,
            tmp_path,
            save('ours', {'a': 20, 'b': 21}, instance={'PSNR_median': 22, 'CF': 9, 'CF_truth': 36}, **colors),
            save('fusion_none', {'a': 19}),
        )

        table = rows(text, '## Measured')
        assert table['ours'] == ['20.500', '21.500', '30.000', '0.750', '21.500', '22.000', '9.000', '0.250', '2']
        assert table['fusion_none'] == ['19.000', '–', '–', '–', '20.000', '–', '–', '–', '1']
        assert text.index('## Measured') < text.index('## Table 1')

    @pytest.mark.parametrize(
        ('colors', 'expected'),
        [
            ({'CF': 0.0, 'CF_truth': 40.0}, ['0.000', '0.000']),
            ({'CF': 3.0, 'CF_truth': 0.0}, ['3.000', '–']),
            ({'CF': 3.0}, ['3.000', '–']),
        ],
        ids=['grey', 'grey truth', 'truth not measured'],
    )
    def test_a_share_needs_a_whole(self, tool, save, tmp_path, colors, expected):
        text = report(tool, tmp_path, save('ours', {'a': 20}, **colors))

        assert rows(text, '## Measured')['ours'][2:4] == expected


class TestInstances:
    SECTION = '## PSNR against the number of instances'
    USED = {'a': 0, 'b': 1, 'c': 3, 'd': 4}

    @pytest.fixture
    def fused(self, save) -> Path:
        return save('fused', {'a': 20, 'b': 25, 'c': 30, 'd': 32}, used=self.USED)

    @pytest.fixture
    def grey(self, save) -> Path:
        return save('grey', {'a': 20, 'b': 22, 'c': 26, 'd': 24})

    def header(self, text: str) -> list[str]:
        line = next(line for line in text.split(self.SECTION)[1].splitlines() if line.startswith('|'))
        return [cell.strip() for cell in line.strip('|').split('|')]

    def test_groups_are_compared_with_the_baseline(self, tool, fused, grey, tmp_path):
        text = report(tool, tmp_path, grey, fused, '--baseline', 'grey')

        assert self.header(text) == ['instances', 'photos', 'grey', 'fused', 'fused − grey']
        # Resamples of {4, 8} are 4, 6 and 8, a quarter, a half and a quarter of them.
        assert rows(text, self.SECTION) == {
            '0': ['1', '20.000', '20.000', '+0.000'],
            '1': ['1', '22.000', '25.000', '+3.000'],
            '3-4': ['2', '25.000', '31.000', '+6.000 (+4.000 to +8.000)'],
        }
        assert 'the networks of fused were given (boxes: detected.json)' in text
        assert (tmp_path / 'report_instances.png').read_bytes().startswith(b'\x89PNG')

    def test_without_a_baseline_there_are_no_differences(self, tool, fused, grey, tmp_path):
        text = report(tool, tmp_path, fused, grey)

        assert self.header(text) == ['instances', 'photos', 'fused', 'grey']
        assert rows(text, self.SECTION)['3-4'] == ['2', '31.000', '25.000']
        assert not (tmp_path / 'report_instances.png').exists()

    def test_every_number_has_a_group(self, tool, save, tmp_path):
        used = {str(number): number for number in (0, 1, 2, 3, 4, 5, 8, 9, 99)}

        text = report(tool, tmp_path, save('fused', {photo: 20 + number for photo, number in used.items()}, used=used))

        assert rows(text, self.SECTION) == {
            '0': ['1', '20.000'],
            '1': ['1', '21.000'],
            '2': ['1', '22.000'],
            '3-4': ['2', '23.500'],
            '5-8': ['2', '26.500'],
            '9 or more': ['2', '74.000'],
        }

    @pytest.mark.parametrize(
        ('name', 'protocol'),
        [
            ('full', {'networks': ['image_net']}),
            ('true boxes', {'boxes': {'networks': 'true.json', 'truth': 'true.json'}}),
            ('no boxes', {'boxes': {'networks': None, 'truth': 'true.json'}}),
            ('boxes_random8', {}),
        ],
        ids=['full-image', 'true boxes', 'no boxes', 'ablation'],
    )
    def test_the_counts_are_those_of_the_first_system_with_detected_boxes(
        self, tool, save, fused, tmp_path, name, protocol
    ):
        psnr = dict.fromkeys(self.USED, 20)
        other = save(name, psnr, used=dict.fromkeys(self.USED, 2), protocol=protocol)
        later = save('later', psnr, used=dict.fromkeys(self.USED, 1))

        text = report(tool, tmp_path, other, fused, later)

        assert list(rows(text, self.SECTION)) == ['0', '1', '3-4']
        assert (name in self.header(text)) == (name != 'boxes_random8')

    def test_all_columns_are_of_the_same_photos(self, tool, save, fused, tmp_path):
        fewer = save('fewer', {'b': 21, 'c': 22, 'z': 99})
        elsewhere = save('elsewhere', {'y': 30})

        text = report(tool, tmp_path, fused, fewer, elsewhere)

        assert self.header(text) == ['instances', 'photos', 'fused', 'fewer']
        assert rows(text, self.SECTION) == {'1': ['1', '25.000', '21.000'], '3-4': ['1', '30.000', '22.000']}

    def test_the_baseline_may_be_an_ablation(self, tool, save, fused, tmp_path):
        none = save('fusion_none', dict.fromkeys(self.USED, 20))

        text = report(tool, tmp_path, fused, none, '--baseline', 'fusion_none')

        assert self.header(text) == ['instances', 'photos', 'fused', 'fusion_none', 'fused − fusion_none']
        assert rows(text, self.SECTION)['1'] == ['1', '25.000', '20.000', '+5.000']

    def test_nothing_to_compare_with_the_baseline(self, tool, fused, tmp_path):
        text = report(tool, tmp_path, fused, '--baseline', 'fused')

        assert self.header(text) == ['instances', 'photos', 'fused']
        assert not (tmp_path / 'report_instances.png').exists()

    @pytest.mark.parametrize('protocol', [{}, FUSED], ids=['not fused', 'without counts'])
    def test_no_counts(self, tool, save, grey, tmp_path, protocol):
        text = report(tool, tmp_path, grey, save('ours', {'a': 21}, protocol=protocol), '--baseline', 'grey')

        assert f'{self.SECTION}\n\nNo result was fused with detected boxes' in text
        assert not (tmp_path / 'report_instances.png').exists()


class TestBootstrap:
    def test_photos_are_paired(self, tool, save):
        """Photos differ by 10 dB, but every one is 0.5 dB better: unpaired, nothing could be said."""
        levels = np.random.default_rng(0).normal(25, 10, 50)
        baseline = tool.load_result(str(save('a', {str(n): value for n, value in enumerate(levels)})))
        better = tool.load_result(
            str(save('b', {str(n): value + 0.5 for n, value in reversed(list(enumerate(levels)))}))
        )

        found = tool.compare(better, baseline)

        assert found == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5), 50)

    def test_the_interval_is_that_of_a_mean(self, tool, save):
        noise = np.random.default_rng(1).normal(0.3, 1, 400)
        baseline = tool.load_result(str(save('a', {str(n): 25 for n in range(400)})))
        other = tool.load_result(str(save('b', {str(n): 25 + value for n, value in enumerate(noise)})))

        mean, low, high, _ = found = tool.compare(other, baseline)

        # The central limit theorem's interval, 1.96 standard errors to each side.
        half = 1.96 * noise.std(ddof=1) / 20
        assert (mean, low, high) == (
            *(pytest.approx(noise.mean()), pytest.approx(noise.mean() - half, abs=0.01)),
            pytest.approx(noise.mean() + half, abs=0.01),
        )
        assert tool.compare(other, baseline) == found

    def test_only_common_photos_count(self, tool, save, tmp_path):
        first, second = save('a', {'x': 20, 'y': 20, 'z': 90}), save('b', {'w': 0, 'x': 21, 'y': 23})

        text = report(tool, tmp_path, first, second, '--baseline', 'a')

        assert '| b | image | +2.000 | +1.000 to +3.000 | 2 |' in text
        assert '| b | instance | +2.000 | +1.000 to +3.000 | 2 |' in text
        assert '| a | image | +' not in text


@pytest.mark.parametrize(
    ('content', 'options', 'message'),
    [
        (None, [], 'x.json do not exist'),
        ('{', [], 'is not a result of tools/test.py'),
        ('{"image/PSNR": 20}', [], 'is not a result of tools/test.py'),
        ('[]', [], 'is not a result of tools/test.py'),
        ('twice', [], '2 results are named grey; NAME=RESULTS.json gives each its own name'),
        ('alone', ['--baseline', 'gray'], 'there is no result named gray; there are grey'),
        ('strangers', ['--baseline', 'grey'], 'ours and grey have none of their 1 and 1 photos in common'),
    ],
    ids=['missing', 'no JSON', 'old form', 'list', 'names', 'baseline', 'no common photo'],
)
def test_errors_are_one_sentence(tool, save, tmp_path, capsys, content, options, message):
    path = tmp_path / 'x.json'
    if content in ('twice', 'alone', 'strangers'):
        files = [save('grey', {'a': 20})]
        files += [save('grey', {'a': 21}, 'again.json')] if content == 'twice' else []
        files += [save('ours', {'b': 21})] if content == 'strangers' else []
    else:
        files = [path]
        if content is not None:
            path.write_text(content)

    assert tool.main([*map(str, files), *options, '--out-dir', str(tmp_path / 'out')]) == 1

    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'out' / 'report.md').exists()
