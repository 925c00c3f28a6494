"""The models that MMEngine's runner trains and tests, one for each training stage of the paper.

Shape legend: N images, R instances over all of them, S the network's input size.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from insta_colorization.checkpoints.io import adapt_state_dict
from insta_colorization.models.backbones.zhang2017 import ColorizationBackbone, Colors, network_input
from insta_colorization.registry import MODELS, build_model
from insta_colorization.structures import ColorizationSample, Instances, Size

from .fusion import Canvases, FusionNetwork

_TRUNK = {'type': 'ColorizationBackbone'}
# What the published code trains in the fusion stage.
FUSION_STAGE = ('fusion_net.fusions', 'fusion_net.stages.conv10', 'fusion_net.ab_head')


class Colorizer(BaseModel):
    """What every colorizer shares: losses, decoding, the runner's modes. A subclass says how to get the colours.

    A parameter that does not train has `requires_grad` False; a network without any that does keeps its batch norms in
    evaluation mode. A class head that no loss asks for does not train.

    Args:
        networks: {name: config}.
        losses: {name: config}; each is logged as `loss_<name>`.
        decoder: config of what turns a trunk's outputs into ab; the paper's is the regression head.
        trainable: what the names of the parameters that train begin with, such as `fusion_net.fusions`.
        norm_eval: whether all batch norms stay in evaluation mode while training.
        mask_centre: see `network_input`.
        data_preprocessor: config of the data preprocessor.
        init_cfg: MMEngine's initialization settings.

    Attributes:
        derived: {network: the one it begins as a copy of}; a checkpoint that lacks just these networks is the previous
            training stage's, and starts this one.

    Raises:
        ValueError: an entry of `trainable` names no parameter.
    """

    derived: Mapping[str, str] = {}

    def __init__(
        self,
        networks: Mapping[str, dict],
        losses: dict[str, dict] | None = None,
        decoder: dict | None = None,
        trainable: Sequence[str] = ('',),
        norm_eval: bool = False,
        mask_centre: float = 0.5,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = build_model(data_preprocessor or {'type': 'ColorizationPreprocessor'})
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        losses = {'ab': {'type': 'HuberLoss'}} if losses is None else losses
        self.losses = nn.ModuleDict({name: build_model(loss) for name, loss in losses.items()})
        self.decoder = build_model(decoder or {'type': 'RegressionDecoder'})
        self.mask_centre = mask_centre
        self.norm_eval = norm_eval
        self.networks = tuple(networks)
        for name, network in networks.items():
            setattr(self, name, build_model(network))
        # Which convolutions prefer, on CPUs and on recent GPUs. It must come before the wrapper for several processes,
        # which lays gradients out as the weights are when it is made, and mixes them up if that changes.
        self.to(memory_format=torch.channels_last)
        self._freeze(trainable)

    def _freeze(self, trainable: Sequence[str]) -> None:
        names = [name for name, _ in self.named_parameters()]
        for prefix in trainable:
            if names and not any(name.startswith(prefix) for name in names):
                raise ValueError(f'trainable names {prefix!r}, but no parameter of {type(self).__name__} begins so')
        classify = any(loss.classify for loss in self.losses.values())
        for name, parameter in self.named_parameters():
            if not name.startswith(tuple(trainable)) or ('.class_head.' in name and not classify):
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for the batch norms that stay as they are."""
        super().train(mode)
        for name in self.networks:
            network = getattr(self, name)
            if mode and (self.norm_eval or not _trains(network)):
                for norm in network.modules():
                    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                        norm.eval()
        return self

    def run(self, network: ColorizationBackbone, lightness: Tensor, *args: Any, **kwargs: Any) -> Colors:
        """Runs one network on lightness (N, 1, S, S) without hints; without gradients if nothing of it trains.

        Args:
            network: one of the networks.
            lightness: (N, 1, S, S) in network units.
            args: what the network takes besides.
            kwargs: see `ColorizationBackbone.forward`.

        Returns:
            Its `Colors`, without features.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and _trains(network)):
            return network(network_input(lightness, mask_centre=self.mask_centre), *args, keep=(), **kwargs)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *rest: bool | list) -> None:
        # Every way to load passes here: torch's, the runner's `load_from`, the EMA hook's. See `adapt_state_dict`.
        adapt_state_dict(self, state_dict, prefix, local_metadata)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def colors(
        self,
        lightness: Tensor,
        crop_lightness: Tensor | None = None,
        instances: Instances | None = None,
        classify: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Runs the networks; by default the last one, on the whole pictures.

        Args:
            lightness: (N, 1, S, S) in network units.
            crop_lightness: (R, 1, S, S), the instances' crops, each resized to the network's size.
            instances: R instances in N images, in the order of the crops; an image may have none.
            classify: whether to run the class head.

        Returns:
            The regression head's ab (N, 2, S, S) in network units and the class logits (N, 529, S/4, S/4) or None.
        """
        return self.run(getattr(self, self.networks[-1]), lightness, classify=classify)[:2]

    def forward(
        self,
        lightness: Tensor,
        ab: Tensor | None = None,
        crop_lightness: Tensor | None = None,
        crop_ab: Tensor | None = None,
        instances: Instances | None = None,
        data_samples: list[ColorizationSample] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[ColorizationSample]:
        """MMEngine's entry: `tensor` gives ab (N, 2, S, S), `loss` a dict of losses, `predict` the samples.

        Raises:
            ValueError: the mode is none of these, or there is no truth to compare with.
        """
        if mode == 'loss':
            if ab is None:
                raise ValueError("mode 'loss' needs the true ab, but got none")
            return self.loss(lightness, ab, crop_lightness, instances)
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', but got {mode!r}")
        predicted = self.predict_ab(lightness, crop_lightness, instances)
        if mode == 'tensor':
            return predicted
        samples = data_samples or [ColorizationSample() for _ in predicted]
        for sample, sample_ab in zip(samples, predicted, strict=True):
            sample.pred_ab = sample_ab
        return samples

    def predict_ab(
        self, lightness: Tensor, crop_lightness: Tensor | None = None, instances: Instances | None = None
    ) -> Tensor:
        """Decoded ab (N, 2, S, S) in network units; arguments as for `colors`."""
        ab, class_logits = self.colors(lightness, crop_lightness, instances, classify=self.decoder.classify)
        return self.decoder(ab.float(), class_logits)

    def loss(
        self, lightness: Tensor, ab: Tensor, crop_lightness: Tensor | None, instances: Instances | None
    ) -> dict[str, Tensor]:
        """Losses of a batch against its true ab (N, 2, S, S), by name."""
        classify = any(loss.classify for loss in self.losses.values())
        predicted, class_logits = self.colors(lightness, crop_lightness, instances, classify)
        return {f'loss_{name}': loss(predicted, class_logits, ab) for name, loss in self.losses.items()}


@MODELS.register_module()
class ImageColorizer(Colorizer):
    """One network that colours whole images (the paper's full-image network, training stage 1); boxes are not read.

    Args:
        image_net: config of the full-image network (GComp).
        kwargs: see `Colorizer`.
    """

    image_net: ColorizationBackbone

    def __init__(self, image_net: dict | None = None, **kwargs: Any) -> None:
        super().__init__({'image_net': image_net or _TRUNK}, **kwargs)


@MODELS.register_module()
class InstanceColorizer(Colorizer):
    """The paper's training stage 2: the instance network, on photos that each are the crop of one instance.

    The full-image network, which it begins as a copy of, stays as it is and goes along for stage 3.

    Args:
        image_net: config of the full-image network (GComp).
        instance_net: config of the instance network (G).
        trainable: see `Colorizer`.
        kwargs: see `Colorizer`.
    """

    derived = {'instance_net': 'image_net'}
    image_net: ColorizationBackbone
    instance_net: ColorizationBackbone

    def __init__(
        self,
        image_net: dict | None = None,
        instance_net: dict | None = None,
        trainable: Sequence[str] = ('instance_net',),
        **kwargs: Any,
    ) -> None:
        networks = {'image_net': image_net or _TRUNK, 'instance_net': instance_net or _TRUNK}
        super().__init__(networks, trainable=trainable, **kwargs)


@MODELS.register_module()
class InstColorizer(Colorizer):
    """The paper's system: images with instances go through the fusion network, the others through the full-image one.

    In training (stage 3) the published code's choice of parameters is the default; the paper's text has the fusions
    alone, `trainable=['fusion_net.fusions']`.

    Args:
        image_net: config of the full-image network (GComp).
        instance_net: config of the instance network (G).
        fusion_net: config of the fusion network (GF).
        trainable: see `Colorizer`.
        norm_eval: see `Colorizer`.
        crop_chunk: how many crops of 256 x 256 go through the instance network at once in prediction, and as many more
            or fewer of another size as have the same area. It bounds the memory; the colours do not depend on it. None
            is 2 on a CPU, where more are not faster, and 16 elsewhere.
        kwargs: see `Colorizer`.

    Raises:
        ValueError: `crop_chunk` is below one.
    """

    derived = {'fusion_net': 'image_net'}
    image_net: ColorizationBackbone
    instance_net: ColorizationBackbone
    fusion_net: FusionNetwork

    def __init__(
        self,
        image_net: dict | None = None,
        instance_net: dict | None = None,
        fusion_net: dict | None = None,
        trainable: Sequence[str] = FUSION_STAGE,
        norm_eval: bool = True,
        crop_chunk: int | None = None,
        **kwargs: Any,
    ) -> None:
        if crop_chunk is not None and crop_chunk < 1:
            raise ValueError(f'crop_chunk must be at least 1, but got {crop_chunk}')
        networks = {
            'image_net': image_net or _TRUNK,
            'instance_net': instance_net or _TRUNK,
            'fusion_net': fusion_net or {'type': 'FusionNetwork'},
        }
        super().__init__(networks, trainable=trainable, norm_eval=norm_eval, **kwargs)
        self.crop_chunk = crop_chunk

    def loss(  # noqa: D102
        self, lightness: Tensor, ab: Tensor, crop_lightness: Tensor | None, instances: Instances | None
    ) -> dict[str, Tensor]:
        losses = super().loss(lightness, ab, crop_lightness, instances)
        if instances is not None and len(instances):
            return losses
        # A batch without any instance trains nothing, but must not stop the run or leave other processes waiting.
        nothing = torch.stack([0 * p.sum() for p in self.parameters() if p.requires_grad]).sum()
        return {name: loss + nothing for name, loss in losses.items()}

    def colors(
        self,
        lightness: Tensor,
        crop_lightness: Tensor | Sequence[Tensor] | None = None,
        instances: Instances | None = None,
        classify: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """See `Colorizer.colors`; crops of several sizes come as a list of tensors, in the order of the instances."""
        if instances is None or not len(instances):
            return self.run(self.image_net, lightness, classify=classify)[:2]
        crops = [crop_lightness] if isinstance(crop_lightness, Tensor) else crop_lightness or []
        if (count := sum(map(len, crops))) != len(instances):
            raise ValueError(f'every instance needs its crop, but got {count} crops for {len(instances)} instances')
        # On the CPU: where an instance lies steers what is launched, and must not wait for the device.
        instances = instances.to('cpu')
        covered = torch.zeros(len(lightness), dtype=torch.bool)
        covered[instances.image_index] = True
        everywhere = bool(covered.all())
        size = (lightness.shape[-2], lightness.shape[-1])
        canvases = self._canvases(crops, instances.of_images(covered), size)
        fused = lightness if everywhere else lightness[covered]
        fused_ab, fused_logits, _ = self.run(self.fusion_net, fused, canvases, classify=classify)
        if everywhere:
            return fused_ab, fused_logits
        plain_ab, plain_logits, _ = self.run(self.image_net, lightness[~covered], classify=classify)
        ab = _interleave(covered, fused_ab, plain_ab)
        if fused_logits is None or plain_logits is None:
            return ab, None
        return ab, _interleave(covered, fused_logits, plain_logits)

    def _canvases(self, crops: Sequence[Tensor], instances: Instances, size: Size) -> Canvases:
        """What the fusion network needs to know of R instances, whose crops are R times (1, S, S), at each of its rows.

        In prediction it is a sum over crops that come chunk by chunk. In training all features stay until the backward
        pass, so they come at once.
        """
        train = torch.is_grad_enabled() and _trains(self.fusion_net)
        with torch.set_grad_enabled(train):
            canvases = self.fusion_net.start(instances, size)

        def add(name: str, crops: Tensor) -> None:
            with torch.set_grad_enabled(train):
                self.fusion_net.add(canvases, name, crops)

        read = {name: partial(add, name) for name in canvases}
        for group in crops if read else ():
            for chunk in group.split(len(group) if train else self._chunk(group)):
                self.run(self.instance_net, chunk, read=read)
        return canvases

    def _chunk(self, crops: Tensor) -> int:
        count = self.crop_chunk or (2 if crops.device.type == 'cpu' else 16)
        return max(1, count * 256 * 256 // crops[0].numel())


def _trains(network: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in network.parameters())


def _interleave(first_here: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Rows of `first` where `first_here` (N,), rows of `second` elsewhere, in order."""
    joined = first.new_empty(len(first_here), *first.shape[1:])
    joined[first_here] = first
    joined[~first_here] = second.to(first.dtype)
    return joined
