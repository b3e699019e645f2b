"""An encoder learns whether one segment of a text follows another, alone or with masked tokens.

[CLS] A [SEP] B [SEP]      B follows A, or begins anywhere in another document
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from numpylm.data.batches import Batch
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.layers.cross_entropy import IGNORE
from numpylm.layers.linear import linear_forward
from numpylm.layers.softmax import softmax_forward
from numpylm.models.bert import BERT, bert_forward, pooler_forward
from numpylm.objectives.next_sentence import (
    bert_pretraining_backward,
    bert_pretraining_forward,
    next_sentence_backward,
    next_sentence_forward,
)
from numpylm.parameters import Array
from numpylm.tasks.masked import Masked
from numpylm.tasks.pretraining import HELD_OUT, STREAM, EncoderPretraining
from numpylm.tasks.task import Prediction, Shape
from numpylm.tasks.trained import Trained

PAIRS_HELD_OUT = 2000


def pair_logits(p: BERT, h: Array) -> Array:
    """Scores (B, 2) of not following and following."""
    return linear_forward(p.next_sentence_head, pooler_forward(p.pooler, h)[0])[0]


def guess_pairs(p: BERT, h: Array, batch: Batch) -> Array:
    """The answer for each pair (B,)."""
    return pair_logits(p, h).argmax(axis=-1)


class NextSentence(EncoderPretraining):
    """Pairs of segments."""

    name = "next-sentence"
    functions: ClassVar[tuple] = (next_sentence_forward, next_sentence_backward)
    counted = "labels"
    unit = "pair"
    shortest = 5
    texts: ClassVar[tuple[int, ...]] = (2,)
    inputs = ("ids", "segments", "mask")
    accuracies: ClassVar[dict] = {"pair_accuracy": ("labels", guess_pairs)}

    def __init__(self, *data: Any) -> None:
        super().__init__(*data)
        for part in ("train", "valid"):
            if not has_pairs(self.encoded[part]):
                raise ValueError(
                    f"the {part} text of {self.summary['name']} has no two documents, one of them "
                    "with two sentences: there are no pairs to learn from"
                )

    def baselines(self) -> dict[str, float]:
        """Half of the pairs follow each other."""
        return {"always the same answer": 0.5}

    def batch(self, step: int) -> Batch:
        """ids, segments and mask (B, T), labels (B,); targets where tokens are masked."""
        rng = np.random.default_rng([STREAM, self.settings.seed, step])
        return self.pairs("train", self.settings.batch_size, rng)

    def has(self, split: str) -> bool:
        """Whether the text has a window and pairs."""
        return super().has(split) and has_pairs(self.encoded[split])

    def held_out(self, split: str) -> list[Batch]:
        """2000 pairs, drawn and corrupted in the same way each time."""
        if not self.has(split):
            return []
        rng = np.random.default_rng([HELD_OUT, self.settings.seed])
        return [self.pairs(split, 50, rng) for _ in range(PAIRS_HELD_OUT // 50)]

    def pairs(self, split: str, count: int, rng: np.random.Generator) -> Batch:
        """A batch of so many pairs."""
        documents, longest = self.encoded[split], (self.settings.context - 3) // 2
        ends = np.cumsum([len(d) for d in documents])
        drawn = [draw_pair(documents, ends, longest, rng) for _ in range(count)]
        batch = pair_batch([(a, b) for a, b, _ in drawn], self.special)
        return batch | {"labels": np.array([follows for _, _, follows in drawn], np.int64)}

    @classmethod
    def tokens(cls, batch: Batch) -> int:
        """Tokens that are not padding."""
        return int(np.count_nonzero(batch["mask"]))

    @classmethod
    def shape(cls, batch: Batch) -> Shape:
        """One prediction for each pair."""
        return replace(super().shape(batch), pairs=len(batch["ids"]))

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The probability that the second text follows the first."""
        a, b = (trained.ids(cls.split(part), part) for part in (text, second))
        trained.require_room(len(a) + len(b) + 3)
        batch = pair_batch([(a, b)], trained.special)
        h, _ = bert_forward(trained.p, batch["ids"], batch["segments"], config=trained.model)
        logits = pair_logits(trained.p, h).astype(np.float64)
        return {"follows": float(softmax_forward(logits)[0][0, 1])}


class Bert(NextSentence):
    """Pairs of segments with masked tokens."""

    name = "bert"
    functions: ClassVar[tuple] = (bert_pretraining_forward, bert_pretraining_backward)
    unit = "masked token and pair"
    one_loss = False  # two of them are added
    reads = Masked.reads
    texts = (1, 2)
    accuracies: ClassVar[dict] = Masked.accuracies | NextSentence.accuracies
    baselines = EncoderPretraining.baselines

    def count(self, batch: Batch) -> Array:
        """Masked tokens, and pairs."""
        return np.array([np.count_nonzero(batch["targets"] != IGNORE), len(batch["ids"])], float)

    def pairs(self, split: str, count: int, rng: np.random.Generator) -> Batch:
        """A batch of so many pairs with masked tokens."""
        batch = super().pairs(split, count, rng)
        return batch | self.masked(batch["ids"], rng)

    @classmethod
    def shape(cls, batch: Batch) -> Shape:
        """The masked tokens and the pairs are predicted."""
        return replace(Masked.shape(batch), pairs=len(batch["ids"]))

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """As "next-sentence" with a second text, as "masked" without."""
        return (NextSentence if second else Masked).predict(trained, text, second=second)

    @classmethod
    def readable(cls, found: Prediction) -> str:
        """As the objective that predicted it."""
        return (NextSentence if "follows" in found else Masked).readable(found)


def has_pairs(documents: list[list[Array]]) -> bool:
    """Whether there are a sentence with a next one, and another document."""
    return len(documents) > 1 and any(len(d) > 1 for d in documents)


def draw_pair(
    documents: list[list[Array]], ends: Array, longest: int, rng: np.random.Generator
) -> tuple[Array, Array, int]:
    """(A, B, 1 if B follows A in its document, 0 if it is from another one), half of each.

    ``ends`` are the running numbers of sentences, so that all are equally likely. A is up to
    eight sentences, of which it keeps the last ``longest`` tokens; B is the eight that follow, or
    eight of another document, of which it keeps the first.
    """
    first = _draw(documents, ends, rng)[0]
    while len(documents[first]) < 2:
        first = _draw(documents, ends, rng)[0]
    sentence = int(rng.integers(1, len(documents[first])))
    a = np.concatenate(documents[first][max(0, sentence - 8) : sentence])[-longest:]
    follows = int(rng.integers(2))
    other, start = first, sentence
    while not follows and other == first:
        other, start = _draw(documents, ends, rng)
    return a, np.concatenate(documents[other][start : start + 8])[:longest], follows


def _draw(documents: list[list[Array]], ends: Array, rng: np.random.Generator) -> tuple[int, int]:
    """A sentence, all equally likely: (document, place)."""
    number = int(rng.integers(ends[-1]))
    which = int(np.searchsorted(ends, number, side="right"))
    return which, number - int(ends[which]) + len(documents[which])


def pair_batch(pairs: list[tuple[Array, Array]], special: SpecialTokens) -> Batch:
    """[CLS] A [SEP] B [SEP] with segments 0 and 1 and a mask that hides the padding."""
    rows = [np.concatenate([[special.cls], a, [special.sep], b, [special.sep]]) for a, b in pairs]
    ids = pad_rows(rows, special.pad)
    starts = np.array([len(a) + 2 for a, _ in pairs])
    mask = ids != special.pad
    segments = ((np.arange(ids.shape[1]) >= starts[:, None]) & mask).astype(np.int64)
    return {"ids": ids, "segments": segments, "mask": mask}
