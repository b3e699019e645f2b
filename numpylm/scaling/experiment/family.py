"""The family of models of a scaling experiment: one shape in many widths, one recipe for all.

    shape       2 layers, 4 heads, d_ff = 4 d, 64 tokens of context, ALiBi of slopes 2, 1/2, 1/8 and
                1/32, an output matrix of its own: N = 24 d² + V d with the head
    batch       B = 256 √(D / 500 000) tokens, in whole sequences
    rate        η = 0.25/d · (B/256)^0.35, after a warm-up of 5 % of the steps a cosine down to 0
                that ends with the run
    AdamW       β = (0.9, 0.95), weight decay 0.1, clipping at 1

Each line is there because without it small runs show no law. One layer has another floor than two.
With learned positions a model of this size knows pairs of letters and stays there for long; a
slope towards what is near (ALiBi) takes it past, and sooner if it is steep: eight times the usual
slopes took 0.15 nats off at 10¹⁰ FLOPs (width 16) and 0.12 at 4·10¹¹ (width 32). One learning rate
for all widths suits one of them; the best falls like 1/d. A large batch leaves a small budget too
few steps, and a schedule that ends after the run leaves its loss too high.

Source: the fixed depth, rate and schedule follow Kaplan et al. 2020, arXiv:2001.08361, §2 and App.
D, and Hoffmann et al. 2022, arXiv:2203.15556, App. B; 1/d is the rule for hidden matrices of Yang
et al. 2022, arXiv:2203.03466; ALiBi: Press et al. 2022, arXiv:2108.12409.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpylm.models.counting import sizes, training_flops
from numpylm.models.gpt import GPTConfig
from numpylm.training.train_config import TrainConfig

LAYERS, HEADS, CONTEXT, ALIBI_SCALE = 2, 4, 64, 8.0
WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class Text:
    """The corpus that a family is trained on."""

    corpus: str
    tokenizer: str
    vocab_size: int
    train_tokens: int
    sha256: str


@dataclass(frozen=True)
class PlannedRun:
    """One run: everything that it depends on beside the text."""

    name: str
    role: str  # fit, lr-check, seed, holdout
    compute: float  # the budget that it belongs to; the exact FLOPs follow from steps and batch
    width: int
    batch_size: int  # sequences
    steps: int
    lr: float
    seed: int

    @property
    def tokens(self) -> int:
        """D."""
        return self.steps * self.batch_size * CONTEXT

    def settings(self, text: Text) -> TrainConfig:
        """What the trainer is told."""
        return TrainConfig(
            corpus=text.corpus, tokenizer=text.tokenizer, batch_size=self.batch_size,
            context=CONTEXT, n_layers=LAYERS, n_heads=HEADS, d_model=self.width,
            d_ff=4 * self.width, positions="alibi", alibi_scale=ALIBI_SCALE, tied=False,
            bias=False, steps=self.steps, lr=self.lr, min_lr=0.0,
            warmup=max(1, self.steps // 20), beta2=0.95, seed=self.seed, threads=1,
            eval_every=self.steps,
        )  # fmt: skip


def model_of_width(width: int, vocab_size: int) -> GPTConfig:
    """The member of the family, as the counting wants it."""
    return GPTConfig(
        vocab_size=vocab_size, context=CONTEXT, n_layers=LAYERS, n_heads=HEADS, d_model=width,
        d_ff=4 * width, positions="alibi", alibi_scale=ALIBI_SCALE, tied=False, bias=False,
    )  # fmt: skip


def record(config: GPTConfig, tokens: float, length: int) -> dict[str, float]:
    """Every count of a run of a language model on ``tokens`` tokens in sequences of ``length``.

    A table of runs that carries all of them depends on no hidden convention: ``N`` and ``C`` are
    the parameters with the head and the exact FLOPs, and --columns of ``numpylm scaling`` chooses
    others.
    """
    n = sizes(config)
    per_token = training_flops(config, 1, length) / length
    return {
        "N": n["with_head"], "D": tokens, "C": per_token * tokens,
        "N_without_embeddings": n["without_embeddings"], "N_total": n["total"],
        "flops_per_token": per_token, "C_6ND": 6.0 * n["with_head"] * tokens,
    }  # fmt: skip


def counts(width: int, vocab_size: int, tokens: float = 1.0) -> dict[str, float]:
    """N in its three meanings, D, and C exact and as 6 N D: ``record``."""
    return record(model_of_width(width, vocab_size), tokens, CONTEXT)


def planned(
    role: str, width: int, compute: float, vocab_size: int, *, rate: float = 1.0, seed: int = 1
) -> PlannedRun:
    """The run of a width that costs ``compute`` FLOPs; ``rate`` multiplies the learning rate."""
    tokens = compute / counts(width, vocab_size)["flops_per_token"]
    batch_size = max(1, round(256 / CONTEXT * math.sqrt(tokens / 5e5)))
    steps = max(20, round(tokens / (batch_size * CONTEXT)))
    lr = rate * 0.25 / width * (batch_size * CONTEXT / 256) ** 0.35
    name = f"{role}-c{compute:.2e}-d{width}".replace("+", "")
    name += f"-x{rate:g}" * (role == "lr-check") + f"-s{seed}" * (role == "seed")
    return PlannedRun(name, role, compute, width, batch_size, steps, float(f"{lr:.4g}"), seed)
