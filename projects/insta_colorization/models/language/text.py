"""What turns captions into the words' features that the network reads.

Shape legend: N captions, W words.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from insta_colorization.registry import MODELS

# How many words of a caption count.
LENGTH = 80
_VOCABULARY = 'vocab.txt'


@MODELS.register_module()
class BertTextEncoder(BaseModule):
    """BERT's last hidden states of a caption's word pieces, without [CLS] and [SEP].

    The published checkpoint has its weights, but not the vocabulary.

    Args:
        vocab: `vocab.txt` of bert-base-uncased, or the folder that holds it; None where nobody encodes captions.
        mask_padding: whether nothing attends to the padding; as published everything does.
        bert: settings of transformers' `BertConfig`; those of bert-base-uncased unless given.
        init_cfg: MMEngine's initialization settings.

    Raises:
        FileNotFoundError: there is no such vocabulary.
        ImportError: transformers is not installed.
    """

    size_divisor = 1

    def __init__(
        self,
        vocab: str | Path | None = None,
        mask_padding: bool = False,
        bert: dict[str, Any] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        try:
            from transformers import BertConfig, BertModel
        except ImportError as error:
            raise ImportError('captions for BERT need transformers: pip install transformers') from error
        self.bert = BertModel(BertConfig(**(bert or {})))
        self.mask_padding = mask_padding
        self._tokenizer = None if vocab is None else _tokenizer(Path(vocab))

    def forward(self, captions: Sequence[str]) -> Tensor:
        """(N, W, 768) of N captions, which may be empty; W is 80.

        Raises:
            ValueError: there is no vocabulary.
        """
        ids = self.ids(captions).to(self.bert.device)
        mask = (ids != 0).long() if self.mask_padding else torch.ones_like(ids)
        mask[:, 0] = 1  # an empty caption must have something to attend to
        return self.bert(input_ids=ids, attention_mask=mask).last_hidden_state

    def ids(self, captions: Sequence[str]) -> Tensor:
        """(N, W) int64, the numbers of the word pieces, 0 behind the last."""
        if self._tokenizer is None:
            raise ValueError(
                f'captions need the {_VOCABULARY} of bert-base-uncased, which is not in the checkpoint: '
                'set text_encoder.vocab of the model to its place'
            )
        encoded = self._tokenizer(
            list(captions), add_special_tokens=False, truncation=True, max_length=LENGTH, padding='max_length'
        )
        return torch.tensor(encoded['input_ids'], dtype=torch.int64)


def _tokenizer(path: Path) -> Any:
    from transformers import BertTokenizer

    file = path / _VOCABULARY if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f'there is no vocabulary {file}; put the {_VOCABULARY} of bert-base-uncased there')
    return BertTokenizer(vocab_file=str(file), do_lower_case=True)
