"""A runner that measures."""

from mmengine.device import get_device
from mmengine.runner import Runner
from torch import nn


class Tester(Runner):
    """A runner whose processes each measure photos of their own with a plain model.

    `DistributedDataParallel` is for gradients, and refuses a model without any.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:  # noqa: D102
        return model.to(get_device())
