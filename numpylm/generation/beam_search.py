"""Decoding for the encoder-decoder: the target that the model finds most probable.

    greedy         take the most probable next token, again and again
    beam search    keep the K best beginnings, extend each by every token, keep the K best again

A hypothesis y of n tokens (its end counted) has the score

    s(y) = log P(y | source) / ((5 + n) / 6)^α

Without the division (α = 0) short targets win, as every further token costs probability.
Source: Wu et al. 2016, arXiv:1609.08144, §7, Eq. 14 (without the coverage term).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numpylm.fast.generation.folded_weights import FoldedDecoder, fold_decoder
from numpylm.fast.generation.kv_cache import KeyValues, empty_past, memory_past, next_logits
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
    reader = _read(p, source, config, source_mask)
    return _greedy(reader, start, end, max_tokens, alpha)


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

    All B · K beginnings go through the decoder as one batch, one token at a time. At
    each step every beginning may end, which makes a finished hypothesis; the K best ways to go on
    stay. A source is done when no beginning of its can still beat its best. Raises ``ValueError``
    for a beam or max_tokens below 1 or a max_tokens beyond the model's context.
    """
    _check(config, beam, max_tokens)
    reader, batch = _read(p, source, config, source_mask), len(source)
    best = _greedy(reader, start, end, max_tokens, alpha)
    past = reader.empty_past(beam)
    targets = np.full((batch, beam, 1), start, np.int64)
    totals = np.full((batch, beam), -np.inf)
    totals[:, 0] = 0.0  # one beginning, the start token; the other places are empty
    for length in range(1, max_tokens + 1):
        newest = targets.reshape(batch * beam, -1)[:, -1:]
        log_p = reader.next_log_probabilities(newest, past, length - 1)
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
        past[..., :length, :] = past[:, :, rows, :, :length]  # a beginning's past goes with it
        # log P only falls, so a beginning ends at best with its total over the largest divisor.
        divisor = max(_divisor(length + 1, alpha), _divisor(max_tokens, alpha))
        if all(h.score >= t / divisor for h, t in zip(best, totals[:, 0], strict=True)):
            break
    return best


@dataclass(frozen=True)
class _Reader:
    """A decoder beside the sources that it translates, read once."""

    decoder: FoldedDecoder
    memory: list[KeyValues]
    mask: Array | None

    @property
    def batch(self) -> int:
        return len(self.memory[0][0])

    def empty_past(self, beam: int = 1) -> Array:
        return empty_past(self.decoder, self.batch * beam)

    def next_log_probabilities(self, ids: Array, past: Array, n: int) -> Array:
        """log P of the token after ids (B·K, 1) at position n: (B·K, V), float64."""
        logits = next_logits(self.decoder, ids, past, n, self.memory, self.mask)
        logits = logits.astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def _read(p: Seq2Seq, source: Array, config: Seq2SeqConfig, mask: Array | None) -> _Reader:
    memory, _ = encode_forward(p, source, config=config, source_mask=mask)
    decoder = fold_decoder(p, config)
    return _Reader(decoder, memory_past(decoder, memory), mask)


def _greedy(
    reader: _Reader, start: int, end: int, max_tokens: int, alpha: float
) -> list[Hypothesis]:
    past, target = reader.empty_past(), np.full((reader.batch, 1), start, np.int64)
    total, ended = np.zeros(reader.batch), np.zeros(reader.batch, bool)
    for n in range(max_tokens):
        log_p = reader.next_log_probabilities(target[:, n:], past, n)
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
