"""§3.3 Every task by its name, and what the class of each says."""

import pytest

from numpylm.tasks.dataset import DatasetTask, Labelled, Pair, Question, Tagged
from numpylm.tasks.loading import TASKS
from numpylm.training.presets import PRESET_OF

DOWNSTREAM = [name for name, task in TASKS.items() if issubclass(task, DatasetTask)]
TYPES = dict.fromkeys(DOWNSTREAM, Pair) | {
    "classification": Labelled, "labelling": Tagged, "answering": Question,
    "prompted-classification": Labelled, "prompted-answering": Question,
}  # fmt: skip
ANSWERS = {
    Pair: lambda e: e.target,
    Labelled: lambda e: e.label,
    Tagged: lambda e: e.labels,
    Question: lambda e: e.answer,
}


def test_the_names():
    assert " ".join(TASKS) == (
        "causal masked next-sentence bert spans deletion classification labelling answering "
        "translation summarisation copy reverse sort prompted-answering prompted-classification "
        "prompted-translation prompted-summarisation"
    )
    assert all(task.name == name for name, task in TASKS.items())
    assert set(PRESET_OF) == set(TASKS)


def test_architectures():
    kinds = {name: task.architecture.kind for name, task in TASKS.items()}
    decoders = [name for name in kinds if name == "causal" or name.startswith("prompted-")]
    assert {kinds.pop(name) for name in decoders} == {"decoder-only"}
    encoders = "masked next-sentence bert classification labelling answering".split()
    assert [name for name in kinds if kinds[name] == "encoder-only"] == encoders
    assert {kinds[name] for name in kinds if name not in encoders} == {"encoder-decoder"}


def test_a_task_names_its_default():
    assert TASKS["reverse"].data.load(TASKS["reverse"].default).name == "reverse"
    summaries = TASKS["summarisation"]
    assert summaries.data.load(summaries.default).name == "pydoc summaries"


@pytest.mark.parametrize("name", DOWNSTREAM)
def test_a_task_keeps_its_contract(name, load_default):
    task, dataset = TASKS[name].data, load_default(name)
    examples = dataset.train + dataset.valid + dataset.test
    assert {type(e) for e in examples} == {TYPES[name]}
    for example in examples[:500]:
        for text in example:
            if isinstance(text, str):
                assert text
                assert text == " ".join(text.split())
    right = [ANSWERS[TYPES[name]](e) for e in dataset.test]
    scored = task.score(right, right)
    assert next(iter(scored.values())) == pytest.approx(100 if "bleu" in scored else 1)
    with pytest.raises(ValueError, match="'no-such-file'"):
        task.load("no-such-file")
