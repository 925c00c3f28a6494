"""Builds the colorizer that a checkpoint's weights make up."""

import json
from collections.abc import Mapping
from typing import Any

from insta_colorization.checkpoints.io import Checkpoint, load_into
from insta_colorization.checkpoints.layouts import NETWORKS, CheckpointError
from insta_colorization.models.insta.colorizers import Colorizer
from insta_colorization.registry import SCOPE, build_model

_KINDS = ('ImageColorizer', 'InstanceColorizer', 'InstColorizer')
# What the config says about training alone.
_OF_TRAINING = ('type', 'init_cfg', 'losses', 'trainable', 'norm_eval')


def colorizer_for(
    checkpoint: Checkpoint, model_cfg: Mapping[str, Any], decoder: Mapping[str, Any] | None = None
) -> Colorizer:
    """Builds and fills the model for prediction: fused if the checkpoint holds all three networks, else full-image.

    The checkpoint decides which networks there are, their width and, where its metadata says so, how they are decoded;
    the config decides the rest. Any training stage's checkpoint goes with any stage's config.

    Args:
        checkpoint: from `load_checkpoint`.
        model_cfg: the `model` of a config, one of ours.
        decoder: config of the decoder, whatever the checkpoint and the config say; see `parse_decoder`.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the checkpoint has no full-image network.
        ValueError: the config's model is another project's.
    """
    kind = str(model_cfg.get('type', '')).removeprefix(f'{SCOPE}.')
    if kind not in _KINDS:
        raise ValueError(f"the config's model must be one of {', '.join(_KINDS)}, but is {kind or 'unnamed'}")
    if 'image_net' not in checkpoint.networks:
        raise CheckpointError(
            f'{checkpoint.path} holds only {", ".join(checkpoint.networks)}; prediction needs the image_net'
        )
    fused = set(checkpoint.networks) == set(NETWORKS)
    settings = {key: value for key, value in model_cfg.items() if key not in (*NETWORKS, *_OF_TRAINING)}
    defaults = {
        'image_net': 'ColorizationBackbone',
        'instance_net': 'ColorizationBackbone',
        'fusion_net': 'FusionNetwork',
    }
    for network in NETWORKS if fused else ('image_net',):
        recipe = {'type': defaults[network], **model_cfg.get(network, {})}
        settings[network] = {**recipe, 'width': checkpoint.width}
    if decoder is not None:
        settings['decoder'] = decoder
    elif 'decoder' in checkpoint.metadata:
        settings['decoder'] = json.loads(checkpoint.metadata['decoder'])
    settings |= {'type': 'InstColorizer' if fused else 'ImageColorizer', 'mask_centre': checkpoint.mask_centre}
    model = build_model({**settings, 'losses': {}})
    load_into(model, checkpoint, None if fused else ('image_net',))
    return model.eval()
