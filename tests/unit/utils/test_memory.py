import ctypes
import subprocess
import sys

import pytest

from insta_colorization.utils import memory
from insta_colorization.utils.memory import keep_between_photos, keep_freed_memory

# Takes and frees 64 MB ten times; prints how many pages the kernel had to map for it.
PAGES = """
import resource, sys
import numpy as np
from insta_colorization.utils.memory import keep_freed_memory
if sys.argv[1] != 'give back':
    assert keep_freed_memory(None if sys.argv[1] == 'keep' else int(sys.argv[1]))
np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(how: str) -> int:
    done = subprocess.run([sys.executable, '-c', PAGES, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
def test_freed_memory_is_kept():
    # NumPy asks for huge pages, of 2 MB, where the system has them: some 320 mappings, or 160,000.
    assert pages('give back') >= 200
    assert pages('keep') < 40
    assert pages(str(2**27)) < 40


@pytest.mark.slow
def test_more_than_is_to_be_kept_goes_back():
    assert pages(str(2**20)) >= 200


def test_another_c_library(monkeypatch):
    monkeypatch.setattr(ctypes, 'CDLL', lambda name: object())
    assert not keep_freed_memory()


@pytest.mark.parametrize(
    ('input_size', 'kept'), [(None, [2**29]), (128, [2**29]), (256, [2**29]), (264, []), (512, [])]
)
def test_what_is_kept_between_photos(monkeypatch, input_size, kept):
    asked = []
    monkeypatch.setattr(memory, 'keep_freed_memory', lambda at_most: not asked.append(at_most))

    assert keep_between_photos(input_size) == bool(kept)
    assert asked == kept
