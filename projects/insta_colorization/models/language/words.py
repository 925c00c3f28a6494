"""A table of words in the place of BERT: small, without a download, and trained along with the network.

Shape legend: N captions, W words of each, V words of the table, C channels.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from insta_colorization.fileio.captions import CaptionFile
from insta_colorization.registry import MODELS

from .blocks import Block, layer_norm, usual_heads
from .network import WORD_CHANNELS

_PADDING, _UNKNOWN = 0, 1


def words_of(caption: str) -> list[str]:
    """The words of a caption in lower case, without marks."""
    return re.findall(r'[^\W_]+', caption.lower())


@MODELS.register_module()
class WordTextEncoder(BaseModule):
    """Learned features of words and of their places, mixed by transformer blocks; padding is attended, as with BERT.

    The table is part of the weights: `spelling` holds its words in UTF-8, one a line.

    Args:
        captions: file of captions whose words make up the table; None where weights bring theirs.
        least: how often a word of the table occurs there.
        words: V, where weights bring the table.
        letters: the length of its spelling.
        width: C.
        depth: how many blocks.
        length: W; of longer captions the first words count.
        init_cfg: MMEngine's initialization settings.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no word occurs so often.
    """

    size_divisor = 1
    spelling: Tensor

    def __init__(
        self,
        captions: str | os.PathLike[str] | None = None,
        least: int = 5,
        words: int = 0,
        letters: int = 0,
        width: int = 128,
        depth: int = 1,
        length: int = 32,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        spelling = torch.zeros(letters, dtype=torch.uint8)
        if captions is not None:
            table = _frequent(captions, least)
            spelling, words = torch.tensor(list('\n'.join(table).encode()), dtype=torch.uint8), len(table)
        self.register_buffer('spelling', spelling)
        self.table = nn.Embedding(words + 2, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, length, width))
        self.blocks = nn.ModuleList(Block(width, usual_heads(width)) for _ in range(depth))
        self.norm = layer_norm(width)
        self.proj = nn.Linear(width, WORD_CHANNELS)
        self._numbers: dict[str, int] | None = None

    def forward(self, captions: Sequence[str]) -> Tensor:
        """(N, W, 768) of N captions, which may be empty."""
        x = self.table(self.ids(captions).to(self.spelling.device)) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.proj(self.norm(x))

    def ids(self, captions: Sequence[str]) -> Tensor:
        """(N, W) int64, the numbers of the words in the table, 1 for others, 0 behind the last."""
        if self._numbers is None:
            table = bytes(self.spelling.tolist()).decode().split('\n')
            self._numbers = {word: number for number, word in enumerate(table, _UNKNOWN + 1)}
        ids = torch.full((len(captions), self.positions.shape[1]), _PADDING)
        for row, caption in zip(ids, captions, strict=True):
            known = [self._numbers.get(word, _UNKNOWN) for word in words_of(caption)[: len(row)]]
            row[: len(known)] = torch.tensor(known, dtype=torch.int64)
        return ids

    def _load_from_state_dict(self, *args: object) -> None:
        super()._load_from_state_dict(*args)
        self._numbers = None


def _frequent(captions: str | os.PathLike[str], least: int) -> list[str]:
    """The words of a file of captions, most frequent first."""
    texts = CaptionFile(captions).entries.values()
    counts = Counter(word for own in texts for caption in own for word in words_of(caption))
    table = [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= least]
    if not table:
        raise ValueError(f'{captions} has no word {least} times')
    return table
