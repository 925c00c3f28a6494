"""The checkpoints of PatchColorization: `colorization_release_v2` of richzhang/colorization, and ours."""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from insta_colorization.checkpoints import FAMILIES, Checkpoint, Family, Layout, TrainingStage
from insta_colorization.checkpoints.families import Sizes
from insta_colorization.models.decoders import default_decoder

from .network import BINS, ROWS

_PUBLISHED = 'eccv16'
# Our modules as the released file names them.
MODULES = {
    **{f'stages.conv{number}': f'model{number}' for number in range(1, 8)},
    'stages.up8.up': 'model8.0',
    'stages.conv8.1': 'model8.2',
    'stages.conv8.3': 'model8.4',
    'class_head': 'model8.6',
}
_WIDEST = max(ROWS, key=lambda row: row.width)


def published_name(name: str) -> str:
    """The released file's name of an entry of the network."""
    if name == 'bin_colours':
        return 'model_out.weight'
    module = next(module for module in MODULES if name.startswith(f'{module}.'))
    return MODULES[module] + name.removeprefix(module)


@FAMILIES.register_module()
class PatchFamily(Family):
    """One network for photo and crops. `siggraph17` shares 73 of its 82 names, but neither of the signature's."""

    name = 'patch'
    signatures: ClassVar = {
        'eccv_net': {'class_head.weight': (len(BINS), None, 1, 1), 'bin_colours': (2, len(BINS), 1, 1)}
    }
    stages = (TrainingStage(('eccv_net',), 'PatchColorizer'),)
    published = (Layout(_PUBLISHED, {'eccv_net': ''}, published_name, common=True),)

    def network_cfg(self, network: str, sizes: Sizes) -> dict[str, Any]:  # noqa: D102
        return {'type': 'Eccv16Network', 'width': sizes['width']}

    def measure(  # noqa: D102
        self, network: str, shape_of: Callable[[str], tuple[int, ...] | None]
    ) -> dict[str, float | str]:
        shape = shape_of(f'stages.{_WIDEST.name}.0.bias') or (_WIDEST.width,)
        return {'width': shape[0] / _WIDEST.width}

    def model_cfg(self, checkpoint: Checkpoint, model_cfg: Mapping[str, Any]) -> dict[str, Any]:
        """See `Family.model_cfg`; the released weights have their temperature inside, whatever the config says."""
        settings = super().model_cfg(checkpoint, model_cfg)
        return settings | ({'decoder': None, 'presets': None} if checkpoint.layout == _PUBLISHED else {})

    def metadata(self, model_cfg: Mapping[str, Any]) -> dict[str, str]:  # noqa: D102
        return {'decoder': json.dumps(default_decoder(model_cfg.get('decoder'), model_cfg.get('presets')))}
