"""The models that MMEngine's runner trains and tests.

Shape legend: N images, R instances over all of them, S the network's input size.
"""

from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from insta_colorization.checkpoints import adapt_state_dict
from insta_colorization.registry import MODELS, build_model
from insta_colorization.structures import ColorizationSample, Instances

from .backbone import network_input


class Colorizer(BaseModel):
    """What every colorizer shares: losses, decoding, the runner's modes. A subclass says how to get the colours.

    Args:
        losses: {name: config}; each is logged as `loss_<name>`.
        decoder: config of what turns a trunk's outputs into ab; the paper's is the regression head.
        mask_centre: see `network_input`.
        data_preprocessor: config of the data preprocessor.
        init_cfg: MMEngine's initialization settings.
    """

    def __init__(
        self,
        losses: dict[str, dict] | None = None,
        decoder: dict | None = None,
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
        """Runs the networks.

        Args:
            lightness: (N, 1, S, S) in network units.
            crop_lightness: (R, 1, S, S), the instances' crops, each resized to the network's size.
            instances: R instances in N images, in the order of the crops; an image may have none.
            classify: whether to run the class head.

        Returns:
            The regression head's ab (N, 2, S, S) in network units and the class logits (N, 529, S/4, S/4) or None.
        """
        raise NotImplementedError

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
        image_net: config of the trunk.
        kwargs: see `Colorizer`.
    """

    def __init__(self, image_net: dict | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.image_net = build_model(image_net or {'type': 'ColorizationBackbone'})

    def colors(  # noqa: D102
        self,
        lightness: Tensor,
        crop_lightness: Tensor | None = None,
        instances: Instances | None = None,
        classify: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        ab, class_logits, _ = self.image_net(network_input(lightness, mask_centre=self.mask_centre), classify=classify)
        return ab, class_logits


@MODELS.register_module()
class InstColorizer(ImageColorizer):
    """The paper's system: images with instances go through the fusion network, the others through the full-image one.

    Args:
        image_net: config of the full-image network (GComp).
        instance_net: config of the instance network (G).
        fusion_net: config of the fusion network (GF).
        kwargs: see `Colorizer`.
    """

    def __init__(
        self,
        image_net: dict | None = None,
        instance_net: dict | None = None,
        fusion_net: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_net, **kwargs)
        self.instance_net = build_model(instance_net or {'type': 'ColorizationBackbone'})
        self.fusion_net = build_model(fusion_net or {'type': 'FusionNetwork'})

    def colors(  # noqa: D102
        self,
        lightness: Tensor,
        crop_lightness: Tensor | None = None,
        instances: Instances | None = None,
        classify: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if instances is None or not len(instances):
            return super().colors(lightness, classify=classify)
        if crop_lightness is None or len(crop_lightness) != len(instances):
            count = 0 if crop_lightness is None else len(crop_lightness)
            raise ValueError(f'every instance needs its crop, but got {count} crops for {len(instances)} instances')
        crop_features = self.instance_net(network_input(crop_lightness, mask_centre=self.mask_centre)).features
        covered = torch.zeros(len(lightness), dtype=torch.bool, device=lightness.device)
        covered[instances.image_index] = True
        fused_ab, fused_logits, _ = self.fusion_net(
            network_input(lightness[covered], mask_centre=self.mask_centre),
            crop_features,
            instances.of_images(covered),
            classify=classify,
        )
        if covered.all():
            return fused_ab, fused_logits
        plain_ab, plain_logits = super().colors(lightness[~covered], classify=classify)
        ab = _interleave(covered, fused_ab, plain_ab)
        if fused_logits is None or plain_logits is None:
            return ab, None
        return ab, _interleave(covered, fused_logits, plain_logits)


def _interleave(first_here: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Rows of `first` where `first_here` (N,), rows of `second` elsewhere, in order."""
    joined = first.new_empty(len(first_here), *first.shape[1:])
    joined[first_here] = first
    joined[~first_here] = second.to(first.dtype)
    return joined
