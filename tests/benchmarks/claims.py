"""What the textbook claims or leaves open, measured.

    python -m tests.benchmarks.claims distance       # §4.1: gradients and recall over a distance
    python -m tests.benchmarks.claims layer-norm     # §3.1: the loss with layer norm and without
    python -m tests.benchmarks.claims optimiser --corpus path/to/wikitext-2     # §5.2 gives none

``distance``: of a sequence the first of eight symbols has to be named after n tokens of noise. Read
by the recurrent layer of ``layers/recurrent.py`` and by one layer of causal attention, of the same
width, both trained by Adam on the same batches; and how large the gradient of the last output is
that arrives at the first input, as a share of the one at the last input, before training.

``layer-norm``: a causal stack of four layers on Python's documentation, by characters, pre-norm,
post-norm and with the identity in place of each norm, at three learning rates.

``optimiser``: the first 40 steps of preset ``textbook``, and with the SGD of PyTorch's example.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np

from numpylm.data.batches import RandomWindows
from numpylm.data.corpus import load_corpus
from numpylm.data.vocabulary import CharTokenizer
from numpylm.layers.choices import NORMS
from numpylm.layers.cross_entropy import cross_entropy_backward, cross_entropy_forward
from numpylm.layers.linear import Linear, linear_backward, linear_forward, linear_init
from numpylm.layers.recurrent import (
    Recurrent,
    recurrent_backward,
    recurrent_forward,
    recurrent_init,
)
from numpylm.models.decoder import decoder_backward, decoder_forward
from numpylm.models.gpt import GPT, GPTConfig, gpt_backward, gpt_forward, gpt_init
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.optim import Optimizer, clip_factor, global_norm
from numpylm.parameters import Array, pack, view
from numpylm.tasks.loading import load_task
from numpylm.training.presets import preset
from numpylm.training.state import TrainingState
from numpylm.training.train_config import TrainConfig

DISTANCES, SYMBOLS, WIDTH = (4, 8, 16, 32, 64), 8, 32


@dataclass
class Reader:
    """A recurrent layer and a linear output."""

    layer: Recurrent
    output: Linear


def recall_batch(rng: np.random.Generator, distance: int, size: int = 32) -> tuple[Array, Array]:
    """ids (size, distance + 1), and the first of each, to name; the others are noise.

    All are drawn from the same symbols, so that only its place tells the first from the others.
    """
    ids = rng.integers(0, SYMBOLS, (size, distance + 1))
    return ids, ids[:, 0]


def recurrent_loss(p: Reader, dp: Reader, ids: Array, first: Array) -> tuple[float, Array]:
    """The loss at the last token, and its logits; adds the gradient into dp."""
    h, c_layer = recurrent_forward(p.layer, np.eye(SYMBOLS, dtype=np.float32)[ids])
    logits, c_output = linear_forward(p.output, h[:, -1])
    loss, c_loss = cross_entropy_forward(logits, first)
    dh = np.zeros_like(h)
    dlogits = cross_entropy_backward(np.ones((), np.float32), c_loss)
    dh[:, -1] = linear_backward(p.output, dp.output, dlogits, c_output)
    recurrent_backward(p.layer, dp.layer, dh, c_layer)
    return float(loss), logits


def attention_loss(
    p: GPT, dp: GPT, ids: Array, first: Array, config: GPTConfig
) -> tuple[float, Array]:
    """The same for a decoder with one layer of attention."""
    logits, cache = gpt_forward(p, ids, config=config)
    loss, c_loss = cross_entropy_forward(logits[:, -1], first)
    dlogits = np.zeros_like(logits)
    dlogits[:, -1] = cross_entropy_backward(np.ones((), np.float32), c_loss)
    gpt_backward(p, dp, dlogits, cache)
    return float(loss), logits[:, -1]


def reader(kind: str, distance: int, seed: int) -> tuple[Array, Any, Callable]:
    """theta, p and the loss function of "recurrent" or "attention"."""
    if kind == "recurrent":
        rng = np.random.default_rng(seed)
        layer = recurrent_init(rng, SYMBOLS, WIDTH)
        theta, p = pack(Reader(layer, linear_init(rng, WIDTH, SYMBOLS, std=0.02)))
        return theta, p, recurrent_loss
    config = attention_config(distance)
    theta, p = gpt_init(seed, config)
    return theta, p, lambda *arguments: attention_loss(*arguments, config)


def attention_config(distance: int) -> GPTConfig:
    """One layer; learned positions, since the place is what matters."""
    return GPTConfig(vocab_size=SYMBOLS, context=distance + 1, n_layers=1, n_heads=2,
                     d_model=WIDTH, d_ff=4 * WIDTH, tied=False)  # fmt: skip


def recall(kind: str, distance: int, seed: int, steps: int = 600, lr: float = 3e-3) -> float:
    """Share of 1,024 fresh sequences whose first symbol is named after training."""
    theta, p, loss = reader(kind, distance, seed)
    rng = np.random.default_rng([seed, distance])
    adam, gradient = Optimizer("adam", theta, decay=None), np.zeros_like(theta)
    for _ in range(steps):
        gradient[:] = 0
        loss(p, view(p, gradient), *recall_batch(rng, distance))
        adam.update(gradient, lr, clip_factor(global_norm(gradient), 1.0))
    ids, first = recall_batch(rng, distance, 1024)
    _, logits = loss(p, view(p, gradient), ids, first)
    return float((logits.argmax(axis=-1) == first).mean())


def gradient_share(kind: str, distance: int, seed: int, gain: float = 1.0) -> float:
    """‖∂/∂x_0‖ / ‖∂/∂x_n‖ of a random function of the last output, at the start of training."""
    rng = np.random.default_rng([seed, distance])
    x = rng.standard_normal((32, distance + 1, WIDTH)).astype(np.float32)
    dy = np.zeros_like(x)
    dy[:, -1] = rng.standard_normal((32, WIDTH))
    if kind == "recurrent":
        theta, layer = pack(recurrent_init(rng, WIDTH, WIDTH, gain=gain))
        _, cache = recurrent_forward(layer, x)
        dx = recurrent_backward(layer, view(layer, np.zeros_like(theta)), dy, cache)
    else:
        config = attention_config(distance)
        theta, p = gpt_init(seed, config)
        _, cached = decoder_forward(p.decoder, x, config=config)
        dx, _ = decoder_backward(p.decoder, view(p, np.zeros_like(theta)).decoder, dy, cached)
    return float(np.linalg.norm(dx[:, 0]) / np.linalg.norm(dx[:, -1]))


def distances(seeds: list[int]) -> None:
    """Print both tables."""
    print("share of the gradient that arrives at the first input, mean of the seeds")
    kinds = [("recurrent", g) for g in (0.5, 1.0, 2.0)] + [("attention", 1.0)]
    print(f"{'':22}" + "".join(f"{n:>10}" for n in DISTANCES))
    for kind, gain in kinds:
        shares = [np.mean([gradient_share(kind, n, s, gain) for s in seeds]) for n in DISTANCES]
        name = f"{kind}, gain {gain}" if kind == "recurrent" else kind
        print(f"{name:22}" + "".join(f"{share:10.1e}" for share in shares))
    print(f"\nrecall of the first symbol, each seed; a guess has {1 / SYMBOLS:.3f}")
    for kind in ("recurrent", "attention"):
        for n in DISTANCES:
            scores = [recall(kind, n, seed) for seed in seeds]
            each = ", ".join(f"{score:.3f}" for score in scores)
            print(f"{kind:10} {n:3}   {np.mean(scores):.3f}   ({each})", flush=True)


def _identity(p: Any, x: Array) -> tuple[Array, Any]:
    return x, ()


def _identity_backward(p: Any, dp: Any, dy: Array, cache: Any) -> Array:
    return dy


@contextmanager
def no_layer_norm() -> Iterator[None]:
    """Every layer norm is the identity."""
    identity = NORMS["layer"]._replace(forward=_identity, backward=_identity_backward)
    with patch.dict(NORMS, {"layer": identity}):
        yield


def norm_run(norm: str, lr: float, seed: int, steps: int = 200) -> list[float]:
    """Losses of a training with norm "pre", "post" or "none"; ends where it is no longer finite."""
    prose = load_corpus("pydoc").train[:300_000].lower()
    tokenizer = CharTokenizer.train(prose)
    windows = RandomWindows(tokenizer.encode(prose), batch_size=8, length=32, seed=seed)
    config = GPTConfig(vocab_size=tokenizer.vocab_size, context=32, n_layers=4, d_model=64,
                       d_ff=256, positions="alibi", tied=False)  # fmt: skip
    config = replace(config, norm="post" if norm == "post" else "pre")
    theta, p = gpt_init(seed, config)
    adam, gradient, losses = Optimizer("adam", theta, decay=None), np.zeros_like(theta), []
    with no_layer_norm() if norm == "none" else nullcontext(), np.errstate(all="ignore"):
        for step in range(steps):
            gradient[:] = 0
            loss, cache = causal_lm_forward(p, *windows.batch(step), config=config)
            losses.append(float(loss))
            if not np.isfinite(loss):
                break
            causal_lm_backward(p, view(p, gradient), np.ones((), np.float32), cache)
            adam.update(gradient, lr, clip_factor(global_norm(gradient), 1.0))
    return losses


def layer_norms(seeds: list[int]) -> None:
    """Print the mean loss of the last 25 steps for each norm and learning rate."""
    print("mean loss of steps 176 to 200, nats per character, of each seed")
    for lr in (1e-3, 3e-3, 1e-2):
        for norm in ("pre", "post", "none"):
            runs = [norm_run(norm, lr, seed) for seed in seeds]
            ends = [float(np.mean(losses[-25:])) for losses in runs]
            each = ", ".join(f"{end:.3f}" for end in ends)
            print(f"rate {lr:g}  {norm:5} {np.mean(ends):.3f}   ({each})", flush=True)


def first_losses(config: TrainConfig, steps: int = 40) -> list[float]:
    """The training losses of the first steps of a run, which is not kept."""
    task = load_task(config, None)
    state = TrainingState(task, *task.init(config.seed))
    with state.parallel() as model:
        return [step.loss for step in state.steps(model, range(steps))]


def optimisers(corpus: str) -> None:
    """Print the mean loss of steps 31 to 40 with the preset's optimiser and with SGD."""
    ours, sgd = replace(preset("textbook"), corpus=corpus), preset("pytorch-wikitext2")
    theirs = replace(ours, optimizer="sgd", lr=sgd.lr, clip=sgd.clip, warmup=0)
    for name, config in {"preset textbook": ours, "SGD of PyTorch's example": theirs}.items():
        print(f"{name:25} {np.mean(first_losses(config)[30:]):.3f} nats per word", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claim", choices=("distance", "layer-norm", "optimiser"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--corpus", default="wikitext2", help="of optimiser")
    arguments = parser.parse_args()
    if arguments.claim == "optimiser":
        return optimisers(arguments.corpus)
    {"distance": distances, "layer-norm": layer_norms}[arguments.claim](arguments.seeds)


if __name__ == "__main__":
    main()
