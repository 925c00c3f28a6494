"""Weak maps: what captions name, where colours are."""

import json

import numpy as np
import pytest
from PIL import Image
from scripts import load_script

from insta_colorization.structures import SEMANTIC_CLASSES, UNKNOWN

GREEN, SAND, GRAY = (70, 140, 50), (200, 170, 120), (128, 128, 128)
GRASS, GROUND = SEMANTIC_CLASSES.index('grass'), SEMANTIC_CLASSES.index('ground')


@pytest.fixture(scope='module')
def tool():
    return load_script('tools/dataset_converters/caption_maps.py')


def striped(*colours: tuple[int, int, int]) -> np.ndarray:
    """Stripes from the top, 20 pixels high and 40 wide."""
    return np.repeat(np.array(colours, np.uint8), 20, axis=0)[:, None].repeat(40, axis=1)


@pytest.mark.parametrize(
    ('captions', 'classes'),
    [
        (['A dog on the grass .', 'A lawn with a dog', 'a dog'], ['grass']),
        (['A dog on the grass .', 'A dog runs', 'a dog'], []),
        (['Grassy dirt road'], ['grass', 'ground']),
        (['the glasses', 'a grasshopper'], []),
    ],
)
def test_what_two_captions_or_the_only_one_name(tool, captions, classes):
    assert tool.named(captions) == classes


def test_a_class_is_where_its_colour_is_in_the_lower_part(tool):
    ids = tool.label(striped(GREEN, GREEN, SAND, GREEN), ['grass'])

    assert (ids[:28] == UNKNOWN).all()
    assert (ids[28:40] == GRASS).all()
    assert (ids[41:59] == UNKNOWN).all()
    assert (ids[60:] == GRASS).all()


def test_nothing_is_known_of_what_no_caption_names_of_boxes_and_of_specks(tool):
    image = striped(GRAY, GRAY, GRAY, SAND)
    image[50:54, 10:14] = GREEN

    ids = tool.label(image, ['grass', 'ground'], boxes=[(0.5, 40, 10, 80)])

    assert set(np.unique(ids)) == {GROUND, UNKNOWN}
    assert (ids[60:, :10] == UNKNOWN).all()
    assert (ids[60:, 10:] == GROUND).all()


def test_a_folder(tool, tmp_path, capsys):
    photos, maps = tmp_path / 'photos', tmp_path / 'maps'
    (photos / 'set').mkdir(parents=True)
    for name, colour in {'green.png': GREEN, 'grey.png': GRAY}.items():
        Image.fromarray(striped(GRAY, GRAY, colour)).save(photos / 'set' / name)
    said = tmp_path / 'captions.json'
    said.write_text(json.dumps({f'set/{name}.png': ['on the grass'] for name in ('green', 'grey', 'not there')}))

    assert tool.main([str(photos), str(said), str(maps)]) == 0

    assert [path.name for path in sorted(maps.rglob('*.*'))] == ['green.png']
    assert (np.array(Image.open(maps / 'set' / 'green.png'))[45:] == GRASS).all()
    assert 'grass 1, snow 0' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'is not JSON'),
        ('[]', 'must have captions by photo, but is a list'),
        ('{"a.png": "grass"}', "must have a list of captions for a.png, but has 'grass'"),
    ],
)
def test_what_is_no_file_of_captions(tool, tmp_path, capsys, content, message):
    said = tmp_path / 'captions.json'
    said.write_text(content)

    assert tool.main([str(tmp_path), str(said), str(tmp_path / 'maps')]) == 1
    assert message in capsys.readouterr().err


def test_a_file_of_captions_that_is_not_there(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path), str(tmp_path / 'captions.json'), str(tmp_path / 'maps')]) == 1
    assert 'there is no file of captions' in capsys.readouterr().err
