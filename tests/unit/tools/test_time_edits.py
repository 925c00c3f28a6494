"""Times of edits of the map."""

import itertools

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

from insta_colorization.models.semantic import SemanticColorizer


@pytest.fixture
def tool(monkeypatch):
    tool = load_script('tools/analysis_tools/time_edits.py')
    narrow = SemanticColorizer(
        {'type': 'GridSegmenter', 'width': 1 / 16}, {'type': 'SemanticColorNet', 'width': 1 / 16}
    )
    monkeypatch.setattr('insta_colorization.models.semantic.SemanticColorizer', lambda: narrow.eval())
    monkeypatch.setattr(SemanticColorizer, 'native_size', 64)
    # A clock that goes on by half a second whenever it is looked at.
    monkeypatch.setattr(tool, 'perf_counter', itertools.count(0, 0.5).__next__)
    return tool


@pytest.mark.slow
def test_both_networks_at_both_sizes(tool, tmp_path, capsys):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(tmp_path / 'photo.png')

    assert tool.main([str(tmp_path / 'photo.png'), '--edits', '2', '--device', 'cpu']) == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        ['shipped', '160'],
        ['shipped', '256'],
        ['published', '160'],
        ['published', '64'],
    ]
    assert {value for row in rows for value in row[2:]} == {'0.500'}
