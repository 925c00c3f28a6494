"""From a list of photos to network input: batch, device and the only RGB -> Lab conversion of training and testing."""

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from insta_colorization.colorspace import rgb_to_gray, rgb_to_lab, to_network
from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances


@MODELS.register_module()
class ColorizationPreprocessor(BaseDataPreprocessor):
    """Batches photos and their instances' crops.

    In training the lightness is that of the grey photo, 8-bit luma (the published code trains on such files); in
    testing it is the file's own CIELAB L. The two differ by a few L units on saturated colours.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Converts a collated batch.

        Args:
            data: `inputs` with `image`, N tensors (3, S, S) uint8 RGB, and, where instances are used, `crops`, N
                tensors (R_n, 3, S, S) uint8 RGB; `data_samples`, N `ColorizationSample` that hold the `instances` of
                the crops.
            training: whether this is a training batch.

        Returns:
            Arguments of a colorizer's `forward`: `lightness` (N, 1, S, S) and `ab` (N, 2, S, S) in network units, the
            same of the crops as `crop_lightness` (R, 1, S, S) and `crop_ab` (R, 2, S, S), all on the device. Also
            `instances` and `data_samples`, where they were: boxes steer what is launched and are needed on the CPU.
        """
        inputs, samples = self.cast_data(data['inputs']), data['data_samples']
        lightness, ab = self._convert(torch.stack(list(inputs['image'])), training)
        batch = {'lightness': lightness, 'ab': ab, 'data_samples': samples}
        if 'crops' in inputs:
            batch['instances'] = Instances.cat([sample.instances for sample in samples])
            batch['crop_lightness'], batch['crop_ab'] = self._convert(torch.cat(list(inputs['crops'])), training)
        return batch

    @staticmethod
    def _convert(rgb: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        rgb = rgb.float() / 255
        lightness, ab = to_network(rgb_to_lab(rgb))
        if training:
            lightness, _ = to_network(rgb_to_lab(rgb_to_gray(rgb)))
        return lightness, ab
