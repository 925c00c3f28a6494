from collections.abc import Callable

import numpy as np
import pytest

from insta_colorization.models.semantic import SemanticColorizer

SEGMENTER = {'type': 'GridSegmenter', 'width': 1 / 16}
COLOURS = {'type': 'SemanticColorNet', 'width': 1 / 16}
LITE_SEGMENTER = {'type': 'LiteSegmenter', 'width': 1 / 16}
LITE_COLOURS = {'type': 'LiteColorNet', 'width': 1 / 16}


@pytest.fixture(scope='session')
def build(lively) -> Callable[..., SemanticColorizer]:
    """Builds a narrow colorizer whose maps have several classes and whose colours are far from grey."""

    def build(**settings: object) -> SemanticColorizer:
        if settings.pop('light', False):
            return lively(SemanticColorizer(LITE_SEGMENTER, LITE_COLOURS, **settings))
        return lively(SemanticColorizer(SEGMENTER, {**COLOURS, 'one_hot': settings.pop('one_hot', False)}, **settings))

    return build


@pytest.fixture
def photo() -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 256, (6, 8), np.uint8)
    return np.repeat(np.kron(values, np.ones((8, 8), np.uint8))[..., None], 3, axis=2)
