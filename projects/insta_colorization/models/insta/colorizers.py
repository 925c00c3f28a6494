"""The models of the paper's three training stages.

Shape legend: N images, R instances over all of them, S the networks' input size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from insta_colorization.models.backbones import Backbone, Colors
from insta_colorization.models.colorizer import Batch, Colorizer, trains
from insta_colorization.registry import MODELS
from insta_colorization.structures import ColorizationSample, Instances, Size

from .fusion import Canvases, FusionNetwork

_TRUNK = {'type': 'ColorizationBackbone'}
# What the published code trains in the fusion stage.
FUSION_STAGE = ('fusion_net.fusions', 'fusion_net.stages.conv10', 'fusion_net.ab_head')


class NetworkColorizer(Colorizer):
    """What the paper's models share: their networks take lightness and hints.

    Args:
        networks: {name: config}.
        mask_centre: that of the published backbones where it is not each one's own, see `network_input`.
        kwargs: see `Colorizer`.
    """

    uses = frozenset({'hints'})

    def __init__(self, networks: dict[str, dict], mask_centre: float | None = None, **kwargs: Any) -> None:
        super().__init__(networks, **kwargs)
        if mask_centre is not None:
            self.mask_centre = mask_centre

    @property
    def mask_centre(self) -> float:
        """What the published backbones take off the hint mask; 0.5 for others."""
        return getattr(self._backbones()[0], 'mask_centre', 0.5)

    @mask_centre.setter
    def mask_centre(self, value: float) -> None:
        for backbone in self._backbones():
            backbone.mask_centre = value

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of the network that colours."""
        return tuple(self._backbones()[-1].feature_info)

    def _backbones(self) -> list[Any]:
        networks = [getattr(self, name) for name in self.networks]
        return [network.backbone if isinstance(network, FusionNetwork) else network for network in networks]

    def colors(self, batch: Batch, classify: bool = False) -> Colors:
        """The last network's colours of whole pictures: `lightness` (N, 1, S, S) and, where there are some, `hints`."""
        network = getattr(self, self.networks[-1])
        return self.run(network, batch['lightness'], batch.get('hints'), classify=classify)


@MODELS.register_module()
class ImageColorizer(NetworkColorizer):
    """One network that colours whole images (the paper's full-image network, training stage 1); boxes are not read.

    Args:
        image_net: config of the full-image network (GComp).
        kwargs: see `NetworkColorizer`.
    """

    image_net: Backbone

    def __init__(self, image_net: dict | None = None, **kwargs: Any) -> None:
        super().__init__({'image_net': image_net or _TRUNK}, **kwargs)


@MODELS.register_module()
class InstanceColorizer(NetworkColorizer):
    """The paper's training stage 2: the instance network, on photos that each are the crop of one instance.

    The full-image network, which it begins as a copy of, stays as it is and goes along for stage 3.

    Args:
        image_net: config of the full-image network (GComp).
        instance_net: config of the instance network (G).
        trainable: see `Colorizer`.
        kwargs: see `NetworkColorizer`.
    """

    derived = {'instance_net': 'image_net'}
    stage = 2
    image_net: Backbone
    instance_net: Backbone

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
class InstColorizer(NetworkColorizer):
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
        kwargs: see `NetworkColorizer`.

    Raises:
        ValueError: `crop_chunk` is below one.
    """

    derived = {'fusion_net': 'image_net'}
    stage = 3
    uses = frozenset({'hints', 'instances'})
    image_net: Backbone
    instance_net: Backbone
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

    def loss(self, batch: Batch) -> dict[str, Tensor]:  # noqa: D102
        losses = super().loss(batch)
        if batch.get('instances') is not None and len(batch['instances']):
            return losses
        # A batch without any instance trains nothing, but must not stop the run or leave other processes waiting.
        nothing = torch.stack([0 * p.sum() for p in self.parameters() if p.requires_grad]).sum()
        return {name: loss + nothing for name, loss in losses.items()}

    def network_for(self, sample: ColorizationSample) -> str:  # noqa: D102
        return 'fusion_net' if len(sample.instances) else 'image_net'

    def colors(self, batch: Batch, classify: bool = False) -> Colors:
        """See `Colorizer.colors`, and `ColorizationPreprocessor.forward` for what the batch holds.

        Raises:
            ValueError: there are not as many crops as instances.
        """
        lightness, hints, instances = batch['lightness'], batch.get('hints'), batch.get('instances')
        if instances is None or not len(instances):
            return self.run(self.image_net, lightness, hints, classify=classify)
        # On the CPU: where an instance lies steers what is launched, and must not wait for the device.
        instances = instances.to('cpu')
        covered = torch.zeros(len(lightness), dtype=torch.bool)
        covered[instances.image_index] = True
        canvases = self._canvases(
            batch.get('crop_lightness'), batch.get('crop_hints'), instances.of_images(covered), lightness.shape[-2:]
        )
        if covered.all():
            return self.run(self.fusion_net, lightness, hints, canvases, classify=classify)

        def part(mine: Tensor) -> tuple[Tensor, Tensor | None]:
            return lightness[mine], None if hints is None else hints[mine]

        fused = self.run(self.fusion_net, *part(covered), canvases, classify=classify)
        plain = self.run(self.image_net, *part(~covered), classify=classify)
        ab = _interleave(covered, fused.ab, plain.ab)
        if fused.class_logits is None or plain.class_logits is None:
            return Colors(ab)
        return Colors(ab, _interleave(covered, fused.class_logits, plain.class_logits))

    def _canvases(self, crops: Tensor | None, hints: Tensor | None, instances: Instances, size: Size) -> Canvases:
        """What the fusion network needs to know of R instances, whose crops are (R, 1, S, S), at each of its rows.

        In prediction it is a sum over crops that come chunk by chunk. In training all features stay until the backward
        pass, so they come at once.
        """
        if (count := 0 if crops is None else len(crops)) != len(instances):
            raise ValueError(f'every instance needs its crop, but got {count} crops for {len(instances)} instances')
        assert crops is not None
        train = torch.is_grad_enabled() and trains(self.fusion_net)
        with torch.set_grad_enabled(train):
            canvases = self.fusion_net.start(instances, size)
        if not canvases:
            return canvases
        last = list(canvases)[-1]
        chunk = len(crops) if train else self._chunk(crops)
        for start in range(0, len(crops), chunk):
            part = slice(start, start + chunk)
            with torch.set_grad_enabled(torch.is_grad_enabled() and trains(self.instance_net)):
                for name, feature in self.instance_net.rows(crops[part], None if hints is None else hints[part]):
                    if name in canvases:
                        with torch.set_grad_enabled(train):
                            self.fusion_net.add(canvases, name, feature)
                    if name == last:
                        break
        return canvases

    def _chunk(self, crops: Tensor) -> int:
        count = self.crop_chunk or (2 if crops.device.type == 'cpu' else 16)
        return max(1, count * 256 * 256 // crops[0].numel())


def _interleave(first_here: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Rows of `first` where `first_here` (N,), rows of `second` elsewhere, in order."""
    joined = first.new_empty(len(first_here), *first.shape[1:])
    joined[first_here] = first
    joined[~first_here] = second.to(first.dtype)
    return joined
