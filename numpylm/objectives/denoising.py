"""§2.1 Self-supervision by denoising: an encoder-decoder restores what was masked or deleted.

    span corruption    Thank you <0> me to your party <1> week     -> <0> for inviting <1> last <2>
    token deletion     Thank you me to party last                  -> the whole text

Spans are replaced by sentinels and the target spells out each of them: short targets, and the model
is told where something is missing. Deletion leaves no trace: it must also find out where.

    loss = −(1 / n) Σ_t log P(y_t | y_{<t}, corrupted source)       nats per target token

Source: Raffel et al. 2020 (T5), arXiv:1910.10683, §3.1.4, §3.3.4 (spans); Lewis et al. 2020 (BART),
arXiv:1910.13461, §2.2 (deletion).
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
from numpylm.models.seq2seq import (
    Seq2Seq,
    Seq2SeqCache,
    Seq2SeqConfig,
    seq2seq_backward,
    seq2seq_forward,
)
from numpylm.parameters import Array


class DenoisingCache(NamedTuple):
    model: Seq2SeqCache
    loss: CrossEntropyCache


def corrupt_spans(
    ids: Array,
    rng: np.random.Generator,
    *,
    sentinels: Array,
    rate: float = 0.15,
    mean_length: float = 3.0,
) -> tuple[Array, Array]:
    """(source, target) of a text (n,): ``rate`` of its tokens leave, in spans of mean_length.

    sentinels: ids that occur in no text, one more than there are spans; they mark the spans in
    the source, and in the target what each held. The last one ends the target. Raises
    ``ValueError`` for fewer than 2 tokens, a rate outside (0, 1), a mean length below 1, or too
    few sentinels.
    """
    _require(ids, rate)
    if mean_length < 1.0:
        raise ValueError(f"mean_length {mean_length} is below 1")
    n = len(ids)
    n_noise = min(max(round(n * rate), 1), n - 1)
    n_spans = max(min(round(n_noise / mean_length), n_noise, n - n_noise), 1)
    if len(sentinels) < n_spans + 1:
        raise ValueError(
            f"{n_spans} spans need {n_spans + 1} sentinels, there are {len(sentinels)}"
        )
    noise = _random_parts(n_noise, n_spans, rng)
    kept = _random_parts(n - n_noise + 2, n_spans + 1, rng)
    kept[[0, -1]] -= 1  # the text may begin or end with a span; between two spans something stays
    source, target, start = [], [], 0
    for i in range(n_spans):
        middle, end = start + kept[i], start + kept[i] + noise[i]
        source += [ids[start:middle], sentinels[i : i + 1]]
        target += [sentinels[i : i + 1], ids[middle:end]]
        start = end
    source.append(ids[start:])
    target.append(sentinels[n_spans : n_spans + 1])
    return np.concatenate(source), np.concatenate(target)


def delete_tokens(
    ids: Array, rng: np.random.Generator, *, rate: float = 0.15
) -> tuple[Array, Array]:
    """(source, target) of one text (n,): each token is deleted with probability ``rate``.

    At least one is deleted and at least one stays. The target is the text. Raises ``ValueError``
    for fewer than 2 tokens or a rate outside (0, 1).
    """
    _require(ids, rate)
    draw = rng.random(len(ids))
    keep = draw >= rate
    keep[draw.argmin()] = False
    keep[draw.argmax()] = True
    return ids[keep], ids


def denoising_forward(
    p: Seq2Seq,
    source: Array,
    target_in: Array,
    target_out: Array,
    *,
    config: Seq2SeqConfig,
    ignore_index: int = IGNORE,
    normalizer: float | None = None,
    label_smoothing: float = 0.0,
    source_mask: Array | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[Array, DenoisingCache]:
    """The loss (a scalar, nats per target token).

    source (B, S); target_in (B, T) starts with the start token, target_out (B, T) is the same
    shifted by one, ``ignore_index`` at padding. The same loss trains translation.
    """
    logits, c_model = seq2seq_forward(
        p, source, target_in, config=config, source_mask=source_mask, rng=rng
    )
    loss, c_loss = cross_entropy_forward(
        logits, target_out, ignore_index=ignore_index, normalizer=normalizer,
        label_smoothing=label_smoothing,
    )  # fmt: skip
    return loss, DenoisingCache(c_model, c_loss)


def denoising_backward(p: Seq2Seq, dp: Seq2Seq, dloss: Array, cache: DenoisingCache) -> None:
    """Adds dloss · ∂loss/∂θ into dp."""
    seq2seq_backward(p, dp, cross_entropy_backward(dloss, cache.loss), cache.model)


def _random_parts(total: int, parts: int, rng: np.random.Generator) -> Array:
    """``parts`` positive whole numbers that sum to total, every such list equally likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)


def _require(ids: Array, rate: float) -> None:
    if len(ids) < 2:
        raise ValueError(f"{len(ids)} tokens are too few: one has to leave and one to stay")
    if not 0.0 < rate < 1.0:
        raise ValueError(f"rate {rate} is not in (0, 1)")
