"""Every objective by its name, with its data."""

from __future__ import annotations

from typing import Any

from numpylm.tasks.architectures import DENOISING, ENCODER, PAIR_TASKS
from numpylm.tasks.causal import CausalLM
from numpylm.tasks.denoising import Denoising
from numpylm.tasks.fine_tuning import HEAD_TASKS
from numpylm.tasks.pretraining import EncoderPretraining
from numpylm.tasks.task import Task, Vocabulary
from numpylm.tasks.text_to_text import PairTask


def load_task(settings: Any, vocabulary: Vocabulary | None) -> Task:
    """The task of a run, with its data; with the vocabulary of an earlier run if given.

    Raises ``ValueError`` with one clear line for data that cannot be read or used.
    """
    name = settings.objective
    if name == "causal":
        return CausalLM(settings, vocabulary)
    if name in ENCODER:
        return EncoderPretraining(settings, vocabulary)
    if name in DENOISING:
        return Denoising(settings, vocabulary)
    if name in PAIR_TASKS:
        return PairTask(settings, vocabulary)
    return HEAD_TASKS[name](settings, vocabulary)
