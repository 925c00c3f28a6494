"""The three training stages: what each trains, what it starts from, what it refuses."""

import pytest
import torch

from insta_colorization.checkpoints import CheckpointError
from insta_colorization.models import Colorizer, ImageColorizer, InstanceColorizer, InstColorizer
from insta_colorization.structures import Instances

WIDTH = 1 / 16
SMALL = {'type': 'ColorizationBackbone', 'width': WIDTH}
FUSED = {'type': 'FusionNetwork', 'width': WIDTH}
BOTH = {'ab': {'type': 'HuberLoss'}, 'classes': {'type': 'RebalancedClassLoss'}}
STAGES = {
    1: lambda **kwargs: ImageColorizer(SMALL, **kwargs),
    2: lambda **kwargs: InstanceColorizer(SMALL, SMALL, **kwargs),
    3: lambda **kwargs: InstColorizer(SMALL, SMALL, FUSED, **kwargs),
}


def batch(photos: int = 2, instances: int = 3) -> dict:
    generator = torch.Generator().manual_seed(0)

    def noise(count: int, channels: int) -> torch.Tensor:
        return torch.rand(count, channels, 16, 16, generator=generator) - 0.5

    boxes = torch.tensor([[0.0, 0, 30, 40], [10, 10, 60, 60], [5, 30, 40, 64]])[:instances]
    index = torch.arange(instances) % photos
    found = Instances(boxes, torch.tensor([[64, 64]] * photos), image_index=index)
    return {
        'lightness': noise(photos, 1),
        'ab': noise(photos, 2),
        'crop_lightness': noise(instances, 1),
        'instances': found,
    }


def step(model: Colorizer, inputs: dict) -> dict[str, torch.Tensor]:
    """One optimizer step; returns the state before it."""
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    sum(model(**inputs, mode='loss').values()).backward()
    optimizer.step()
    return before


def changed(model: Colorizer, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


class TestWhatTrains:
    def test_stage_1_trains_all_but_the_unused_head_with_live_norms(self, lively):
        model = lively(STAGES[1]())
        moved = changed(model, step(model, batch()))

        assert not any('class_head' in name for name in moved)
        assert {name for name, _ in model.named_parameters() if 'class_head' not in name} <= moved
        assert any(name.endswith('running_mean') for name in moved)

    def test_stage_2_trains_the_instance_network_on_what_it_is_given(self, lively):
        model = lively(STAGES[2]())
        inputs = {key: value for key, value in batch().items() if key in ('lightness', 'ab')}
        moved = changed(model, step(model, inputs))

        assert {name.split('.')[0] for name in moved} == {'instance_net'}
        assert any(name.endswith('running_mean') for name in moved)

    @pytest.mark.slow
    def test_stage_3_trains_fusions_and_output_layers_with_frozen_norms(self, lively):
        model = lively(STAGES[3]())
        moved = changed(model, step(model, batch()))

        assert {'.'.join(name.split('.')[:2]) for name in moved} == {
            'fusion_net.fusions',
            'fusion_net.stages',
            'fusion_net.ab_head',
        }
        assert {name.split('.')[2] for name in moved if '.stages.' in name} == {'conv10'}
        assert not any('running' in name for name in moved)

    def test_the_papers_text_has_the_fusions_alone(self, lively):
        model = lively(STAGES[3](trainable=['fusion_net.fusions']))

        assert {'.'.join(name.split('.')[:2]) for name in changed(model, step(model, batch()))} == {
            'fusion_net.fusions'
        }

    @pytest.mark.parametrize('stage', STAGES)
    def test_the_class_head_trains_where_a_loss_asks(self, lively, stage):
        model = lively(STAGES[stage](losses=BOTH, trainable=('',), norm_eval=False))
        moved = changed(model, step(model, batch()))

        network = {1: 'image_net', 2: 'instance_net', 3: 'fusion_net'}[stage]
        assert f'{network}.class_head.weight' in moved

    def test_norms_can_be_frozen_in_any_stage(self, lively):
        model = lively(STAGES[1](norm_eval=True))

        assert not any('running' in name for name in changed(model, step(model, batch())))
        assert model.image_net.training

    def test_frozen_networks_run_without_gradients(self, lively):
        model = lively(STAGES[3]()).train()
        seen = {}
        for name in ('instance_net', 'fusion_net'):
            getattr(model, name).stages['conv10'].register_forward_hook(
                lambda _, __, out, name=name: seen.update({name: out.requires_grad})
            )
        model(**batch(), mode='loss')

        assert seen == {'instance_net': False, 'fusion_net': True}

    @pytest.mark.parametrize('stage', STAGES)
    def test_weights_are_laid_out_channels_last_from_the_start(self, stage):
        model = STAGES[stage]()
        weights = [parameter for parameter in model.parameters() if parameter.ndim == 4]

        assert weights
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)

    def test_a_name_that_is_nobodys(self):
        with pytest.raises(ValueError, match="trainable names 'fusion_nets', but no parameter of InstColorizer begins"):
            STAGES[3](trainable=['fusion_nets'])

    def test_a_batch_without_instances_trains_nothing_but_runs(self, lively):
        model = lively(STAGES[3]())
        inputs = {**batch(instances=0), 'instances': Instances.empty(torch.tensor([[64, 64]] * 2))}
        inputs['crop_lightness'] = torch.zeros(0, 1, 16, 16)

        assert not changed(model, step(model, inputs))


class TestWhatAStageStartsFrom:
    def test_stage_2_copies_the_full_image_network(self, lively):
        first, second = lively(STAGES[1](), seed=1), lively(STAGES[2](), seed=2)
        second.load_state_dict(first.state_dict())

        for name, value in first.image_net.state_dict().items():
            assert torch.equal(second.image_net.state_dict()[name], value)
            assert torch.equal(second.instance_net.state_dict()[name], value)

    def test_stage_3_takes_both_and_leaves_the_fusions_new(self, lively):
        second, third = lively(STAGES[2](), seed=1), lively(STAGES[3](), seed=2)
        fusions = {name: value.clone() for name, value in third.fusion_net.fusions.state_dict().items()}
        third.load_state_dict(second.state_dict())

        state = third.state_dict()
        for name, value in second.state_dict().items():
            assert torch.equal(state[name], value)
            if name.startswith('image_net.'):
                assert torch.equal(state[name.replace('image_net.', 'fusion_net.', 1)], value)
        for name, value in third.fusion_net.fusions.state_dict().items():
            assert torch.equal(value, fusions[name])

    @pytest.mark.parametrize('stage', STAGES)
    @pytest.mark.slow
    def test_every_stage_goes_on_from_its_own(self, lively, stage):
        saved, model = lively(STAGES[stage](), seed=1), lively(STAGES[stage](), seed=2)
        model.load_state_dict(saved.state_dict())

        assert all(torch.equal(value, saved.state_dict()[name]) for name, value in model.state_dict().items())

    @pytest.mark.parametrize(
        ('stage', 'given', 'message'),
        [
            pytest.param(3, 1, r'holds image_net \(stage 1\), but InstColorizer starts from .* \(stage 2\)', id='3<1'),
            pytest.param(2, 3, r'\(stage 3\), but InstanceColorizer starts from image_net \(stage 1\) or', id='2<3'),
            pytest.param(1, 2, 'also holds instance_net, which ImageColorizer has no place for', id='1<2'),
        ],
    )
    def test_another_stages_checkpoint_is_refused_by_name(self, lively, stage, given, message):
        model, weights = lively(STAGES[stage]()), STAGES[given]().state_dict()
        before = {name: value.clone() for name, value in model.state_dict().items()}

        with pytest.raises(CheckpointError, match=message):
            model.load_state_dict(weights)

        assert not changed(model, before)

    def test_another_width_is_refused(self):
        narrow = ImageColorizer({'type': 'ColorizationBackbone', 'width': 1 / 8}).state_dict()

        with pytest.raises(CheckpointError, match=r'width 0\.125, but that of InstanceColorizer has 0\.0625'):
            STAGES[2]().load_state_dict(narrow)
