"""§3.3 Every task by its name."""

import pytest

from numpylm.tasks.dataset import Labelled, Pair, Question, Tagged
from numpylm.tasks.registry import TASKS

TYPES = {"pairs": Pair, "labelled": Labelled, "tagged": Tagged, "questions": Question}
ANSWERS = {
    "pairs": lambda e: e.target,
    "labelled": lambda e: e.label,
    "tagged": lambda e: e.labels,
    "questions": lambda e: e.answer,
}


def test_the_names():
    assert " ".join(TASKS) == (
        "translation summarisation answering classification labelling copy reverse sort"
    )
    assert all(task.name == name for name, task in TASKS.items())


def test_a_task_names_its_default():
    assert TASKS["reverse"].load("generated").name == "reverse"
    assert TASKS["summarisation"].load(TASKS["summarisation"].default).name == "pydoc summaries"


@pytest.mark.parametrize("name", TASKS)
def test_a_task_keeps_its_contract(name, load_default):
    task, dataset = TASKS[name], load_default(name)
    examples = dataset.train + dataset.valid + dataset.test
    assert {type(e) for e in examples} == {TYPES[task.kind]}
    for example in examples[:500]:
        for text in example:
            if isinstance(text, str):
                assert text
                assert text == " ".join(text.split())
    right = [ANSWERS[task.kind](e) for e in dataset.test]
    scored = task.score(right, right)
    assert next(iter(scored.values())) == pytest.approx(100 if "bleu" in scored else 1)
    with pytest.raises(ValueError, match="'no-such-file'"):
        task.load("no-such-file")
