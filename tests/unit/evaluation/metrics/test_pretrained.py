import hashlib
import urllib.request
from pathlib import Path

import pytest
import torch

from insta_colorization.evaluation.metrics import FID, LPIPS
from insta_colorization.evaluation.metrics.base import NotComputableError
from insta_colorization.evaluation.metrics.pretrained import pretrained_file


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty folder of pretrained weights."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    return tmp_path / 'checkpoints'


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('Name or service not known')

    monkeypatch.setattr(urllib.request.OpenerDirector, 'open', refuse)


def test_a_file_that_is_there_is_taken(hub):
    hub.mkdir()
    content = b'weights'
    name = f'net-{hashlib.sha256(content).hexdigest()[:8]}.pth'
    (hub / name).write_bytes(content)

    assert pretrained_file(f'https://nowhere.invalid/{name}') == hub / name


def test_the_message_leaves_out_whose_home_the_folder_lies_in(hub, no_network, monkeypatch):
    monkeypatch.setattr(Path, 'home', lambda: hub.parents[1])
    shown = '/'.join(('~', *hub.parts[-2:]))

    with pytest.raises(NotComputableError, match=f'are neither in {shown} nor can they be fetched'):
        pretrained_file('https://nowhere.invalid/net-01234567.pth')
    hub.mkdir(exist_ok=True)
    (hub / 'net-01234567.pth').write_bytes(b'another')
    with pytest.raises(NotComputableError, match=f'^{shown}/net-01234567.pth is damaged'):
        pretrained_file('https://nowhere.invalid/net-01234567.pth')


def test_without_a_network_the_message_says_what_to_put_where(hub, no_network):
    with pytest.raises(NotComputableError) as caught:
        pretrained_file('https://nowhere.invalid/net-01234567.pth')

    assert str(caught.value) == (
        f'the weights net-01234567.pth are neither in {hub} nor can they be fetched (Name or service not known); '
        'put the file from https://nowhere.invalid/net-01234567.pth there'
    )
    assert list(hub.iterdir()) == []


def test_another_file_of_that_name_is_refused(hub):
    hub.mkdir()
    (hub / 'net-01234567.pth').write_bytes(b'an error page')

    with pytest.raises(NotComputableError, match=r'net-01234567\.pth is damaged or another file'):
        pretrained_file('https://nowhere.invalid/net-01234567.pth')


@pytest.mark.parametrize(
    ('metric', 'file'),
    [
        (LPIPS(), 'vgg16-397923af.pth'),
        (FID('tf'), 'pt_inception-2015-12-05-6726825d.pth'),
        (FID('torchvision'), 'inception_v3_google-0cc3c7bd.pth'),
    ],
    ids=['lpips', 'tf', 'torchvision'],
)
def test_metrics_whose_weights_are_missing_are_not_computed(hub, no_network, metric, file):
    photo = torch.zeros(3, 16, 16, dtype=torch.uint8)
    sample = {'gt_rgb': photo, 'pred_ab': torch.zeros(2, 16, 16)}
    metric.process({}, [sample, sample])

    assert metric.evaluate(2) == {}
    assert f'the weights {file} are neither in {hub}' in metric.not_computed[metric.name]
    assert file in metric.protocol


@pytest.mark.parametrize('name', ['lpips', 'pytorch_fid'])
def test_a_missing_library_is_named_with_its_install_command(monkeypatch, name):
    monkeypatch.setitem(__import__('sys').modules, name, None)

    with pytest.raises(NotComputableError, match=f'pip install {name.replace("_", "-")}'):
        (LPIPS() if name == 'lpips' else FID()).load()
