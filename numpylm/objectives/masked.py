"""§2.3 Masked language modelling: hide some tokens, predict them from both sides.

Of all ordinary tokens 15 % are chosen to be predicted; of these

    80 %    become [MASK]
    10 %    become a random token       so that no token can be trusted
    10 %    stay as they are            so that the model works where nothing is masked

    loss = −(1 / n) Σ over chosen t of log P(x_t | corrupted text)         nats per masked token

The corruption is drawn anew each time. Source: Devlin et al. 2019, arXiv:1810.04805, §3.1 (task 1)
and appendix A.1; whole words: the note of May 2019 in its published code.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from numpylm.layers.cross_entropy import (
    IGNORE,
    CrossEntropyCache,
    cross_entropy_backward,
    cross_entropy_forward,
)
from numpylm.models.bert import (
    BERT,
    BERTCache,
    BERTConfig,
    MaskedHeadCache,
    bert_backward,
    bert_forward,
    masked_head_backward,
    masked_head_forward,
)
from numpylm.parameters import Array


class MaskedLossCache(NamedTuple):
    shape: tuple[int, ...]  # of h
    chosen: tuple[Array, ...]  # where something is predicted, as from ``np.nonzero``
    head: MaskedHeadCache
    loss: CrossEntropyCache


class MaskedLMCache(NamedTuple):
    model: BERTCache
    loss: MaskedLossCache


def mask_tokens(
    ids: Array,
    rng: np.random.Generator,
    *,
    mask_id: int,
    ordinary: Array,
    rate: float = 0.15,
    word_starts: Array | None = None,
) -> tuple[Array, Array]:
    """(corrupted ids, targets), both (B, T); targets are ``IGNORE`` where nothing is predicted.

    ordinary: the ids that may be chosen, and that random replacements are drawn from; special
    tokens and padding are not among them. word_starts: booleans (B, T), True at the first token
    of a word; if given, all tokens of a word are chosen together ("whole word masking"). At
    least one token is chosen if there is an ordinary one. Raises ``ValueError`` unless
    0 < rate ≤ 1.
    """
    if not 0.0 < rate <= 1.0:
        raise ValueError(f"rate {rate} is not in (0, 1]")
    may = np.isin(ids, ordinary)
    draw = rng.random(ids.shape)
    if word_starts is not None:  # every token of a word takes the draw of its first
        word = np.maximum(np.cumsum(word_starts, axis=1) - 1, 0)
        first = np.take_along_axis(_positions(word_starts), word, axis=1)
        draw = np.take_along_axis(draw, first, axis=1)
    draw = np.where(may, draw, np.inf)
    chosen = draw < rate
    if may.any() and not chosen.any():
        chosen = draw == draw.min()
    targets = np.where(chosen, ids, IGNORE)
    kind = rng.random(ids.shape)
    replacement = rng.choice(ordinary, ids.shape)
    corrupted = np.where(chosen & (kind < 0.8), mask_id, ids)
    return np.where(chosen & (kind >= 0.9), replacement, corrupted), targets


def masked_lm_forward(
    p: BERT,
    ids: Array,
    targets: Array,
    *,
    config: BERTConfig,
    segments: Array | None = None,
    normalizer: float | None = None,
    mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, MaskedLMCache]:
    """The loss (a scalar, nats per masked token) of corrupted ids (B, T), targets (B, T)."""
    h, c_model = bert_forward(p, ids, segments, config=config, mask=mask, rng=rng)
    loss, c_head = masked_loss_forward(p, h, targets, normalizer=normalizer)
    return loss, MaskedLMCache(c_model, c_head)


def masked_lm_backward(p: BERT, dp: BERT, dloss: Array, cache: MaskedLMCache) -> None:
    """Adds dloss · ∂loss/∂θ into dp."""
    dh = masked_loss_backward(p, dp, dloss, cache.loss)
    bert_backward(p, dp, dh, cache.model)


def masked_loss_forward(
    p: BERT, h: Array, targets: Array, *, normalizer: float | None = None
) -> tuple[Array, MaskedLossCache]:
    """The head and the loss on hidden vectors h (B, T, D).

    Only chosen positions go through the head: 15 % of the largest matrix product.
    """
    chosen = np.nonzero(targets != IGNORE)
    logits, c_head = masked_head_forward(p, h[chosen])
    loss, c_loss = cross_entropy_forward(logits, targets[chosen], normalizer=normalizer)
    return loss, MaskedLossCache(h.shape, chosen, c_head, c_loss)


def masked_loss_backward(p: BERT, dp: BERT, dloss: Array, cache: MaskedLossCache) -> Array:
    """Returns dh, zero where nothing was predicted."""
    dlogits = cross_entropy_backward(dloss, cache.loss)
    dh = np.zeros(cache.shape, dlogits.dtype)
    dh[cache.chosen] = masked_head_backward(p, dp, dlogits, cache.head)
    return dh


def _positions(word_starts: Array) -> Array:
    """(B, T): the place of the first token of word 0, 1, … of each row; 0 beyond the last word."""
    order = np.argsort(~word_starts, axis=1, kind="stable")
    return np.where(np.take_along_axis(word_starts, order, axis=1), order, 0)
