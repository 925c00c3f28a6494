"""What every colorizer shares: networks, losses, decoding, the runner's modes, and the way of a photo to its networks.

Shape legend: N images, R instances over all of them, S the networks' input size.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from math import lcm
from typing import Any, ClassVar, Self

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from insta_colorization.checkpoints import adapt_state_dict
from insta_colorization.imaging.rendering import Curve, clipped_rgb
from insta_colorization.imaging.resize import resize_photo, to_tensor
from insta_colorization.registry import build_model
from insta_colorization.structures import ColorizationSample, Request

from .backbones import Colors
from .decoders import default_decoder

Batch = Mapping[str, Any]


class Colorizer(BaseModel):
    """A model that colours photos. A subclass says how a batch gets its colours.

    A parameter that does not train has `requires_grad` False; a network without any that does keeps its batch norms in
    evaluation mode. A class head that no loss asks for does not train.

    Args:
        networks: {name: config}.
        losses: {name: config}; each is logged as `loss_<name>`.
        decoder: config of what turns a network's outputs into ab; see `default_decoder`.
        trainable: what the names of the parameters that train begin with, such as `fusion_net.fusions`.
        norm_eval: whether all batch norms stay in evaluation mode while training.
        data_preprocessor: config of what makes batches for this method; see `ColorizationPreprocessor`.
        presets: {name: config of a decoder}, what a user can choose from.
        init_cfg: MMEngine's initialization settings.

    Attributes:
        derived: {network: the one it begins as a copy of, or None if it begins as it was built}; a checkpoint that
            lacks just these networks is the previous training stage's, and starts this one.
        stage: which of its method's training stages this model is, from 1.
        uses: what of a `Request` it makes use of: 'instances', 'masks', 'hints', 'map', 'caption'.
        native_size: the side of the pictures that the published pipeline gives, in pixels.
        native_takes_all: whether that pipeline colours every object that was found, however many and however alike.
        borrows: networks of other methods' checkpoints that it can be made of, by name; what comes first is preferred.

    Raises:
        ValueError: an entry of `trainable` names no parameter.
    """

    derived: ClassVar[Mapping[str, str | None]] = {}
    stage: ClassVar[int] = 1
    uses: ClassVar[frozenset[str]] = frozenset()
    native_size: ClassVar[int] = 256
    native_takes_all: ClassVar[bool] = False
    borrows: ClassVar[tuple[tuple[str, ...], ...]] = ()

    def __init__(
        self,
        networks: Mapping[str, dict],
        losses: dict[str, dict] | None = None,
        decoder: dict | None = None,
        trainable: Sequence[str] = ('',),
        norm_eval: bool = False,
        data_preprocessor: dict | None = None,
        presets: Mapping[str, dict] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = build_model(data_preprocessor or {'type': 'ColorizationPreprocessor'})
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        losses = {'ab': {'type': 'HuberLoss'}} if losses is None else losses
        self.losses = nn.ModuleDict({name: build_model(loss) for name, loss in losses.items()})
        self.presets = dict(presets or {})
        self.decoder = build_model(default_decoder(decoder, self.presets))
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
            if mode and (self.norm_eval or not trains(network)):
                for norm in network.modules():
                    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                        norm.eval()
        return self

    @property
    def size_divisor(self) -> int:
        """What the side S of the networks' inputs must be a multiple of."""
        return lcm(*(getattr(self, name).size_divisor for name in self.networks))

    @property
    def curve(self) -> Curve | None:
        """What becomes of the chroma of pictures, see `colorize_pixels`."""
        return None

    def describe(self) -> dict[str, Any]:
        """What a protocol says about the model: its type, networks and decoder."""
        return {
            'model': type(self).__name__,
            'networks': list(self.networks),
            'decoder': self.decoder.describe() if self.networks else None,
        }

    def pack(self, image: np.ndarray, request: Request, size: int) -> dict[str, Any]:
        """What the networks get of one photo, ready to be collated; may be called in any thread.

        Args:
            image: (H, W, 3) uint8 RGB.
            request: what is known and wanted of the photo; what the model does not use is left out.
            size: S, a multiple of `size_divisor`.

        Returns:
            `inputs` and `data_samples`, see `data_preprocessor.pack`.
        """
        return self.data_preprocessor.pack(image, request, size, self.uses)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *rest: bool | list) -> None:
        # Every way to load passes here: torch's, the runner's `load_from`, the EMA hook's. See `adapt_state_dict`.
        adapt_state_dict(self, state_dict, prefix, local_metadata)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def run(self, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Runs one of the networks, without gradients if nothing of it trains."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains(network)):
            return network(*args, **kwargs)

    def colors(self, batch: Batch, classify: bool = False) -> Colors:
        """Runs the networks.

        Args:
            batch: from the data preprocessor.
            classify: whether to run the class head.

        Returns:
            ab (N, 2, S, S) in network units and the class logits or None.
        """
        raise NotImplementedError

    def forward(
        self, mode: str = 'tensor', data_samples: list[ColorizationSample] | None = None, **batch: Any
    ) -> Tensor | dict[str, Tensor] | list[ColorizationSample]:
        """MMEngine's entry: `tensor` gives ab (N, 2, S, S), `loss` a dict of losses, `predict` the samples.

        Args:
            mode: 'tensor', 'loss' or 'predict'.
            data_samples: N samples.
            batch: the rest of what the data preprocessor made.

        Raises:
            ValueError: the mode is none of these, or there is no truth to compare with.
        """
        if mode == 'loss':
            if batch.get('ab') is None:
                raise ValueError("mode 'loss' needs the true ab, but got none")
            return self.loss(batch)
        if mode not in ('tensor', 'predict'):
            raise ValueError(f"mode must be 'loss', 'predict' or 'tensor', but got {mode!r}")
        return self.predict_ab(batch) if mode == 'tensor' else self.predict({**batch, 'data_samples': data_samples})

    def predict_ab(self, batch: Batch, dtype: torch.dtype = torch.float32) -> Tensor:
        """Decoded ab (N, 2, S, S) in network units; the networks compute in `dtype`, the decoder in float32."""
        device = next(self.parameters(), torch.zeros(0)).device.type
        # With float32 the context that the caller is in stays.
        with nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype):
            ab, class_logits = self.colors(batch, classify=self.decoder.classify)
        return self.decoder(ab.float(), None if class_logits is None else class_logits.float())

    def predict(self, batch: Batch, dtype: torch.dtype = torch.float32) -> list[ColorizationSample]:
        """Colours a batch.

        Args:
            batch: from the data preprocessor, with its `data_samples` or None.
            dtype: what the networks compute in.

        Returns:
            The N samples with `pred_ab` (2, S, S) in network units.
        """
        predicted = self.predict_ab(batch, dtype)
        samples = batch.get('data_samples') or [ColorizationSample() for _ in predicted]
        for sample, ab in zip(samples, predicted, strict=True):
            sample.pred_ab = ab
        return samples

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of a batch against its true `ab` (N, 2, S, S), by name.

        A loss with a method `of_batch(colorizer, batch, colors)` sees the whole batch and may run the model again.
        """
        colors = self.colors(batch, classify=any(loss.classify for loss in self.losses.values()))
        losses: dict[str, Any] = dict(self.losses.items())
        return {
            f'loss_{name}': loss.of_batch(self, batch, colors)
            if hasattr(loss, 'of_batch')
            else loss(*colors, batch['ab'])
            for name, loss in losses.items()
        }

    def network_for(self, sample: ColorizationSample) -> str:
        """The name of the network that colours a photo, for records."""
        return self.networks[-1]

    def notes(self, sample: ColorizationSample) -> dict[str, Any]:
        """What records say of a coloured photo besides, as JSON takes it."""
        return {}

    def native_picture(self, image: np.ndarray, sample: ColorizationSample, gain: float = 1.0) -> np.ndarray:
        """The picture that the published code gives: small, clipped to sRGB and rounded.

        Args:
            image: (H, W, 3) uint8 RGB.
            sample: with its `pred_ab`.
            gain: factor on the colour.

        Returns:
            (`native_size`, `native_size`, 3) uint8 RGB.
        """
        photo = to_tensor(resize_photo(image, self.native_size))
        return clipped_rgb(photo, sample.pred_ab.cpu() * gain).movedim(0, -1).numpy()


def trains(network: nn.Module) -> bool:
    """Whether any parameter of a network trains."""
    return any(parameter.requires_grad for parameter in network.parameters())
