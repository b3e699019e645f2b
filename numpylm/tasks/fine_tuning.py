"""An encoder with a head: a class for a text, for each word, or a span as an answer.

    classification    [CLS] text [SEP]                 label of the text
    labelling         [CLS] words [SEP]                a label at the first token of each word
    answering         [CLS] question [SEP] story [SEP] first and last token of the answer

A text that is longer than the context is cut at its end, a question that does not fit is left
out of training; ``config.json`` says how many. Scores are over all of a split: a word that was cut
off has no label and a question that does not fit no answer, so both are wrong.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from numpylm.data.batches import Batch, LengthBuckets
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.data.vocabulary import Tokenizer, train_tokenizer
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.heads import classifier_forward
from numpylm.objectives.fine_tuning import classification_backward, classification_forward
from numpylm.parameters import Array
from numpylm.tasks.architectures import ENCODER_WITH_HEAD
from numpylm.tasks.dataset import Dataset, DatasetTask
from numpylm.tasks.task import Evaluation
from numpylm.tasks.trained import Vocabulary, encode_known

Row = dict[str, Array]  # the arrays of one example, without a batch axis


class HeadTask(DatasetTask):
    """Base of the three; each says what an example's text, label and row are."""

    architecture = ENCODER_WITH_HEAD
    functions: ClassVar[tuple] = (classification_forward, classification_backward)
    counted = "labels"
    evaluation_passes = 2  # for the loss, and for the scores
    shortest = 3
    inputs: ClassVar[tuple[str, ...]] = ("ids", "mask")  # what the encoder reads of a batch
    pooled: ClassVar[bool] = False  # whether a sequence has one class, not each position

    def __init__(self, settings: Any, vocabulary: Vocabulary, dataset: Dataset) -> None:
        super().__init__(settings, vocabulary, dataset)
        self.special = SpecialTokens(vocabulary.tokenizer.vocab_size)
        self.number = {label: i for i, label in enumerate(vocabulary.labels)}
        self.rows: dict[str, list[Row]] = {}
        self.left_out: dict[str, list[Any]] = {}  # examples that do not fit the context
        self.cut: dict[str, int] = {}
        for split, examples in dataset.parts.items():
            self.too_long = 0
            encoded = [self.encode(example) for example in examples]
            self.rows[split] = [row for row in encoded if row is not None]
            self.left_out[split] = [
                e for e, row in zip(examples, encoded, strict=True) if row is None
            ]
            self.cut[split] = self.too_long
            if self.too_long:
                self.summary[f"{split}_longer_than_context"] = self.too_long
        if not self.rows["train"] or not self.rows["valid"]:
            raise ValueError(f"no example of {dataset.name} fits a context of "
                             f"{settings.context} tokens")  # fmt: skip
        lengths = np.array([len(row["ids"]) for row in self.rows["train"]], np.int64)
        self.buckets = LengthBuckets(lengths, settings.batch_size, settings.seed)

    @classmethod
    def load(cls, settings: Any, vocabulary: Vocabulary | None) -> HeadTask:
        dataset = cls.read(settings)
        if vocabulary is None:
            text = "\n".join(cls.text(example) for example in dataset.train)
            kind, size = settings.tokenizer, settings.vocab_size
            tokenizer = train_tokenizer(kind, text, "", settings.min_count, size)
            vocabulary = Vocabulary(tokenizer)
        if not vocabulary.labels:
            labels = {label for example in dataset.train for label in cls.labels(example)}
            vocabulary = replace(vocabulary, labels=tuple(sorted(labels)))
        return cls(settings, vocabulary, dataset)

    @classmethod
    def model_config(
        cls, settings: Any, vocab_size: int, *, n_labels: int = 2, **sizes: Any
    ) -> Any:
        """The trunk's configuration with that of the head."""
        sizes |= {"n_labels": n_labels, "pooled": cls.pooled}
        return super().model_config(settings, vocab_size, **sizes)

    @classmethod
    def sizes(cls, vocabulary: Vocabulary) -> dict[str, Any]:
        """The head has a row for each label."""
        return super().sizes(vocabulary) | {"n_labels": len(vocabulary.labels)}

    @staticmethod
    def text(example: Any) -> str:
        """What the vocabulary is made of."""
        raise NotImplementedError

    @staticmethod
    def labels(example: Any) -> tuple[str, ...]:
        """The labels of an example."""
        raise NotImplementedError

    def encode(self, example: Any) -> Row | None:
        """The row of one example; None to leave it out."""
        raise NotImplementedError

    def batch(self, step: int) -> Batch:
        """ids (B, T), mask (B, T), labels (B,) or (B, T)."""
        rows = self.rows["train"]
        return self.padded([rows[i] for i in self.buckets.batch(step)])

    @classmethod
    def tokens(cls, batch: Batch) -> int:
        """Tokens that are not padding."""
        return int(np.count_nonzero(batch["mask"]))

    def held_out(self, split: str) -> list[Batch]:
        """All examples of a split in their order."""
        rows = self.rows[split]
        return [self.padded(rows[i : i + 64]) for i in range(0, len(rows), 64)]

    def padded(self, rows: list[Row]) -> Batch:
        """A batch of encoded examples."""
        ids = pad_rows([row["ids"] for row in rows], self.special.pad)
        batch = {"ids": ids, "mask": ids != self.special.pad}
        if self.pooled:
            return batch | {"labels": np.array([row["labels"] for row in rows], np.int64)}
        return batch | {"labels": pad_rows([row["labels"] for row in rows], IGNORE)}

    def measure(self, evaluation: Evaluation, split: str) -> dict[str, float]:
        """The loss of what fits the context, the task's own scores over all of the split, and how
        many examples are longer than the context (``cut``), if any are.
        """
        scores = super().measure(evaluation, split)
        rows = self.rows[split]
        found = self.predictions(evaluation, rows)
        wanted = [self.reference(row) for row in rows]
        for example in self.left_out[split]:
            answer, reference = self.unanswered(example)
            found.append(answer)
            wanted.append(reference)
        scores |= self.data.score(found, wanted)
        return scores | ({"cut": self.cut[split]} if self.cut[split] else {})

    def predictions(self, evaluation: Evaluation, rows: list[Row]) -> list:
        """What the model answers for each encoded example, as the task's scores want it."""
        groups = [rows[i : i + 64] for i in range(0, len(rows), 64)]

        def answers(group: list[Row]) -> list:
            batch = self.padded(group)
            inputs: dict[str, Any] = {name: batch[name] for name in self.inputs}
            logits, _ = classifier_forward(evaluation.p, **inputs, config=self.model)
            return [self.answer(row, x) for row, x in zip(group, logits, strict=True)]

        return [a for group in evaluation.run(answers, groups) for a in group]

    def answer(self, row: Row, logits: Array) -> Any:
        """The prediction for one example from its logits."""
        raise NotImplementedError

    def reference(self, row: Row) -> Any:
        """The truth for one example, in the same form."""
        raise NotImplementedError

    def unanswered(self, example: Any) -> tuple[Any, Any]:
        """The prediction, which is wrong, and the truth for an example that was left out."""
        raise NotImplementedError

    def label_number(self, label: str) -> int:
        """The class of a label; raises ``ValueError`` for one that training did not have."""
        if label not in self.number:
            raise ValueError(
                f"label {label!r} of {self.dataset.name} is none of those of the training part: "
                f"{', '.join(self.vocabulary.labels[:12])}"
            )
        return self.number[label]


def word_pieces(tokenizer: Tokenizer, words: tuple[str, ...]) -> list[Array]:
    """The ids of each word; with the blank behind it, of subwords with the blank before it."""
    if tokenizer.kind == "bpe":
        pieces = [tokenizer.encode(" " * (i > 0) + word) for i, word in enumerate(words)]
    else:
        blank = " " if tokenizer.kind != "word" else ""
        pieces = [encode_known(tokenizer, word + blank) for word in words]
    return [piece if len(piece) else np.zeros(1, np.int64) for piece in pieces]
