"""All settings of a training run.

A field is defined here once: its default, its meaning and its group. The command line, the run
folder's ``config.json`` and the check on resuming are made from these fields.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from numpylm.layers.choices import POSITIONS
from numpylm.models.config import STACK_CHOICES, require_choice, require_positive, require_types
from numpylm.optim.schedule import learning_rate
from numpylm.tasks.architectures import ENCODER_WITH_HEAD
from numpylm.tasks.loading import TASKS
from numpylm.tasks.task import Task

CHOICES = {
    "objective": tuple(TASKS),
    "tokenizer": ("char", "word", "byte", "bpe"),
    "batching": ("windows", "bptt"),
    **STACK_CHOICES,
    "optimizer": ("adamw", "adam", "sgd"),
    "schedule": ("cosine", "constant", "step", "plateau"),
}

# Settings that not every run reads: (the setting that decides, its values for which it is read).
READ_BY: dict[str, tuple[str, tuple[str, ...]]] = (
    {
        "min_count": ("tokenizer", ("word",)),
        "vocab_size": ("tokenizer", ("bpe",)),
        "min_lr": ("schedule", ("cosine",)),
        "decay_every": ("schedule", ("step",)),
        "decay_factor": ("schedule", ("step", "plateau")),
        "momentum": ("optimizer", ("sgd",)),
        "beta1": ("optimizer", ("adam", "adamw")),
        "beta2": ("optimizer", ("adam", "adamw")),
        "weight_decay": ("optimizer", ("adamw",)),
    }
    | {
        name: ("positions", tuple(n for n, other in POSITIONS.items() if name in other.settings))
        for encoding in POSITIONS.values()
        for name in encoding.settings
    }
    | {
        name: ("objective", tuple(n for n, other in TASKS.items() if name in other.reads))
        for task in TASKS.values()
        for name in task.reads
    }
)


def _setting(group: str, default: Any, meaning: str) -> Any:
    return field(default=default, metadata={"group": group, "help": meaning})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a run is told. Raises ``ValueError`` for what cannot work."""

    objective: str = _setting("data", "causal", "what is learned")
    corpus: str = _setting("data", "pydoc", "pydoc, wikitext2, generated, a file or a folder")
    tokenizer: str = _setting("data", "char", "what a token is")
    min_count: int = _setting("data", 1, "word tokenizer: rarer words become <unk>")
    vocab_size: int = _setting("data", 8192, "bpe tokenizer: at most this many tokens")
    batching: str = _setting("data", "windows", "random windows, or the textbook's BPTT columns")
    batch_size: int = _setting("data", 12, "sequences in a batch, B")
    context: int = _setting("data", 64, "tokens in a sequence, T")
    source_language: str = _setting("data", "", "translation: suffix of the source files, as de")
    target_language: str = _setting("data", "", "translation: suffix of the target files, as en")
    shared_vocabulary: bool = _setting("data", True, "encoder-decoder: one for source and target")
    mask_rate: float = _setting("data", 0.15, "masked, spans, deletion: share of hidden tokens")
    whole_words: bool = _setting("data", False, "masked: hide all tokens of a word together")

    n_layers: int = _setting("model", 2, "decoder layers")
    n_heads: int = _setting("model", 4, "attention heads, H")
    d_model: int = _setting("model", 128, "width of the model, D")
    d_ff: int = _setting("model", 512, "width of the feed-forward network")
    dropout: float = _setting("model", 0.0, "dropout rate")
    norm: str = _setting("model", "pre", "norm before or after each sublayer")
    normalisation: str = _setting("model", "layer", "layer norm, or RMSNorm")
    activation: str = _setting("model", "gelu", "nonlinearity of the feed-forward network")
    positions: str = _setting("model", "learned", "positional encoding")
    alibi_scale: float = _setting("model", 1.0, "alibi: factor of its slopes; characters want more")
    tied: bool = _setting("model", True, "output layer shares the token embedding")
    bias: bool = _setting("model", False, "biases in linear layers and layer norm")

    init: str = _setting("model", "fan-in", "spread of the first weights: 1/√d_in, or GPT-2's 0.02")

    optimizer: str = _setting("optimisation", "adamw", "how gradients become steps")
    steps: int = _setting("optimisation", 2000, "parameter updates")
    lr: float = _setting("optimisation", 2e-3, "highest learning rate")
    min_lr: float = _setting("optimisation", 1e-4, "cosine schedule: the rate after the last step")
    schedule: str = _setting("optimisation", "cosine", "course of the learning rate")
    warmup: int = _setting("optimisation", 100, "steps of linear warm-up")
    decay_every: int = _setting("optimisation", 500, "step schedule: steps between decays")
    decay_factor: float = _setting("optimisation", 0.95, "step, plateau: factor of a decay")
    momentum: float = _setting("optimisation", 0.0, "sgd: momentum")
    beta1: float = _setting("optimisation", 0.9, "adam: decay rate of the first moment")
    beta2: float = _setting("optimisation", 0.99, "adam: decay rate of the second moment")
    weight_decay: float = _setting("optimisation", 0.1, "adamw: decoupled decay of matrices")
    label_smoothing: float = _setting("optimisation", 0.0, "encoder-decoder: share of all tokens")
    clip: float = _setting("optimisation", 1.0, "largest global norm of the gradient; 0: no limit")
    accumulate: int = _setting("optimisation", 1, "batches whose gradients make one update")

    pretrained: str = _setting("fine-tuning", "", "run folder whose trunk is the start")
    freeze_trunk: bool = _setting("fine-tuning", False, "train the new head alone")
    freeze_layers: int = _setting("fine-tuning", 0, "keep the embedding and this many lower layers")

    seed: int = _setting("run", 1, "of initialisation, batches and dropout")
    threads: int = _setting("run", 2, "shards of a batch, computed at the same time")
    plain: bool = _setting("run", False, "formulas only, in one process: to read and to debug")
    eval_every: int = _setting("run", 250, "steps between evaluations, each with a checkpoint")

    def __post_init__(self) -> None:
        require_types(self)
        require_positive(
            self, "min_count", "vocab_size", "batch_size", "context", "steps", "decay_every",
            "accumulate", "threads", "eval_every",
        )  # fmt: skip
        require_choice(self, CHOICES)
        tokens = self.batch_size * self.context * self.accumulate
        if tokens >= 2**31:
            raise ValueError(f"batch_size · context · accumulate is {tokens}; at most 2**31 - 1")
        if self.threads > 1024:
            raise ValueError(f"threads is {self.threads}; it must be at most 1024")
        if self.context < (least := self.task.shortest):
            raise ValueError(f"context is {self.context}; {self.objective} needs at least {least}")
        for name in ("lr", "decay_factor"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if not 0.0 < self.mask_rate < 1.0:
            raise ValueError(f"mask_rate {self.mask_rate} is not in (0, 1)")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"label_smoothing {self.label_smoothing} is not in [0, 1)")
        for name in ("min_lr", "warmup", "weight_decay", "clip", "seed", "freeze_layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        for name in ("momentum", "beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in [0, 1)")
        if self.schedule == "cosine" and self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        if self.freeze_trunk and self.task.architecture is not ENCODER_WITH_HEAD:
            raise ValueError(f"freeze_trunk: {self.objective} has no head of its own to train")
        if self.freeze_layers > self.n_layers:
            raise ValueError(
                f"freeze_layers {self.freeze_layers} is above n_layers {self.n_layers}"
            )
        if bool(self.source_language) != bool(self.target_language):
            raise ValueError("source_language and target_language go together")
        self.model_config(vocab_size=1)

    @property
    def task(self) -> type[Task]:
        """The class of what is learned."""
        return TASKS[self.objective]

    @property
    def n_shards(self) -> int:
        """Shards of a batch, one in each thread or process; ``plain`` computes it in one piece."""
        return 1 if self.plain else self.threads

    def learning_rate(self, step: int, val_losses: Sequence[float] = ()) -> float:
        """η of update number ``step``: ``optim.schedule.learning_rate`` with these settings."""
        names = ("schedule", "lr", "steps", "warmup", "min_lr", "decay_every", "decay_factor")
        settings = {name: getattr(self, name) for name in names}
        return learning_rate(step, val_losses=val_losses, **settings)

    def model_config(self, vocab_size: int) -> Any:
        """The model's part of the settings, for a vocabulary."""
        return self.task.model_config(self, vocab_size)


SETTINGS = {f.name: f for f in fields(TrainConfig)}
# Settings that came after the first version: a run that has none of them has the default, and its
# fingerprint is made without them.
ADDED: dict[str, Any] = {"plain": False, "vocab_size": 8192, "normalisation": "layer"}
FINETUNING = {n for n, f in SETTINGS.items() if f.metadata["group"] == "fine-tuning"}


def require_read(config: TrainConfig, given: Iterable[str]) -> None:
    """Raise ``ValueError`` for a setting that was asked for and that this run would not read."""
    for name in given:
        deciding, values = READ_BY.get(name, ("", ()))
        if deciding and getattr(config, deciding) not in values:
            raise ValueError(
                f"{name} has no effect with {deciding} {getattr(config, deciding)}; "
                f"it is read with {deciding} {', '.join(values)}"
            )


def config_from_dict(data: Any) -> TrainConfig:
    """The settings that a ``config.json`` holds, those that it is too old to have by default.

    Raises ``ValueError`` if they are not ours.
    """
    if isinstance(data, dict):
        data = ADDED | data
    known = set(SETTINGS)
    if not isinstance(data, dict) or set(data) != known:
        different = sorted(known ^ set(data))[:3] if isinstance(data, dict) else "not an object"
        raise ValueError(f"the settings in config.json are damaged: {different!s:.200}")
    return TrainConfig(**data)
