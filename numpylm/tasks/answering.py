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

from numpylm.data.words import split_text
from numpylm.files import parse_json
from numpylm.tasks.data_files import load_files, read_lines, read_table
from numpylm.tasks.dataset import Dataset, Question
from numpylm.tasks.generated.stories import LENGTHS, generate_questions
from numpylm.tasks.scores import accuracy, token_f1

DEFAULT = "generated"
SIZES = (10_000, 500, 500)
KEYS = ("question", "story", "answer")


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
    """Exact match, and the F1 of the answers' words."""
    return {
        "exact_match": accuracy(predictions, references),
        "token_f1": token_f1(predictions, references),
    }


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
