"""Builds the colorizer that a checkpoint's weights make up."""

import json
from collections.abc import Mapping
from typing import Any

from ..checkpoint_layouts import NETWORKS, CheckpointError
from ..checkpoints import Checkpoint, load_into
from ..registry import MODELS
from .colorizers import Colorizer


def colorizer_for(checkpoint: Checkpoint, model_cfg: Mapping[str, Any]) -> Colorizer:
    """Builds and fills the model for prediction: fused if the checkpoint holds all three networks, else full-image.

    The checkpoint decides which networks there are, their width and, where its metadata says so, how they are decoded; the
    config decides the rest.

    Args:
        checkpoint: from `load_checkpoint`.
        model_cfg: the `model` of a config: an `ImageColorizer` or an `InstColorizer`.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the checkpoint has no full-image network.
    """
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
    model = MODELS.build({**settings, 'losses': {}})
    load_into(model, checkpoint, None if fused else ('image_net',))
    return model.eval()
