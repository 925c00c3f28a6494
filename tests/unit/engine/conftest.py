from collections import OrderedDict

import pytest
from mmengine.registry import DefaultScope


@pytest.fixture(autouse=True)
def own_scope(monkeypatch):
    """A runner leaves its default scope behind; here it goes with the test."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
