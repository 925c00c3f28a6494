"""A method in one module, as a project beside this package would bring it: network, colorizer, preprocessor, family."""

from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from insta_colorization.checkpoints import FAMILIES, Family, TrainingStage
from insta_colorization.colorspace import rgb_to_lab, to_network
from insta_colorization.imaging.resize import resize_photo, to_tensor
from insta_colorization.models import Colorizer, Colors
from insta_colorization.registry import MODELS
from insta_colorization.structures import ColorizationSample


@MODELS.register_module()
class ToyNet(nn.Module):
    """Colour from the lightness of each pixel and its neighbours."""

    size_divisor = 4

    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.look = nn.Conv2d(1, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, 2, 1)

    def forward(self, tone: Tensor) -> Tensor:
        return self.mix(self.look(tone).relu()).tanh()


@MODELS.register_module()
class ToyPreprocessor(BaseDataPreprocessor):
    """Its batches have keys of their own: a colorizer's are nobody else's business."""

    def pack(self, image: Any, request: Any, size: int, uses: Any) -> dict[str, Any]:
        return {'inputs': {'image': to_tensor(resize_photo(image, size))}, 'data_samples': ColorizationSample()}

    def forward(self, data: dict, training: bool = False) -> dict:
        rgb = torch.stack(list(self.cast_data(data['inputs'])['image'])).float() / 255
        tone, ab = to_network(rgb_to_lab(rgb))
        return {'tone': tone, 'ab': ab, 'data_samples': data['data_samples']}


@MODELS.register_module()
class ToyColorizer(Colorizer):
    native_size = 64

    def __init__(self, tone_net: dict | None = None, data_preprocessor: dict | None = None, **kwargs: Any) -> None:
        networks = {'tone_net': tone_net or {'type': 'ToyNet'}}
        super().__init__(networks, data_preprocessor=data_preprocessor or {'type': 'ToyPreprocessor'}, **kwargs)

    def colors(self, batch: Any, classify: bool = False) -> Colors:
        return Colors(self.run(self.tone_net, batch['tone']))


@FAMILIES.register_module()
class ToyFamily(Family):
    name = 'toy'
    signatures = {'tone_net': {'look.weight': (None, 1, 3, 3), 'mix.weight': (2, None, 1, 1)}}
    stages = (TrainingStage(('tone_net',), 'ToyColorizer'),)
    native_size = 64

    def network_cfg(self, network: str, sizes: Any) -> dict[str, Any]:
        return {'type': 'ToyNet', 'channels': int(sizes['channels'])}

    def measure(self, network: str, shape_of: Any) -> dict[str, float]:
        return {'channels': shape_of('mix.weight')[1]}
