import pytest

from insta_colorization.checkpoints import register_reader


@pytest.fixture(autouse=True)
def _registered(own_mmengine):
    """Each test begins as the commands that train do, and runners leave nothing behind."""
    register_reader()
