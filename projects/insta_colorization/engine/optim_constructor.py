"""Which parameters learn how fast."""

from collections import defaultdict
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from insta_colorization.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(DefaultOptimWrapperConstructor):
    """Learning rates that fall from the last layer to the first; no weight decay of parameters of one dimension.

    The model tells by `layer_of(name)` how many layers lie behind a parameter. Those of the last one learn at the
    optimizer's rate, and each layer before at `paramwise_cfg['layer_decay']` times that of the next one (BEiT's rule).
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        decay = self.paramwise_cfg.get('layer_decay')
        if not isinstance(decay, int | float) or not 0 < decay <= 1:
            raise ValueError(f'paramwise_cfg must have a layer_decay in (0, 1], but has {decay}')

    def add_params(self, params: list[dict], module: nn.Module, *args: Any, **kwargs: Any) -> None:
        """Adds a group for each layer, those that decay apart from the others."""
        layer_of: Any = getattr(module, 'layer_of', None)
        if layer_of is None:
            raise TypeError(f'{type(module).__name__} has no layer_of, by which learning rates could decay')
        groups = defaultdict(list)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                groups[layer_of(name), parameter.ndim > 1].append(parameter)
        last = max((layer for layer, _ in groups), default=0)
        for (layer, decays), parameters in sorted(groups.items(), key=lambda item: item[0]):
            rate = self.base_lr * self.paramwise_cfg['layer_decay'] ** (last - layer)
            params.append({'params': parameters, 'lr': rate, 'weight_decay': (self.base_wd or 0) * decays})
