"""From a training's checkpoint to the file that ships, and the measuring of what it finds."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scripts import load_script

from insta_colorization.detectors import EmbeddedDetector
from insta_colorization.registry import build_model
from insta_colorization.structures import COCO_CLASSES, COCO_IDS


@pytest.fixture(scope='module')
def colour_weights(tmp_path_factory):
    torch.manual_seed(0)
    entries = build_model({'type': 'EfficientNetLite'}).state_dict()
    path = tmp_path_factory.mktemp('colour') / 'colour.pth'
    torch.save({f'image_net.encoder.{name}': value for name, value in entries.items()}, path)
    return path


@pytest.fixture(scope='module')
def trained(colour_weights, tmp_path_factory):
    """A config and the checkpoint of its model."""
    folder = tmp_path_factory.mktemp('trained')
    head = {'channels': 8}
    (folder / 'small.py').write_text(f"model = dict(type='DenseDetector', encoder='{colour_weights}', head={head})\n")
    torch.manual_seed(0)
    model = build_model({'type': 'DenseDetector', 'encoder': str(colour_weights), 'head': head})
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, folder / 'iter_1.pth')
    return folder / 'small.py', folder / 'iter_1.pth'


@pytest.fixture
def publish(trained, tmp_path, capsys):
    tool = load_script('tools/model_converters/publish_detector.py')

    def publish(*options, checkpoint=trained[1]):
        out = tmp_path / 'weights' / 'head.safetensors'
        status = tool.main([str(item) for item in (trained[0], checkpoint, out, *options)])
        printed = capsys.readouterr()
        return status, out, printed.out + printed.err

    return publish


def scores(head, colour_weights):
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return EmbeddedDetector(head, colour_weights).detect([photo])[0].scores


@pytest.mark.slow
def test_what_ships_is_the_head_alone_and_runs(publish, colour_weights):
    status, out, text = publish('--side', 64, '--centre', 0.02)

    assert status == 0, text
    assert out.stat().st_size < 60_000
    assert f'{out}: 0.0' in text
    assert EmbeddedDetector(out, colour_weights).side == 64
    assert len(scores(out, colour_weights))


@pytest.mark.slow
def test_what_was_trained_along_ships_with_the_head(publish, trained, colour_weights, tmp_path):
    torch.manual_seed(0)
    settings = {'type': 'DenseDetector', 'encoder': str(colour_weights), 'above': 'enc8', 'head': {'channels': 8}}
    model = build_model(settings).eval()
    with torch.no_grad():
        model.encoder.copy.blocks['6'][0].layers[6].weight.mul_(2)
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, tmp_path / 'iter_1.pth')

    status, out, text = publish('--cfg-options', 'model.above=enc8', checkpoint=tmp_path / 'iter_1.pth')

    assert status == 0, text
    gray = torch.randint(256, (1, 64, 64), dtype=torch.uint8)
    own, shipped = model.encoder(gray), EmbeddedDetector(out, colour_weights).encoder(gray)
    for row, feature in own.items():
        assert torch.allclose(shipped[row], feature, rtol=0.02, atol=0.02)
    status, _, text = publish(checkpoint=tmp_path / 'iter_1.pth')
    assert status == 1
    assert 'encoder.copy.blocks.3' in text


@pytest.mark.slow
def test_with_its_mirror_image_a_photo_is_seen_as_its_mirror_image_is(publish, colour_weights):
    _, out, _ = publish('--side', 64, '--centre', 0.02, '--mirrored')
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    turned = np.ascontiguousarray(photo[:, ::-1])

    def difference(**options):
        """Pixels between the best box and that of the mirror image, turned back."""
        one, other = (
            found.boxes[0] for found in EmbeddedDetector(out, colour_weights, **options).detect([photo, turned])
        )
        back = torch.stack([96 - other[2], other[1], 96 - other[0], other[3]])
        return abs(one - back).max()

    assert difference() < 0.1
    assert difference(mirrored=False) > 1


@pytest.mark.slow
def test_scores_are_moved_and_sharpened(publish, colour_weights):
    _, out, _ = publish('--side', 64)
    before = load_file(out)['head.quality.bias'].float()
    _, out, _ = publish('--side', 64, '--centre', 0.02, '--sharpness', 2)

    after = load_file(out)['head.quality.bias'].float()

    assert torch.allclose(after, 2 * (before - torch.logit(torch.tensor(0.02))), atol=0.01)
    assert scores(out, colour_weights).max() > 0.1


def test_a_checkpoint_of_something_else_is_one_sentence(publish, colour_weights):
    status, out, text = publish(checkpoint=colour_weights)

    assert status == 1
    assert text.startswith('error: ')
    assert text.count('\n') == 1
    assert not out.exists()


class TestEvaluation:
    @pytest.fixture(scope='class')
    def tool(self):
        return load_script('tools/analysis_tools/evaluate_detectors.py')

    @pytest.fixture
    def photos(self, tmp_path):
        """Two photos of noise with a true box in the first one, and boxes of a detector that finds it and one more."""
        for name in ('a.png', 'b.png'):
            noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name)
        images = [
            {'id': n, 'file_name': name, 'width': 200, 'height': 200} for n, name in enumerate(('a.png', 'b.png'))
        ]
        categories = [{'id': COCO_IDS[name], 'name': name} for name in COCO_CLASSES]

        def box(image, bbox, **rest):
            return {'image_id': image, 'bbox': bbox, 'category_id': COCO_IDS['dog'], **rest}

        for file, boxes in {
            'truth.json': [box(0, [0, 0, 150, 150]), box(1, [0, 0, 150, 150], iscrowd=1)],
            'found.json': [box(0, [0, 0, 150, 140], score=0.9), box(0, [100, 100, 50, 50], score=0.9)],
        }.items():
            content = {'images': images, 'categories': categories}
            entries = [{'id': number, 'iscrowd': 0, 'area': 1, **entry} for number, entry in enumerate(boxes)]
            (tmp_path / file).write_text(json.dumps({**content, 'annotations': entries}))
        return tmp_path

    def test_a_table_of_all_detectors(self, tool, photos, monkeypatch, capsys):
        monkeypatch.setattr(tool, 'nothing_to_find', lambda: iter(()))

        status = tool.main([str(photos / 'truth.json'), str(photos), str(photos / 'found.json'), 'none'])

        heads, _, found, nothing = capsys.readouterr().out.strip().splitlines()
        names = [cell.strip() for cell in heads.split('|')[2:-1]]
        row = dict(zip(names, (cell.strip() for cell in found.split('|')[2:-1]), strict=True))
        assert status == 0
        assert found.startswith('| found >= 0 |')
        assert (row['recall'], row['precision'], row['labels right']) == ('1', '0.5', '1')
        assert (row['person recall'], row['boxes a photo']) == ('nan', '1')
        assert nothing.startswith('| none >= 0 | 0 | nan |')

    def test_pictures_without_an_object(self, tool):
        pictures = list(tool.nothing_to_find())

        assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
        assert {picture.shape for picture in pictures} == {(480, 640, 3), (256, 256, 3), (640, 427, 3)}
        assert min(picture.std() for picture in pictures) == 0
        assert max(picture.std() for picture in pictures) > 70

    def test_missing_photos_are_one_sentence(self, tool, photos, capsys):
        (photos / 'a.png').unlink()

        assert tool.main([str(photos / 'truth.json'), str(photos), 'none']) == 1
        assert 'a.png' in capsys.readouterr().err
