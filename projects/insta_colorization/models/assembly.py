"""Builds the colorizer that a checkpoint's weights make up."""

import json
from collections.abc import Mapping
from typing import Any

from insta_colorization.checkpoint_layouts import NETWORKS, CheckpointError
from insta_colorization.checkpoints import Checkpoint, load_into
from insta_colorization.registry import SCOPE, build_model

from .colorizers import Colorizer


def colorizer_for(checkpoint: Checkpoint, model_cfg: Mapping[str, Any]) -> Colorizer:
    """Builds and fills the model for prediction: fused if the checkpoint holds all three networks, else full-image.

    The checkpoint decides which networks there are, their width and, where its metadata says so, how they are decoded;
    the config decides the rest.

    Args:
        checkpoint: from `load_checkpoint`.
        model_cfg: the `model` of a config: an `ImageColorizer` or an `InstColorizer`.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the checkpoint has no full-image network.
        ValueError: the config's model is another project's.
    """
    kind = str(model_cfg.get('type', '')).removeprefix(f'{SCOPE}.')
    if kind not in ('ImageColorizer', 'InstColorizer'):
        raise ValueError(
            f"the config's model must be an ImageColorizer or an InstColorizer, but is {kind or 'unnamed'}"
        )
    if 'image_net' not in checkpoint.networks:
        raise CheckpointError(
            f'{checkpoint.path} holds only {", ".join(checkpoint.networks)}; prediction needs the image_net'
        )
    fused = set(checkpoint.networks) == set(NETWORKS)
    settings = {key: value for key, value in model_cfg.items() if key not in (*NETWORKS, 'type', 'init_cfg', 'losses')}
    defaults = {
        'image_net': 'ColorizationBackbone',
        'instance_net': 'ColorizationBackbone',
        'fusion_net': 'FusionNetwork',
    }
    for network in NETWORKS if fused else ('image_net',):
        recipe = {'type': defaults[network], **model_cfg.get(network, {})}
        settings[network] = {**recipe, 'width': checkpoint.width}
    if 'decoder' in checkpoint.metadata:
        settings['decoder'] = json.loads(checkpoint.metadata['decoder'])
    settings |= {'type': 'InstColorizer' if fused else 'ImageColorizer', 'mask_centre': checkpoint.mask_centre}
    model = build_model({**settings, 'losses': {}})
    load_into(model, checkpoint, None if fused else ('image_net',))
    return model.eval()
