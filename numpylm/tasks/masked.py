"""An encoder learns to restore masked tokens: [CLS] window of the text [SEP]."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from numpylm.data.batches import Batch, RandomWindows, evaluation_windows
from numpylm.data.vocabulary import Tokenizer
from numpylm.layers.cross_entropy import IGNORE
from numpylm.layers.softmax import softmax_forward
from numpylm.models.bert import BERT, bert_forward, masked_head_forward
from numpylm.objectives.masked import masked_lm_backward, masked_lm_forward
from numpylm.parameters import Array
from numpylm.tasks.pretraining import HELD_OUT, STREAM, EncoderPretraining
from numpylm.tasks.task import Prediction, Shape
from numpylm.tasks.trained import Trained, encode_known


def guess_masked(p: BERT, h: Array, batch: Batch) -> Array:
    """The most probable token at each masked position (B, T), elsewhere ``IGNORE``."""
    tokens, chosen = np.full(batch["ids"].shape, IGNORE), batch["targets"] != IGNORE
    tokens[chosen] = masked_head_forward(p, h[chosen])[0].argmax(axis=-1)
    return tokens


class Masked(EncoderPretraining):
    """Windows with masked tokens."""

    name = "masked"
    functions: ClassVar[tuple] = (masked_lm_forward, masked_lm_backward)
    shortest = 3
    reads = ("mask_rate", "whole_words")
    inputs = ("ids",)
    accuracies: ClassVar[dict] = {"masked_accuracy": ("targets", guess_masked)}

    def __init__(self, *data: Any) -> None:
        super().__init__(*data)
        size, length = self.settings.batch_size, self.settings.context - 2
        self.windows = RandomWindows(self.streams["train"], size, length, self.settings.seed)

    def batch(self, step: int) -> Batch:
        """ids (B, T), and targets where tokens are masked."""
        rng = np.random.default_rng([STREAM, self.settings.seed, step])
        return self.masked(self._framed(self.windows.batch(step)[0]), rng)

    def held_out(self, split: str) -> list[Batch]:
        """All windows, corrupted in the same way each time."""
        if not self.has(split):
            return []
        rng = np.random.default_rng([HELD_OUT, self.settings.seed])
        windows, _ = evaluation_windows(self.streams[split], self.settings.context - 2)
        rows = self._framed(windows)
        return [self.masked(rows[i : i + 32], rng) for i in range(0, len(rows), 32)]

    def _framed(self, windows: Array) -> Array:
        """[CLS] window [SEP]."""
        ends = (self.special.cls, self.special.sep)
        return np.pad(windows, ((0, 0), (1, 1)), constant_values=((0, 0), ends))

    @classmethod
    def shape(cls, batch: Batch) -> Shape:
        """The masked tokens are predicted."""
        predicted = int(np.count_nonzero(batch["targets"] != IGNORE))
        return replace(super().shape(batch), predicted=predicted)

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The five most probable tokens for each ``[MASK]``, with their probabilities."""
        parts = re.split(re.escape("[MASK]"), text)
        if len(parts) < 2:
            raise ValueError(f"{trained.name} fills gaps: write [MASK] where one is")
        tokenizer, mask = trained.vocabulary.tokenizer, trained.special.mask
        rows: list[Array] = []
        for i, part in enumerate(parts):
            rows += [np.array([mask])] * bool(i) + [_beside_a_gap(tokenizer, part, cls.split(part))]
        ids = trained.framed(*rows)
        h, _ = bert_forward(trained.p, ids, config=trained.model)
        logits, _ = masked_head_forward(trained.p, h[ids == mask])
        probabilities, _ = softmax_forward(logits[:, : tokenizer.vocab_size].astype(np.float64))
        gaps = []
        for row in probabilities:
            best = np.argsort(-row, kind="stable")[:5].tolist()
            gaps.append({_name(tokenizer, i): float(row[i]) for i in best})
        return {"gaps": gaps}

    @classmethod
    def readable(cls, found: Prediction) -> str:
        """A line for each gap."""
        gaps = [", ".join(f"{w} {p:.2f}" for w, p in gap.items()) for gap in found["gaps"]]
        return "\n".join(gaps)


def _beside_a_gap(tokenizer: Tokenizer, part: str, split: str) -> Array:
    """Ids of what stands between two gaps; of characters with the blanks at its ends."""
    if tokenizer.kind != "word":
        before, after = part[:1].isspace(), part[-1:].isspace() and bool(split)
        split = " " * before + split + " " * after
    return encode_known(tokenizer, split)


def _name(tokenizer: Tokenizer, token: int) -> str:
    """A token as a text; a byte that is a part of a character by its number."""
    text = tokenizer.decode(np.array([token]))
    if tokenizer.kind == "bpe" and "\N{REPLACEMENT CHARACTER}" in text:
        return f"<token {token}>"
    return text if text != "\N{REPLACEMENT CHARACTER}" else f"<0x{token:02x}>"
