"""§A The audit: every public forward/backward pair with example inputs, checked one by one.

A row of ``PAIRS`` is one pair in one setting; the first word of its name is the function's name
without ``_backward``. A new layer or model adds a row here; a test fails if a public
``*_backward`` has none. The examples close what lets wrong gradients pass elsewhere: sizes differ
pairwise, parameters are of size 0.3 to 1 and γ is not 1, ids repeat and leave out words of the
vocabulary, targets are ignored, dropout is on with a frozen mask, and whole models have two
layers, two heads and tied weights.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from numpylm import layers, models, objectives
from numpylm.gradcheck import GradientError, gradient_errors
from numpylm.layers import (
    activations,
    attention,
    cross_entropy,
    dropout,
    embedding,
    feed_forward,
    layer_norm,
    linear,
    multi_head,
    positional,
    residual,
    softmax,
)
from numpylm.models import decoder, gpt
from numpylm.objectives import causal
from numpylm.parameters import Array, pack

Example = tuple[Any, tuple[Array, ...], dict[str, Any]]

B, T, S, D, F, V = 3, 5, 7, 8, 10, 11  # batch, queries, keys, d_model, d_ff, vocabulary
HEADS, CONTEXT = 2, 6  # d_head is 4: no two sizes are equal


@dataclass(frozen=True)
class Pair:
    """A forward/backward pair in one setting.

    ``example(rng)`` returns (p, inputs, settings) as ``check_gradients`` takes them, in float64.
    """

    name: str
    section: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    example: Callable[[np.random.Generator], Example]

    def errors(self, seed: int = 0, **options: Any) -> list[GradientError]:
        """What ``gradient_errors`` finds on the example; ``options`` such as mode go to it."""
        p, inputs, settings = self.example(np.random.default_rng(seed))
        # Whole models are strongly curved, hence the small ε; another seed, as dy drawn from
        # the same numbers as the example would not be independent of it.
        options = {"seed": seed + 1, "eps": 3e-6, **options}
        return gradient_errors(self.forward, self.backward, p, *inputs, **options, **settings)


@dataclass(frozen=True)
class AuditRow:
    """The verdict on one pair: its worst array, and arrays whose gradient is exactly zero."""

    name: str
    section: str
    n_arrays: int
    n_parameters: int  # their entries; a differentiable input counts as a parameter
    worst_error: float
    worst_array: str
    vanishing: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.section:<5} {self.name:<42} {self.n_arrays:>3} arrays {self.n_parameters:>5} "
            f"parameters   worst {self.worst_error:.1e} {self.worst_array}"
        )


def run_audit(seed: int = 0) -> Iterator[AuditRow]:
    """Check every pair and yield a row for each; the caller decides what error is too large.

    Raises ``WrongGradient`` where no comparison is possible, as a gradient of the wrong shape.
    """
    for pair in PAIRS:
        start = time.perf_counter()
        errors = pair.errors(seed)
        worst = max(errors, key=lambda e: np.nan_to_num(e.relative_error, nan=np.inf))
        yield AuditRow(
            pair.name,
            pair.section,
            len(errors),
            sum(int(np.prod(e.shape)) for e in errors),
            worst.relative_error,
            worst.name,
            tuple(e.name for e in errors if e.vanishes),
            time.perf_counter() - start,
        )


def public_backwards() -> dict[str, Callable[..., Any]]:
    """Every public ``*_backward`` of the layers, models and objectives, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for package in (layers, models, objectives):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            for name, function in inspect.getmembers(module, inspect.isfunction):
                defined_here = function.__module__ == module.__name__
                if defined_here and name.endswith("_backward") and not name.startswith("_"):
                    if name in found:
                        raise ValueError(f"{name} is defined twice: the audit could not tell which")
                    found[name] = function
    return found


def _row(name: str, module: Any, tree: Any, *inputs: Any, **settings: Any) -> Pair:
    """The pair that a module has under the first word of the name, with its section.

    tree: ``rng -> parameters``, which are then jittered, or None for a pair without parameters.
    inputs: shapes to fill with normal numbers, or ``rng -> array``.
    """

    def example(rng: np.random.Generator) -> Example:
        p = None
        if tree is not None:
            theta, p = pack(tree(rng), np.float64)
            theta += 0.5 * rng.standard_normal(theta.shape)
        filled = [x(rng) if callable(x) else rng.standard_normal(x) for x in inputs]
        return p, tuple(filled), settings

    function = name.split()[0]
    forward, backward = (getattr(module, f"{function}_{way}") for way in ("forward", "backward"))
    return Pair(name, module.__doc__.split()[0], forward, backward, example)


def _ids(rng: np.random.Generator) -> Array:
    return rng.integers(0, V - 3, (B, T))  # 15 ids of 8 words: some repeat, three are absent


def _targets(rng: np.random.Generator) -> Array:
    targets = rng.integers(0, V, (B, T))
    targets[0, -2:] = targets[2, 0] = cross_entropy.IGNORE
    return targets


def _padding(length: int) -> Array:
    """(B, length), False at the end of sequences that are shorter than the first."""
    return np.arange(length) < length - np.arange(B)[:, None]


def _pairs(blind: bool = False) -> Array:
    """(B, T, S), a random pattern; ``blind`` hides every key from one query."""
    mask = np.random.default_rng(3).random((B, T, S)) < 0.6
    mask[..., 0] = True
    mask[1, 2] = not blind
    return mask


def _dropout(name: str = "dropout") -> dict[str, Any]:
    return {name: 0.3, "rng": np.random.default_rng(2)}


def _residual_row(norm: str) -> Pair:
    """A residual connection around a sublayer that has no parameters of its own."""
    pair = _row(f"residual {norm}-norm", residual, _norm, X, norm=norm, **_dropout(),
                sublayer=activations.gelu_forward)  # fmt: skip
    backward = partial(pair.backward, sublayer_backward=activations.gelu_backward)
    return replace(pair, backward=backward)


def _stack_row(name: str, module: Any, part: Callable, *inputs: Any, **choices: Any) -> Pair:
    """A row for a whole model, or for the part of it that ``part(model)`` picks."""
    sizes = {"vocab_size": V, "context": CONTEXT, "n_heads": HEADS, "d_model": D, "d_ff": F}
    config = gpt.GPTConfig(**{"n_layers": 2, "dropout": 0.2, **sizes, **choices})
    settings = {"config": config, "mask": _padding(T), "rng": np.random.default_rng(2)}
    return _row(name, module, lambda rng: part(gpt.gpt_init(1, config)[1]), *inputs, **settings)


def _norm(rng: np.random.Generator, *, bias: bool = True) -> Any:
    return layer_norm.layer_norm_init(D, bias=bias)


X, Y, LOGITS = (B, T, D), (B, S, D), (B, T, V)
Q, K, VALUES = (B, T, 4), (B, S, 4), (B, S, 6)
LINEAR = partial(linear.linear_init, d_in=D, d_out=F)
TABLE = partial(embedding.embedding_init, vocab_size=V, d_model=D)
POSITIONS = partial(positional.learned_positions_init, context=CONTEXT, d_model=D)
FEED = partial(feed_forward.feed_forward_init, d_model=D, d_ff=F, std_output=0.1)
ATTEND = partial(multi_head.multi_head_init, d_model=D, std_output=0.1)
OTHER = {"norm": "post", "activation": "relu", "positions": "sinusoidal", "tied": False}
BARE = {"bias": False, "positions": "none"}

# fmt: off
PAIRS: list[Pair] = [
    _row("linear", linear, LINEAR, X),
    _row("linear no bias", linear, partial(LINEAR, bias=False), X),
    _row("embedding", embedding, TABLE, _ids),
    _row("unembedding", embedding, TABLE, X),
    _row("sinusoidal_positions", positional, None, X),
    _row("sinusoidal_positions odd d_model", positional, None, (B, T, 9)),
    _row("learned_positions", positional, POSITIONS, X),
    _row("dropout", dropout, None, X, **_dropout("rate")),
    _row("layer_norm", layer_norm, _norm, X),
    _row("layer_norm no beta", layer_norm, partial(_norm, bias=False), X),
    _row("relu", activations, None, X),
    _row("gelu", activations, None, X),
    _row("feed_forward relu", feed_forward, FEED, X, activation="relu"),
    _row("feed_forward gelu", feed_forward, FEED, X, activation="gelu"),
    _residual_row("pre"),
    _residual_row("post"),
    _row("softmax", softmax, None, (B, T, S)),
    _row("attention", attention, None, Q, K, VALUES),
    _row("attention causal", attention, None, Q, K, VALUES, causal=True),
    _row("attention padding", attention, None, Q, K, VALUES, mask=_padding(S)[:, None]),
    _row("attention causal + mask + dropout", attention, None, Q, K, VALUES,
         causal=True, mask=_pairs(), **_dropout()),
    _row("attention blind query", attention, None, Q, K, VALUES, mask=_pairs(blind=True)),
    _row("multi_head causal + padding + dropout", multi_head, ATTEND, X,
         n_heads=HEADS, causal=True, mask=_padding(T), **_dropout()),
    _row("multi_head cross + mask", multi_head, ATTEND, X, Y, n_heads=HEADS, mask=_pairs()),
    _row("cross_entropy ignored targets", cross_entropy, None, LOGITS, _targets),
    _row("cross_entropy normalizer", cross_entropy, None, LOGITS, _targets, normalizer=40.0),
    _stack_row("decoder_layer pre-norm", decoder, lambda m: m.decoder.layers[0], X),
    _stack_row("decoder_layer post-norm", decoder, lambda m: m.decoder.layers[0], X, **OTHER),
    _stack_row("decoder pre-norm", decoder, lambda m: m.decoder, X),
    _stack_row("decoder post-norm", decoder, lambda m: m.decoder, X, **OTHER),
    _stack_row("gpt pre-norm, learned, tied", gpt, lambda m: m, _ids),
    _stack_row("gpt post-norm, sinusoidal, untied", gpt, lambda m: m, _ids, **OTHER),
    _stack_row("causal_lm pre-norm, learned, tied", causal, lambda m: m, _ids, _targets),
    _stack_row("causal_lm post-norm, sinusoidal, untied", causal,
               lambda m: m, _ids, _targets, **OTHER),
    _stack_row("causal_lm no bias, no positions", causal, lambda m: m, _ids, _targets, **BARE),
]
# fmt: on
