"""Builds the colorizer that a checkpoint's weights make up."""

import json
from collections.abc import Mapping
from typing import Any

from insta_colorization.checkpoints import Checkpoint, load_into
from insta_colorization.models import Colorizer
from insta_colorization.registry import build_model


def colorizer_for(
    checkpoint: Checkpoint, model_cfg: Mapping[str, Any], decoder: Mapping[str, Any] | None = None
) -> Colorizer:
    """Builds and fills the model for prediction, with as many of the checkpoint's networks as predict together.

    The checkpoint decides which networks there are, their sizes and, where its metadata says so, how they are decoded;
    the config decides the rest (see `Family.model_cfg`). Any training stage's checkpoint goes with any stage's config.

    Args:
        checkpoint: from `load_checkpoint`.
        model_cfg: the `model` of a config, of the checkpoint's family.
        decoder: config of the decoder, whatever the checkpoint and the config say; see `parse_decoder`.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the checkpoint lacks networks that prediction needs.
        ValueError: the config's model is another family's or project's.
    """
    settings = checkpoint.family.model_cfg(checkpoint, model_cfg)
    if decoder is not None:
        settings['decoder'] = decoder
    elif 'decoder' in checkpoint.metadata:
        settings['decoder'] = json.loads(checkpoint.metadata['decoder'])
    model = build_model(settings)
    load_into(model, checkpoint, model.networks)
    return model.eval()
