"""What L-CoIns learns from: a table of words, colours of nouns, and captions with other colours."""

import json

import pytest
import torch

from insta_colorization.apis import Predictor
from insta_colorization.apis.build import colorizer_for
from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.engine.optim_constructor import LayerDecayConstructor
from insta_colorization.models import Colors
from insta_colorization.models.language import CounterColorLoss, LanguageColorizer, WordTextEncoder
from insta_colorization.models.language.blocks import Block
from insta_colorization.models.language.colors import color_of
from insta_colorization.models.language.network import LanguageNetwork
from insta_colorization.models.language.pairs import color_pairs, other_colors, with_colors

NETWORK = {
    'type': 'LanguageNetwork',
    **{'encoder_width': 12, 'encoder_depth': 2, 'encoder_heads': 3},
    **{'decoder_width': 16, 'decoder_depth': 1, 'decoder_heads': 2, 'groups': 3},
}
CAPTIONS = {'a.png': ['A red bus.', 'a red tram'], 'b.png': 'a blue bus'}


@pytest.fixture(scope='module')
def captions(tmp_path_factory):
    path = tmp_path_factory.mktemp('words') / 'captions.json'
    path.write_text(json.dumps(CAPTIONS))
    return path


@pytest.fixture(scope='module')
def model(captions) -> LanguageColorizer:
    words = {'type': 'WordTextEncoder', 'captions': str(captions), 'least': 2, 'width': 16, 'length': 6}
    losses = {
        'ab': {'type': 'HuberLoss'},
        'classes': {'type': 'RebalancedClassLoss', 'targets': 'soft'},
        'counter': {'type': 'CounterColorLoss', 'margin': 1.0},
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LanguageColorizer(NETWORK, words, losses)


class TestWords:
    def test_frequent_words_have_numbers(self, model):
        assert model.text_encoder.ids(['A bus, RED!', 'tram', '', 'a ' * 10_000]).tolist() == [
            [2, 3, 4, 0, 0, 0],
            [1, 0, 0, 0, 0, 0],
            [0] * 6,
            [2] * 6,
        ]

    def test_features(self, model):
        features = model.text_encoder(['a red bus', 'a bus red', ''])

        assert features.shape == (3, 6, 768)
        assert (features[0] - features[1]).abs().max() > 1e-4
        torch.testing.assert_close(model.text_encoder(['a bus red']), features[1:2])

    def test_no_word_is_frequent(self, captions):
        with pytest.raises(ValueError, match=r'captions\.json has no word 4 times'):
            WordTextEncoder(captions, least=4)

    @pytest.mark.slow
    def test_weights_bring_the_table(self, model, tmp_path, captions):
        path = tmp_path / 'words.safetensors'
        save_checkpoint(model.state_dict(), path, metadata={'encoder_heads': '3', 'decoder_heads': '2'}, half=True)

        checkpoint = load_checkpoint(path)
        read = colorizer_for(checkpoint, {'type': 'LanguageColorizer', 'text_encoder': {'type': 'BertTextEncoder'}})

        assert (checkpoint.networks, checkpoint.sizes['words']) == (('language_net', 'text_encoder'), 3)
        assert read.text_encoder.ids(['a bus']).tolist() == [[2, 3, 0, 0, 0, 0]]
        picture = Predictor({'model': {'type': 'LanguageColorizer'}, 'input_size': 32}, path, 'cpu').predict(
            torch.full((20, 30), 90, dtype=torch.uint8).numpy(), caption='a red bus'
        )
        assert picture.record['caption'] == {'text': 'a red bus'}


class TestPairs:
    def test_colours_of_nouns(self):
        caption = "The man's shirt is dark red, no blue bus, an orange and two yellow taxis"
        assert color_pairs(caption) == (('shirt', 'dark red'), ('taxi', 'yellow'))

    def test_colours_are_replaced_as_whole_words(self):
        assert with_colors('A dark red and white bus, red', {'dark red': 'blue', 'white': 'blue'}) == (
            'a blue and blue bus, red'
        )
        assert with_colors('A dark red bus with red wheels, redder', {'red': 'blue', 'dark red': 'green'}) == (
            'a green bus with blue wheels, redder'
        )

    def test_other_colours_are_far_away(self):
        assert 'orange' not in other_colors(color_of('red'))
        assert {'white', 'black', 'gray'} & other_colors(color_of('white')).keys() == set()


class TestCounterColorLoss:
    def batch(self, true: str, counter: str = 'a blue bus') -> dict:
        ab = torch.tensor(color_of(true)).view(1, 2, 1, 1).expand(1, 2, 4, 4) / 110
        named = [torch.tensor([color_of('red')]) / 110]
        lightness = torch.zeros(1, 1, 4, 4)
        return {'ab': ab, 'lightness': lightness, 'counter_captions': [counter], 'named_colors': named}

    def loss(self, batch: dict, countered: torch.Tensor) -> float:
        class Painter:
            def colors(self, asked: dict) -> Colors:
                assert asked['captions'] == batch['counter_captions']
                return Colors(countered)

        return float(CounterColorLoss(loss_weight=2.0).of_batch(Painter(), batch, Colors(batch['ab'])))

    def test_the_same_colour_costs_the_margin_and_a_far_one_nothing(self):
        batch = self.batch('red')

        assert self.loss(batch, batch['ab']) == pytest.approx(0.4, abs=1e-5)
        assert self.loss(batch, batch['ab'] + torch.tensor([0.1, 0]).view(1, 2, 1, 1)) == pytest.approx(0.2, abs=1e-5)
        assert self.loss(batch, batch['ab'] - 1) == 0

    def test_only_where_the_true_colour_is_the_named_one(self):
        batch = self.batch('green')

        assert self.loss(batch, batch['ab']) == 0

    def test_a_caption_without_a_colour_costs_nothing(self):
        batch = self.batch('red', counter='')

        assert self.loss(batch, batch['ab']) == 0


class TestTraining:
    def test_all_losses_reach_the_words(self, model):
        model.zero_grad()
        ab = torch.tensor(color_of('red')).view(1, 2, 1, 1).expand(2, 2, 32, 32) / 110
        batch = {
            'lightness': torch.rand(2, 1, 32, 32) - 0.5,
            'ab': ab,
            'captions': ['a red bus', 'a bus'],
            'counter_captions': ['a blue bus', ''],
            'named_colors': [torch.tensor([color_of('red')]) / 110, torch.zeros(0, 2)],
        }

        losses = model.loss(batch)
        losses['loss_counter'].backward()

        assert set(losses) == {'loss_ab', 'loss_classes', 'loss_counter'}
        assert all(loss > 0 for loss in losses.values())
        assert model.text_encoder.table.weight.grad[2].abs().max() > 0
        model.zero_grad()

    def test_a_block_is_left_out_for_some_photos_while_training(self):
        torch.manual_seed(0)
        block, x = Block(8, 2, drop_path=0.5), torch.randn(64, 3, 8)

        with torch.no_grad():
            left_alone = (block(x) == x).flatten(1).all(dim=1)
            assert 8 <= left_alone.sum() <= 24  # a quarter loses both attention and MLP
            assert not (block.eval()(x) == x).flatten(1).all(dim=1).any()

    def test_later_blocks_are_left_out_more_often(self):
        settings = {key: value for key, value in NETWORK.items() if key != 'type'}
        network = LanguageNetwork(**settings, drop_path=0.1)

        assert [block.drop_path for block in network.encoder] == pytest.approx([0, 0.1])
        with pytest.raises(ValueError, match=r'drop_path must be a share in \[0, 1\), but got 1'):
            LanguageNetwork(**settings, drop_path=1)


class TestLayerDecay:
    CFG = {'type': 'OptimWrapper', 'optimizer': {'type': 'AdamW', 'lr': 1.0, 'weight_decay': 0.05}}

    def test_rates_fall_towards_the_patches(self, model):
        wrapper = LayerDecayConstructor(self.CFG, {'layer_decay': 0.5})(model)

        rates, names = {}, {id(parameter): name for name, parameter in model.named_parameters()}
        for group in wrapper.optimizer.param_groups:
            for parameter in group['params']:
                assert group['weight_decay'] == (0.05 if parameter.ndim > 1 else 0)
                rates[names[id(parameter)]] = group['lr']
        assert rates.keys() == dict(model.named_parameters()).keys()
        assert rates['language_net.patches.proj.weight'] == rates['language_net.positions'] == 0.125
        assert rates['language_net.encoder.0.norm1.weight'] == 0.25
        assert rates['language_net.encoder.1.mlp.fc1.weight'] == 0.5
        assert rates['language_net.decoder.0.attn.q_bias'] == 1
        assert rates['text_encoder.table.weight'] == rates['language_net.encoder_norm.weight'] == 1

    @pytest.mark.parametrize(('decay', 'said'), [(0, '0'), (1.5, '1.5'), (None, 'None')])
    def test_a_decay_that_is_none(self, decay, said):
        with pytest.raises(ValueError, match=rf'a layer_decay in \(0, 1\], but has {said}'):
            LayerDecayConstructor(self.CFG, {'layer_decay': decay})

    def test_a_model_without_layers(self):
        with pytest.raises(TypeError, match='Linear has no layer_of'):
            LayerDecayConstructor(self.CFG, {'layer_decay': 0.5})(torch.nn.Linear(2, 2))
