"""§5.4 Generation: draw the next token from the model's distribution, append it, repeat.

    temperature τ    P ∝ exp(logits / τ): below 1 sharper, above 1 flatter, 0 greedy (the largest)
    top-k            keep the k most probable tokens
    top-p            keep the fewest tokens whose probabilities reach p (nucleus sampling)

The filters act in this order, and the rest is renormalised.
Source: Fan, Lewis & Dauphin 2018 (top-k); Holtzman et al. 2020, arXiv:1904.09751 (top-p).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from numpylm.parameters import Array

ROUNDING = 1e-12  # sums of probabilities are only so exact: 0.6 + 0.3 reaches 0.9
COLD = 1e-250  # a temperature as good as 0, but logits over it are still finite


def next_token_distribution(
    logits: Array, *, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0
) -> Array:
    """Probabilities (V,), float64, to draw the next token from; logits (V,).

    Ties at the edge of top-k or top-p are kept in the order of their ids. Raises ``ValueError``
    for a negative temperature, top_k below 1 or top_p outside (0, 1].
    """
    check_sampling(temperature, top_k, top_p)
    logits = logits.astype(np.float64)
    if temperature == 0.0:
        p = np.zeros_like(logits)
        p[logits.argmax()] = 1.0
        return p
    if top_k is not None:
        kept, whole = _largest(logits, top_k), logits
        logits = np.full_like(whole, -np.inf)
        logits[kept] = whole[kept]
    p = logits - logits.item(logits.argmax())
    p /= max(temperature, COLD)
    np.exp(p, out=p)
    p /= np.add.reduce(p)  # of which one term is exp(0)
    if top_p < 1.0:
        possible = np.flatnonzero(p)
        order = possible[np.argsort(-logits[possible], kind="stable")]  # most probable first
        before = np.cumsum(p[order]) - p[order]  # the probability of all that rank higher
        before[0] = -1.0  # the first is kept, however small top_p is
        p[order[before >= top_p - ROUNDING]] = 0.0
        p /= p.sum()
    return p


def _largest(logits: Array, k: int) -> Array:
    """Where the k largest are; of those that equal the last of them, the first."""
    if k >= len(logits):
        return np.arange(len(logits))
    edge = np.partition(logits, -k)[-k]  # in time O(V): no sorting of the whole vocabulary
    above = np.flatnonzero(logits > edge)
    return np.concatenate([above, np.flatnonzero(logits == edge)[: k - len(above)]])


def draw(p: Array, rng: np.random.Generator) -> int:
    """An id from the distribution p (V,): the first at which Σ p exceeds a uniform number.

    It is what ``rng.choice(len(p), p=p)`` draws, without its checks.
    """
    cumulative = np.add.accumulate(p)
    return int(cumulative.searchsorted(rng.random() * cumulative.item(-1), side="right"))


def generate(
    read: Callable[[list[int]], Array],
    ids: Array,
    n_tokens: int,
    *,
    rng: np.random.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
) -> Iterator[int]:
    """Yield ``n_tokens`` new ids that continue ids (n,), n ≥ 1.

    ``read(text)`` gives the logits (V,) of the token after a text, as ``CachedGPT`` does. The model
    sees the last ``context`` tokens. Up to there each is read once (``kv_cache.py``); from there on
    the window slides, every token in it changes its position, and so all of it is read again for
    each new one. One ``rng`` state gives one text. Raises ``ValueError`` for an empty prompt or
    settings that ``next_token_distribution`` refuses.
    """
    check_sampling(temperature, top_k, top_p)
    if len(ids) == 0 or n_tokens < 0:
        raise ValueError(f"{n_tokens} tokens cannot continue a prompt of {len(ids)}")
    seen = [int(i) for i in ids]
    for _ in range(n_tokens):
        distribution = next_token_distribution(
            read(seen), temperature=temperature, top_k=top_k, top_p=top_p
        )
        seen.append(draw(distribution, rng))
        yield seen[-1]


def check_sampling(temperature: float, top_k: int | None, top_p: float) -> None:
    """Raise ``ValueError`` for settings that make no distribution."""
    if not 0.0 <= temperature < np.inf:
        raise ValueError(f"temperature is {temperature}; it must be 0 (greedy) or positive")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; it must be at least 1")
    if not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p is {top_p}; it must be in (0, 1]")
