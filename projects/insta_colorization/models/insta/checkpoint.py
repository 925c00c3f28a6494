"""The checkpoints of InstColorization: ours, the published ones, and how their names translate.

- `ours`: one file, entries as a colorizer's `state_dict()` names them; any subset of the three networks.
- `instacolorization`: the paper's three files, which a folder holds under the names in `PUBLISHED_FILES`.
- `mmagic`: one file, 489 entries.
- `siggraph17`: one trunk in a file of its own, as Zhang et al. 2017 released it; it becomes the full-image network.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from insta_colorization.checkpoints import FAMILIES, Checkpoint, Family, Layout, TrainingStage
from insta_colorization.checkpoints.families import Sizes
from insta_colorization.models.backbones.lite import BOTTLENECK, ENCODER, STEM_CHANNELS, UPS
from insta_colorization.models.decoders import default_decoder
from insta_colorization.registry import SCOPE

PUBLISHED_FILES = {'image_net': 'latest_net_GComp', 'instance_net': 'latest_net_G', 'fusion_net': 'latest_net_GF'}
MMAGIC_PREFIXES = {'image_net': 'image_model.', 'instance_net': 'instance_model.', 'fusion_net': 'fusion_model.'}
NETWORKS = tuple(PUBLISHED_FILES)

# Releases that were converted from the Caffe model, which does not centre the hint mask. Names and shapes are those of
# the others, so only the file's name tells them apart.
UNCENTRED_RELEASES = ('siggraph17', 'caffemodel')


# Our modules as InstColorization names them. MMagic took single layers out of their sequence, which ended in `.0`.
MODULES = {
    **{f'stages.conv{number}': f'model{number}' for number in range(1, 11)},
    'stages.up8.up': 'model8up.0',
    'stages.up8.skip': 'model3short8.0',
    'stages.up9.up': 'model9up.0',
    'stages.up9.skip': 'model2short9.0',
    'stages.up10.up': 'model10up.0',
    'stages.up10.skip': 'model1short10.0',
    'class_head': 'model_class.0',
    'ab_head.0': 'model_out.0',
}
FUSIONS = {
    'conv1': 'weight_layer',
    **{f'conv{number}': f'weight_layer{number}' for number in range(2, 8)},
    **{f'up{number}': f'weight_layer{number}_1' for number in (8, 9, 10)},
    **{f'conv{number}': f'weight_layer{number}_2' for number in (8, 9, 10)},
}
WEIGHT_NETS = {'crop_weight': 'simple_instance_conv', 'image_weight': 'simple_bg_conv'}

# A fourteenth fusion, of the two output channels. The published code builds it and never calls it.
_INNER: int | str = 'inner_channels'
_UNUSED_SIDES = {0: (_INNER, 2), 2: (_INNER, _INNER), 4: (1, _INNER)}
UNUSED = {
    f'weight_layerout.{net}.{layer}.{kind}': shape
    for net in WEIGHT_NETS.values()
    for layer, sides in _UNUSED_SIDES.items()
    for kind, shape in (('weight', (*sides, 3, 3)), ('bias', sides[:1]))
}

_TRUNK = {'stages.conv1.0.weight': (None, 4, 3, 3), 'class_head.weight': (None, None, 1, 1)}
_FUSION = {**_TRUNK, 'fusions.conv1.crop_weight.0.weight': (None, None, 3, 3)}
# The four different numbers of channels at the published size.
_CHANNELS = {'conv1': 64, 'conv2': 128, 'conv3': 256, 'conv4': 512}


def published_name(layout: str, name: str) -> str:
    """A network's entry in our names without the network's prefix -> the published name."""
    if name.startswith('fusions.'):
        _, row, net, rest = name.split('.', 3)
        return f'{FUSIONS[row]}.{WEIGHT_NETS[net]}.{rest}'
    module = next(module for module in MODULES if name.startswith(f'{module}.'))
    published = MODULES[module].removesuffix('' if layout != 'mmagic' or module == 'ab_head.0' else '.0')
    return published + name.removeprefix(module)


@FAMILIES.register_module()
class InstaFamily(Family):
    """Full-image, instance and fusion network, each a trunk of 13 rows; the last with fusions."""

    name = 'insta'
    signatures = {'image_net': _TRUNK, 'instance_net': _TRUNK, 'fusion_net': _FUSION}
    stages: ClassVar[tuple[TrainingStage, ...]] = (
        TrainingStage(NETWORKS[:1], 'ImageColorizer'),
        TrainingStage(NETWORKS[:2], 'InstanceColorizer', predicts=False),
        TrainingStage(NETWORKS, 'InstColorizer'),
    )
    published: ClassVar[tuple[Layout, ...]] = (
        # A lone trunk has the names of all trunks; what comes first decides.
        Layout('siggraph17', {'image_net': ''}, partial(published_name, 'instacolorization'), written=False),
        # The published code loads GF into its data-parallel wrapper, the other two into the network inside.
        Layout(
            'instacolorization',
            dict.fromkeys(NETWORKS, ''),
            partial(published_name, 'instacolorization'),
            {'fusion_net': UNUSED},
            PUBLISHED_FILES,
            wrapped=frozenset({'fusion_net'}),
        ),
        Layout('mmagic', MMAGIC_PREFIXES, partial(published_name, 'mmagic'), {'fusion_net': UNUSED}),
    )
    # Stage 3 trains few rows of the fusion network; the others stay the full-image network's.
    copies = {'fusion_net': 'image_net'}
    backbone = 'ColorizationBackbone'

    def network_cfg(self, network: str, sizes: Sizes) -> dict[str, Any]:  # noqa: D102
        if network != 'fusion_net':
            return {'type': self.backbone, 'width': sizes['width']}
        fusion = {'inner_channels': int(sizes['inner_channels'])}
        return {'type': 'FusionNetwork', 'width': sizes['width'], 'fusion': fusion}

    def measure(  # noqa: D102
        self, network: str, shape_of: Callable[[str], tuple[int, ...] | None]
    ) -> dict[str, float | str]:
        low, high, exact = 0.0, float('inf'), 1.0
        for row, published in _CHANNELS.items():
            if shape := shape_of(f'stages.{row}.0.weight'):
                exact = shape[0] / published
                low, high = max(low, (shape[0] - 0.5) / published), min(high, (shape[0] + 0.5) / published)
        # Channels are rounded, so any factor in between gives the same ones; the widest row's is the roundest number.
        width = exact if low < exact < high or low >= high else (low + high) / 2
        if network != 'fusion_net':
            return {'width': width}
        inner = shape_of('fusions.conv1.crop_weight.0.bias') or (16,)
        return {'width': width, 'inner_channels': inner[0]}

    def settings(self, checkpoint: Checkpoint) -> dict[str, float]:
        """What these weights want taken off the hint mask (see `network_input`): 0.5 or, for two releases, 0.

        The metadata's `mask_centre` decides where there is one, then the file's name (see `UNCENTRED_RELEASES`).
        """
        uncentred = checkpoint.layout == 'siggraph17' and checkpoint.path.stem.startswith(UNCENTRED_RELEASES)
        return {'mask_centre': float(checkpoint.metadata.get('mask_centre', 0.0 if uncentred else 0.5))}

    def metadata(self, model_cfg: Mapping[str, Any]) -> dict[str, str]:  # noqa: D102
        decoder = default_decoder(model_cfg.get('decoder'), model_cfg.get('presets'))
        return {'decoder': json.dumps(decoder), 'mask_centre': str(model_cfg.get('mask_centre', 0.5))}

    def model_cfg(self, checkpoint: Checkpoint, model_cfg: Mapping[str, Any]) -> dict[str, Any]:
        """See `Family.model_cfg`; raises `ValueError` also where the config's backbone is another family's."""
        kind = str(model_cfg.get('image_net', {}).get('type', self.backbone)).removeprefix(f'{SCOPE}.')
        if kind in {InstaFamily.backbone, LiteFamily.backbone} - {self.backbone}:
            raise ValueError(
                f"the config's image_net is a {kind}, but {checkpoint.path} holds the weights of a {self.backbone}"
            )
        return super().model_cfg(checkpoint, model_cfg)


_LITE = {'encoder.stem.0.weight': (STEM_CHANNELS, 3, 3, 3), 'bottleneck.weight': (None, None, 1, 1)}
_LITE_ROWS = (*ENCODER, *(up.row for up in UPS))


@FAMILIES.register_module()
class LiteFamily(InstaFamily):
    """The three networks on the light backbone, in our names only; the last has fusions at some of its rows."""

    name = 'insta-lite'
    # Which rows fuse varies, so all three have the same signature; their prefixes tell them apart.
    signatures = dict.fromkeys(NETWORKS, _LITE)
    published = ()
    # Stages 2 and 3 leave the encoder as it is.
    copies = {'instance_net': 'image_net', 'fusion_net': 'image_net'}
    backbone = 'LiteBackbone'

    def network_cfg(self, network: str, sizes: Sizes) -> dict[str, Any]:  # noqa: D102
        # The checkpoint fills the encoder: the package with the pretrained one is for training alone.
        encoder = {'type': 'EfficientNetLite', 'pretrained': False}
        backbone = {'type': self.backbone, 'width': sizes['width'], 'encoder': encoder}
        if network != 'fusion_net':
            return backbone
        fusion = {'inner_channels': int(sizes['inner_channels'])}
        cfg: dict[str, Any] = {'type': 'FusionNetwork', 'backbone': backbone, 'fusion': fusion}
        # Where every row has a fusion, the config says which of them run.
        return cfg if sizes['fused'] == ' '.join(_LITE_ROWS) else {**cfg, 'fused': str(sizes['fused']).split()}

    def measure(  # noqa: D102
        self, network: str, shape_of: Callable[[str], tuple[int, ...] | None]
    ) -> dict[str, float | str]:
        width = (shape_of('bottleneck.weight') or (BOTTLENECK,))[0] / BOTTLENECK
        if network != 'fusion_net':
            return {'width': width}
        inner = {row: shape[0] for row in _LITE_ROWS if (shape := shape_of(f'fusions.{row}.crop_weight.0.bias'))}
        return {'width': width, 'inner_channels': next(iter(inner.values()), 16), 'fused': ' '.join(inner)}

    def model_cfg(self, checkpoint: Checkpoint, model_cfg: Mapping[str, Any]) -> dict[str, Any]:  # noqa: D102
        # What stage 3 trains by default are rows of the published backbone.
        return {**super().model_cfg(checkpoint, model_cfg), 'trainable': ()}

    def settings(self, checkpoint: Checkpoint) -> dict[str, float]:  # noqa: D102
        return {}

    def follows_hints(self, checkpoint: Checkpoint) -> bool:  # noqa: D102
        return True

    def metadata(self, model_cfg: Mapping[str, Any]) -> dict[str, str]:  # noqa: D102
        return {'decoder': super().metadata(model_cfg)['decoder']}
