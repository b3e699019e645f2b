"""§3.3 Every objective by its name, with its data."""

from __future__ import annotations

from typing import Any

from numpylm.training.architecture import DENOISING, ENCODER, PAIRS
from numpylm.training.causal import CausalLM
from numpylm.training.denoising import Denoising
from numpylm.training.heads import HEAD_TASKS
from numpylm.training.objective import Objective, Vocabulary
from numpylm.training.pairs import PairTask
from numpylm.training.pretraining import EncoderPretraining


def load_objective(settings: Any, vocabulary: Vocabulary | None) -> Objective:
    """The objective of a run, with its data; with the vocabulary of an earlier run if given.

    Raises ``ValueError`` with one clear line for data that cannot be read or used.
    """
    name = settings.objective
    if name == "causal":
        return CausalLM(settings, vocabulary)
    if name in ENCODER:
        return EncoderPretraining(settings, vocabulary)
    if name in DENOISING:
        return Denoising(settings, vocabulary)
    if name in PAIRS:
        return PairTask(settings, vocabulary)
    return HEAD_TASKS[name](settings, vocabulary)
