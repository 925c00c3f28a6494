"""Repainting maps, and what of the colours changes."""

import numpy as np
import pytest
import torch

from insta_colorization.imaging.maps import read_map, write_map
from insta_colorization.imaging.rendering import colorize_pixels
from insta_colorization.models.semantic.editing import EditingSession, MapEditor, Recolorer
from insta_colorization.structures import Request

SKY, TREE = 50, 54


@pytest.fixture
def editor() -> MapEditor:
    """20 x 30 pixels: trees on the left, and on the right but for a gap between them."""
    ids = np.zeros((20, 30), np.uint8)
    ids[:, :10] = TREE
    ids[:, 20:] = TREE
    return MapEditor(ids)


class TestBrush:
    def test_lines_are_unbroken(self, editor):
        box = editor.brush([(2, 3), (25, 16)], SKY, diameter=1)

        painted = editor.ids == SKY
        assert box == (2, 3, 26, 17)
        assert painted.any(axis=0)[2:26].all()
        assert painted.any(axis=1)[3:17].all()

    @pytest.mark.parametrize('diameter', [1, 2, 4, 9])
    def test_diameter(self, editor, diameter):
        editor.brush([(15, 10)], SKY, diameter)

        columns = (editor.ids == SKY).any(axis=0).nonzero()[0]
        assert np.ptp(columns) + 1 == diameter

    def test_what_sticks_out_is_cut(self, editor):
        assert editor.brush([(-40, 2), (3, 2)], SKY, diameter=1) == (0, 2, 4, 3)

    @pytest.mark.parametrize('points', [[(-3, 10), (-3, 10), (4, 10)], [(29, 19), (1000, 19)], [(15, -900), (15, 2)]])
    def test_strokes_across_the_edge(self, editor, points):
        inside = [(x, y) for x, y in points if 0 <= x < 30 and 0 <= y < 20]

        editor.brush(points, SKY, diameter=5)

        assert all(editor.pick(x, y) == SKY for x, y in inside)
        assert 5 <= (editor.ids == SKY).sum() < 60

    def test_inside_a_segment(self, editor):
        editor.brush([(5, 10), (25, 10)], SKY, diameter=6, inside=True)

        painted = (editor.ids == SKY).any(axis=0)
        assert painted[3:10].all()
        assert not painted[10:].any()

    def test_outside_the_picture(self, editor):
        with pytest.raises(
            ValueError, match=r'the brush at \(30, 5\) lies outside the picture of width 30 and height 20'
        ):
            editor.brush([(30, 5), (40, 6)], SKY)

    @pytest.mark.parametrize(
        ('label', 'diameter', 'message'),
        [(60, 2, r'a class must lie in 0\.\.59, but got 60'), (SKY, 0, 'must be at least 1, but got 0')],
    )
    def test_what_there_is_not(self, editor, label, diameter, message):
        with pytest.raises(ValueError, match=message):
            editor.brush([(5, 5)], label, diameter)


def test_fill_takes_the_connected_segment(editor):
    assert editor.fill(2, 2, SKY) == (0, 0, 10, 20)
    assert editor.fill(2, 2, SKY) is None
    assert [editor.pick(x, 5) for x in (5, 15, 25)] == [SKY, 0, TREE]


@pytest.mark.parametrize('use', [lambda e: e.pick(0, 20), lambda e: e.fill(-1, 0, SKY)], ids=['pick', 'fill'])
def test_points_outside(editor, use):
    with pytest.raises(ValueError, match='lies outside the picture of width 30 and height 20'):
        use(editor)


class TestUndo:
    def test_there_and_back(self, editor):
        states = [editor.ids.copy()]
        for step in (
            lambda: editor.brush([(3, 3), (20, 12)], SKY, 5),
            lambda: editor.fill(25, 2, 7),
            lambda: editor.brush([(0, 0)], 12),
        ):
            step()
            states.append(editor.ids.copy())

        for state in reversed(states[:-1]):
            editor.undo()
            np.testing.assert_array_equal(editor.ids, state)
        for state in states[1:]:
            editor.redo()
            np.testing.assert_array_equal(editor.ids, state)

    def test_beyond_the_start_and_the_end(self, editor):
        for step in (editor.undo, editor.redo):
            with pytest.raises(ValueError, match=f'there is nothing to {step.__name__}'):
                step()

    def test_painting_forgets_what_was_undone(self, editor):
        editor.fill(2, 2, SKY)
        editor.undo()
        editor.fill(15, 2, SKY)

        with pytest.raises(ValueError, match='there is nothing to redo'):
            editor.redo()


def test_maps_are_saved_at_the_photos_size_and_loaded_at_any(editor, tmp_path):
    editor.fill(2, 2, SKY)
    editor.save(tmp_path / 'map.png')
    write_map(np.full((3, 5), 7), tmp_path / 'small.png')

    np.testing.assert_array_equal(read_map(tmp_path / 'map.png'), editor.ids)
    assert editor.load(tmp_path / 'small.png') == (0, 0, 30, 20)
    editor.undo()
    assert editor.load(tmp_path / 'map.png') is None


def test_an_editor_leaves_the_array_it_got(editor):
    ids = np.zeros((4, 4), np.uint8)
    MapEditor(ids).fill(0, 0, SKY)

    assert not ids.any()
    with pytest.raises(ValueError, match='read-only'):
        editor.ids[0, 0] = 1


class TestRecolouring:
    SIZE = 640

    @pytest.fixture(scope='class', params=[False, True], ids=['as published', 'light'])
    def model(self, build, request):
        return build(light=request.param)

    @pytest.fixture
    def wide(self) -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (640, 640, 1), np.uint8).repeat(3, axis=2)

    @pytest.mark.parametrize('guidance', [1.0, 3.0])
    def test_it_is_what_the_colorizer_gives(self, model, photo, monkeypatch, guidance):
        monkeypatch.setattr(model, 'map_guidance', guidance)
        ids = np.zeros(photo.shape[:2], np.uint8)
        ids[10:30, 20:50] = SKY
        packed = model.pack(photo, Request(map=ids), 64)
        batch = model.data_preprocessor(
            {'inputs': {'gray': [packed['inputs']['gray']]}, 'data_samples': [packed['data_samples']]}
        )

        with torch.inference_mode():
            (sample,) = model.predict(batch)

        torch.testing.assert_close(Recolorer(model, photo, 64).color(ids), sample.pred_ab, atol=1e-6, rtol=0)

    @pytest.mark.slow
    def test_an_edit_changes_what_it_reaches_and_nothing_else(self, model, wide):
        recolorer, ids = Recolorer(model, wide, self.SIZE), np.zeros((self.SIZE, self.SIZE), np.uint8)
        before = recolorer.color(ids)
        ids[10:20, 30:50] = SKY

        after = recolorer.color(ids)
        whole = Recolorer(model, wide, self.SIZE).color(ids)

        torch.testing.assert_close(after, whole, atol=1e-5, rtol=0)
        changed = (after != before).any(dim=0)
        reach = model.color_net.reach
        assert changed[10:20, 30:50].any()
        assert not changed[20 + reach :].any()
        assert not changed[:, 50 + reach :].any()

    @pytest.mark.slow
    def test_only_the_reached_window_runs(self, model, wide, monkeypatch):
        recolorer, ids = Recolorer(model, wide, self.SIZE), np.zeros((self.SIZE, self.SIZE), np.uint8)
        recolorer.color(ids)
        sizes = []
        read = model.color_net.read
        monkeypatch.setattr(model.color_net, 'read', lambda part: sizes.append(tuple(part.shape[1:])) or read(part))
        monkeypatch.setattr(model.color_net, 'see', lambda gray: pytest.fail('the photo itself is seen again'))

        recolorer.color(ids)
        ids[0, 0] = SKY
        recolorer.color(ids)

        window = 2 * model.color_net.reach + 1
        assert sizes == [(-(-window // 32) * 32,) * 2]

    @pytest.mark.slow
    def test_pictures_stay_equal_beyond_it(self, model, wide):
        session = EditingSession(model, wide, np.zeros((640, 640), np.uint8), size=self.SIZE)
        before = colorize_pixels(wide, session.colors())
        session.editor.brush([(3, 3)], SKY, diameter=9)
        after = colorize_pixels(wide, session.colors())

        changed = (before != after).any(axis=-1)
        beyond = 8 + model.color_net.reach + 6  # the guided filter's windows and the interpolation reach further
        assert changed[:8, :8].any()
        assert not changed[beyond:].any()
        assert not changed[:, beyond:].any()

    def test_a_preview(self, model, photo):
        session = EditingSession(model, photo, size=64, preview_size=32 * 2)

        assert session.editor.ids.shape == photo.shape[:2]
        torch.testing.assert_close(session.colors(preview=True), session.colors())

    def test_a_map_of_another_size(self, model, photo):
        with pytest.raises(ValueError, match=r'the map has size \(3, 4\), but the photo has \(48, 64\)'):
            EditingSession(model, photo, np.zeros((3, 4), np.uint8), size=64)
