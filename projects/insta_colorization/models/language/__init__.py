"""Colours that a text gives: a grammar that turns captions into hints."""

from .grammar import Phrase, Reading, read_caption
from .steering import Steering, steer
