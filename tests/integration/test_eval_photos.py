"""The demo on real photos with real detectors: one output a photo, of the photo's size, and no failure."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

EVERY = 16

demo = load_script('demo/colorization_demo.py')


@pytest.fixture(scope='module')
def photos(shared) -> list[Path]:
    photos = sorted((shared / 'data' / 'eval' / 'images').iterdir())[::EVERY]
    assert len(photos) == 10
    return photos


@pytest.mark.slow
@pytest.mark.parametrize(
    ('networks', 'instances'),
    [
        ('shipped', ['--detector', '{shared}/detector/yolox_nano.onnx']),
        ('fused', ['--boxes', '{shared}/data/eval/instances_eval.json']),
        ('fused', ['--detector', 'opencv']),
    ],
    ids=['shipped-yolox', 'fused-boxes', 'fused-opencv'],
)
def test_every_photo_is_coloured_at_its_own_size(photos, shared, instances, networks, fused_weights, tmp_path, capsys):
    model = [] if networks == 'shipped' else ['insta_fusion_cocostuff_256x256', str(fused_weights)]
    options = [option.format(shared=shared) for option in instances]

    status = demo.main([*model, '--img', *map(str, photos), *options, '--out-dir', str(tmp_path), '--device', 'cpu'])

    assert status == 0, capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == len(photos)
    for photo in photos:
        with Image.open(photo) as before, Image.open(tmp_path / f'{photo.stem}.png') as after:
            assert after.size == before.size
            assert np.ptp(np.asarray(after.convert('RGB')).astype(int), axis=2).mean() > 1
