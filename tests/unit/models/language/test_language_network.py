"""The network of L-CoIns, its files, and the colorizer around it; `tests/golden` has the published numbers."""

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch

from insta_colorization.apis import Predictor
from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from insta_colorization.checkpoints.families import identify
from insta_colorization.models.language import LanguageColorizer, LanguageFamily, LanguageNetwork
from insta_colorization.models.language.checkpoint import published_name
from insta_colorization.structures import Request

GOLDEN = Path(__file__).parents[3] / 'golden'
SMALL = {
    'type': 'LanguageNetwork',
    **{'encoder_width': 12, 'encoder_depth': 1, 'encoder_heads': 3},
    **{'decoder_width': 16, 'decoder_depth': 2, 'decoder_heads': 2, 'groups': 3},
}
BERT = {'num_hidden_layers': 1, 'vocab_size': 12, 'intermediate_size': 8}
HEADS = ('encoder_heads', 'decoder_heads')
VOCABULARY = '[PAD] [UNK] [CLS] [SEP] [MASK] a red bus ##es blue the two'.split()  # noqa: SIM905


class Words(torch.nn.Module):
    """A text encoder whose features are the lengths of the captions."""

    size_divisor = 1

    def forward(self, captions):
        return torch.tensor([float(len(caption)) for caption in captions]).view(-1, 1, 1).expand(-1, 80, 768) / 100


@pytest.fixture(scope='module')
def model() -> LanguageColorizer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LanguageColorizer(SMALL, losses={}).eval()
    model.networks, model.text_encoder = ('language_net', 'text_encoder'), Words()
    return model


@pytest.fixture(scope='module')
def weights(model) -> dict[str, torch.Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.startswith('language_net.')}


@pytest.fixture
def published(weights, tmp_path) -> Path:
    """A file as the published code writes it."""
    entries = {published_name(name.removeprefix('language_net.')): value for name, value in weights.items()}
    path = tmp_path / 'checkpoint-99.pth'
    torch.save({'model': entries, 'epoch': 99, 'scaler': {}, 'args': Namespace(lr=1e-5, model='small')}, path)
    return path


class TestNetwork:
    def test_sizes_other_than_that_of_training(self, model):
        words = torch.zeros(1, 5, 768)

        wide = model.language_net(torch.zeros(1, 1, 32, 64), words, classify=True, group=True)

        assert wide.ab.shape == (1, 2, 32, 64)
        assert wide.class_logits.shape == (1, 313, 32, 64)
        assert wide.groups.hard.shape == (1, 3, 8)

    def test_a_patch_is_in_one_group_and_centres_are_vertical_first(self, model):
        groups = model.language_net(torch.rand(2, 1, 32, 64) - 0.5, torch.randn(2, 5, 768), group=True).groups

        assert (groups.hard.sum(dim=1) == 1).all()
        torch.testing.assert_close(groups.soft.sum(dim=1), torch.ones(2, 8))
        filled = groups.hard.sum(dim=2) > 0
        rounding = 1e-3  # of means over the patches of a group
        assert (groups.centres[filled] >= 8 - rounding).all()
        assert (groups.centres[..., 0] <= 24 + rounding).all()
        assert not groups.centres[~filled].any()

    def test_words_change_colours(self, model):
        lightness = torch.zeros(1, 1, 32, 32)

        first, second = (model.language_net(lightness, words).ab for words in torch.randn(2, 1, 5, 768))

        assert (first - second).abs().max() > 1e-5

    @pytest.mark.parametrize(('name', 'heads', 'width'), [('encoder_heads', 5, 12), ('decoder_heads', 3, 16)])
    def test_heads_that_do_not_divide_their_width(self, name, heads, width):
        settings = {key: value for key, value in SMALL.items() if key != 'type'}
        with pytest.raises(
            ValueError, match=f'heads of attention must divide its channels, but got {heads} and {width}'
        ):
            LanguageNetwork(**{**settings, name: heads})


class TestFiles:
    @pytest.mark.slow
    def test_there_and_back_is_the_identity(self, weights, published, tmp_path):
        read = load_checkpoint(published)
        again = load_checkpoint(save_checkpoint(read.state_dict, tmp_path / 'ours.safetensors')[0])
        (written,) = save_checkpoint(read.state_dict, tmp_path / 'again.pth', 'lcoins', {'encoder_heads': '3'})

        assert (read.family.name, read.layout, read.networks) == ('language', 'lcoins', ('language_net',))
        assert load_checkpoint(written).metadata == {'encoder_heads': '3'}
        assert read.sizes == {key: value for key, value in SMALL.items() if key not in ('type', *HEADS)}
        torch.testing.assert_close(again.state_dict, weights, rtol=0, atol=0)
        torch.testing.assert_close(
            torch.load(written, weights_only=True)['model'],  # as the published code finds them
            torch.load(published, weights_only=False)['model'],
            rtol=0,
            atol=0,
        )

    def test_heads_come_from_metadata_or_the_config(self, weights, published, tmp_path):
        cfg = {'type': 'LanguageColorizer', 'language_net': SMALL}
        path = tmp_path / 'ours.safetensors'
        save_checkpoint(weights, path, metadata=LanguageFamily().metadata(cfg))

        for checkpoint in (load_checkpoint(path), load_checkpoint(published)):
            given = cfg if checkpoint.layout == 'lcoins' else {'type': 'LanguageColorizer'}
            model = colorizer_for(checkpoint, given)
            assert (model.language_net.encoder[0].attn.heads, model.language_net.decoder[0].attn.heads) == (3, 2)

    @pytest.mark.parametrize(
        ('said', 'message'), [('x', "encoder_heads is 'x'"), ('5', 'must divide its channels, but got 5 and 12')]
    )
    def test_metadata_that_cannot_be_used(self, weights, tmp_path, said, message):
        path = tmp_path / 'ours.safetensors'
        save_checkpoint(weights, path, metadata={'encoder_heads': said})

        with pytest.raises(ValueError, match=message):
            colorizer_for(load_checkpoint(path), {'type': 'LanguageColorizer'})

    @pytest.mark.slow
    def test_all_names_and_shapes_of_the_published_size(self):
        pytest.importorskip('transformers')
        keys = json.loads((GOLDEN / 'lcoins_full_keys.json').read_text())
        # Old versions of transformers add the last one.
        shapes = {**keys, 'text_encoder.bert_model.embeddings.position_ids': [1, 512]}

        read = identify({name: torch.empty(shape, device='meta') for name, shape in shapes.items()}, 'a.pth')

        assert (read.family.name, read.layout) == ('language', 'lcoins')
        assert read.networks == ('language_net', 'text_encoder')
        layout = LanguageFamily.published[0]
        assert {layout.spell(*name.split('.', 1)): list(v.shape) for name, v in read.state_dict.items()} == keys

    def test_without_groups_it_is_another_model(self, published):
        entries = torch.load(published, weights_only=False)['model']
        torch.save({name: value for name, value in entries.items() if 'group_block' not in name}, published)

        with pytest.raises(CheckpointError, match='the signature of no known family'):
            load_checkpoint(published)


class TestColorizer:
    def packed(self, model, *captions: str | None) -> list[dict]:
        image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
        return [model.pack(image, Request(caption=caption), 32) for caption in captions]

    def colours(self, model, data: list[dict]) -> torch.Tensor:
        inputs = {'image': [item['inputs']['image'] for item in data]}
        batch = model.data_preprocessor({'inputs': inputs, 'data_samples': [item['data_samples'] for item in data]})
        with torch.inference_mode():
            return torch.stack([sample.pred_ab for sample in model.predict(batch)])

    def test_a_batch_gives_what_its_photos_give_alone(self, model):
        data = self.packed(model, 'a red bus', None, 'a blue one')

        together = self.colours(model, data)
        alone = torch.cat([self.colours(model, [item]) for item in data])

        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
        assert (together[0] - together[1]).abs().max() > 1e-6

    def test_a_file_without_a_text_encoder_reads_no_captions(self, weights, tmp_path):
        path = tmp_path / 'ours.safetensors'
        save_checkpoint(weights, path, metadata={'encoder_heads': '3', 'decoder_heads': '2', 'input_size': '32'})
        predictor = Predictor({'model': {'type': 'LanguageColorizer'}}, path, 'cpu')

        with pytest.raises(ValueError, match='reads no captions, because its checkpoint has no text encoder'):
            predictor.predict(np.zeros((20, 30), np.uint8), caption='a red bus')

    def test_the_published_picture_is_cut_to_eight_bits(self, model):
        gray = np.full((30, 40, 3), 119, np.uint8)
        (item,) = self.packed(model, 'x')
        sample = item['data_samples']
        sample.pred_ab = torch.full((2, 224, 224), 0.1)

        picture = model.native_picture(gray, sample)

        assert picture.shape == (224, 224, 3)
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1


class TestBert:
    @pytest.fixture(scope='class')
    def encoder(self, tmp_path_factory):
        pytest.importorskip('transformers')
        from insta_colorization.models.language import BertTextEncoder

        folder = tmp_path_factory.mktemp('bert')
        (folder / 'vocab.txt').write_text('\n'.join(VOCABULARY))
        return BertTextEncoder(folder, bert=BERT).eval()

    def test_word_pieces_in_lower_case_without_marks(self, encoder):
        ids = encoder.ids(['A red bus', 'two buses', ''])

        assert ids.shape == (3, 80)
        assert [row[row > 0].tolist() for row in ids] == [[5, 6, 7], [11, 7, 8], []]
        assert encoder.ids(['red ' * 10_000]).shape == (1, 80)

    def test_features(self, encoder):
        with torch.inference_mode():
            both, empty = encoder(['a red bus', 'the blue bus']), encoder([''])
            alone = encoder(['a red bus'])

        assert both.shape == (2, 80, 768)
        assert empty.isfinite().all()
        torch.testing.assert_close(alone, both[:1], atol=1e-5, rtol=0)

    def test_padding_counts_unless_it_is_masked(self, encoder):
        from insta_colorization.models.language import BertTextEncoder

        masked = BertTextEncoder(mask_padding=True, bert=BERT).eval()
        masked._tokenizer = encoder._tokenizer
        masked.bert.load_state_dict(encoder.bert.state_dict())

        with torch.inference_mode():
            first, second = (which(['a red bus'])[0, :3] for which in (encoder, masked))

        assert (first - second).abs().max() > 1e-3

    def test_a_folder_without_a_vocabulary(self, tmp_path):
        pytest.importorskip('transformers')
        from insta_colorization.models.language import BertTextEncoder

        with pytest.raises(FileNotFoundError, match=r'no vocabulary .*vocab\.txt; put the vocab\.txt of bert-base-unc'):
            BertTextEncoder(tmp_path, bert=BERT)
        with pytest.raises(ValueError, match=r'need the vocab\.txt of bert-base-uncased, .* set text_encoder\.vocab'):
            BertTextEncoder(bert=BERT).ids(['a'])
