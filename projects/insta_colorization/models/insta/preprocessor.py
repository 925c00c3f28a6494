"""From photos to network input: batch, device and the only RGB -> Lab conversion of training and testing."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from insta_colorization.colorspace import AB_RANGE, rgb_to_gray, rgb_to_lab, to_network
from insta_colorization.imaging.resize import crop_instances, resize_photo, to_tensor
from insta_colorization.registry import MODELS
from insta_colorization.structures import ColorizationSample, Hint, Instances, Request, hint_cells


@MODELS.register_module()
class ColorizationPreprocessor(BaseDataPreprocessor):
    """Packs photos, and batches them with their instances' crops.

    In training the lightness is that of the grey photo, 8-bit luma (the published code trains on such files); in
    testing it is the file's own CIELAB L. The two differ by a few L units on saturated colours.
    """

    def pack(self, image: np.ndarray, request: Request, size: int, uses: Collection[str]) -> dict[str, Any]:
        """What the networks get of one photo; arguments as of `Colorizer.pack`, and what the model `uses`.

        Returns:
            `inputs` with `image` (3, S, S) uint8 and, where instances are used, `crops` (R, 3, S, S) uint8;
            `data_samples`, a `ColorizationSample` with the `instances` and, where there are hints, `hints` (3, S, S)
            and `crop_hints` (R, 3, S, S), see `paint_hints`.
        """
        height, width = image.shape[:2]
        instances = request.instances if request.instances is not None else Instances.empty((height, width))
        inputs = {'image': to_tensor(resize_photo(image, size))}
        if 'instances' in uses:
            inputs['crops'] = to_tensor(crop_instances(image, instances, size))
        sample = ColorizationSample(instances=instances)
        if request.hints and 'hints' in uses:
            windows = [(0, 0, width, height), *instances.in_pixels().tolist()]
            painted = torch.stack([paint_hints(request.hints, window, size) for window in windows])
            sample.set_data({'hints': painted[0], 'crop_hints': painted[1:]})
        return {'inputs': inputs, 'data_samples': sample}

    def forward(self, data: dict, training: bool = False) -> dict:
        """Converts a collated batch.

        Args:
            data: `inputs` with `image`, N tensors (3, S, S) uint8 RGB, and, where instances are used, `crops`, N
                tensors (R_n, 3, S, S) uint8 RGB; `data_samples`, N `ColorizationSample` that hold the `instances` of
                the crops; some may hold hints. In training also `gray`, N tensors (S, S) uint8 that the networks get in
                place of the luma, `crop_gray`, N tensors (R_n, S, S) uint8, the same for the crops, and `hint_regions`,
                N tensors (K_n, 5), see `true_hints`; the crops get their part.
            training: whether this is a training batch.

        Returns:
            What a colorizer's `forward` takes: `lightness` (N, 1, S, S) and `ab` (N, 2, S, S) in network units, the
            crops' as `crop_lightness` (R, 1, S, S) and, if any photo has hints, `hints` (N, 3, S, S) and `crop_hints`
            (R, 3, S, S), all on the device. Also `instances` and `data_samples`, where they were: boxes steer what is
            launched and are needed on the CPU.
        """
        inputs, samples = self.cast_data(data['inputs']), data['data_samples']
        lightness, ab = self._convert(torch.stack(list(inputs['image'])), training)
        batch = {'lightness': lightness, 'ab': ab, 'data_samples': samples}
        if 'gray' in inputs:
            batch['lightness'] = _lightness_of(torch.stack(list(inputs['gray'])))
        if 'hint_regions' in inputs:
            batch['hints'] = true_hints(ab, inputs['hint_regions'])
        if 'crops' in inputs:
            batch['instances'] = Instances.cat([sample.instances for sample in samples])
            if 'crop_gray' in inputs:
                batch['crop_lightness'] = _lightness_of(torch.cat(list(inputs['crop_gray'])))
            else:
                batch['crop_lightness'], _ = self._convert(torch.cat(list(inputs['crops'])), training)
            if 'hint_regions' in inputs:
                batch['crop_hints'] = crops_of_hints(batch['hints'], batch['instances'])
        if any('hints' in sample for sample in samples):
            size = lightness.shape[-2:]
            none = torch.zeros(3, *size)
            batch['hints'] = torch.stack([sample.get('hints', none) for sample in samples]).to(lightness)
            if 'crops' in inputs:
                crops = [sample.get('crop_hints', none.expand(len(sample.instances), -1, -1, -1)) for sample in samples]
                batch['crop_hints'] = torch.cat(crops).to(lightness)
        return batch

    @staticmethod
    def _convert(rgb: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        rgb = rgb.float() / 255
        lightness, ab = to_network(rgb_to_lab(rgb))
        if training:
            lightness, _ = to_network(rgb_to_lab(rgb_to_gray(rgb)))
        return lightness, ab


def _lightness_of(gray: Tensor) -> Tensor:
    """Lightness (N, 1, S, S) in network units of grey pictures (N, S, S) uint8."""
    lightness, _ = to_network(rgb_to_lab((gray.float()[:, None] / 255).expand(-1, 3, -1, -1)))
    return lightness


def true_hints(ab: Tensor, regions: Sequence[Tensor]) -> Tensor:
    """Hints that tell the networks the mean true colour of regions; later ones lie on top.

    Args:
        ab: (N, 2, S, S) in network units.
        regions: N tensors (K_n, 5), x0, y0, x1, y1 in whole pixels and the mask's value.

    Returns:
        (N, 3, S, S), see `Backbone.rows`.
    """
    hints = ab.new_zeros(len(ab), 3, *ab.shape[-2:])
    for hint, truth, rows in zip(hints, ab, regions, strict=True):
        for x0, y0, x1, y1, mask in rows.tolist():
            cells = ..., slice(int(y0), int(y1)), slice(int(x0), int(x1))
            hint[:2][cells] = truth[cells].mean(dim=(1, 2), keepdim=True)
            hint[2:][cells] = mask
    return hints


def crops_of_hints(hints: Tensor, instances: Instances) -> Tensor:
    """The part of the hints (N, 3, S, S) in each of R boxes, squashed to the crops' size: (R, 3, S, S)."""
    size = hints.shape[-2], hints.shape[-1]
    crops = [hints.new_empty(0, 3, *size)]
    for image, (x0, y0, x1, y1) in zip(instances.image_index.tolist(), instances.on_grid(size).tolist(), strict=True):
        crops.append(F.interpolate(hints[image : image + 1, :, y0:y1, x0:x1], size=size))
    return torch.cat(crops)


def paint_hints(hints: Sequence[Hint], window: Sequence[float], size: int) -> Tensor:
    """Colour hints as a network takes them; later ones lie on top.

    Args:
        hints: in pixels of the photo.
        window: x0, y0, x1, y1, the part of the photo that the network sees, in pixels.
        size: S, side of the square that it is squashed to.

    Returns:
        (3, S, S): a and b in network units, 0 where there is no hint, and the hints' certainty, as `true_hints` has
        them; a hint covers at least one cell of a window that it reaches.
    """
    on_top = torch.zeros(size, size, dtype=torch.long)  # which hint, from 1; thousands of them are looked up at once
    layers = on_top.numpy()
    colours = [(0.0, 0.0, 0.0)]
    for hint, cells, inside in hint_cells(hints, window, size):
        layers[cells][inside] = len(colours)
        colours.append((hint.ab[0] / AB_RANGE, hint.ab[1] / AB_RANGE, hint.certainty))
    return torch.tensor(colours)[on_top].movedim(-1, 0)
