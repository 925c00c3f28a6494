"""PatchColorization: photo and objects are coloured apart, and objects' colours replace the photo's under their masks.

Shape legend: N images, R instances over all of them, S the networks' input size, H, W a picture.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from insta_colorization.colorspace import (
    GRAY_WEIGHTS,
    L_CENTRE,
    L_RANGE,
    from_network,
    lab_to_rgb,
    lightness_to_gray,
    rgb_to_lab,
    to_network,
)
from insta_colorization.imaging.rendering import Curve, Patch
from insta_colorization.imaging.resize import to_tensor
from insta_colorization.models.backbones import Colors
from insta_colorization.models.colorizer import Batch
from insta_colorization.models.insta.colorizers import NetworkColorizer
from insta_colorization.registry import MODELS
from insta_colorization.structures import ColorizationSample, Instances

from .network import of_313_classes
from .outlines import WithoutMasks, outlines, with_whole_boxes
from .preprocessor import published_frame

_CROPS_AT_ONCE = 8


@MODELS.register_module()
class PatchColorizer(NetworkColorizer):
    """The published system with `eccv_net`, or its pipeline with this package's other networks.

    `eccv_net` colours photo and crops. With `image_net` that colours the photo, and `instance_net`, where there is one,
    the crops.

    Args:
        eccv_net: config of the network of Zhang et al. 2016; the default where there is no `image_net`.
        image_net: config of a backbone for the photo.
        instance_net: config of a backbone for the crops.
        curve_strength: how much of the saturation curve applies, 0..1; the published picture has all.
        best_on_top: which of two overlapping objects is seen: the one with the better score, or, as published, the one
            with the worse.
        feather: how far masks fade in from their edges, as a share of the shorter side of the box; 0 for hard edges.
        without_masks: what becomes of objects of which only the box is known: 'grabcut' looks for them inside it,
            'box' takes all of it, faded in at its edges.
        losses: see `Colorizer`.
        decoder: see `Colorizer`.
        presets: see `Colorizer`.
        data_preprocessor: see `Colorizer`.
        kwargs: see `NetworkColorizer`.

    Raises:
        ValueError: a number is out of range, or the networks do not go together.
    """

    uses = frozenset({'instances', 'masks'})
    native_takes_all = True
    borrows = (('image_net', 'instance_net'), ('image_net',))

    def __init__(
        self,
        eccv_net: dict | None = None,
        image_net: dict | None = None,
        instance_net: dict | None = None,
        *,
        curve_strength: float = 1.0,
        best_on_top: bool = False,
        feather: float = 0.02,
        without_masks: WithoutMasks = 'grabcut',
        losses: dict[str, dict] | None = None,
        decoder: dict | None = None,
        presets: Mapping[str, dict] | None = None,
        data_preprocessor: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if not 0 <= curve_strength <= 1:
            raise ValueError(f'curve_strength must lie in 0..1, but got {curve_strength}')
        if image_net is None:
            eccv_net = eccv_net or {'type': 'Eccv16Network'}
            losses = losses and {name: of_313_classes(loss) for name, loss in losses.items()}
            presets = presets and {name: of_313_classes(preset) for name, preset in presets.items()}
            decoder = decoder and of_313_classes(decoder)
        given = {'eccv_net': eccv_net, 'image_net': image_net, 'instance_net': instance_net}
        networks = {name: network for name, network in given.items() if network is not None}
        if 'eccv_net' in networks and len(networks) > 1:
            raise ValueError(f'eccv_net colours photo and crops alone, but there are {", ".join(networks)}')
        settings = {'type': 'PatchPreprocessor', 'feather': feather, 'without_masks': without_masks}
        super().__init__(
            networks,
            losses=losses,
            decoder=decoder,
            presets=presets,
            data_preprocessor={**settings, **(data_preprocessor or {})},
            **kwargs,
        )
        self.curve_strength = curve_strength
        self.best_on_top = best_on_top

    def colors(self, batch: Batch, classify: bool = False) -> Colors:
        """Colours of pictures, `lightness` (N, 1, S, S), by the photo's network or the one that `network` names."""
        network = getattr(self, batch.get('network', self.networks[0]))
        return self.run(network, batch['lightness'], classify=classify)

    def predict(self, batch: Batch, dtype: torch.dtype = torch.float32) -> list[ColorizationSample]:
        """See `Colorizer.predict`.

        Returns:
            The N samples with `pred_ab` (2, S, S) and, in the order in which they are pasted, `pred_patches`. Where a
            sample has its truth, `pred_ab` is the whole picture's at the truth's size instead, with patches and curve.

        Raises:
            ValueError: there are not as many crops as instances.
        """
        samples = super().predict(batch, dtype)
        crops = batch.get('crop_lightness')
        if crops is not None:
            counts = [len(sample.instances) for sample in samples]
            if len(crops) != sum(counts):
                raise ValueError(
                    f'every instance needs its crop, but got {len(crops)} crops for {sum(counts)} instances'
                )
            for sample, own in zip(samples, self._crop_ab(crops, dtype).split(counts), strict=True):
                self._paste(sample, own)
        for sample in samples:
            if 'gt_rgb' in sample:
                sample.pred_ab = self._flat(sample)
        return samples

    def _crop_ab(self, crops: Tensor, dtype: torch.dtype) -> Tensor:
        """(R, 1, S, S) in network units -> ab (R, 2, S, S) on the CPU, where pictures are made."""
        height, width = crops.shape[-2:]
        if not len(crops):
            return torch.zeros(0, 2, height, width)
        chunk, network = max(1, _CROPS_AT_ONCE * 256**2 // (height * width)), self.networks[-1]
        parts = [self.predict_ab({'lightness': part, 'network': network}, dtype) for part in crops.split(chunk)]
        return torch.cat([part.cpu() for part in parts])

    def _paste(self, sample: ColorizationSample, ab: Tensor) -> None:
        """Gives a sample its `pred_patches`, from the ab (R, 2, S, S) of its crops."""
        instances = sample.instances
        found = sample.get('outlines')
        if found is None:  # from a dataset, whose pipeline gives masks or not
            found = outlines(with_whole_boxes(instances), self.data_preprocessor.feather)
        order = instances.worst_to_best()
        if not self.best_on_top:
            # The published code pastes in the order of its detector, which reports the best first.
            order = torch.arange(len(order)) if sample.get('native') else order.flip(0)
        patches = [Patch(box, own, weights) for (box, weights), own in zip(found, ab, strict=True)]
        sample.pred_patches = tuple(patches[number] for number in order.tolist())

    def _flat(self, sample: ColorizationSample) -> Tensor:
        """The ab (2, H, W) that a sample's picture has at the size of its truth (3, H, W), for metrics."""
        truth = sample.gt_rgb
        size = truth.shape[-2:]
        ab = _bilinear(sample.pred_ab, size)
        patches = sample.get('pred_patches', ())
        # Their boxes are whole pixels of the photo, which may have any size.
        boxes = Tensor([patch.box for patch in patches]).view(-1, 4)
        cells = Instances(boxes, sample.instances.image_size).on_grid(size).tolist() if patches else []
        for patch, (x0, y0, x1, y1) in zip(patches, cells, strict=True):
            planes = [torch.as_tensor(patch.ab).to(ab), torch.as_tensor(patch.mask).to(ab)[None]]
            own, weights = (
                F.interpolate(plane[None], (y1 - y0, x1 - x0), mode='bilinear', antialias=True)[0] for plane in planes
            )
            ab[:, y0:y1, x0:x1].lerp_(own, weights.expand_as(own))
        lightness, _ = to_network(rgb_to_lab(truth.to(ab.device).float() / 255))
        return ab * self._factor(lightness)

    @property
    def curve(self) -> Curve | None:
        """The published saturation curve as a factor on chroma, so that lightness stays; None at strength 0."""
        if not self.curve_strength:
            return None
        return lambda chroma, lightness: chroma * self._factor((lightness - L_CENTRE) / L_RANGE)

    def _factor(self, lightness: Tensor) -> Tensor:
        """What the curve leaves of colour at each lightness in network units."""
        return 1 - self.curve_strength * (1 - saturation_curve(lightness_to_gray(lightness)))

    def describe(self) -> dict[str, Any]:  # noqa: D102
        preprocessor = self.data_preprocessor
        return {
            **super().describe(),
            'paste': {
                'curve_strength': self.curve_strength,
                'best_on_top': self.best_on_top,
                'feather': preprocessor.feather,
                'without_masks': preprocessor.without_masks,
            },
        }

    def notes(self, sample: ColorizationSample) -> dict[str, Any]:
        """Where the mask of each box comes from: 'mask', 'grabcut' or 'box'."""
        return {'masks': list(sample.get('masks', ()))}

    def network_for(self, sample: ColorizationSample) -> str:  # noqa: D102
        return self.networks[-1] if len(sample.instances) else self.networks[0]

    def native_picture(self, image: np.ndarray, sample: ColorizationSample, gain: float = 1.0) -> np.ndarray:
        """The picture that the published code gives: its longest side at most 1280, hard edges, clipped to sRGB.

        Args:
            image: (H, W, 3) uint8 RGB.
            sample: with its `pred_ab` and `pred_patches`, of a photo that was packed for it (`Request.native`).
            gain: factor on the colour.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            ValueError: the sample was packed for another size.
        """
        frame = published_frame(image)
        size = frame.shape[0], frame.shape[1]
        if tuple(sample.get('frame', size)) != size:
            raise ValueError(f'the published picture has size {size}, but the sample was packed for {sample.frame}')
        rgb = to_tensor(frame).float() / 255
        ab = _bilinear(sample.pred_ab.cpu().float(), size)
        for patch in sample.get('pred_patches', ()):
            x0, y0, x1, y1 = patch.box
            own = _bilinear(torch.as_tensor(patch.ab).float(), (y1 - y0, x1 - x0))
            below = ab[:, y0:y1, x0:x1]
            below.copy_(torch.where(torch.as_tensor(patch.mask) > 0, own, below))
        lightness, _ = to_network(rgb_to_lab(rgb))
        picture = lab_to_rgb(from_network(lightness, ab * gain)).clamp(0, 1)
        gray = (rgb * rgb.new_tensor(GRAY_WEIGHTS).view(3, 1, 1)).sum(dim=0)
        kept = 1 - self.curve_strength * (1 - saturation_curve(gray))
        # The saturation of HSV times a factor, without the way to HSV and back: hue and value stay.
        value = picture.amax(dim=0)
        return ((value - kept * (value - picture)) * 255).round().byte().movedim(0, -1).numpy()


def saturation_curve(gray: Tensor) -> Tensor:
    """The published factor on saturation for sRGB grey in 0..1: 1 at middle grey, 0.375 at black and white."""
    return -2.5 * gray**2 + 2.5 * gray + 0.375


def _bilinear(ab: Tensor, size: tuple[int, int]) -> Tensor:
    """ab (2, h, w) at another size, as the published code does: not antialiased."""
    return F.interpolate(ab[None], size=size, mode='bilinear', align_corners=False)[0]
