"""Question answering, where the answer is a span of a story.

generated    stories of people, places and things (``generated/stories.py``; default, no download)
FILE.tsv     question, story, answer; 90 : 5 : 5, all questions on one story in one part
FILE.jsonl   one object a line with the texts "question", "story" and "answer"; split likewise
FOLDER       train, valid (val, dev) and test, .tsv or .jsonl

Texts of files are lower-cased and split into words and punctuation, and the answer is the first
place in the story where its words stand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from numpylm.data.batches import Batch
from numpylm.data.words import split_text
from numpylm.files import parse_json
from numpylm.models.heads import classifier_forward
from numpylm.objectives.fine_tuning import answering_backward, answering_forward
from numpylm.parameters import Array
from numpylm.tasks.data_files import load_files, read_lines, read_table
from numpylm.tasks.dataset import Dataset, Question, TaskData
from numpylm.tasks.fine_tuning import HeadTask, Row, word_pieces
from numpylm.tasks.generated.stories import LENGTHS, generate_questions
from numpylm.tasks.next_sentence import pair_batch
from numpylm.tasks.scores import accuracy, squad_normalized, token_f1
from numpylm.tasks.task import Prediction
from numpylm.tasks.trained import Trained, Vocabulary, encode_known

DEFAULT = "generated"
SIZES = (10_000, 500, 500)
KEYS = ("question", "story", "answer")
LONGEST = "words_in_the_longest_answer"  # of the training part; an answer has at most as many


def load(
    source: str | Path = DEFAULT,
    *,
    lower: bool = True,
    facts: tuple[int, ...] = (1, 2, 3),
    sizes: tuple[int, int, int] = SIZES,
    seed: int = 0,
) -> Dataset:
    """The questions of that name or path (see the module's table).

    ``facts`` (how many sentences an answer needs) and ``sizes`` are those of generated stories.
    Raises ``ValueError`` with file and line for what cannot be read, or if an answer is no span.
    """
    if str(source) != DEFAULT:
        return load_files(
            source,
            partial(read_questions, lower=lower),
            group=lambda question: question.story,
            suffixes=(".tsv", ".jsonl"),
            seed=seed,
        )
    if not facts or not set(facts) <= set(LENGTHS):
        raise ValueError(f"facts={facts} are not some of {', '.join(map(str, LENGTHS))}")
    questions = generate_questions(sum(sizes), seed, facts)
    n, m = sizes[0], sizes[0] + sizes[1]
    return Dataset("stories", questions[:n], questions[n:m], questions[m:])


def read_questions(path: Path, lower: bool = True) -> list[Question]:
    """The questions of one file. Raises ``ValueError`` naming file and line."""
    example = partial(locate, lower=lower)
    if not path.name.removesuffix(".gz").endswith(".jsonl"):
        return read_table(path, len(KEYS), example)
    questions = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            questions.append(example(*_fields(line)))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    return questions


def locate(question: str, story: str, answer: str, lower: bool = True) -> Question:
    """The span of the answer's first occurrence. Raises ``ValueError`` if there is none."""
    texts = [split_text(text, lower) for text in (question, story, answer)]
    words, wanted = texts[1].split(), texts[2].split()
    for start in range(len(words) - len(wanted) + 1):
        if wanted and words[start : start + len(wanted)] == wanted:
            return Question(texts[0], texts[1], start, start + len(wanted))
    raise ValueError(f"the answer {answer!r:.80} is not a span of the story")


def baselines(dataset: Dataset) -> dict[str, float]:
    """Exact match on the test part of the most frequent answer, and of the last in the story.

    The last one is, of all answers of the training part, the one whose end comes last.
    """
    counts = Counter(question.answer for question in dataset.train)
    frequent = max(sorted(counts), key=counts.__getitem__)
    references = [question.answer for question in dataset.test]
    last = [_last_answer(question.story, set(counts)) for question in dataset.test]
    return {
        "most frequent answer": accuracy([frequent] * len(references), references),
        "last answer in the story": accuracy(last, references),
    }


def score(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Exact match and the F1 of the answers' words, as they stand and as SQuAD's script has them.

    The official ones, ``squad_…``, do not see case, punctuation and articles.
    """
    official = [list(map(squad_normalized, answers)) for answers in (predictions, references)]
    return {
        "exact_match": accuracy(predictions, references),
        "token_f1": token_f1(predictions, references),
        "squad_exact_match": accuracy(*official),
        "squad_f1": token_f1(*official),
    }


class Answering(HeadTask):
    """A span of the story."""

    name = "answering"
    data = TaskData(load, baselines, score)
    default = DEFAULT
    functions: ClassVar[tuple] = (answering_forward, answering_backward)
    counted = "spans"
    unit = "end of a span"
    shortest = 5
    texts = (2,)
    inputs = ("ids", "segments", "mask")

    @staticmethod
    def text(example: Question) -> str:
        return f"{example.question} {example.story}"

    @staticmethod
    def labels(example: Question) -> tuple[str, ...]:
        return ("end", "start")  # the two scores of a position

    def __init__(self, settings: Any, vocabulary: Vocabulary, dataset: Dataset) -> None:
        super().__init__(settings, vocabulary, dataset)
        answers = [question.end - question.start for question in dataset.train]
        self.summary[LONGEST] = self.longest = max(answers)

    def encode(self, example: Question) -> Row | None:
        question = encode_known(self.vocabulary.tokenizer, example.question)
        words = tuple(example.story.split())
        pieces = word_pieces(self.vocabulary.tokenizer, words)
        ends = np.cumsum([len(piece) for piece in pieces])
        if len(question) + ends[-1] + 3 > self.settings.context:
            self.too_long += 1
            return None
        first = ends[example.start] - len(pieces[example.start])
        spans, story = np.array([first, ends[example.end - 1] - 1]), np.concatenate(pieces)
        return {
            "ids": np.concatenate([question, story]),  # for its length
            "question": question,
            "story": story,
            "word_of": words_of(pieces),
            "words": np.array(words),
            "spans": spans + len(question) + 2,
        }

    def padded(self, rows: list[Row]) -> Batch:
        batch = pair_batch([(row["question"], row["story"]) for row in rows], self.special)
        ends = np.array([len(row["question"]) + 2 + len(row["story"]) for row in rows])
        story = (batch["segments"] == 1) & (np.arange(batch["ids"].shape[1]) < ends[:, None])
        return batch | {"story": story, "spans": np.array([row["spans"] for row in rows])}

    def answer(self, row: Row, logits: Array) -> str:
        offset = len(row["question"]) + 2
        first, last = best_span(logits, offset, row["word_of"], self.longest)
        return " ".join(row["words"][first : last + 1])

    def reference(self, row: Row) -> str:
        first, last = row["word_of"][row["spans"] - (len(row["question"]) + 2)]
        return " ".join(row["words"][first : last + 1])

    def unanswered(self, example: Question) -> tuple[str, str]:
        """A story that does not fit gets no answer."""
        return "", example.answer

    @classmethod
    def predict(cls, trained: Trained, text: str, *, second: str = "", beam: int = 1) -> Prediction:
        """The answer to the question ``second``, and its words [start, end) of the story."""
        split = cls.split(text)
        trained.ids(split, text)  # raises if the vocabulary knows nothing of it
        words = split.split()
        pieces = word_pieces(trained.vocabulary.tokenizer, tuple(words))
        question, story = trained.ids(cls.split(second), second), np.concatenate(pieces)
        trained.require_room(len(question) + len(story) + 3)
        batch = pair_batch([(question, story)], trained.special)
        logits, _ = classifier_forward(
            trained.p, batch["ids"], batch["segments"], config=trained.model
        )
        longest = trained.summary.get(LONGEST)
        start, stop = best_span(logits[0], len(question) + 2, words_of(pieces), longest)
        return {"answer": " ".join(words[start : stop + 1]), "start": start, "end": stop + 1}


def words_of(pieces: list[Array]) -> Array:
    """The number of the word (n,) that each token of a story belongs to."""
    return np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])


def best_span(
    logits: Array, offset: int, word_of: Array, longest: int | None = None
) -> tuple[int, int]:
    """The words that hold the most probable first ≤ last token of a story; logits (T, 2).

    The story stands at [offset, offset + n), and ``word_of`` (n,) says which word each of its
    tokens belongs to. An answer has at most ``longest`` words, or any number of them.
    """
    start, end = logits[offset : offset + len(word_of)].T.astype(np.float64)
    words = word_of - word_of[:, None]  # how many words after that of the first token
    ordered = np.tri(len(word_of), dtype=bool).T
    if longest is not None:
        ordered &= words < longest
    both = np.where(ordered, start[:, None] + end, -np.inf)
    first, last = np.unravel_index(int(both.argmax()), both.shape)
    return int(word_of[first]), int(word_of[last])


def _fields(line: str) -> list[str]:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise ValueError(f"expected a JSON object, not {line!r:.80}: {error}") from None
    for key in KEYS:
        value = record.get(key) if isinstance(record, dict) else None
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{key!r} must be a text, not {value!r:.80}")
    return [record[key] for key in KEYS]


def _last_answer(story: str, answers: set[str]) -> str:
    words = story.split()
    longest = max(len(answer.split()) for answer in answers)
    for end in range(len(words), 0, -1):
        for start in range(max(0, end - longest), end):
            if " ".join(words[start:end]) in answers:
                return " ".join(words[start:end])
    return ""
