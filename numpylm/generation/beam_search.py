"""Decoding for the encoder-decoder: the target that the model finds most probable.

    greedy         take the most probable next token, again and again
    beam search    keep the K best prefixes, extend each by every token, keep the K best again

A hypothesis y of n tokens (its end counted) has the score

    s(y) = log P(y | source) / ((5 + n) / 6)^α

Without the division (α = 0) short targets win, as every further token costs probability.
Source: Wu et al. 2016, arXiv:1609.08144, §7, Eq. 14 (without the coverage term).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numpylm.generation.kv_cache import CachedDecoder
from numpylm.models.seq2seq import Seq2Seq, Seq2SeqConfig, encode_forward
from numpylm.parameters import Array


@dataclass(frozen=True)
class Hypothesis:
    """Target ids without the start and the end token, their score s(y), and whether they ended."""

    ids: tuple[int, ...]
    score: float
    ended: bool


def greedy_search(
    p: Seq2Seq,
    source: Array,
    *,
    config: Seq2SeqConfig,
    start: int,
    end: int,
    max_tokens: int,
    alpha: float = 0.6,
    source_mask: Array | None = None,
) -> list[Hypothesis]:
    """One hypothesis for each source (B, S), of at most ``max_tokens`` tokens with its end."""
    _check(config, 1, max_tokens)
    memory, _ = encode_forward(p, source, config=config, source_mask=source_mask)
    read = CachedDecoder(p, memory, config, source_mask)
    return _greedy(read, len(source), start, end, max_tokens, alpha)


def beam_search(
    p: Seq2Seq,
    source: Array,
    *,
    config: Seq2SeqConfig,
    start: int,
    end: int,
    max_tokens: int,
    beam: int = 5,
    alpha: float = 0.6,
    source_mask: Array | None = None,
) -> list[Hypothesis]:
    """The best hypothesis found for each source (B, S); never worse than the greedy one.

    All B · K prefixes go through the decoder as one batch, one token at a time. At each step every
    prefix may end, which makes a finished hypothesis; the K best ways to go on stay. A source is
    done when none of its prefixes can still beat its best hypothesis. Raises ``ValueError``
    for a beam or max_tokens below 1 or a max_tokens beyond the model's context.
    """
    _check(config, beam, max_tokens)
    batch = len(source)
    memory, _ = encode_forward(p, source, config=config, source_mask=source_mask)
    best = _greedy(
        CachedDecoder(p, memory, config, source_mask), batch, start, end, max_tokens, alpha
    )
    masks = None if source_mask is None else source_mask.repeat(beam, axis=0)
    read = CachedDecoder(p, memory.repeat(beam, axis=0), config, masks)
    targets = np.full((batch, beam, 1), start, np.int64)
    totals = np.full((batch, beam), -np.inf)
    totals[:, 0] = 0.0  # one prefix, the start token; the other places are empty
    for length in range(1, max_tokens + 1):
        newest = targets.reshape(batch * beam, -1)[:, -1:]
        log_p = _log_probabilities(read(newest))
        extended = totals[:, :, None] + log_p.reshape(batch, beam, -1)
        last = length == max_tokens
        for b in range(batch):
            finished = extended[b].max(axis=1) if last else extended[b, :, end]
            k = int(finished.argmax())
            token = int(extended[b, k].argmax()) if last else end
            candidate = _hypothesis(np.append(targets[b, k], token), finished[k], end, alpha)
            best[b] = max(best[b], candidate, key=lambda h: h.score)
        extended[:, :, end] = -np.inf
        order = np.argsort(-extended.reshape(batch, -1), axis=1, kind="stable")[:, :beam]
        parents, tokens = np.divmod(order, extended.shape[2])
        totals = np.take_along_axis(extended.reshape(batch, -1), order, axis=1)
        parent_targets = np.take_along_axis(targets, parents[:, :, None], axis=1)
        targets = np.concatenate([parent_targets, tokens[:, :, None]], axis=2)
        rows = (beam * np.arange(batch)[:, None] + parents).ravel()
        read.select(rows)  # a prefix takes with it what was seen of it
        # log P only falls, so a prefix ends at best with its total over the largest divisor.
        divisor = max(_divisor(length + 1, alpha), _divisor(max_tokens, alpha))
        if all(h.score >= t / divisor for h, t in zip(best, totals[:, 0], strict=True)):
            break
    return best


def _log_probabilities(logits: Array) -> Array:
    """log softmax, float64."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _greedy(
    read: CachedDecoder, batch: int, start: int, end: int, max_tokens: int, alpha: float
) -> list[Hypothesis]:
    target = np.full((batch, 1), start, np.int64)
    total, ended = np.zeros(batch), np.zeros(batch, bool)
    for n in range(max_tokens):
        log_p = _log_probabilities(read(target[:, n:]))
        token = np.where(ended, end, log_p.argmax(axis=-1))
        total += np.where(ended, 0.0, np.take_along_axis(log_p, token[:, None], axis=1)[:, 0])
        ended |= token == end
        target = np.concatenate([target, token[:, None]], axis=1)
        if ended.all():
            break
    return [_hypothesis(*row, end, alpha) for row in zip(target, total, strict=True)]


def _hypothesis(target: Array, total: float, end: int, alpha: float) -> Hypothesis:
    """From a row that begins with the start token; everything after an end is left out."""
    ids = [int(i) for i in target[1:]]
    ended = end in ids
    length = ids.index(end) + 1 if ended else len(ids)
    kept = tuple(ids[: length - ended])
    return Hypothesis(kept, float(total) / _divisor(length, alpha), ended)


def _divisor(length: int, alpha: float) -> float:
    return ((5 + length) / 6) ** alpha


def _check(config: Seq2SeqConfig, beam: int, max_tokens: int) -> None:
    if beam < 1 or not 1 <= max_tokens <= config.context:
        raise ValueError(
            f"beam {beam} and max_tokens {max_tokens} must be at least 1, max_tokens at most the "
            f"context {config.context}"
        )
