"""An encoder learns from text alone: masked tokens, next sentence, or both.

    masked           [CLS] window of the text [SEP]
    next-sentence    [CLS] A [SEP] B [SEP]      B follows A, or begins anywhere in another document
    bert             the same with masked tokens, both losses added

Every batch is corrupted anew; held-out text always in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from numpylm.baselines.neighbours import masked_baselines
from numpylm.data.batches import Batch, require_window
from numpylm.data.documents import Document, load_documents
from numpylm.data.special import SpecialTokens
from numpylm.data.vocabulary import Tokenizer, train_tokenizer
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.bert import BERT, bert_forward
from numpylm.objectives.masked import mask_tokens
from numpylm.parameters import Array
from numpylm.tasks.architectures import ENCODER
from numpylm.tasks.task import Evaluation, Task, share_right
from numpylm.tasks.trained import Vocabulary

STREAM, HELD_OUT = 104, 105


class EncoderPretraining(Task):
    """Base of the three: documents of a corpus, as windows or as pairs of segments."""

    architecture = ENCODER
    evaluation_passes = 2  # for the loss, and for the accuracy
    inputs: ClassVar[tuple[str, ...]]  # the arrays of a batch that the encoder reads
    # The name of an accuracy: (the array of the truth, the guesses from the hidden vectors).
    accuracies: ClassVar[dict[str, tuple[str, Callable[[BERT, Array, Batch], Array]]]]

    def __init__(
        self,
        settings: Any,
        vocabulary: Vocabulary,
        encoded: dict[str, list[list[Array]]],
        source: dict[str, str],
    ) -> None:
        """``encoded``: the sentences of the documents of each split; ``source``: name, sha256."""
        self.encoded = encoded
        self.streams = {n: np.concatenate([s for d in e for s in d]) if e else np.zeros(0, np.int64)
                        for n, e in encoded.items()}  # fmt: skip
        sizes = {f"{n}_tokens": len(s) for n, s in self.streams.items()}
        sizes |= {f"{n}_documents": len(e) for n, e in encoded.items()}
        super().__init__(settings, vocabulary, {**source, **sizes})
        self.special = SpecialTokens(vocabulary.tokenizer.vocab_size)
        require_window(self.streams["train"], settings.context, "training")
        require_window(self.streams["valid"], settings.context, "validation")

    @classmethod
    def load(cls, settings: Any, vocabulary: Vocabulary | None) -> EncoderPretraining:
        documents = load_documents(settings.corpus)
        if vocabulary is None:
            train = "\n".join(s for d in documents.train for s in d)
            others = "\n".join(s for d in documents.valid + documents.test for s in d)
            kind, size = settings.tokenizer, settings.vocab_size
            tokenizer = train_tokenizer(kind, train, others, settings.min_count, size)
            vocabulary = Vocabulary(tokenizer)
        parts = {"train": documents.train, "valid": documents.valid, "test": documents.test}
        encoded = {n: encode_documents(vocabulary.tokenizer, d) for n, d in parts.items()}
        source = {"name": documents.name, "sha256": documents.sha256}
        return cls(settings, vocabulary, encoded, source)

    def baselines(self) -> dict[str, float]:
        """Accuracy on the masked tokens of the validation text without reading it."""
        held = self.held_out("valid")
        width = max(batch["ids"].shape[1] for batch in held)
        ids, targets = (
            np.concatenate([_widened(batch[name], width) for batch in held])
            for name in ("ids", "targets")
        )
        return masked_baselines(self.streams["train"], ids, targets, IGNORE)

    def has(self, split: str) -> bool:
        """Whether the text has a window."""
        return len(self.streams[split]) >= self.settings.context

    def measure(self, evaluation: Evaluation, split: str) -> dict[str, float]:
        """The loss, the accuracy on masked tokens and that on pairs."""
        batches, scores = self.held_out(split), super().measure(evaluation, split)
        found = evaluation.run(partial(self._guesses, evaluation.p), batches)
        for i, (name, (truth, _)) in enumerate(self.accuracies.items()):
            scores[name] = share_right([f[i] for f in found], [b[truth] for b in batches])
        return scores

    def _guesses(self, p: BERT, batch: Batch) -> list[Array]:
        inputs: dict[str, Any] = {name: batch[name] for name in self.inputs}
        h, _ = bert_forward(p, **inputs, config=self.model)
        return [guess(p, h, batch) for _, guess in self.accuracies.values()]

    def masked(self, ids: Array, rng: np.random.Generator) -> Batch:
        """ids (B, T) corrupted, and the targets where they are."""
        starts = None
        if self.settings.whole_words:
            starts = word_starts(self.vocabulary.tokenizer, ids, self.special)
        corrupted, targets = mask_tokens(
            ids, rng, mask_id=self.special.mask, ordinary=self.special.ordinary,
            rate=self.settings.mask_rate, word_starts=starts,
        )  # fmt: skip
        return {"ids": corrupted, "targets": targets}


def encode_documents(tokenizer: Tokenizer, documents: list[Document]) -> list[list[Array]]:
    """Ids of each sentence of each document; a blank ends a sentence of characters or bytes.

    Subwords hold the blank in front of a word: there one begins each sentence but the first.
    """
    if tokenizer.kind == "bpe":
        return [[tokenizer.encode(" " * (i > 0) + s) for i, s in enumerate(d)] for d in documents]
    blank = " " if tokenizer.kind != "word" else ""
    return [[tokenizer.encode(s + blank) for s in d] for d in documents]


def word_starts(tokenizer: Tokenizer, ids: Array, special: SpecialTokens) -> Array:
    """Booleans (B, T): where a word begins. Every token of a word tokenizer is one."""
    if tokenizer.kind == "word":
        return np.ones(ids.shape, bool)
    pieces = [tokenizer.decode(np.array([i])) for i in range(special.size)]
    others = np.ones(special.vocab_size - special.size, bool)
    begins = np.append([piece[:1].isspace() for piece in pieces], others)[ids]
    ends = np.append([piece[-1:].isspace() for piece in pieces], others)[ids]
    return begins | np.pad(ends[:, :-1], ((0, 0), (1, 0)), constant_values=True)


def _widened(rows: Array, width: int) -> Array:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=IGNORE)
