"""L-CoIns as a colorizer: a caption says which colours things have.

Shape legend: N photos, S the network's input size.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from insta_colorization.colorspace import from_network, lab_to_rgb, rgb_to_lab, to_network
from insta_colorization.imaging.resize import resize_photo, to_tensor
from insta_colorization.models.backbones import Colors
from insta_colorization.models.colorizer import Batch, Colorizer
from insta_colorization.models.patch.network import of_313_classes
from insta_colorization.registry import MODELS
from insta_colorization.structures import ColorizationSample


@MODELS.register_module()
class LanguageColorizer(Colorizer):
    """Photo and caption to colours; without a caption it colours as it thinks best.

    Args:
        language_net: config of the network.
        text_encoder: config of what reads the captions; None where their words' features are in the batch.
        losses, decoder: see `Colorizer`; their classes are the network's 313.
        data_preprocessor: see `Colorizer`.
        kwargs: see `Colorizer`.
    """

    uses = frozenset({'caption'})
    native_size = 224

    def __init__(
        self,
        language_net: dict | None = None,
        text_encoder: dict | None = None,
        losses: dict[str, dict] | None = None,
        decoder: dict | None = None,
        *,
        data_preprocessor: dict | None = None,
        **kwargs: Any,
    ) -> None:
        losses = losses and {name: of_313_classes(loss) for name, loss in losses.items()}
        decoder = decoder and of_313_classes(decoder)
        # What colours a photo comes last.
        networks = {} if text_encoder is None else {'text_encoder': text_encoder}
        networks['language_net'] = language_net or {'type': 'LanguageNetwork'}
        preprocessor = data_preprocessor or {'type': 'LanguagePreprocessor'}
        super().__init__(networks, losses, decoder, data_preprocessor=preprocessor, **kwargs)

    def words(self, batch: Batch) -> Tensor:
        """(N, W, 768): the words of a batch, or what the text encoder makes of its captions.

        Raises:
            ValueError: there is neither.
        """
        if 'words' in batch:
            return batch['words']
        if 'text_encoder' not in self.networks:
            raise ValueError(f'{type(self).__name__} reads no captions, because its checkpoint has no text encoder')
        return self.run(self.text_encoder, batch['captions'])

    def colors(self, batch: Batch, classify: bool = False) -> Colors:
        """ab (N, 2, S, S) in network units and, where asked for, logits (N, 313, S, S)."""
        found = self.run(self.language_net, batch['lightness'], self.words(batch), classify=classify)
        return Colors(found.ab, found.class_logits)

    def layer_of(self, name: str) -> int:
        """See `LanguageNetwork.layer_of`; the text encoder counts as what comes last."""
        network, _, rest = name.partition('.')
        return self.language_net.layer_of(rest if network == 'language_net' else '')

    def network_for(self, sample: ColorizationSample) -> str:  # noqa: D102
        return 'language_net'

    def notes(self, sample: ColorizationSample) -> dict[str, Any]:  # noqa: D102
        return {'caption': {'text': sample.caption}} if sample.get('caption') else {}

    def native_picture(self, image: np.ndarray, sample: ColorizationSample, gain: float = 1.0) -> np.ndarray:
        """The published picture, whose values are cut to 8 bits, not rounded; see `Colorizer.native_picture`."""
        photo = to_tensor(resize_photo(image, self.native_size)).float() / 255
        lightness, _ = to_network(rgb_to_lab(photo))
        rgb = lab_to_rgb(from_network(lightness, sample.pred_ab.cpu().float() * gain)).clamp(0, 1)
        return (rgb * 255).to(torch.uint8).movedim(0, -1).numpy()
