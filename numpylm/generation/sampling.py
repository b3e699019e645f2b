"""§5.4 Generation: draw the next token from the model's distribution, append it, repeat.

    temperature τ    P ∝ exp(logits / τ): below 1 sharper, above 1 flatter, 0 greedy (the largest)
    top-k            keep the k most probable tokens
    top-p            keep the fewest tokens whose probabilities reach p (nucleus sampling)

The filters act in this order, and the rest is renormalised.
Source: Fan, Lewis & Dauphin 2018 (top-k); Holtzman et al. 2020, arXiv:1904.09751 (top-p).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from numpylm.layers.softmax import softmax_forward
from numpylm.models.gpt import GPT, GPTConfig, gpt_forward
from numpylm.parameters import Array


def next_token_distribution(
    logits: Array, *, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0
) -> Array:
    """Probabilities (V,), float64, to draw the next token from; logits (V,).

    Ties at the edge of top-k or top-p are kept in the order of their ids. Raises ``ValueError``
    for a negative temperature, top_k below 1 or top_p outside (0, 1].
    """
    check_sampling(temperature, top_k, top_p)
    logits = logits.astype(np.float64)
    order = np.argsort(-logits, kind="stable")  # most probable first
    if temperature == 0.0:
        return np.eye(len(logits))[order[0]]
    with np.errstate(over="ignore"):  # near temperature 0 all but the largest go to −∞
        p, _ = softmax_forward((logits - logits.max()) / temperature)
    kept = len(p) if top_k is None else min(top_k, len(p))
    p[order[kept:]] = 0.0
    if top_p < 1.0:
        before = np.cumsum(p[order]) - p[order]  # the probability of all that rank higher
        p[order[before >= top_p * p.sum()]] = 0.0
    return p / p.sum()


def generate(
    p: GPT,
    ids: Array,
    n_tokens: int,
    *,
    config: GPTConfig,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Iterator[int]:
    """Yield ``n_tokens`` new ids that continue ids (n,), n ≥ 1.

    The model sees the last ``context`` tokens. One ``rng`` state gives one text. Raises
    ``ValueError`` for an empty prompt or settings that ``next_token_distribution`` refuses.
    """
    check_sampling(temperature, top_k, top_p)
    if len(ids) == 0 or n_tokens < 0:
        raise ValueError(f"{n_tokens} tokens cannot continue a prompt of {len(ids)}")
    seen = [int(i) for i in ids]
    for _ in range(n_tokens):
        window = np.array([seen[-config.context :]], np.int64)
        logits, _ = gpt_forward(p, window, config=config)
        distribution = next_token_distribution(
            logits[0, -1], temperature=temperature, top_k=top_k, top_p=top_p
        )
        seen.append(int(rng.choice(len(distribution), p=distribution)))
        yield seen[-1]


def check_sampling(temperature: float, top_k: int | None, top_p: float) -> None:
    """Raise ``ValueError`` for settings that make no distribution."""
    if not 0.0 <= temperature < np.inf:
        raise ValueError(f"temperature is {temperature}; it must be 0 (greedy) or positive")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1")
    if not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p is {top_p}; it must be in (0, 1]")
