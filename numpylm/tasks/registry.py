"""The downstream tasks by name, each with its data, baselines and scores.

kind         examples       who solves it (§2.2)
pairs        ``Pair``       encoder and decoder; or a decoder that continues the source
labelled     ``Labelled``   encoder, one class from the first position
tagged       ``Tagged``     encoder, one class at each position
questions    ``Question``   encoder, start and end of a span
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from numpylm.tasks import answering, classification, labelling, summarisation, toy, translation
from numpylm.tasks.dataset import Dataset


@dataclass(frozen=True)
class TaskData:
    """``load(source, **settings)``, ``baselines(dataset)`` and ``score(predictions, references)``.

    ``score`` has the main metric first; ``baselines`` gives that metric on the test part.
    Predictions and references are targets (pairs), labels (labelled), sequences of labels
    (tagged) or answers as texts (questions).
    """

    name: str
    kind: str
    default: str
    load: Callable[..., Dataset]
    baselines: Callable[[Dataset], dict[str, float]]
    score: Callable[..., dict[str, float]]


def _toy(operation: str) -> TaskData:
    load = partial(toy.load, operation=operation)
    return TaskData(operation, "pairs", toy.DEFAULT, load, toy.baselines, toy.score)


TASKS: dict[str, TaskData] = {
    task.name: task
    for task in (
        TaskData("translation", "pairs", translation.DEFAULT, translation.load,
             translation.baselines, translation.score),
        TaskData("summarisation", "pairs", summarisation.DEFAULT, summarisation.load,
             summarisation.baselines, summarisation.score),
        TaskData("answering", "questions", answering.DEFAULT, answering.load,
             answering.baselines, answering.score),
        TaskData("classification", "labelled", classification.DEFAULT, classification.load,
             classification.baselines, classification.score),
        TaskData("labelling", "tagged", labelling.DEFAULT, labelling.load,
             labelling.baselines, labelling.score),
        _toy("copy"),
        _toy("reverse"),
        _toy("sort"),
    )
}  # fmt: skip
