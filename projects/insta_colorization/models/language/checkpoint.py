"""The checkpoints of L-CoIns: one published file with BERT inside, and ours."""

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from insta_colorization.checkpoints import FAMILIES, Checkpoint, CheckpointError, Family, Layout, TrainingStage
from insta_colorization.checkpoints.families import Sizes

# What our names begin with, and the published ones.
_PREFIXES = {
    'bert.': '',
    'patches.': 'encoder.patch_embed.',
    'positions': 'encoder.pos_embed',
    'encoder_norm.': 'encoder.norm.',
    'encoder.': 'encoder.blocks.',
    'bridge.': 'encoder_to_decoder.',
    'caption_projection.': 'text_encoder.mlp_arc_object.linear.',
    'kinds': 'decoder.token_type_embeddings.weight',
    'group_tokens': 'decoder.group_token',
    'decoder_norm.': 'decoder.norm.',
    'decoder.': 'decoder.blocks_poc.',
    'head.': 'decoder.head.',
    'upsampler.': 'decoder.conv_upsample.',
    'grouping.': 'decoder.group_block.',
}
_HEADS = ('encoder_heads', 'decoder_heads')
_WORD_SIZES = ('word_width', 'word_depth', 'word_length')


def published_name(name: str) -> str:
    """The published file's name of an entry of the network or, without what all of them begin with, of BERT."""
    ours = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), '')
    return _PREFIXES.get(ours, '') + name.removeprefix(ours)


@FAMILIES.register_module()
class LanguageFamily(Family):
    """Network and text encoder. L-CoDer has the same upsampler, but no groups."""

    name = 'language'
    signatures: ClassVar = {
        'language_net': {
            'group_tokens': (1, None, None),
            'grouping.assign.q_proj.weight': (None, None),
            'upsampler.classifier.weight': (313, 128),
        },
        'text_encoder': {'bert.embeddings.word_embeddings.weight': (None, 768)},
    }
    stages = (
        TrainingStage(('language_net',), 'LanguageColorizer'),
        TrainingStage(('language_net', 'text_encoder'), 'LanguageColorizer'),
    )
    published = (
        Layout(
            'lcoins',
            {'language_net': '', 'text_encoder': 'text_encoder.bert_model.'},
            published_name,
            ignored=frozenset({'text_encoder.bert_model.embeddings.position_ids'}),
            wrapper='model',
        ),
    )

    def network_cfg(self, network: str, sizes: Sizes) -> dict[str, Any]:  # noqa: D102
        if network == 'text_encoder' and 'words' in sizes:
            own = {name.removeprefix('word_'): int(sizes[name]) for name in ('words', 'letters', *_WORD_SIZES)}
            return {'type': 'WordTextEncoder', 'captions': None, **own}
        if network == 'text_encoder':
            return {'type': 'BertTextEncoder'}
        names = ('encoder_width', 'encoder_depth', 'decoder_width', 'decoder_depth', 'groups')
        return {'type': 'LanguageNetwork', **{name: int(sizes[name]) for name in names}}

    def measure(  # noqa: D102
        self, network: str, shape_of: Callable[[str], tuple[int, ...] | None]
    ) -> dict[str, float | str]:
        if network == 'text_encoder':
            rows, width = shape_of('table.weight') or (0, 0)
            sizes = width, _count(shape_of, 'blocks'), (shape_of('positions') or (1, 0))[1]
            table = {'words': rows - 2, 'letters': (shape_of('spelling') or (0,))[0]}
            return {**table, **dict(zip(_WORD_SIZES, sizes, strict=True))} if rows else {}
        _, groups, decoder_width = shape_of('group_tokens') or (1, 15, 1024)
        return {
            'encoder_width': (shape_of('encoder_norm.weight') or (768,))[0],
            'encoder_depth': _count(shape_of, 'encoder'),
            'decoder_width': decoder_width,
            'decoder_depth': _count(shape_of, 'decoder'),
            'groups': groups,
        }

    def model_cfg(self, checkpoint: Checkpoint, model_cfg: Mapping[str, Any]) -> dict[str, Any]:
        """See `Family.model_cfg`; the numbers of heads, which no shape tells, come from the metadata or the config."""
        if 'text_encoder' in checkpoint.networks:
            own = self.network_cfg('text_encoder', checkpoint.sizes)
            given = model_cfg.get('text_encoder') or own
            # What the config says of another kind of encoder says nothing of this one.
            model_cfg = {**model_cfg, 'text_encoder': given if given['type'] == own['type'] else own}
        settings = super().model_cfg(checkpoint, model_cfg)
        settings.setdefault('text_encoder', None)
        for name in _HEADS:
            said = checkpoint.metadata.get(name)
            if said is not None and not said.isdecimal():
                raise CheckpointError(f'the metadata of {checkpoint.path} cannot be used: {name} is {said!r}')
            if said is not None:
                settings['language_net'][name] = int(said)
        return settings

    def metadata(self, model_cfg: Mapping[str, Any]) -> dict[str, str]:  # noqa: D102
        network = model_cfg.get('language_net') or {}
        return {name: json.dumps(network[name]) for name in _HEADS if network.get(name)}


def _count(shape_of: Callable[[str], tuple[int, ...] | None], stack: str) -> int:
    count = 0
    while shape_of(f'{stack}.{count}.norm1.weight') is not None:
        count += 1
    return count
