import json

import numpy as np
import pytest
import torch

from insta_colorization.models import HuberLoss, ImageColorizer, LogErrorLoss, RebalancedClassLoss
from insta_colorization.models.backbones import Colors
from insta_colorization.models.losses import rebalancing_weights
from insta_colorization.structures import Instances


def colours(seed: int) -> torch.Tensor:
    return torch.rand(2, 2, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class TestHuber:
    def test_is_ten_times_the_published_one(self):
        ab, target = colours(0) * 0.02, colours(1) * 0.02

        # The published code: a half squared error over delta below delta, else the error less half a delta; summed over
        # a and b, averaged over pixels, times ten.
        delta = 1 / 110
        error = np.abs(ab.numpy().astype(np.float64) - target.numpy())
        below = error < delta
        assert 0.1 < below.mean() < 0.9
        expected = 10 * np.where(below, error**2 / 2 / delta, error - delta / 2).sum(axis=1).mean()
        assert HuberLoss()(ab, None, target).item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(
        ('units', 'expected'),
        [
            pytest.param((1, 0), 10 * 0.5 / 110, id='at-the-bend'),
            pytest.param((0.5, 0), 10 * 0.125 / 110, id='square'),
            pytest.param((0, 11), 10 * 10.5 / 110, id='line'),
            pytest.param((11, -11), 10 * 21 / 110, id='both-channels-add'),
        ],
    )
    def test_of_an_error_in_lab_units(self, units, expected):
        ab = torch.tensor(units, dtype=torch.float32).view(1, 2, 1, 1).expand(3, 2, 4, 4) / 110

        assert HuberLoss()(ab, None, torch.zeros(3, 2, 4, 4)).item() == pytest.approx(expected, rel=1e-5)

    def test_mmagics_bend(self):
        ab = torch.full((1, 2, 1, 1), 0.1)

        # Beyond the bend an error counts half a beta less than itself: of two channels, a whole one.
        assert HuberLoss(beta=0.01)(ab, None, 0 * ab).item() == pytest.approx(10 * (0.2 - 0.01), rel=1e-5)

    def test_the_weight_is_a_factor(self):
        ab, target = colours(0), colours(1)

        assert HuberLoss(loss_weight=1)(ab, None, target).item() == pytest.approx(
            HuberLoss()(ab, None, target).item() / 10
        )

    def test_chroma_weight_prefers_strong_colours(self):
        target = torch.zeros(1, 2, 1, 2)
        target[0, 0, 0, 1] = 0.5
        ab = target + torch.tensor([0.0, 0.1])  # wrong only where the truth is colourful
        ab_grey = target + torch.tensor([0.1, 0.0])
        plain, weighted = HuberLoss(), HuberLoss(chroma_weight=4.0)

        # Weights 1 and 1 + 4 * 0.5 = 3, over their mean 2.
        assert weighted(ab, None, target).item() == pytest.approx(plain(ab, None, target).item() * 1.5)
        assert weighted(ab_grey, None, target).item() == pytest.approx(plain(ab_grey, None, target).item() * 0.5)

    def test_half_precision_predictions_are_compared_in_float32(self):
        ab, target = colours(0), colours(1)

        loss = HuberLoss()(ab.bfloat16(), None, target)

        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(HuberLoss()(ab, None, target).item(), rel=1e-2)


class TestLogError:
    @staticmethod
    def of(loss: LogErrorLoss, error: torch.Tensor, instances: Instances | None = None) -> float:
        batch = {'ab': torch.zeros_like(error), 'instances': instances}
        return loss.of_batch(None, batch, Colors(error)).item()

    def test_to_halve_an_error_counts_the_same_in_every_photo(self):
        pale, colourful = torch.full((1, 2, 8, 8), 0.05), torch.full((1, 2, 8, 8), 0.5)
        loss = LogErrorLoss(floor=1e-3)

        whole = self.of(loss, torch.cat([pale, colourful]))
        fewer_in_pale = self.of(loss, torch.cat([pale / 2, colourful]))
        fewer_in_colourful = self.of(loss, torch.cat([pale, colourful / 2]))

        # Four times less squared error in one photo of two.
        assert whole - fewer_in_pale == pytest.approx(np.log(4) / 2, rel=1e-3)
        assert fewer_in_colourful == pytest.approx(fewer_in_pale, rel=1e-3)

    def test_its_mean_over_photos_is_that_of_their_psnr(self):
        errors = colours(0) * torch.tensor([0.1, 1.0]).view(2, 1, 1, 1)

        loss = self.of(LogErrorLoss(loss_weight=10 / np.log(10), floor=1e-6), errors)

        psnr = [-10 * np.log10((error**2).sum(axis=0).mean()) for error in errors.double().numpy()]
        assert loss == pytest.approx(-np.mean(psnr), rel=1e-4)

    def test_below_the_floor_nothing_is_gained(self):
        assert self.of(LogErrorLoss(floor=3.0), torch.zeros(2, 2, 8, 8)) == pytest.approx(2 * np.log(3 / 110), rel=1e-4)

    def test_boxes_count_by_their_share(self):
        error = torch.full((2, 2, 8, 8), 0.2)
        error[1, :, 2:4, 4:8] = 0.5
        boxes = Instances(torch.tensor([[40.0, 20, 80, 40]]), (80, 80))
        instances = Instances.cat([Instances.empty((80, 80)), boxes])

        photos, both, boxes_alone = (
            self.of(LogErrorLoss(instance_share=share), error, instances) for share in (0.0, 0.25, 1.0)
        )

        assert boxes_alone == pytest.approx(np.log(2 * 0.5**2 + (3 / 110) ** 2), rel=1e-4)
        assert both == pytest.approx(0.75 * photos + 0.25 * boxes_alone, rel=1e-4)

    @pytest.mark.parametrize('instances', [None, Instances.empty((8, 8))], ids=['not-cropped', 'none-found'])
    def test_without_instances_the_photos_are_all_there_is(self, instances):
        error = colours(0)

        assert self.of(LogErrorLoss(instance_share=0.7), error, instances) == pytest.approx(
            self.of(LogErrorLoss(), error), rel=1e-6
        )

    def test_trains_a_network_beside_other_losses(self):
        network = {'type': 'ColorizationBackbone', 'width': 1 / 16}
        model = ImageColorizer(network, losses={'ab': {'type': 'HuberLoss'}, 'photos': {'type': 'LogErrorLoss'}})

        losses = model('loss', lightness=torch.zeros(2, 1, 64, 64), ab=torch.rand(2, 2, 64, 64) - 0.5)
        losses['loss_photos'].backward()

        assert set(losses) == {'loss_ab', 'loss_photos'}
        assert model.image_net.ab_head[0].weight.grad.abs().sum() > 0

    @pytest.mark.parametrize(
        ('setting', 'message'),
        [
            ({'floor': 0.0}, 'floor must be positive and finite, but got 0.0'),
            ({'floor': float('inf')}, 'floor must be positive and finite, but got inf'),
            ({'instance_share': 1.5}, r'instance_share must be a share in \[0, 1\], but got 1.5'),
        ],
    )
    def test_refuses_what_makes_no_sense(self, setting, message):
        with pytest.raises(ValueError, match=message):
            LogErrorLoss(**setting)


class TestRebalancing:
    @pytest.fixture
    def prior(self) -> torch.Tensor:
        prior = torch.zeros(529)
        prior[[100, 264, 300]] = torch.tensor([90.0, 900.0, 10.0])
        return prior

    def test_rare_classes_count_more_and_the_mean_is_one(self, prior):
        weights = rebalancing_weights(prior, 0.5, max_weight=1e9)

        assert weights[300] > weights[100] > weights[264]
        assert float((prior / prior.sum() * weights).sum()) == pytest.approx(1)

    def test_of_three_classes_by_hand(self, prior):
        # (1 - 1/2) p + 1/2 / 3, inverted: 4.72, 1.62, 5.83 for shares .09, .9, .01.
        inverse = {index: 1 / (share / 2 + 1 / 6) for index, share in ((100, 0.09), (264, 0.9), (300, 0.01))}
        mean = 0.09 * inverse[100] + 0.9 * inverse[264] + 0.01 * inverse[300]

        weights = rebalancing_weights(prior, 0.5, max_weight=1e9)

        assert [float(weights[index]) for index in inverse] == pytest.approx([w / mean for w in inverse.values()])

    def test_weights_are_clamped(self, prior):
        weights = rebalancing_weights(prior, 0.0, max_weight=8.0)

        # Three classes occur, so the most frequent one weighs 1 / 0.9 / 3, the others 3.7 and 33.
        assert weights[[264, 100, 300]].tolist() == pytest.approx([1 / 2.7, 1 / 0.27, 8])
        assert weights.max() == 8

    def test_all_uniform_counts_all_alike(self, prior):
        torch.testing.assert_close(rebalancing_weights(prior, 1.0, max_weight=8.0), torch.ones(529))


class TestClasses:
    @pytest.fixture
    def logits(self) -> torch.Tensor:
        return torch.randn(1, 529, 2, 2, generator=torch.Generator().manual_seed(0))

    @pytest.fixture
    def target(self) -> torch.Tensor:
        """(1, 2, 8, 8) in network units: four quarters of one colour each."""
        lab = torch.tensor([[0.0, 0.0], [40.0, -20.0], [-30.0, 50.0], [104.0, 4.9]]) / 110
        return lab.T.reshape(1, 2, 2, 2).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)

    def test_is_the_weighted_cross_entropy_of_the_classes(self, logits, target):
        frequencies = np.linspace(1, 20, 529)
        loss = RebalancedClassLoss(prior=frequencies.tolist(), loss_weight=3.0)

        # 23 * round((a + 110) / 10) + round((b + 110) / 10), by hand.
        classes = [23 * 11 + 11, 23 * 15 + 9, 23 * 8 + 16, 23 * 21 + 11]
        scores = logits.double().numpy()[0].reshape(529, 4)
        log_shares = scores - np.log(np.exp(scores).sum(axis=0))
        prior = frequencies / frequencies.sum()
        weights = 1 / (prior / 2 + 0.5 / 529)
        weights = np.minimum(weights / (prior * weights).sum(), 8)[classes]
        expected = -3 * (weights * log_shares[classes, range(4)]).sum() / weights.sum()
        assert loss(None, logits, target).item() == pytest.approx(expected, rel=1e-4)

    def test_without_a_prior_it_is_plain(self, logits, target):
        assert torch.equal(RebalancedClassLoss().class_weights, torch.ones(529))

    def test_the_truth_is_averaged_to_a_quarter_before_it_is_classed(self, logits):
        checkered = torch.zeros(1, 2, 8, 8)
        checkered[:, 0, ::2] = 40 / 110
        even = torch.zeros(1, 2, 8, 8)
        even[:, 0] = 20 / 110

        loss = RebalancedClassLoss()

        assert loss(None, logits, checkered).item() == pytest.approx(loss(None, logits, even).item())

    def test_the_shipped_prior_is_found_from_anywhere(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

        weights = RebalancedClassLoss(prior='ab_prior.json').class_weights

        assert weights[23 * 11 + 11] < 0.5  # grey
        assert weights.max() > 5  # strong colours

    def test_a_file_of_ones_own(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / 'ab_prior.json').write_text(json.dumps([1.0] * 529))

        for name in ('ab_prior.json', str(tmp_path / 'ab_prior.json')):
            torch.testing.assert_close(RebalancedClassLoss(prior=name).class_weights, torch.ones(529))

    @pytest.mark.parametrize('name', ['nowhere.json', 'data/ab_prior.json'])
    def test_a_missing_file(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)

        with pytest.raises(FileNotFoundError, match=f'the colour prior {name} does not exist'):
            RebalancedClassLoss(prior=name)

    def test_a_prior_of_another_length(self):
        with pytest.raises(ValueError, match=r'must hold 529 numbers, but got \(313,\)'):
            RebalancedClassLoss(prior=[1.0] * 313)

    def test_soft_targets_share_a_colour_among_its_five_nearest_classes(self):
        # (22.5, 1) in Lab units lies nearest to (20, 0), then to (30, 0), (20, 10), (20, -10) and (30, 10).
        target = (torch.tensor([22.5, 1.0]) / 110).view(1, 2, 1, 1).expand(1, 2, 4, 4)
        logits = torch.randn(1, 529, 1, 1, generator=torch.Generator().manual_seed(1))

        centres = np.array([[10 * i - 110, 10 * j - 110] for i in range(23) for j in range(23)])
        distance = ((centres - [22.5, 1]) ** 2).sum(axis=1)
        nearest = np.argsort(distance, kind='stable')[:5]
        shares = np.exp(-distance[nearest] / 50)
        scores = logits.double().numpy().ravel()
        errors = np.log(np.exp(scores).sum()) - scores[nearest]
        expected = (shares * errors).sum() / shares.sum()
        assert RebalancedClassLoss(targets='soft')(None, logits, target).item() == pytest.approx(expected, rel=1e-4)

    def test_soft_targets_weigh_a_pixel_by_its_nearest_class(self, logits, target):
        frequencies = np.linspace(1, 20, 529).tolist()
        loss = RebalancedClassLoss(prior=frequencies, targets='soft')
        errors = [
            RebalancedClassLoss(targets='soft')(
                None, logits[..., i : i + 1, j : j + 1], target[..., 4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
            ).item()
            for i in range(2)
            for j in range(2)
        ]
        weights = loss.class_weights[[23 * 11 + 11, 23 * 15 + 9, 23 * 8 + 16, 23 * 21 + 11]].tolist()

        assert loss(None, logits, target).item() == pytest.approx(np.average(errors, weights=weights), rel=1e-4)

    def test_soft_targets_at_the_corner_of_all_colours(self, logits):
        corner = torch.full((1, 2, 8, 8), -1.0)

        assert np.isfinite(RebalancedClassLoss(targets='soft')(None, logits, corner).item())

    def test_unknown_targets(self):
        with pytest.raises(ValueError, match="targets must be 'hard' or 'soft', but got 'smooth'"):
            RebalancedClassLoss(targets='smooth')

    def test_weights_do_not_go_into_checkpoints(self):
        assert not RebalancedClassLoss().state_dict()
