"""Maps of datasets, translated to our classes by name."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

from insta_colorization.imaging.maps import read_map
from insta_colorization.structures import SEMANTIC_CLASSES, UNKNOWN

tool = load_script('tools/dataset_converters/semantic_maps.py')

CAR, SKY, TREE = (SEMANTIC_CLASSES.index(name) for name in ('car', 'sky', 'tree'))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the tool on `tmp_path/png` in this process; gives its exit status and what it said."""

    class Here:
        def __init__(self, jobs: int) -> None: ...

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...

        def imap(self, work, items, chunksize):
            return map(work, items)

    monkeypatch.setattr(tool, 'Pool', Here)

    def run(*options: object) -> tuple[int, str]:
        status = tool.main([str(word) for word in (tmp_path / 'png', tmp_path / 'maps', *options)])
        return status, ''.join(capsys.readouterr())

    return run


def save(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def test_coco_panoptic(run, tmp_path):
    segments = np.array([[7, 7, 70_000], [0, 300, 300]])
    colours = np.stack([segments % 256, segments // 256 % 256, segments // 65536], axis=-1).astype(np.uint8)
    save(colours, tmp_path / 'png' / '000.png')
    save(colours, tmp_path / 'png' / 'spare.png')
    parts = [{'id': number, 'category_id': category} for number, category in {7: 3, 300: 187, 70_000: 22}.items()]
    annotations = {'annotations': [{'file_name': '000.png', 'segments_info': parts}]}
    (tmp_path / 'panoptic.json').write_text(json.dumps(annotations))

    status, said = run('--panoptic', tmp_path / 'panoptic.json')

    assert status == 0, said
    assert [path.name for path in (tmp_path / 'maps').iterdir()] == ['000.png']
    # 22 is the elephant, which has no class of its own.
    assert read_map(tmp_path / 'maps' / '000.png', unknown=True).tolist() == [[CAR, CAR, 0], [UNKNOWN, SKY, SKY]]


def test_category_ids(run, tmp_path):
    save(np.array([[0, 3], [184, 187]], np.uint8), tmp_path / 'png' / 'a' / 'b.png')

    assert run('--table', 'coco-panoptic')[0] == 0
    assert read_map(tmp_path / 'maps' / 'a' / 'b.png', unknown=True).tolist() == [[UNKNOWN, CAR], [TREE, SKY]]


def test_a_table_of_ones_own(run, tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette([9] * 9)
    (tmp_path / 'png').mkdir()
    image.save(tmp_path / 'png' / 'indexed.png')
    (tmp_path / 'table.json').write_text('{"1": "tree", "2": "background"}')

    assert run('--table', tmp_path / 'table.json')[0] == 0
    assert read_map(tmp_path / 'maps' / 'indexed.png', unknown=True).tolist() == [[UNKNOWN, TREE, 0]]


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ('{"1": "elephant"}', "has 1: 'elephant', which is none of our classes"),
        ('{"300": "tree"}', "must have numbers 0..255, but has '300'"),
        ('[]', 'but is a list'),
        ('{', 'is not JSON'),
    ],
)
def test_tables_that_are_none(run, tmp_path, table, message):
    save(np.zeros((1, 1), np.uint8), tmp_path / 'png' / 'a.png')
    (tmp_path / 'table.json').write_text(table)

    status, said = run('--table', tmp_path / 'table.json')

    assert status == 1
    assert message in said


def test_a_segment_that_lacks(run, tmp_path):
    save(np.full((2, 2, 3), 5, np.uint8), tmp_path / 'png' / 'a.png')
    (tmp_path / 'p.json').write_text('{"annotations": [{"file_name": "a.png", "segments_info": []}]}')

    assert 'a.png has the segment 328965, which its annotations lack' in run('--panoptic', tmp_path / 'p.json')[1]


def test_other_kinds_of_files(run, tmp_path):
    save(np.zeros((2, 2, 3), np.uint8), tmp_path / 'png' / 'a.png')

    assert "its mode must be one of P, L, but is 'RGB'" in run('--table', 'coco-panoptic')[1]
    (tmp_path / 'p.json').write_text('{"images": []}')
    assert 'is no file of panoptic annotations' in run('--panoptic', tmp_path / 'p.json')[1]
