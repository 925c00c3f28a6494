"""A sample of `make corpus`: every container, depth and damage through the whole way of a folder."""

import sys
from pathlib import Path

import pytest

pytest.importorskip('pyvips', reason='pip install "pyvips[binary]"')
pytest.importorskip('tifffile', reason='pip install tifffile')
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'corpus'))

import corpus


@pytest.fixture(scope='module')
def sample() -> list[corpus.Case]:
    return list(corpus.cases(sample=True))


def test_the_sample_has_each_container_with_each_damage(sample):
    assert len(sample) == len(corpus.kinds()) * len(corpus.DAMAGES)
    assert {case.name.split('/')[1][0] for case in sample} == set('12345678')


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::UserWarning:PIL')
def test_a_sample_of_the_corpus(sample, tmp_path, capfd):
    counts, faults = corpus.check(sample, tmp_path)

    assert capfd.readouterr() == ('', '')  # libraries say nothing by themselves
    assert not faults
    assert counts['missing'] == 0
    assert counts['read'] >= len(corpus.kinds())
    assert counts['refused'] >= 3 * len(corpus.kinds())


def test_what_is_wrong_is_noticed(tmp_path):
    """A photo that is upside down, and one that is called damaged and is not."""
    (kind,) = (kind for kind in corpus.kinds() if kind.name == 'png')
    upright = corpus.picture(colour=True)
    truth = corpus.lightness(upright, 'bare')
    found = [
        corpus.Case('a.png', kind.write(upright[::-1], 1, None), kind, truth, 'read'),
        corpus.Case('b.png', kind.write(upright, 1, None), kind, truth, 'refused'),
        corpus.Case('c.png', b'x', kind, truth, 'read'),
        corpus.Case('d.png', kind.write(upright, 1, None), kind, truth, 'read'),
    ]

    _, faults = corpus.check(found, tmp_path)

    assert [fault[:20] for fault in faults] == ['a.png: its lightness', 'b.png: read, though ', 'c.png: refused: cann']
