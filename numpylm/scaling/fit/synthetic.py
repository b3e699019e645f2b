"""Two controls, before any training: runs from a known law, and text of known entropy.

    coverage      draw runs from a law with noise, fit them, look whether the 95 % interval holds
                  the true constant; repeat. It should in 95 of 100 cases
    ZipfMarkov    a language in which the next of V tokens depends on the last ``order``: every
                  history has its own ranking of the tokens, and rank r has probability ∝ 1/r^s

What E is: no model can predict a text better than the process that made it. The loss of the best
one, the entropy rate h = −Σ π(history) Σ P(w | history) ln P(w | history) nats per token, is the
floor E of a scaling law, and here it is known. A model that sees fewer than ``order`` tokens has a
higher floor of its own, however large it is. Source: Shannon 1951, Bell Syst. Tech. J. 30:50.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.fitting import NotConverged, fit, predict
from numpylm.scaling.fit.intervals import bootstrap
from numpylm.scaling.laws.forms import FORMS


def synthetic_losses(
    form: str, constants: dict[str, float], x: Array, noise: float, rng: np.random.Generator
) -> Array:
    """Losses (n,) of a law at inputs x (n, K), times exp(noise · standard normal)."""
    law, centre = FORMS[form], np.zeros(x.shape[1])
    exact = predict(law, law.theta(constants, centre)[None], centre, x)[0]
    return exact * np.exp(noise * rng.standard_normal(len(x)))


def coverage(
    form: str,
    constants: dict[str, float],
    x: Array,
    *,
    target: Array | None = None,
    loss: str = "huber",
    noise: float = 0.003,
    simulations: int = 100,
    samples: int = 200,
    seed: int = 0,
) -> dict[str, float]:
    """How often the bootstrap's 95 % intervals hold what they should, in simulated sets.

    x (n, K) inputs of the planned runs; noise 0.003 is what seeds make of the loss of a small
    model. Of each constant: the share of sets whose interval holds the true one; with a ``target``
    (K,) also "law", the true loss there, and "new run", that loss with its own noise. ``failed`` is
    the share of sets that could not be fitted.
    """
    law, rng, runs = FORMS[form], np.random.default_rng(seed), np.arange(len(x))
    held = dict.fromkeys((*constants, *(() if target is None else ("law", "new run"))), 0)
    failed = 0
    for number in range(simulations):
        y = synthetic_losses(form, constants, x, noise, rng)
        try:
            boot = bootstrap(fit(law, x, y, loss=loss), runs, samples, seed=number)
        except NotConverged:
            failed += 1
            continue
        true, intervals = dict(constants), boot.intervals()
        if target is not None:
            there, (row,) = target[None], boot.at(target[None], number)
            true["law"] = synthetic_losses(form, constants, there, 0.0, rng)[0]
            true["new run"] = synthetic_losses(form, constants, there, noise, rng)[0]
            intervals |= {"law": row["interval"], "new run": row["new_run"]}
        for name, (low, high) in intervals.items():
            held[name] += low <= true[name] <= high
    done = max(simulations - failed, 1)
    return {name: count / done for name, count in held.items()} | {"failed": failed / simulations}


@dataclass(frozen=True)
class ZipfMarkov:
    """The language; ``transitions`` (V^order, V) are P(w | history), the oldest token first.

    Raises ``ValueError`` for sizes that make no language.
    """

    vocab_size: int
    order: int = 2
    exponent: float = 1.2  # s
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 < self.vocab_size and 1 <= self.order and self.vocab_size**self.order <= 10**6):
            raise ValueError(f"{self.vocab_size} tokens and histories of {self.order} make no "
                             "table of 2 to 10⁶ rows")  # fmt: skip
        if not 0.0 <= self.exponent < 100.0:
            raise ValueError(f"exponent {self.exponent} must be at least 0 and below 100")

    @property
    def transitions(self) -> Array:
        """(V^order, V): in each row the Zipf probabilities in an order of its own."""
        rng = np.random.default_rng(self.seed)
        zipf = np.arange(1, self.vocab_size + 1) ** -self.exponent
        rows = np.tile(zipf / zipf.sum(), (self.vocab_size**self.order, 1))
        return rng.permuted(rows, axis=1)

    def stationary(self) -> Array:
        """How often each history occurs in the long run, (V^order,).

        π ← Pᵀ π until it stays: every transition has a positive probability.
        """
        p, v = self.transitions, self.vocab_size
        pi = np.full(len(p), 1.0 / len(p))
        for _ in range(10_000):
            joint = pi[:, None] * p  # (history, next); the new history drops the oldest token
            new = joint.reshape(v, -1, v).sum(axis=0).ravel()
            if np.abs(new - pi).max() < 1e-15:
                break
            pi = new
        return new

    def floor(self, history: int | None = None) -> float:
        """The lowest loss of a model that sees ``history`` tokens, nats; by default the entropy
        rate h. Raises ``ValueError`` unless 0 ≤ history ≤ order."""
        history = self.order if history is None else history
        if not 0 <= history <= self.order:
            raise ValueError(f"history {history} is not between 0 and order {self.order}")
        joint = self.stationary()[:, None] * self.transitions
        seen = joint.reshape(-1, self.vocab_size**history, self.vocab_size).sum(axis=0)
        given = seen / seen.sum(axis=1, keepdims=True)
        return float(-(seen * np.log(given)).sum())

    def cross_entropy(self, q: Array) -> float:
        """The exact loss in nats of a model that says q (V^order, V): no test text is needed."""
        return float(-(self.stationary()[:, None] * self.transitions * np.log(q)).sum())

    def sample(self, length: int, seed: int = 0) -> Array:
        """A text of token ids, (length,)."""
        rng = np.random.default_rng([self.seed, seed])
        v, limit = self.vocab_size, self.vocab_size**self.order
        cumulative = self.transitions.cumsum(axis=1)
        history = int(rng.integers(limit))
        ids = np.empty(length, np.int64)
        for i, u in enumerate(rng.random(length)):
            ids[i] = w = min(int(np.searchsorted(cumulative[history], u)), v - 1)
            history = (history * v + w) % limit
        return ids
