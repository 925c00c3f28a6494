import os

import pytest

from insta_colorization.imaging.photo import ImageReadError
from insta_colorization.utils.errors import as_unicode, sentence


@pytest.mark.parametrize(
    ('error', 'text'),
    [
        pytest.param(ValueError('the size is 3,\n  not 4'), 'the size is 3, not 4', id='lines'),
        pytest.param(ImageReadError('cannot read a.png'), 'cannot read a.png', id='a kind of the expected'),
        pytest.param(KeyError('b'), "unexpected KeyError: 'b'", id='unexpected'),
        pytest.param(RuntimeError(), 'unexpected RuntimeError: ', id='without a text'),
    ],
)
def test_an_error_is_one_line(error, text):
    assert sentence(error) == text


def test_an_error_cannot_steer_the_terminal():
    assert sentence(ValueError('cannot read \x1b[2J\udce9\n.jpg')) == r'cannot read \x1b[2J\udce9 .jpg'


def test_names_as_unicode():
    assert as_unicode(os.fsdecode(b'M\xfcnchen \xc3\xa9.jpg')) == 'M\\xfcnchen é.jpg'
