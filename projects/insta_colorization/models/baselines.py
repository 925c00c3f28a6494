"""Baselines to compare networks with."""

from typing import Any

from torch import Tensor

from insta_colorization.registry import MODELS
from insta_colorization.structures import Instances

from .colorizers import Colorizer


@MODELS.register_module()
class GrayBaseline(Colorizer):
    """Leaves every photo grey.

    Args:
        kwargs: see `Colorizer`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__({}, **kwargs)

    def colors(  # noqa: D102
        self,
        lightness: Tensor,
        crop_lightness: Tensor | None = None,
        instances: Instances | None = None,
        classify: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        return lightness.new_zeros(len(lightness), 2, *lightness.shape[-2:]), None
