"""Training losses, all on network units.

Each is called with the regression head's ab (N, 2, H, W), the class head's logits (N, 529, H/4, W/4) or None, and the
true ab (N, 2, H, W), and returns one number. `classify` says whether it needs the class head. One that needs more has
`of_batch`, see `Colorizer.loss`.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from insta_colorization.colorspace import AB_RANGE, NUM_AB_BINS, BinSet
from insta_colorization.registry import MODELS
from insta_colorization.utils.ranges import positive, share

from .backbones import Colors
from .colorizer import Batch, Colorizer

_SHIPPED = Path(__file__).parents[1] / 'weights'


@MODELS.register_module()
class HuberLoss(nn.Module):
    """Smooth L1 on ab, summed over a and b, averaged over pixels (the published code's `HuberLoss`).

    Args:
        loss_weight: factor; the published code has 10.
        beta: where the square ends, in network units; the published 1/110 is one Lab unit, MMagic's config says 0.01.
        chroma_weight: each pixel counts 1 + chroma_weight * its true chroma in network units, divided by the batch's
            mean of that, so that strong colours are not lost among greys. 0, the paper's, counts all the same.
    """

    classify = False

    def __init__(self, loss_weight: float = 10.0, beta: float = 1 / AB_RANGE, chroma_weight: float = 0.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.beta = beta
        self.chroma_weight = chroma_weight

    def forward(self, ab: Tensor, class_logits: Tensor | None, target: Tensor) -> Tensor:
        """The loss, a scalar; see the module's docstring for the arguments."""
        error = F.smooth_l1_loss(ab.float(), target, beta=self.beta, reduction='none').sum(dim=1)
        if self.chroma_weight:
            # Not `target.norm(dim=1)`, which is fifty times as slow on a CPU.
            weight = 1 + self.chroma_weight * torch.hypot(target[:, 0], target[:, 1])
            error = error * weight / weight.mean()
        return self.loss_weight * error.mean()


@MODELS.register_module()
class LogErrorLoss(nn.Module):
    """Logarithm of each photo's mean squared ab error, averaged over the photos.

    It is what the mean PSNR of photos measures, but for their lightness: to halve a photo's error counts the same
    whether the photo is pale or colourful, while in `HuberLoss` the few that no network can guess weigh most.

    Args:
        loss_weight: factor.
        floor: error in Lab units, above 0, below which a photo gains nothing more.
        instance_share: how much of the loss, 0 to 1, is instead the same of the boxes of the batch's instances,
            averaged over them; a batch without any gives only the photos' part.

    Raises:
        ValueError: the floor is not positive and finite, or the share lies outside [0, 1].
    """

    classify = False

    def __init__(self, loss_weight: float = 1.0, floor: float = 3.0, instance_share: float = 0.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.floor = positive('floor', floor) / AB_RANGE
        self.instance_share = share('instance_share', instance_share)

    def of_batch(self, colorizer: Colorizer, batch: Batch, colors: Colors) -> Tensor:
        """The loss, a scalar.

        Args:
            colorizer: the model that trains.
            batch: with the true `ab` (N, 2, S, S) and, where they were cropped, the R `instances`.
            colors: with the predicted ab (N, 2, S, S).
        """
        squared = (colors.ab.float() - batch['ab']).square().sum(dim=1)
        loss = self._logarithm(squared.mean(dim=(1, 2)))
        instances = batch.get('instances')
        if self.instance_share and instances is not None and len(instances):
            boxes = zip(instances.image_index.tolist(), instances.on_grid(squared.shape[1:]).tolist(), strict=True)
            errors = torch.stack([squared[image, y0:y1, x0:x1].mean() for image, (x0, y0, x1, y1) in boxes])
            loss = (1 - self.instance_share) * loss + self.instance_share * self._logarithm(errors)
        return self.loss_weight * loss

    def _logarithm(self, errors: Tensor) -> Tensor:
        return (errors + self.floor**2).log().mean()


def rebalancing_weights(prior: Tensor, uniform_share: float, max_weight: float) -> Tensor:
    """Class weights that make rare colours count (Zhang et al. 2016, Eq. 4).

    Args:
        prior: (529,) how often each class occurs; any scale.
        uniform_share: lambda, how much of a uniform distribution over the occurring classes is mixed in.
        max_weight: upper bound on a weight.

    Returns:
        (529,) weights whose mean under the prior was 1 before the bound was applied.
    """
    prior = prior / prior.sum()
    mixed = (1 - uniform_share) * prior + uniform_share / (prior > 0).sum()
    mean_weight = (prior / mixed)[prior > 0].sum()  # without a uniform share, 0 / 0 where a class never occurs
    return (1 / mixed / mean_weight).clamp(max=max_weight)


def _read_prior(path: Path) -> list[float]:
    shipped = _SHIPPED / path
    if not path.is_file() and path.name == str(path) and shipped.is_file():
        path = shipped
    if not path.is_file():
        raise FileNotFoundError(
            f'the colour prior {path} does not exist; tools/dataset_converters/ab_prior.py makes one'
        )
    return json.loads(path.read_text())


@MODELS.register_module()
class RebalancedClassLoss(nn.Module):
    """Cross-entropy on colour classes at the size of the class head, rare colours counting more.

    Args:
        prior: path of a JSON list of class frequencies (`tools/dataset_converters/ab_prior.py` writes one), the
            bare name of one that ships in the package's `weights/`, or the list itself; of a list of all 529 classes
            those of `bins` count; None for equal weights.
        loss_weight: factor.
        uniform_share: lambda of Zhang et al. 2016.
        max_weight: upper bound on a class weight.
        targets: 'hard' for the nearest class of each pixel, 'soft' for the five nearest by a Gaussian of 5 Lab units
            (Zhang et al. 2016); a pixel's weight is then that of its nearest class.
        bins: the classes; None for all 529.

    Raises:
        FileNotFoundError: there is no such prior.
        ValueError: the prior does not hold a number for each class, or the targets are neither hard nor soft.
    """

    classify = True
    class_weights: Tensor

    def __init__(
        self,
        prior: str | list[float] | None = None,
        loss_weight: float = 1.0,
        uniform_share: float = 0.5,
        max_weight: float = 8.0,
        targets: str = 'hard',
        bins: BinSet | None = None,
    ) -> None:
        super().__init__()
        if targets not in ('hard', 'soft'):
            raise ValueError(f"targets must be 'hard' or 'soft', but got {targets!r}")
        self.targets = targets
        self.bins = bins or BinSet()
        self.loss_weight = loss_weight
        values = _read_prior(Path(prior)) if isinstance(prior, str) else prior
        frequencies = torch.ones(len(self.bins)) if values is None else torch.tensor(values, dtype=torch.float32)
        if len(frequencies) == NUM_AB_BINS:
            frequencies = frequencies[self.bins.cells]
        if frequencies.shape != (len(self.bins),):
            raise ValueError(f'the colour prior must hold {len(self.bins)} numbers, but got {tuple(frequencies.shape)}')
        weights = rebalancing_weights(frequencies, uniform_share, max_weight)
        self.register_buffer('class_weights', weights, persistent=False)

    def forward(self, ab: Tensor, class_logits: Tensor, target: Tensor) -> Tensor:
        """The loss, a scalar; see the module's docstring for the arguments."""
        coarse = F.adaptive_avg_pool2d(target, (class_logits.shape[-2], class_logits.shape[-1]))
        if self.targets == 'hard':
            loss = F.cross_entropy(class_logits.float(), self.bins.nearest(coarse), weight=self.class_weights)
        else:
            classes, shares = self.bins.soft(coarse)
            weight = self.class_weights[classes[:, 0]]
            error = -(shares * class_logits.float().log_softmax(dim=1).gather(1, classes)).sum(dim=1)
            loss = (weight * error).sum() / weight.sum()
        return self.loss_weight * loss
