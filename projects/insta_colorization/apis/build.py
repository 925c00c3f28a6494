"""Builds the colorizer that a checkpoint's weights make up."""

import json
from collections.abc import Mapping
from typing import Any

from insta_colorization.checkpoints import Checkpoint, CheckpointError, load_into
from insta_colorization.models import Colorizer
from insta_colorization.registry import build_model


def colorizer_for(
    checkpoint: Checkpoint,
    model_cfg: Mapping[str, Any],
    decoder: Mapping[str, Any] | None = None,
    preset: str | None = None,
) -> Colorizer:
    """Builds and fills the model for prediction, with as many of the checkpoint's networks as predict together.

    The checkpoint decides which networks there are, their sizes and, where its metadata says so, how they are decoded;
    the config decides the rest (see `Family.model_cfg`). Any training stage's checkpoint goes with any stage's config.

    Args:
        checkpoint: from `load_checkpoint`.
        model_cfg: the `model` of a config, of the checkpoint's family.
        decoder: config of the decoder, whatever the checkpoint and the config say; see `parse_decoder`.
        preset: which of the decoders that the checkpoint or else the config names.

    Returns:
        The model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: the checkpoint lacks networks that prediction needs.
        ValueError: the config's model is another family's or project's, or there is no such preset.
    """
    settings = checkpoint.family.model_cfg(checkpoint, model_cfg)
    said = ('decoder', 'presets')
    settings |= {name: _said(checkpoint, name) for name in said if name in checkpoint.metadata}
    if decoder is not None:
        settings['decoder'] = decoder
    elif preset is not None:
        settings['decoder'] = chosen_preset(preset, settings.get('presets') or {}, checkpoint.path.name)
    model = build_model(settings)
    load_into(model, checkpoint, model.networks)
    return model.eval()


def _said(checkpoint: Checkpoint, name: str) -> dict[str, Any] | None:
    """A config from a checkpoint's metadata."""
    text = checkpoint.metadata[name]
    try:
        said = json.loads(text)
    except (RecursionError, ValueError):
        said = text
    if said is not None and not isinstance(said, dict):
        raise CheckpointError(
            f'the metadata of {checkpoint.path} cannot be used: {name} is no config, but {text[:80]!r}'
        )
    return said


def chosen_preset(name: str, presets: Mapping[str, Any], weights: str) -> Any:
    """The config of one of the decoders that weights offer; raises `ValueError` with their names if there is none."""
    if name not in presets:
        raise ValueError(f'{weights} has no preset {name!r}; it has {", ".join(presets) or "none at all"}')
    return presets[name]
