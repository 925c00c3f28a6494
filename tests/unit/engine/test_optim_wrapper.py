import torch
from mmengine.dataset import pseudo_collate
from small_runs import SMALL, Photos

from insta_colorization.engine.optim_wrapper import BFloat16OptimWrapper
from insta_colorization.models import ImageColorizer


class TestBFloat16:
    def test_the_forward_pass_runs_in_bfloat16_and_the_weights_stay_float32(self):
        model = ImageColorizer(image_net=SMALL).train()
        wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        seen = []
        model.image_net.stages['conv4'][0].register_forward_hook(lambda *args: seen.append(args[2].dtype))
        photos = Photos()
        before = model.image_net.stages['conv4'][0].weight.detach().clone()

        losses = model.train_step(pseudo_collate([photos[0], photos[1]]), wrapper)

        weight = model.image_net.stages['conv4'][0].weight
        assert seen == [torch.bfloat16]
        assert losses['loss_ab'].dtype == weight.dtype == torch.float32
        assert weight.isfinite().all()
        assert not torch.equal(weight, before)

    def test_outside_the_context_all_is_float32(self):
        model = ImageColorizer(image_net=SMALL).eval()
        wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))

        with wrapper.optim_context(model):
            assert model(lightness=torch.zeros(1, 1, 8, 8)).dtype == torch.float32  # what leaves the decoder
            assert torch.is_autocast_enabled('cpu')
        assert not torch.is_autocast_enabled('cpu')
