"""§3.4 A decoder-only model learns a task: it reads a prompt and goes on with the answer.

    ids       text [SEP]  (question [SEP])  answer               one sequence
    targets    –   –  …            answer               </s>     – is not asked for

The loss is that of the language model, over the tokens of the answer and its end alone: what the
prompt says is given and not to be learned. Nothing else is new, neither a layer nor a head; the
special tokens get rows of the embedding that the pre-trained model does not have. A pair that is
longer than the context is left out of training, and its answer counts as wrong.

Source: Radford et al. 2018 (GPT), §3.3; Section 3.4.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from numpylm.data.batches import Batch, LengthBuckets
from numpylm.data.special import SpecialTokens, pad_rows
from numpylm.data.vocabulary import train_tokenizer
from numpylm.generation.kv_cache import CachedGPT
from numpylm.layers.cross_entropy import IGNORE
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.parameters import Array
from numpylm.tasks.answering import Answering
from numpylm.tasks.architectures import DECODER
from numpylm.tasks.classification import Classification
from numpylm.tasks.dataset import Dataset, DatasetTask, Labelled, Pair, Question
from numpylm.tasks.summarisation import Summarisation
from numpylm.tasks.task import Evaluation, Prediction, Shape
from numpylm.tasks.trained import Trained, Vocabulary, decode_ordinary, encode_known
from numpylm.tasks.translation import Translation


class Prompted(DatasetTask):
    """Base of the four; each says what an example's prompt and answer are."""

    architecture = DECODER
    functions = causal_lm_forward, causal_lm_backward
    reads: ClassVar[tuple[str, ...]] = ("tied",)
    shortest = 3
    of: ClassVar[type[DatasetTask]]  # the task whose data and scores it has
    says: ClassVar[str] = "text"  # what an answer is called

    def __init__(self, settings: Any, vocabulary: Vocabulary, dataset: Dataset) -> None:
        super().__init__(settings, vocabulary, dataset)
        self.special = SpecialTokens(vocabulary.tokenizer.vocab_size)
        self.rows: dict[str, list[tuple[Array, Array]]] = {}  # (prompt, answer with its end)
        for split, examples in dataset.parts.items():
            encoded = [self.encode(example) for example in examples]
            room = settings.context + 1  # the last token is asked for and not read
            self.rows[split] = [(p, a) for p, a in encoded if len(p) + len(a) <= room]
            if left_out := len(encoded) - len(self.rows[split]):
                self.summary[f"{split}_longer_than_context"] = left_out
        if not self.rows["train"] or not self.rows["valid"]:
            raise ValueError(
                f"no example of {dataset.name} is short enough for a context of "
                f"{settings.context} tokens: raise --context"
            )
        lengths = np.array([len(p) + len(a) for p, a in self.rows["train"]], np.int64)
        self.buckets = LengthBuckets(lengths, settings.batch_size, settings.seed)

    @classmethod
    def load(cls, settings: Any, vocabulary: Vocabulary | None) -> Prompted:
        dataset = cls.of.read(settings)
        if vocabulary is None:
            texts = [text for e in dataset.train for text in (*cls.texts_of(e), cls.answer_of(e))]
            kind, size = settings.tokenizer, settings.vocab_size
            tokenizer = train_tokenizer(kind, "\n".join(texts), "", settings.min_count, size)
            vocabulary = Vocabulary(tokenizer)
        return cls(settings, vocabulary, dataset)

    @classmethod
    def texts_of(cls, example: Any) -> tuple[str, ...]:
        """The texts of an example's prompt."""
        raise NotImplementedError

    @classmethod
    def answer_of(cls, example: Any) -> str:
        """What is to be written."""
        raise NotImplementedError

    def encode(self, example: Any) -> tuple[Array, Array]:
        """Ids of the prompt, each text with [SEP] behind it, and of the answer with its end.

        Raises ``ValueError`` for an answer of which the vocabulary knows nothing.
        """
        tokenizer, answer = self.vocabulary.tokenizer, self.answer_of(example)
        ids = encode_known(tokenizer, answer)
        if not decode_ordinary(tokenizer, ids).replace("<unk>", "").strip():
            raise ValueError(f"the vocabulary knows nothing of the answer {answer!r:.80}")
        prompt = prompt_ids([encode_known(tokenizer, t) for t in self.texts_of(example)],
                            self.special)  # fmt: skip
        return prompt, np.append(ids, self.special.end)

    def batch(self, step: int) -> Batch:
        """ids (B, T), targets (B, T): only the answers are asked for."""
        rows = self.rows["train"]
        return self.padded([rows[i] for i in self.buckets.batch(step)])

    def padded(self, rows: list[tuple[Array, Array]]) -> Batch:
        """A batch of encoded examples; filler stands at the end, where no token before sees it."""
        ids, targets = zip(*(ids_and_targets(*row) for row in rows), strict=True)
        return {"ids": pad_rows(ids, self.special.pad), "targets": pad_rows(targets, IGNORE)}

    @classmethod
    def shape(cls, batch: Batch) -> Shape:
        """Logits are computed for every token, also where none is asked for."""
        rows, length = batch["ids"].shape
        return Shape(rows, length, predicted=rows * length)

    @classmethod
    def tokens(cls, batch: Batch) -> int:
        """Tokens of the answers."""
        return int(np.count_nonzero(batch["targets"] != IGNORE))

    def held_out(self, split: str) -> list[Batch]:
        """All examples that fit the context, in batches by length."""
        rows = sorted(self.rows[split], key=lambda row: len(row[0]))
        return [self.padded(rows[i : i + 64]) for i in range(0, len(rows), 64)]

    def scores(self, evaluation: Evaluation, split: str, *, beam: int = 1) -> dict[str, float]:
        """The task's own scores of what the model writes for every prompt of a split.

        A prompt without room for an answer gets an empty one; ``cut`` says how many examples are
        longer than the context. Raises ``ValueError`` if there is no such split.
        """
        examples = self.dataset.parts[split]
        if not examples:
            raise ValueError(f"{self.summary['name']} has no {split} split")
        require_greedy(beam)

        def answer(example: Any) -> str:
            prompt, _ = self.encode(example)
            return write(evaluation.p, self.model, self.vocabulary, prompt)

        wanted = [self.answer_of(example) for example in examples]
        scores = self.data.score(evaluation.run(answer, examples), wanted)
        cut = self.summary.get(f"{split}_longer_than_context")
        return scores | ({"cut": cut} if cut else {})

    def samples(self, evaluation: Evaluation, count: int = 3) -> list[str]:
        """Prompt, answer and reference of the first validation examples."""
        shown = []
        for example in self.dataset.valid[:count]:
            prompt, _ = self.encode(example)
            text = write(evaluation.p, self.model, self.vocabulary, prompt)
            given = " | ".join(self.texts_of(example))
            shown.append(f"prompt     {given}\nwritten    {text}\n"
                         f"reference  {self.answer_of(example)}")  # fmt: skip
        return shown

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The answer that is written."""
        require_greedy(beam)
        texts = [second, text] if second else [text]  # a question comes first
        prompt = prompt_ids([trained.ids(cls.split(t), t) for t in texts], trained.special)
        trained.require_room(len(prompt))
        return {cls.says: write(trained.p, trained.model, trained.vocabulary, prompt)}


def prompt_ids(texts: list[Array], special: SpecialTokens) -> Array:
    """The ids of texts, [SEP] behind each."""
    return np.concatenate([np.append(ids, special.sep) for ids in texts]).astype(np.int64)


def ids_and_targets(prompt: Array, answer: Array) -> tuple[Array, Array]:
    """Ids (T,) of prompt and answer, and targets (T,), shifted by one, of the answer alone.

    The last token of the prompt is asked for the first of the answer; the answer's end is asked
    for and not read.
    """
    ids = np.concatenate([prompt, answer[:-1]])
    return ids, np.append(np.full(len(prompt) - 1, IGNORE), answer)


def write(p: Any, config: Any, vocabulary: Vocabulary, prompt: Array) -> str:
    """What the model writes behind a prompt: the most probable token, again and again.

    Up to its end token, or as far as the context reaches.
    """
    end = SpecialTokens(vocabulary.tokenizer.vocab_size).end
    read, ids = CachedGPT(p, config), prompt.tolist()
    while len(ids) <= config.context:
        token = int(read(ids).argmax())
        if token == end:
            break
        ids.append(token)
    return decode_ordinary(vocabulary.tokenizer, ids[len(prompt) :])


def require_greedy(beam: int) -> None:
    """Raise ``ValueError`` for a beam, which decoder-only models do not have here."""
    if beam != 1:
        raise ValueError(f"beam is {beam}; a decoder-only model writes greedily, with beam 1")


class PromptedAnswering(Prompted):
    """A story and a question about it; the answer is written and need not stand in the story."""

    name, of, data, default = "prompted-answering", Answering, Answering.data, Answering.default
    texts, says, shortest = (2,), "answer", 5

    @classmethod
    def texts_of(cls, example: Question) -> tuple[str, ...]:
        return example.question, example.story

    @classmethod
    def answer_of(cls, example: Question) -> str:
        return example.answer


class PromptedClassification(Prompted):
    """A text; its label is written like any other text."""

    name, of, data = "prompted-classification", Classification, Classification.data
    default, says = Classification.default, "label"

    @classmethod
    def texts_of(cls, example: Labelled) -> tuple[str, ...]:
        return (example.text,)

    @classmethod
    def answer_of(cls, example: Labelled) -> str:
        return example.label


class PromptedPair(Prompted):
    """Base of the two that learn from pairs of texts."""

    @classmethod
    def texts_of(cls, example: Pair) -> tuple[str, ...]:
        return (example.source,)

    @classmethod
    def answer_of(cls, example: Pair) -> str:
        return example.target


class PromptedTranslation(PromptedPair):
    """A sentence to that of another language."""

    name, of, data = "prompted-translation", Translation, Translation.data
    default = Translation.default
    reads = ("tied", "source_language", "target_language")


class PromptedSummarisation(PromptedPair):
    """A text to one that says it in a line."""

    name, of, data = "prompted-summarisation", Summarisation, Summarisation.data
    default = Summarisation.default
