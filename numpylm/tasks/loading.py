"""Every task by its name.

decoder-only       causal; fine-tuned: prompted-answering, -classification, -translation,
                   -summarisation
encoder-only       masked, next-sentence, bert; fine-tuned: classification, labelling, answering
encoder-decoder    spans, deletion; fine-tuned: translation, summarisation, copy, reverse, sort
"""

from __future__ import annotations

from typing import Any

from numpylm.data.words import RULES, using_rules
from numpylm.tasks.answering import Answering
from numpylm.tasks.causal import CausalLM
from numpylm.tasks.classification import Classification
from numpylm.tasks.denoising import Deletion, Spans
from numpylm.tasks.labelling import Labelling
from numpylm.tasks.masked import Masked
from numpylm.tasks.next_sentence import Bert, NextSentence
from numpylm.tasks.prompted import (
    PromptedAnswering,
    PromptedClassification,
    PromptedSummarisation,
    PromptedTranslation,
)
from numpylm.tasks.summarisation import Summarisation
from numpylm.tasks.task import Task
from numpylm.tasks.toy import Copy, Reverse, Sort
from numpylm.tasks.trained import Vocabulary
from numpylm.tasks.translation import Translation

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        CausalLM, Masked, NextSentence, Bert, Spans, Deletion, Classification, Labelling,
        Answering, Translation, Summarisation, Copy, Reverse, Sort, PromptedAnswering,
        PromptedClassification, PromptedTranslation, PromptedSummarisation,
    )
}  # fmt: skip


def load_task(settings: Any, vocabulary: Vocabulary | None) -> Task:
    """The task of a run, with its data; with the vocabulary of an earlier run if given.

    Raises ``ValueError`` with one clear line for data that cannot be read or used.
    """
    with using_rules(RULES if vocabulary is None else vocabulary.rules):
        return TASKS[settings.objective].load(settings, vocabulary)
