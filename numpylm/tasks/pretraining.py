"""An encoder learns from text alone: masked tokens, next sentence, or both.

    masked           [CLS] window of the text [SEP]
    next-sentence    [CLS] A [SEP] B [SEP]      B follows A, or begins anywhere in another document
    bert             the same with masked tokens, both losses added

Every batch is corrupted anew; held-out text always in the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numpylm.baselines.neighbours import masked_baselines
from numpylm.data.batches import Batch, RandomWindows, evaluation_windows, require_window
from numpylm.data.documents import Document, load_documents
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.data.vocabulary import Tokenizer, train_tokenizer
from numpylm.layers.cross_entropy import IGNORE
from numpylm.layers.linear import linear_forward
from numpylm.models.bert import bert_forward, masked_head_forward, pooler_forward
from numpylm.objectives.masked import mask_tokens, masked_lm_backward, masked_lm_forward
from numpylm.objectives.next_sentence import (
    bert_pretraining_backward,
    bert_pretraining_forward,
    next_sentence_backward,
    next_sentence_forward,
)
from numpylm.parameters import Array
from numpylm.tasks.task import Evaluation, Task, Vocabulary, share_right

STREAM, HELD_OUT = 104, 105
PAIRS_HELD_OUT = 2000
FUNCTIONS: dict[str, tuple] = {
    "masked": (masked_lm_forward, masked_lm_backward),
    "next-sentence": (next_sentence_forward, next_sentence_backward),
    "bert": (bert_pretraining_forward, bert_pretraining_backward),
}


class EncoderPretraining(Task):
    """Documents of a corpus as windows or as pairs of segments."""

    evaluation_passes = 2  # for the loss, and for the accuracy

    def __init__(self, settings: Any, vocabulary: Vocabulary | None) -> None:
        documents = load_documents(settings.corpus)
        parts = {"train": documents.train, "valid": documents.valid, "test": documents.test}
        if vocabulary is None:
            train = "\n".join(s for d in documents.train for s in d)
            others = "\n".join(s for d in documents.valid + documents.test for s in d)
            tokenizer = train_tokenizer(settings.tokenizer, train, others, settings.min_count)
            vocabulary = Vocabulary(tokenizer)
        self.encoded = {n: encode_documents(vocabulary.tokenizer, d) for n, d in parts.items()}
        streams = {n: np.concatenate([s for d in e for s in d]) if e else np.zeros(0, np.int64)
                   for n, e in self.encoded.items()}  # fmt: skip
        sizes = {f"{n}_tokens": len(s) for n, s in streams.items()}
        sizes |= {f"{n}_documents": len(e) for n, e in self.encoded.items()}
        summary = {"name": documents.name, "sha256": documents.sha256, **sizes}
        super().__init__(settings, vocabulary, summary)
        # The one class has three losses, so the class variable is set on the object here.
        self.functions = FUNCTIONS[settings.objective]  # type: ignore[misc]
        self.special = SpecialTokens(vocabulary.tokenizer.vocab_size)
        self.streams = streams
        require_window(streams["train"], settings.context, "training")
        require_window(streams["valid"], settings.context, "validation")
        for part in ("train", "valid"):
            if settings.objective != "masked" and not has_pairs(self.encoded[part]):
                raise ValueError(
                    f"the {part} text of {documents.name} has no two documents, one of them with "
                    "two sentences: there are no pairs to learn from"
                )
        self.windows = RandomWindows(
            streams["train"], settings.batch_size, settings.context - 2, settings.seed
        )

    def baselines(self) -> dict[str, float]:
        """Accuracy on the masked tokens of the validation text without reading it, or on pairs."""
        if self.settings.objective == "next-sentence":
            return {"always the same answer": 0.5}
        held = self.held_out("valid")
        width = max(batch["ids"].shape[1] for batch in held)
        ids, targets = (
            np.concatenate([_widened(batch[name], width) for batch in held])
            for name in ("ids", "targets")
        )
        return masked_baselines(self.streams["train"], ids, targets, IGNORE)

    def batch(self, step: int) -> Batch:
        """ids (B, T); targets where tokens are masked; mask, segments and labels for pairs."""
        rng = np.random.default_rng([STREAM, self.settings.seed, step])
        if self.settings.objective == "masked":
            return self._masked(self._framed(self.windows.batch(step)[0]), rng)
        return self._pairs("train", self.settings.batch_size, rng)

    def held_out(self, split: str) -> list[Batch]:
        """All windows, or 2000 pairs, drawn and corrupted in the same way each time."""
        rng = np.random.default_rng([HELD_OUT, self.settings.seed])
        if len(self.streams[split]) < self.settings.context:
            return []
        if self.settings.objective == "masked":
            windows, _ = evaluation_windows(self.streams[split], self.settings.context - 2)
            rows = self._framed(windows)
            return [self._masked(rows[i : i + 32], rng) for i in range(0, len(rows), 32)]
        if not has_pairs(self.encoded[split]):
            return []
        return [self._pairs(split, 50, rng) for _ in range(PAIRS_HELD_OUT // 50)]

    def count(self, batch: Batch) -> Any:
        """Masked tokens, pairs, or both."""
        masked = float(np.count_nonzero(batch["targets"] != IGNORE)) if "targets" in batch else 0.0
        pairs = float(len(batch["ids"]))
        counts = {"masked": masked, "next-sentence": pairs, "bert": np.array([masked, pairs])}
        return counts[self.settings.objective]

    def measure(self, evaluation: Evaluation, split: str) -> dict[str, float]:
        """The loss, the accuracy on masked tokens and that on pairs."""
        batches = self.held_out(split)
        scores = super().measure(evaluation, split)
        found = evaluation.run(lambda batch: self._guesses(evaluation.p, batch), batches)
        if "targets" in batches[0]:
            right = share_right([f[0] for f in found], [b["targets"] for b in batches])
            scores["masked_accuracy"] = right
        if "labels" in batches[0]:
            right = share_right([f[1] for f in found], [b["labels"] for b in batches])
            scores["pair_accuracy"] = right
        return scores

    def _guesses(self, p: Any, batch: Batch) -> tuple:
        """The most probable token at each masked position (B, T), and the answer for each pair."""
        h, _ = bert_forward(
            p, batch["ids"], batch.get("segments"), config=self.model, mask=batch.get("mask")
        )
        tokens = np.full(batch["ids"].shape, IGNORE)
        if "targets" in batch:
            chosen = batch["targets"] != IGNORE
            tokens[chosen] = masked_head_forward(p, h[chosen])[0].argmax(axis=-1)
        logits, _ = linear_forward(p.next_sentence_head, pooler_forward(p.pooler, h)[0])
        return tokens, logits.argmax(axis=-1)

    def _framed(self, windows: Array) -> Array:
        """[CLS] window [SEP]."""
        return np.pad(
            windows,
            ((0, 0), (1, 1)),
            constant_values=((0, 0), (self.special.cls, self.special.sep)),
        )

    def _masked(self, ids: Array, rng: np.random.Generator) -> Batch:
        starts = None
        if self.settings.whole_words:
            starts = word_starts(self.vocabulary.tokenizer, ids, self.special)
        corrupted, targets = mask_tokens(
            ids, rng, mask_id=self.special.mask, ordinary=self.special.ordinary,
            rate=self.settings.mask_rate, word_starts=starts,
        )  # fmt: skip
        return {"ids": corrupted, "targets": targets}

    def _pairs(self, split: str, count: int, rng: np.random.Generator) -> Batch:
        documents, longest = self.encoded[split], (self.settings.context - 3) // 2
        ends = np.cumsum([len(d) for d in documents])
        drawn = [draw_pair(documents, ends, longest, rng) for _ in range(count)]
        batch = pair_batch([(a, b) for a, b, _ in drawn], self.special)
        if self.settings.objective == "bert":
            batch |= self._masked(batch["ids"], rng)
        return batch | {"labels": np.array([follows for _, _, follows in drawn], np.int64)}


def encode_documents(tokenizer: Tokenizer, documents: list[Document]) -> list[list[Array]]:
    """Ids of each sentence of each document; a blank ends a sentence of characters."""
    blank = " " if tokenizer.kind != "word" else ""
    return [[tokenizer.encode(s + blank) for s in d] for d in documents]


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


def pair_batch(pairs: list[tuple[Array, Array]], special: SpecialTokens) -> Batch:
    """[CLS] A [SEP] B [SEP] with segments 0 and 1 and a mask that hides the padding."""
    rows = [np.concatenate([[special.cls], a, [special.sep], b, [special.sep]]) for a, b in pairs]
    ids = pad_rows(rows, special.pad)
    starts = np.array([len(a) + 2 for a, _ in pairs])
    mask = ids != special.pad
    segments = ((np.arange(ids.shape[1]) >= starts[:, None]) & mask).astype(np.int64)
    return {"ids": ids, "segments": segments, "mask": mask}


def word_starts(tokenizer: Tokenizer, ids: Array, special: SpecialTokens) -> Array:
    """Booleans (B, T): where a word begins. Every token of a word tokenizer is one."""
    if tokenizer.kind == "word":
        return np.ones(ids.shape, bool)
    blank = np.array([tokenizer.decode(np.array([i])).isspace() for i in range(special.size)])
    blank = np.append(blank, np.ones(special.vocab_size - special.size, bool))[ids]
    before = np.pad(blank[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    return blank | before


def _draw(documents: list[list[Array]], ends: Array, rng: np.random.Generator) -> tuple[int, int]:
    """A sentence, all equally likely: (document, place)."""
    number = int(rng.integers(ends[-1]))
    which = int(np.searchsorted(ends, number, side="right"))
    return which, number - int(ends[which]) + len(documents[which])


def _widened(rows: Array, width: int) -> Array:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=IGNORE)
