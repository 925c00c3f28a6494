import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from insta_colorization.imaging.resize import crop_instances, resize_photo
from insta_colorization.models import ImageColorizer, InstColorizer
from insta_colorization.models.backbones.zhang2017 import STAGE_NAMES
from insta_colorization.registry import build_model
from insta_colorization.structures import ColorizationSample, Instances

SIZE = 32
SMALL = {'type': 'ColorizationBackbone', 'width': 1 / 16}
NETWORKS = {
    'image_net': SMALL,
    'instance_net': SMALL,
    'fusion_net': {'type': 'FusionNetwork', 'width': 1 / 16},
}
DECODERS = {'regression': {'type': 'RegressionDecoder'}, 'annealed-mean': {'type': 'AnnealedMeanDecoder'}}


@pytest.fixture(scope='module')
def built(lively) -> InstColorizer:
    return lively(InstColorizer(**NETWORKS))


@pytest.fixture
def streamed(built) -> Iterator[InstColorizer]:
    """The one model, without the hooks of the test before; no test may train it."""
    yield built
    for module in built.modules():
        module._forward_hooks.clear()


@pytest.fixture(params=DECODERS.values(), ids=DECODERS)
def model(request, streamed) -> Iterator[InstColorizer]:
    own, streamed.decoder = streamed.decoder, build_model(request.param)
    yield streamed
    streamed.decoder = own


def photo(instances: int, seed: int) -> tuple[np.ndarray, Instances]:
    """A photo of noise in coarse patches, and boxes in it."""
    generator = np.random.default_rng(seed)
    height, width = generator.integers(40, 90, size=2)
    coarse = generator.integers(0, 256, size=(6, 6, 3), dtype=np.uint8)
    image = np.kron(coarse, np.ones((15, 15, 1), np.uint8))[:height, :width]
    x = np.sort(generator.uniform(0, width - 2, size=(instances, 2)), axis=1)
    y = np.sort(generator.uniform(0, height - 2, size=(instances, 2)), axis=1)
    boxes = np.stack([x[:, 0], y[:, 0], x[:, 1] + 2, y[:, 1] + 2], axis=1)
    return image, Instances(boxes, (height, width))


def batch_of(*photos: tuple[np.ndarray, Instances]) -> dict:
    """What a data loader hands to `test_step`."""

    def to_tensor(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels.copy()).movedim(-1, -3)

    return {
        'inputs': {
            'image': [to_tensor(resize_photo(image, SIZE)) for image, _ in photos],
            'crops': [to_tensor(crop_instances(image, instances, SIZE)) for image, instances in photos],
        },
        'data_samples': [ColorizationSample(instances=instances) for _, instances in photos],
    }


def predict(model: InstColorizer, *photos: tuple[np.ndarray, Instances]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.stack([sample.pred_ab for sample in model.test_step(batch_of(*photos))])


class TestBatches:
    @pytest.mark.slow
    @pytest.mark.parametrize('counts', [(0, 1, 3, 8), (8, 3, 1, 0), (0, 0, 0, 0), (2, 0, 0, 5)], ids=str)
    def test_four_photos_equal_four_single_runs(self, model, counts):
        photos = [photo(count, seed) for seed, count in enumerate(counts)]

        together = predict(model, *photos)
        alone = torch.cat([predict(model, item) for item in photos])

        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
        assert together.std() > 0.003  # the photos differ by far more than the tolerance

    def test_instances_change_only_the_photo_they_lie_in(self, model):
        first, second = photo(2, seed=1), photo(1, seed=2)
        without = (second[0], Instances.empty(second[1].image_size))

        both, one = predict(model, first, second), predict(model, first, without)

        torch.testing.assert_close(both[0], one[0], atol=1e-5, rtol=0)
        assert (both[1] - one[1]).abs().max() > 1e-3

    def test_a_photo_without_instances_is_the_full_image_networks(self, model, lively):
        lone = ImageColorizer(image_net=SMALL)
        lone.decoder = model.decoder
        lone.image_net.load_state_dict(model.image_net.state_dict())
        item = photo(0, seed=5)

        torch.testing.assert_close(predict(model, item), predict(lone.eval(), item), atol=0, rtol=0)

    @pytest.mark.slow
    def test_500_boxes(self, model):
        crowded, plain = photo(500, seed=3), photo(1, seed=4)

        together = predict(model, crowded, plain)

        assert together.isfinite().all()
        torch.testing.assert_close(together[:1], predict(model, crowded), atol=1e-5, rtol=0)
        torch.testing.assert_close(together[1:], predict(model, plain), atol=1e-5, rtol=0)

    def test_only_the_networks_that_are_needed_run(self, model):
        ran = []
        for name in NETWORKS:
            getattr(model, name).stages['conv1'].register_forward_hook(lambda *_, name=name: ran.append(name))

        predict(model, photo(0, 0))
        assert ran == ['image_net']
        ran.clear()
        predict(model, photo(2, 0))
        assert ran == ['instance_net', 'fusion_net']


class TestChunks:
    """Crops go through the instance network a few at a time, and their features are gone when the next ones come."""

    @staticmethod
    def chunks_of(model: InstColorizer) -> list[int]:
        """A list that fills with how many crops the instance network gets at a time."""
        sizes: list[int] = []
        model.instance_net.stages['conv1'].register_forward_hook(lambda _, args, __: sizes.append(len(args[0])))
        return sizes

    @pytest.mark.parametrize(('chunk', 'sizes'), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])], ids=str)
    def test_colours_do_not_depend_on_the_chunk(self, streamed, monkeypatch, chunk, sizes):
        photos = [photo(count, seed) for seed, count in enumerate((2, 0, 5))]
        seen = self.chunks_of(streamed)
        monkeypatch.setattr(streamed, '_chunk', lambda crops: len(crops))
        whole = predict(streamed, *photos)
        seen.clear()
        monkeypatch.setattr(streamed, '_chunk', lambda crops: chunk)

        torch.testing.assert_close(predict(streamed, *photos), whole, atol=1e-5, rtol=0)
        assert seen == sizes

    @pytest.mark.parametrize(
        ('chunk', 'side', 'count'), [(4, 256, 4), (4, 512, 1), (4, 128, 16), (1, 512, 1), (None, 256, 2)]
    )
    def test_a_chunk_is_an_area(self, chunk, side, count):
        model = InstColorizer(**NETWORKS, crop_chunk=chunk)

        assert model._chunk(torch.zeros(1, 1, side, side)) == count

    def test_a_chunk_below_one(self):
        with pytest.raises(ValueError, match='crop_chunk must be at least 1, but got 0'):
            InstColorizer(**NETWORKS, crop_chunk=0)

    def test_only_one_chunks_features_are_alive(self, streamed, monkeypatch):
        alive, most = weakref.WeakSet(), []
        monkeypatch.setattr(streamed, '_chunk', lambda crops: 1)

        def watch(canvases, name, crops):
            alive.add(crops)
            most.append(len(alive))
            return add(canvases, name, crops)

        add = streamed.fusion_net.add
        monkeypatch.setattr(streamed.fusion_net, 'add', watch)
        predict(streamed, photo(6, 0))

        assert len(most) == 6 * len(STAGE_NAMES)
        # conv1 to conv3, which later rows read, and the row at hand and the one before
        assert max(most) <= 5

    def test_half_precision_is_close(self, streamed):
        photos = [photo(count, seed) for seed, count in enumerate((3, 0))]

        exact = predict(streamed, *photos)
        with torch.autocast('cpu', torch.bfloat16):
            half = predict(streamed, *photos)

        assert half.dtype == torch.float32
        assert (half - exact).abs().max() < 0.02
        assert not torch.equal(half, exact)

    @pytest.mark.slow
    def test_in_training_all_crops_go_at_once_and_without_gradients(self, lively):
        model = lively(InstColorizer(**NETWORKS)).train()
        seen = self.chunks_of(model)
        inputs = model.data_preprocessor(batch_of(photo(5, 0), photo(4, 1)), training=True)
        inputs.pop('data_samples')

        model(**inputs, mode='loss')['loss_ab'].backward()

        assert seen == [9]
        assert all(p.grad is None for p in model.instance_net.parameters())

    @pytest.mark.slow
    def test_where_the_instance_network_trains_too_it_gets_gradients(self, lively):
        model = lively(InstColorizer(**NETWORKS, trainable=('instance_net', 'fusion_net'))).train()
        inputs = model.data_preprocessor(batch_of(photo(3, 0)), training=True)
        inputs.pop('data_samples')

        model(**inputs, mode='loss')['loss_ab'].backward()

        trains = [
            p for name, p in model.instance_net.named_parameters() if 'class_head' not in name and 'ab_' not in name
        ]
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trains)

    @pytest.mark.parametrize(
        ('fused', 'last'), [('none', None), ('encoder', 'conv7'), ('decoder', 'conv10'), ('both', 'conv10')]
    )
    def test_the_instance_network_ends_where_nobody_reads_on(self, lively, fused, last):
        networks = {**NETWORKS, 'fusion_net': {**NETWORKS['fusion_net'], 'fused': fused}}
        model = lively(InstColorizer(**networks))
        ran = []
        for name, module in (*model.instance_net.stages.items(), ('ab_head', model.instance_net.ab_head)):
            module.register_forward_hook(lambda *_, name=name: ran.append(name))

        predict(model, photo(2, 0))

        assert ran == list(STAGE_NAMES[: STAGE_NAMES.index(last) + 1] if last else ())


class TestForward:
    @pytest.fixture
    def inputs(self, built) -> dict:
        inputs = built.data_preprocessor(batch_of(photo(2, 0), photo(0, 1)), training=True)
        inputs.pop('data_samples')
        return inputs

    def test_tensor(self, model, inputs):
        assert model(**inputs).shape == (2, 2, SIZE, SIZE)

    def test_predict_makes_samples_when_it_gets_none(self, model, inputs):
        samples = model(**inputs, mode='predict')

        assert [tuple(sample.pred_ab.shape) for sample in samples] == [(2, SIZE, SIZE)] * 2

    def test_unknown_mode(self, model, inputs):
        with pytest.raises(ValueError, match="mode must be 'loss', 'predict' or 'tensor', but got 'train'"):
            model(**inputs, mode='train')

    def test_loss_needs_the_truth(self, model, inputs):
        with pytest.raises(ValueError, match="mode 'loss' needs the true ab, but got none"):
            model(lightness=inputs['lightness'], mode='loss')

    @pytest.mark.parametrize(('crops', 'message'), [(None, 'got 0 crops for 2'), (1, 'got 1 crops for 2')])
    def test_every_instance_needs_its_crop(self, model, inputs, crops, message):
        given = None if crops is None else inputs['crop_lightness'][:crops]

        with pytest.raises(ValueError, match=message):
            model(lightness=inputs['lightness'], crop_lightness=given, instances=inputs['instances'])

    def test_losses_reach_every_part_that_ran(self, lively, inputs):
        model = lively(InstColorizer(**NETWORKS)).train()
        covered = {name: value[:1] if name in ('lightness', 'ab') else value for name, value in inputs.items()}
        covered['instances'] = inputs['instances'].of_images(torch.tensor([True, False]))

        model(**covered, mode='loss')['loss_ab'].backward()

        assert all(p.grad is not None for p in model.fusion_net.fusions.parameters())
        assert all(p.grad is None for p in model.image_net.parameters())

    @pytest.mark.slow
    def test_the_class_head_runs_only_when_a_loss_asks(self, lively, inputs):
        for losses, runs in (({'ab': {'type': 'HuberLoss'}}, 0), ({'classes': {'type': 'RebalancedClassLoss'}}, 2)):
            model = lively(InstColorizer(**NETWORKS, losses=losses))
            heads = []
            for net in (model.image_net, model.instance_net, model.fusion_net):
                net.class_head.register_forward_hook(lambda *_, heads=heads: heads.append(1))

            logged = model(**inputs, mode='loss')

            assert list(logged) == [f'loss_{name}' for name in losses]
            assert len(heads) == runs

    def test_mask_centre_reaches_every_network(self, lively, inputs):
        model = lively(InstColorizer(**NETWORKS, mask_centre=0.0))
        channels = []
        for name in NETWORKS:
            getattr(model, name).stages['conv1'].register_forward_hook(
                lambda _, args, __: channels.append(args[0][:, 3])
            )

        model(**inputs)

        assert len(channels) == 3
        assert all((channel == 0).all() for channel in channels)


@pytest.mark.slow
def test_train_step_lowers_the_loss(lively):
    from mmengine.optim import OptimWrapper

    model = lively(ImageColorizer(image_net=SMALL)).train()
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-3))
    batch = batch_of(photo(0, 0), photo(0, 1))

    losses = [model.train_step(batch, wrapper)['loss'].item() for _ in range(10)]

    assert losses[-1] < 0.9 * losses[0]
