from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import Photos, make_runner

from insta_colorization.engine.hooks import result_sheet, visualization
from insta_colorization.structures import ColorizationSample, Instances


def grey(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=-1)


class TestResultSheet:
    @pytest.mark.parametrize('size', [pytest.param(32, id='enlarged'), pytest.param(128, id='as it is')])
    def test_grey_prediction_truth_and_boxes(self, size):
        red = torch.tensor([200, 40, 40], dtype=torch.uint8)[:, None, None].expand(3, size, size)
        sample = ColorizationSample(gt_rgb=red, pred_ab=torch.full((2, 16, 16), -0.4))
        # In the frame of the photo, which was twice as wide as high.
        sample.instances = Instances(torch.tensor([[40.0, 10, 80, 40]]), (50, 100))

        picture = result_sheet(sample)[-128:]
        columns = [picture[:, start : start + 128] for start in range(0, picture.shape[1], 134)]

        assert len(columns) == 4
        assert grey(columns[0]).max() <= 2
        assert columns[1][64, 64].argmax() != 0  # a and b below zero: no red
        assert (columns[2] == [200, 40, 40]).all()
        # (40, 10)..(80, 40) of 100 x 50 are (51, 26)..(102, 102) of 128 x 128, drawn two pixels wide.
        bottom = np.flatnonzero(grey(columns[3][102]) > 30)
        assert np.abs(bottom[[0, -1]] - [51, 102]).max() <= 1
        assert grey(columns[3][105:]).max() <= 2

    def test_the_true_boxes_where_the_networks_used_none(self):
        sample = ColorizationSample(gt_rgb=torch.zeros(3, 32, 32, dtype=torch.uint8), pred_ab=torch.zeros(2, 32, 32))
        without = result_sheet(sample)
        sample.gt_instances = Instances(torch.tensor([[4.0, 4, 28, 28]]), (32, 32))

        assert not np.array_equal(without, result_sheet(sample))


class TestVisualization:
    HOOK = {'type': 'ColorizationVisualizationHook', 'num_photos': 3}

    def shown(self, tmp_path: Path) -> list[str]:
        return sorted(path.name for path in tmp_path.glob('*/vis_data/vis_image/*'))

    @pytest.mark.slow
    def test_the_first_photos_of_every_validation(self, tmp_path):
        make_runner(tmp_path, hook=self.HOOK, iters=2, val_interval=1, batch_size=2).train()

        assert self.shown(tmp_path) == [f'val_{n}_{step}.png' for n in range(3) for step in (1, 2)]

    def test_a_skipped_photo_is_left_out(self, tmp_path, monkeypatch):
        original = Photos.__getitem__

        def broken(self, key):
            item = original(self, key)
            if key == 1:
                item['data_samples'].set_metainfo({'skipped': 'it is broken'})
            return item

        monkeypatch.setattr(Photos, '__getitem__', broken)
        runner = make_runner(tmp_path, hook=self.HOOK, iters=1, val_interval=1, batch_size=4)
        pictures = []
        monkeypatch.setattr(
            visualization, 'result_sheet', lambda sample: pictures.append(sample.img_path) or np.zeros((4, 4, 3))
        )
        monkeypatch.setattr(runner.visualizer, 'add_image', lambda *args: None)
        runner.train()

        assert pictures == ['0.jpg', '2.jpg', '3.jpg']
