import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.evaluator import Evaluator
from torch.utils.data import Dataset

from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import identity as naming
from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.checkpoints.identity import identity, versions
from insta_colorization.evaluation.baselines import GrayBaseline
from insta_colorization.evaluation.metrics import LPIPS, PSNR, SSIM
from insta_colorization.evaluation.metrics.base import NotComputableError
from insta_colorization.evaluation.protocol import (
    as_text,
    document,
    warn_of_missing_boxes,
    write_results,
)
from insta_colorization.models import ImageColorizer, InstColorizer
from insta_colorization.structures import Instances


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    def missing(self):
        raise NotComputableError('there are no weights')

    monkeypatch.setattr(LPIPS, 'load', missing)


class Photos(Dataset):
    """Says what it was given about itself."""

    def __init__(self, **description: Any) -> None:
        self.description = description

    def describe(self) -> dict[str, Any]:
        return dict(self.description)


class Undescribed(Dataset):
    """Another project's."""


@pytest.fixture
def dataset() -> Photos:
    boxes = {'networks': 'found.json', 'truth': 'true.json'}
    return Photos(dataset='photos', boxes=boxes, selection={'top_k': 3}, network_size=32, anything='more')


@pytest.fixture
def samples() -> list[dict]:
    """Two photos, one in a sub-folder and with three true boxes, and a broken one."""
    generator = torch.Generator().manual_seed(0)
    photos = [torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=generator) for _ in range(2)]
    boxes = torch.tensor([[0, 0, 30, 30], [20, 20, 48, 48], [0, 0, 8, 48]])
    grey, black = torch.zeros(2, 48, 48), torch.zeros(3, 8, 8, dtype=torch.uint8)
    return [
        {'gt_rgb': photos[0], 'pred_ab': grey, 'img_path': 'photos/a.jpg', 'gt_instances': Instances.empty((48, 48))},
        {'gt_rgb': black, 'pred_ab': grey, 'img_path': 'photos/b.jpg', 'skipped': 'cannot read b.jpg'},
        {
            **{'gt_rgb': photos[1], 'pred_ab': grey, 'img_path': 'photos/sub/c.jpg', 'crowds': 2},
            **{'gt_instances': Instances(boxes, (48, 48)), 'instances': Instances(boxes[:1], (48, 48))},
        },
    ]


def evaluated(dataset: Dataset, samples: list[dict], metrics: list, model=None, checkpoint=None) -> dict:
    evaluator = Evaluator(metrics)
    evaluator.process(data_samples=samples, data_batch={})
    values = evaluator.evaluate(len(samples))
    return document('my_recipe', dataset, values, metrics, model or GrayBaseline(), checkpoint)


class TestDocument:
    def test_numbers_stand_by_level_and_by_photo(self, dataset, samples):
        results = evaluated(dataset, samples, [PSNR(), SSIM(), LPIPS()])

        assert set(results['metrics']['image']) == {'PSNR', 'PSNR_median', 'SSIM', 'SSIM_median'}
        assert [entry['photo'] for entry in results['photos']] == ['a.jpg', 'sub/c.jpg']
        assert [len(entry['instance']) for entry in results['photos']] == [0, 2]
        for entry in results['photos']:
            assert set(entry['image']) == {'PSNR', 'SSIM'}
        single = [entry['image']['PSNR'] for entry in results['photos']]
        assert results['metrics']['image']['PSNR'] == pytest.approx(sum(single) / 2)
        assert set(results['photos'][1]['instance'][0]) == {'PSNR', 'SSIM'}

    def test_what_was_left_out_is_said(self, dataset, samples):
        results = evaluated(dataset, samples, [LPIPS(), PSNR()])

        assert results['not_computed'] == {'LPIPS': 'there are no weights'}
        assert results['skipped'] == [{'photo': 'b.jpg', 'reason': 'cannot read b.jpg'}]
        protocol = results['protocol']
        assert (protocol['num_photos'], protocol['num_skipped'], protocol['num_instances']) == (2, 1, 2)
        assert protocol['instances_left_out']['crowds'] == 2
        assert protocol['instances_left_out']['small'] == 1

    def test_the_protocol_says_how_it_was_measured(self, dataset, samples):
        protocol = evaluated(dataset, samples, [PSNR(), SSIM(levels=('image',))])['protocol']

        assert protocol['config'] == 'my_recipe'
        assert (protocol['model'], protocol['tint']) == ('GrayBaseline', {'ab': [0, 0], 'unit': 'CIELAB'})
        assert (protocol['checkpoint'], protocol['networks'], protocol['decoder']) == (None, [], None)
        assert (protocol['size'], protocol['network_size']) == ([48, 48], 32)
        assert protocol['boxes'] == {'networks': None, 'truth': 'true.json'}
        assert protocol['selection'] is None
        assert protocol['metrics'] == {'PSNR': PSNR.protocol, 'SSIM': SSIM.protocol}
        assert protocol['anything'] == 'more'

    def test_a_model_that_uses_instances_says_which(self, dataset, samples, fused_weights):
        checkpoint = load_checkpoint(fused_weights)
        model = colorizer_for(checkpoint, {'type': 'InstColorizer'})

        protocol = evaluated(dataset, samples, [PSNR()], model, checkpoint)['protocol']

        assert protocol['boxes'] == {'networks': 'found.json', 'truth': 'true.json'}
        assert protocol['selection'] == {'top_k': 3}

    def test_another_projects_dataset_says_nothing(self, samples):
        results = evaluated(Undescribed(), samples, [PSNR()])

        assert 'dataset' not in results['protocol']
        assert [entry['photo'] for entry in results['photos']] == ['a.jpg', 'c.jpg']

    @pytest.mark.parametrize('fused', [False, True], ids=['full-image', 'fused'])
    def test_the_networks_that_predicted_are_named(self, dataset, samples, image_weights, fused_weights, fused):
        checkpoint = load_checkpoint(fused_weights if fused else image_weights)
        model = colorizer_for(checkpoint, {'type': 'InstColorizer'})

        results = evaluated(dataset, samples, [PSNR()], model, checkpoint)

        protocol = results['protocol']
        assert protocol['networks'] == (['image_net', 'instance_net', 'fusion_net'] if fused else ['image_net'])
        assert protocol['num_photos_fused'] == (1 if fused else 0)
        assert 'tint' not in protocol
        assert [entry['used'] for entry in results['photos']] == ([0, 1] if fused else [0, 0])
        assert protocol['decoder'] == 'RegressionDecoder, gain 1'
        assert protocol['checkpoint']['name'] == checkpoint.path.name

    def test_several_sizes_are_all_named(self, dataset, samples):
        samples[0] |= {'gt_rgb': samples[0]['gt_rgb'][:, :32], 'gt_instances': None}

        assert evaluated(dataset, samples, [PSNR()])['protocol']['size'] == [[32, 48], [48, 48]]

    def test_a_metric_of_whole_photos_only_hides_no_instance(self, dataset, samples):
        results = evaluated(dataset, samples, [SSIM(levels=('image',)), PSNR()])

        assert results['protocol']['num_instances'] == 2
        assert [set(instance) for instance in results['photos'][1]['instance']] == [{'PSNR'}, {'PSNR'}]

    def test_values_of_other_projects_stand_apart(self, dataset, samples):
        evaluator = Evaluator(metric := PSNR())
        evaluator.process(data_samples=samples, data_batch={})
        values = {**evaluator.evaluate(3), 'NIQE': 4}

        assert document('my_recipe', dataset, values, [metric], GrayBaseline(), None)['metrics']['other'] == {'NIQE': 4}

    def test_no_photo_that_could_be_measured(self, dataset, samples):
        with pytest.raises(
            ValueError, match=r'none of the 1 test photos could be measured; the first: cannot read b\.jpg'
        ):
            evaluated(dataset, samples[1:2], [PSNR()])

    def test_no_metric(self, dataset):
        with pytest.raises(ValueError, match='no metric of insta_colorization in test_evaluator'):
            document('my_recipe', dataset, {}, [], GrayBaseline(), None)


@pytest.mark.parametrize(
    ('found', 'fused', 'warned'), [(None, True, True), ('found.json', True, False), (None, False, False)]
)
def test_a_fusion_network_without_boxes(dataset, caplog, found, fused, warned):
    dataset.description['boxes'] = {'networks': found, 'truth': None}
    trunk = {'type': 'ColorizationBackbone', 'width': 1 / 16}
    fusion = {'type': 'FusionNetwork', 'width': 1 / 16}

    warn_of_missing_boxes(dataset, InstColorizer(trunk, trunk, fusion) if fused else ImageColorizer(trunk))

    assert ('InstColorizer makes use of instances, but' in caplog.text) is warned


class TestIdentity:
    def test_a_file(self, tmp_path):
        path = tmp_path / 'a.pth'
        path.write_bytes(b'weights')
        assert identity(path) == {'name': 'a.pth', 'sha256': hashlib.sha256(b'weights').hexdigest()}

    def test_a_folder(self, tmp_path):
        model = ImageColorizer({'type': 'ColorizationBackbone', 'width': 1 / 16})
        save_checkpoint(model.state_dict(), tmp_path / 'published', 'instacolorization')
        (tmp_path / 'published' / 'notes.txt').touch()

        found = identity(tmp_path / 'published')

        assert found['name'] == 'published'
        assert list(found['sha256']) == ['latest_net_GComp.pth']


def test_versions_leave_out_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(naming, '_LIBRARIES', ('torch', 'no-such-library'))
    assert versions().keys() == {'python', 'torch'}


class TestWriting:
    def test_json_in_a_new_folder(self, dataset, samples, tmp_path):
        results = evaluated(dataset, samples, [PSNR(), LPIPS()])

        write_results(results, tmp_path / 'new' / 'results.json')

        assert json.loads((tmp_path / 'new' / 'results.json').read_text()) == results

    def test_what_was_there_stays_when_writing_fails(self, tmp_path, monkeypatch):
        def full(*args):
            raise OSError(28, 'No space left on device')

        path = tmp_path / 'results.json'
        path.write_text('before')
        monkeypatch.setattr(Path, 'replace', full)

        with pytest.raises(OSError, match='No space left'):
            write_results({'metrics': {}}, path)

        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [('results.json', 'before')]

    def test_text(self, dataset, samples):
        lines = as_text(evaluated(dataset, samples, [PSNR(), LPIPS()])).splitlines()

        assert '  num_photos: 2' in lines
        assert '  size: 48, 48' in lines
        assert any(line.split() == ['image', 'instance'] for line in lines)
        assert sum(line.startswith('PSNR ') for line in lines) == 1
        assert lines[-2:] == ['not computed: LPIPS: there are no weights', 'skipped: b.jpg: cannot read b.jpg']
