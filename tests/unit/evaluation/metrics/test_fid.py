import numpy as np
import pytest
import torch
import torchvision
from pytorch_fid import inception
from torch import nn

from insta_colorization.evaluation.metrics import FID, EncoderFrechet
from insta_colorization.structures import Instances


class Means(nn.Module):
    """Stands in for Inception: the features of a picture are its mean colour and its mean contrast."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        assert x.dtype == torch.float32
        return [torch.cat([x.mean(dim=(2, 3)), x.std(dim=(2, 3))], dim=1)[:, :, None, None]]


@pytest.fixture
def random_photos() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        (100 * torch.rand(3, 1, 1, generator=generator) + 100 * torch.rand(3, 32, 32, generator=generator)).byte()
        for _ in range(24)
    ]


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """The distance without any matrix root: tr sqrt(A'A B'B) is the sum of the singular values of A B'."""
    a, b = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (first, second))
    shift = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    return shift + np.square(a).sum() + np.square(b).sum() - 2 * np.linalg.svd(a @ b.T, compute_uv=False).sum()


def features(pictures: list[torch.Tensor]) -> np.ndarray:
    pixels = np.stack([picture.numpy() for picture in pictures]) / 255
    return np.hstack([pixels.mean(axis=(2, 3)), pixels.std(axis=(2, 3), ddof=1)])


@pytest.mark.parametrize('level', ['image', 'instance'])
def test_it_is_the_frechet_distance_of_the_features(random_photos, monkeypatch, level):
    monkeypatch.setattr(FID, 'load', lambda self: Means())
    predictions = iter(reversed([photo // 2 for photo in random_photos]))
    monkeypatch.setattr('insta_colorization.evaluation.metrics.base.clipped_rgb', lambda *args: next(predictions))
    part = slice(None) if level == 'image' else slice(0, 16)
    metric = FID(levels=(level,))

    box = Instances(torch.tensor([[0, 0, 32, 16]]), (32, 32))
    metric.process(
        {}, [{'gt_rgb': photo, 'pred_ab': torch.zeros(2, 32, 32), 'gt_instances': box} for photo in random_photos]
    )
    values = metric.evaluate(len(random_photos))

    expected = frechet(*(features([p[:, part] // k for p in random_photos]) for k in (1, 2)))
    assert values == {f'{level}/FID_tf': pytest.approx(expected, rel=1e-4)}


def test_equal_pictures(random_photos, monkeypatch):
    monkeypatch.setattr(FID, 'load', lambda self: Means())
    metric = FID()

    values = metric.summarize([metric.measure(photo, photo) for photo in random_photos])

    assert values == {'FID_tf': pytest.approx(0, abs=1e-6)}


def test_one_picture_has_no_covariance(photos, monkeypatch):
    monkeypatch.setattr(FID, 'load', lambda self: Means())
    metric = FID()
    metric.process({}, [{'gt_rgb': photos[0], 'pred_ab': torch.zeros(2, 48, 64)}])

    assert metric.evaluate(1) == {}
    assert metric.not_computed == {'image/FID_tf': 'a covariance needs at least 2 pictures, but there is 1'}


def test_unknown_family():
    with pytest.raises(ValueError, match="family must be one of tf, torchvision, but got 'clip'"):
        FID(family='clip')


@pytest.mark.parametrize('family', ['tf', 'torchvision'])
def test_each_family_is_built_by_the_library_with_its_own_weights(family, monkeypatch):
    fetched = []
    monkeypatch.setattr('insta_colorization.evaluation.metrics.fid.pretrained_file', fetched.append)
    built = {}
    monkeypatch.setattr(inception, 'InceptionV3', lambda **options: built.update(options))

    FID(family).load()

    urls = {'tf': inception.FID_WEIGHTS_URL, 'torchvision': torchvision.models.Inception_V3_Weights.DEFAULT.url}
    assert fetched == [urls[family]]
    assert built == {'use_fid_inception': family == 'tf'}


@pytest.mark.slow
def test_the_distance_of_the_encoder_needs_no_download_and_sees_colour_in_pictures_of_any_size(random_photos):
    metric = EncoderFrechet()
    photos = [photo[:, :, :9] for photo in random_photos]

    near, far = (
        metric.summarize([metric.measure(photo, photo if same else photo.flip(0)) for photo in photos])
        for same in (True, False)
    )

    assert metric.name == 'Frechet_encoder'
    assert near[metric.name] == pytest.approx(0, abs=1e-3)
    assert far[metric.name] > 10 * near[metric.name] + 0.01
