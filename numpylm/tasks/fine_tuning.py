"""An encoder with a head: a class for a text, for each word, or a span as an answer.

    classification    [CLS] text [SEP]                 label of the text
    labelling         [CLS] words [SEP]                a label at the first token of each word
    answering         [CLS] question [SEP] story [SEP] first and last token of the answer

A text that is longer than the context is cut at its end, a question that does not fit is left
out; ``config.json`` says how many.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from numpylm.data.batches import Batch, LengthBuckets
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.data.vocabulary import train_tokenizer
from numpylm.layers.cross_entropy import IGNORE
from numpylm.models.heads import classifier_forward
from numpylm.objectives.fine_tuning import (
    answering_backward,
    answering_forward,
    classification_backward,
    classification_forward,
)
from numpylm.parameters import Array
from numpylm.tasks.dataset import Labelled, Question, Tagged
from numpylm.tasks.pretraining import pair_batch
from numpylm.tasks.registry import TASKS
from numpylm.tasks.task import Evaluation, Task, Vocabulary
from numpylm.tasks.text_to_text import encode_known


class HeadTask(Task):
    """What the three tasks have in common; each says what an example's text, label and row are."""

    functions: ClassVar[tuple] = (classification_forward, classification_backward)
    counted = "labels"
    evaluation_passes = 2  # for the loss, and for the scores

    def __init__(self, settings: Any, vocabulary: Vocabulary | None) -> None:
        self.data = TASKS[settings.objective]
        self.dataset = self.data.load(settings.corpus)
        if vocabulary is None or not vocabulary.labels:
            tokenizer = vocabulary.tokenizer if vocabulary else None
            if tokenizer is None:
                text = "\n".join(self.text(example) for example in self.dataset.train)
                tokenizer = train_tokenizer(settings.tokenizer, text, "", settings.min_count)
            labels = {label for example in self.dataset.train for label in self.labels(example)}
            vocabulary = Vocabulary(tokenizer, None, tuple(sorted(labels)))
        summary = {"name": self.dataset.name, "sha256": self.dataset.sha256, **self.dataset.counts}
        super().__init__(settings, vocabulary, summary)
        self.special = SpecialTokens(vocabulary.tokenizer.vocab_size)
        self.number = {label: i for i, label in enumerate(vocabulary.labels)}
        self.too_long = 0
        self.rows: dict[str, list[dict[str, Array]]] = {}
        for split in ("train", "valid", "test"):
            self.too_long = 0
            encoded = [self.encode(example) for example in getattr(self.dataset, split)]
            self.rows[split] = [row for row in encoded if row is not None]
            if self.too_long:
                summary[f"{split}_longer_than_context"] = self.too_long
        if not self.rows["train"] or not self.rows["valid"]:
            raise ValueError(f"no example of {self.dataset.name} fits a context of "
                             f"{settings.context} tokens")  # fmt: skip

        lengths = np.array([len(row["ids"]) for row in self.rows["train"]], np.int64)
        self.buckets = LengthBuckets(lengths, settings.batch_size, settings.seed)

    def text(self, example: Any) -> str:
        """What the vocabulary is made of."""
        raise NotImplementedError

    def labels(self, example: Any) -> tuple[str, ...]:
        """The labels of an example."""
        raise NotImplementedError

    def encode(self, example: Any) -> dict[str, Array] | None:
        """The arrays of one example, without a batch axis; None to leave it out."""
        raise NotImplementedError

    def batch(self, step: int) -> Batch:
        """ids (B, T), mask (B, T), labels (B,) or (B, T)."""
        rows = self.rows["train"]
        return self.padded([rows[i] for i in self.buckets.batch(step)])

    def baselines(self) -> dict[str, float]:
        """The task's trivial solutions on the test part."""
        return self.data.baselines(self.dataset)

    def held_out(self, split: str) -> list[Batch]:
        """All examples of a split in their order."""
        rows = self.rows[split]
        return [self.padded(rows[i : i + 64]) for i in range(0, len(rows), 64)]

    def padded(self, rows: list[dict[str, Array]]) -> Batch:
        """A batch of encoded examples."""
        ids = pad_rows([row["ids"] for row in rows], self.special.pad)
        batch = {"ids": ids, "mask": ids != self.special.pad}
        if rows[0]["labels"].ndim:
            return batch | {"labels": pad_rows([row["labels"] for row in rows], IGNORE)}
        return batch | {"labels": np.array([row["labels"] for row in rows], np.int64)}

    def measure(self, evaluation: Evaluation, split: str) -> dict[str, float]:
        """The loss and the task's own scores."""
        scores = super().measure(evaluation, split)
        rows = self.rows[split]
        found = self.predictions(evaluation, rows)
        return scores | self.data.score(found, [self.reference(row) for row in rows])

    def predictions(self, evaluation: Evaluation, rows: list[dict[str, Array]]) -> list:
        """What the model answers for each encoded example, as the task's scores want it."""
        groups = [rows[i : i + 64] for i in range(0, len(rows), 64)]

        def answers(group: list[dict[str, Array]]) -> list:
            batch = self.padded(group)
            logits, _ = classifier_forward(
                evaluation.p, batch["ids"], batch.get("segments"), config=self.model,
                mask=batch["mask"],
            )  # fmt: skip
            return [self.answer(row, x, batch) for row, x in zip(group, logits, strict=True)]

        return [a for group in evaluation.run(answers, groups) for a in group]

    def answer(self, row: dict[str, Array], logits: Array, batch: Batch) -> Any:
        """The prediction for one example from its logits."""
        raise NotImplementedError

    def reference(self, row: dict[str, Array]) -> Any:
        """The truth for one example, in the same form."""
        raise NotImplementedError

    def label_number(self, label: str) -> int:
        """The class of a label; raises ``ValueError`` for one that training did not have."""
        if label not in self.number:
            raise ValueError(
                f"label {label!r} of {self.dataset.name} is none of those of the training part: "
                f"{', '.join(self.vocabulary.labels[:12])}"
            )
        return self.number[label]


class Classification(HeadTask):
    """One label for a text."""

    def text(self, example: Labelled) -> str:
        return example.text

    def labels(self, example: Labelled) -> tuple[str, ...]:
        return (example.label,)

    def encode(self, example: Labelled) -> dict[str, Array]:
        ids = encode_known(self.vocabulary.tokenizer, example.text)
        room = self.settings.context - 2
        self.too_long += len(ids) > room
        ids = np.concatenate([[self.special.cls], ids[:room], [self.special.sep]])
        return {"ids": ids, "labels": np.array(self.label_number(example.label))}

    def answer(self, row: dict[str, Array], logits: Array, batch: Batch) -> str:
        return self.vocabulary.labels[int(logits.argmax())]

    def reference(self, row: dict[str, Array]) -> str:
        return self.vocabulary.labels[int(row["labels"])]


class Labelling(HeadTask):
    """A label for each word."""

    def text(self, example: Tagged) -> str:
        return " ".join(example.words)

    def labels(self, example: Tagged) -> tuple[str, ...]:
        return example.labels

    def encode(self, example: Tagged) -> dict[str, Array]:
        pieces, labels = word_pieces(self.vocabulary.tokenizer, example.words), []
        for piece, label in zip(pieces, example.labels, strict=True):
            labels += [self.label_number(label)] + [IGNORE] * (len(piece) - 1)
        room = self.settings.context - 2
        ids = np.concatenate([[self.special.cls], *pieces])[: room + 1]
        self.too_long += len(labels) > room
        framed = np.array([IGNORE, *labels[:room], IGNORE], np.int64)
        return {"ids": np.append(ids, self.special.sep), "labels": framed}

    def answer(self, row: dict[str, Array], logits: Array, batch: Batch) -> tuple[str, ...]:
        places = np.flatnonzero(row["labels"] != IGNORE)
        return tuple(self.vocabulary.labels[i] for i in logits[places].argmax(axis=-1).tolist())

    def reference(self, row: dict[str, Array]) -> tuple[str, ...]:
        kept = row["labels"][row["labels"] != IGNORE]
        return tuple(self.vocabulary.labels[i] for i in kept.tolist())


class Answering(HeadTask):
    """A span of the story."""

    functions: ClassVar[tuple] = (answering_forward, answering_backward)
    counted = "spans"

    def text(self, example: Question) -> str:
        return f"{example.question} {example.story}"

    def labels(self, example: Question) -> tuple[str, ...]:
        return ("end", "start")  # the two scores of a position

    def encode(self, example: Question) -> dict[str, Array] | None:
        question = encode_known(self.vocabulary.tokenizer, example.question)
        pieces = word_pieces(self.vocabulary.tokenizer, tuple(example.story.split()))
        ends = np.cumsum([len(piece) for piece in pieces])
        if len(question) + ends[-1] + 3 > self.settings.context:
            self.too_long += 1
            return None
        offset = len(question) + 2
        spans = np.array(
            [ends[example.start] - len(pieces[example.start]), ends[example.end - 1] - 1]
        )
        story = np.concatenate(pieces)
        return {
            "ids": np.concatenate([question, story]),  # for its length
            "question": question,
            "story": story,
            "word_of": np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces]),
            "words": np.array(example.story.split()),
            "spans": spans + offset,
            "labels": np.zeros(()),
        }

    def padded(self, rows: list[dict[str, Array]]) -> Batch:
        batch = pair_batch([(row["question"], row["story"]) for row in rows], self.special)
        ends = np.array([len(row["question"]) + 2 + len(row["story"]) for row in rows])
        story = (batch["segments"] == 1) & (np.arange(batch["ids"].shape[1]) < ends[:, None])
        return batch | {"story": story, "spans": np.array([row["spans"] for row in rows])}

    def answer(self, row: dict[str, Array], logits: Array, batch: Batch) -> str:
        first, last = best_span(logits, len(row["question"]) + 2, row["word_of"])
        return " ".join(row["words"][first : last + 1])

    def reference(self, row: dict[str, Array]) -> str:
        first, last = row["word_of"][row["spans"] - (len(row["question"]) + 2)]
        return " ".join(row["words"][first : last + 1])


HEAD_TASKS = {
    "classification": Classification,
    "labelling": Labelling,
    "answering": Answering,
}


def best_span(logits: Array, offset: int, word_of: Array) -> tuple[int, int]:
    """The words that hold the most probable first ≤ last token of a story; logits (T, 2).

    The story stands at [offset, offset + n), and ``word_of`` (n,) says which word each of its
    tokens belongs to. An answer has at most 10 words.
    """
    start, end = logits[offset : offset + len(word_of)].T.astype(np.float64)
    words = word_of - word_of[:, None]  # how many words after that of the first token
    ordered = np.tri(len(word_of), dtype=bool).T & (words < 10)
    both = np.where(ordered, start[:, None] + end, -np.inf)
    first, last = np.unravel_index(int(both.argmax()), both.shape)
    return int(word_of[first]), int(word_of[last])


def word_pieces(tokenizer: Any, words: tuple[str, ...]) -> list[Array]:
    """The ids of each word; of characters and bytes with the blank that follows it."""
    blank = " " if tokenizer.kind != "word" else ""
    pieces = [encode_known(tokenizer, word + blank) for word in words]
    return [piece if len(piece) else np.zeros(1, np.int64) for piece in pieces]
