"""What fine-tuning takes from a pre-trained run, and what it leaves as it is.

The trunk is all but the output layers: embedding, encoder, decoder, pooler. What a head of the new
task needs besides starts at random. A decoder-only model keeps its output too, and learns a task
as a prompt and its answer: only the rows of the special tokens, which it lacks, start at random.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from numpylm.models.config import StackConfig
from numpylm.parameters import Array, leaves
from numpylm.tasks.architectures import DECODER
from numpylm.tasks.loading import TASKS
from numpylm.training.run_folder import Run
from numpylm.training.train_config import TrainConfig

# The settings that a fine-tuning run cannot choose: the model's, and what its tokens are.
OPEN = ("dropout", "implementation")
INHERITED = (
    *(f.name for f in fields(StackConfig) if f.name not in OPEN),
    "tied", "tokenizer", "min_count", "vocab_size", "context", "shared_vocabulary",
)  # fmt: skip


OF_THE_VOCABULARY = ("embedding.tokens.weight", "output.weight", "output.bias")


def objective_for(start: Run, task: str) -> str:
    """The objective by which a run can learn a task: a decoder-only one by prompt and answer."""
    prompted = f"prompted-{task}"
    return prompted if start.config.task.architecture is DECODER and prompted in TASKS else task


def inherited(start: Run, objective: str) -> dict[str, Any]:
    """The settings that a fine-tuning run takes from the run it starts from.

    Raises ``ValueError`` if the objective needs another architecture.
    """
    found, wanted = start.config.task.architecture.kind, TASKS[objective].architecture.kind
    if found != wanted:
        raise ValueError(
            f"{objective} needs a model that is {wanted}; {start.folder} is {found} "
            f"(objective {start.config.objective})"
        )
    return {name: getattr(start.config, name) for name in INHERITED}


def require_fitting(start: Run, config: TrainConfig) -> None:
    """Raise ``ValueError`` if a run with these settings cannot start from another."""
    for name, value in inherited(start, config.objective).items():
        if getattr(config, name) != value:
            raise ValueError(
                f"{start.folder} does not fit: its {name} is {value}, not {getattr(config, name)}"
            )


def copy_trunk(start: Run, p: Any) -> None:
    """Copy the arrays of the pre-trained trunk into a new model.

    Raises ``ValueError`` if the two do not have the same shape, or share no array.
    """
    given = {trunk_name(n): a for n, a in start.load_model()[0].parameters.items()}
    copied = 0
    for name, array in leaves(p):
        found = given.get(trunk_name(name))
        if found is None or name.startswith("head."):
            continue
        if trunk_name(name) in OF_THE_VOCABULARY and start.config.task.language_model:
            array = array[tuple(slice(size) for size in found.shape)]  # all but special tokens
        if found.shape != array.shape:
            raise ValueError(
                f"{start.folder} does not fit: its {trunk_name(name)} is {found.shape}, "
                f"not {array.shape}"
            )
        array[...] = found
        copied += 1
    if not copied:
        raise ValueError(f"{start.folder} has no part that this model could start from")


def frozen(p: Any, config: TrainConfig) -> Array | None:
    """Booleans (N,), True for parameters that are not to be trained; None if all are."""
    if not (config.freeze_trunk or config.freeze_layers):
        return None
    return np.concatenate([np.full(a.size, _kept(name, config)) for name, a in leaves(p)])


def trunk_name(name: str) -> str:
    """The name of a parameter without the wrapper of a head: ``trunk.encoder…`` -> ``encoder…``."""
    return name.removeprefix("trunk.")


def _kept(name: str, config: TrainConfig) -> bool:
    if config.freeze_trunk:
        return name.startswith("trunk.")
    parts = trunk_name(name).split(".")
    if parts[0] in ("embedding", "source", "target"):
        return True
    return parts[1:2] == ["layers"] and int(parts[2]) < config.freeze_layers
