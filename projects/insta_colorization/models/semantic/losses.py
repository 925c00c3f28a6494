"""The segmenter's training loss."""

import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.models.backbones import Colors
from insta_colorization.models.colorizer import Batch, Colorizer
from insta_colorization.registry import MODELS
from insta_colorization.structures import NUM_CLASSES, UNKNOWN


@MODELS.register_module()
class SemanticCrossEntropy(nn.Module):
    """Cross-entropy of the class of each pixel, averaged over the pixels of a batch whose class is known."""

    classify = False

    def of_batch(self, colorizer: Colorizer, batch: Batch, colors: Colors) -> Tensor:
        """The loss, a scalar; 0 where nothing is known.

        Args:
            colorizer: the model that trains.
            batch: with `true_map` (N, S, S) int64, `UNKNOWN` where nobody has said.
            colors: with the classes' logits (N, 60, S / s, S / s); where they are coarser than the map, each stands for
                the pixel in the middle of its cell.
        """
        assert colors.class_logits is not None
        true = batch['true_map']
        wrong = (true != UNKNOWN) & (true >= NUM_CLASSES)
        if wrong.any():
            raise ValueError(
                f'a true map must have the classes 0..{NUM_CLASSES - 1} and {UNKNOWN}, but has {true[wrong][0]}'
            )
        rows, columns = (
            side // length for side, length in zip(true.shape[1:], colors.class_logits.shape[2:], strict=True)
        )
        true = true[:, rows // 2 :: rows, columns // 2 :: columns]
        total = F.cross_entropy(colors.class_logits.float(), true, ignore_index=UNKNOWN, reduction='sum')
        return total / (true != UNKNOWN).sum().clamp(min=1)
