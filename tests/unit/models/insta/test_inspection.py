import pytest
import torch

from insta_colorization.models import STAGES, ImageColorizer, InstColorizer
from insta_colorization.models.backbones.lite import ENCODER
from insta_colorization.models.backbones.zhang2017 import STAGE_NAMES
from insta_colorization.models.insta.inspection import fusion_rows, parse_rows, recorded_shares
from insta_colorization.structures import Instances


class TestParseRows:
    @pytest.mark.parametrize(
        ('names', 'rows'),
        [
            pytest.param(['3', '7', '10'], ['conv3', 'conv7', 'conv10'], id="the paper's numbers"),
            pytest.param(['conv1', 'up8'], ['conv1', 'up8'], id='names'),
            pytest.param(['3', 'conv3'], ['conv3'], id='each once'),
            pytest.param([], [], id='none'),
        ],
    )
    def test_known(self, names, rows):
        assert parse_rows(names, STAGE_NAMES) == rows

    @pytest.mark.parametrize('name', ['11', 'up7', '', 'conv', '-3'])
    def test_unknown_lists_the_known(self, name):
        with pytest.raises(ValueError, match=f"no layer '{name}'; known are conv1, .*up8.*conv10"):
            parse_rows(['3', name], STAGE_NAMES)

    def test_another_backbones_rows(self):
        assert parse_rows(['enc16', 'up4'], ENCODER.keys() | {'up4'}) == ['enc16', 'up4']
        with pytest.raises(ValueError, match=r"no layer '3'; known are up4$"):
            parse_rows(['3'], ['up4'])


@pytest.fixture(scope='module')
def model() -> InstColorizer:
    torch.manual_seed(0)
    trunk = {'type': 'ColorizationBackbone', 'width': 1 / 16}
    return InstColorizer(trunk, trunk, {'type': 'FusionNetwork', 'width': 1 / 16}).eval()


class TestRecordedShares:
    @pytest.fixture(scope='class')
    def shares(self, model):
        boxes = Instances([[0, 0, 16, 32], [0, 0, 32, 16], [8, 8, 24, 24]], [[32, 32]] * 2, image_index=[0, 0, 1])
        rows = [row.name for row in STAGES]
        with torch.no_grad(), recorded_shares(model, rows) as shares:
            model(
                lightness=torch.rand(2, 1, 32, 32) - 0.5,
                crop_lightness=torch.rand(3, 1, 32, 32) - 0.5,
                instances=boxes,
            )
        return shares

    def test_every_row_at_its_own_size(self, shares):
        for row in STAGES:
            image_share, instance_shares = shares[row.name]
            assert image_share.shape == (2, 1, 32 // row.stride, 32 // row.stride)
            assert instance_shares.shape == (3, 1, 32 // row.stride, 32 // row.stride)

    def test_add_up_to_one(self, shares):
        for image_share, instance_shares in shares.values():
            first = image_share[0] + instance_shares[0] + instance_shares[1]
            torch.testing.assert_close(first, torch.ones_like(first))

    def test_image_counts_alone_where_no_box_is(self, shares):
        image_share, _ = shares['conv1']

        assert (image_share[0, 0, 16:, 16:] == 1).all()
        assert (image_share[0, 0, :16] < 1).all()

    def test_later_passes_leave_nothing(self, model, shares):
        before = shares['conv1'][0]
        boxes = Instances([[0, 0, 16, 32]], (32, 32))
        with torch.no_grad():
            model(lightness=torch.rand(1, 1, 32, 32), crop_lightness=torch.rand(1, 1, 32, 32), instances=boxes)

        assert shares['conv1'][0] is before


def test_rows_of_a_model_that_fuses_nothing_are_refused(model):
    assert fusion_rows(model, ['3']) == ['conv3']
    with pytest.raises(ValueError, match='no fusion weights to show'):
        fusion_rows(ImageColorizer({'type': 'ColorizationBackbone', 'width': 1 / 16}), ['3'])
