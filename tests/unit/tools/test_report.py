import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope='module')
def tool(root) -> ModuleType:
    path = root / 'tools' / 'analysis_tools' / 'report.py'
    spec = importlib.util.spec_from_file_location('report', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def save(tmp_path):
    """Writes a result of tools/test.py with the PSNR of each photo; returns its path."""

    def save(config: str, psnr: dict[str, float], file: str | None = None, **metrics: float) -> Path:
        mean = float(np.mean(list(psnr.values())))
        content = {
            'protocol': {'config': config, 'num_photos': len(psnr), 'num_instances': 5, 'size': [256, 256]},
            'metrics': {'image': {'PSNR': mean, **metrics}, 'instance': {'PSNR': mean + 1}},
            'not_computed': {'LPIPS': 'there are no weights'},
            'photos': [
                {'photo': photo, 'image': {'PSNR': value}, 'instance': [{'PSNR': value + 1}, {'PSNR': value + 3}]}
                for photo, value in psnr.items()
            ],
            'skipped': [],
        }
        path = tmp_path / (file or f'{config}.json')
        path.write_text(json.dumps(content))
        return path

    return save


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
        table1 = {name: [tool.cell(figures) for figures in row] for name, row in tool.TABLE1.items()}
        table2 = {name: tool.numbers(figures) for name, figures in tool.TABLE2.items()}

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

    @pytest.mark.parametrize('name', ['insta_fusion_cocostuff_256x256', 'fusion_both', 'weights_learned'])
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

    def test_the_plot_is_a_picture(self, tool, save, tmp_path):
        report(tool, tmp_path, save('fusion_none', {'a': 20}))

        assert (tmp_path / 'report.png').read_bytes().startswith(b'\x89PNG')


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
