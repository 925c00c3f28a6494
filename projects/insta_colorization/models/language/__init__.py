"""Colours from words: captions as hints for every model, and the network of L-CoIns, which reads them."""

from .checkpoint import LanguageFamily
from .colorizer import LanguageColorizer
from .grammar import Phrase, Reading, read_caption
from .grouping import Groups
from .losses import CounterColorLoss
from .network import LanguageColors, LanguageNetwork
from .preprocessor import LanguagePreprocessor
from .steering import Steering, steer
from .text import BertTextEncoder
from .words import WordTextEncoder
