"""The key-value cache: a decoder reads each token once.

Keys and values of a position depend on what stands before it, never on what comes after. So they
are kept, and the forward of one more token, at position n, is one row of the ordinary forward:

    q, k_n, v_n = h W_Q, h W_K, h W_V                   h (B, 1, D): the new token alone
    y = softmax(q [k_0 … k_n]ᵀ / √d_head) [v_0 … v_n]

One token costs O(n) attention instead of O(n²), and the matrix products of one row instead of n.
The keys and values of an encoder's memory do not change at all: they come with the first token.

Here is only the keeping. What is computed is the model's own forward, which takes what its layers
have seen (``past``) and reads the new tokens. Source: Shazeer 2019, arXiv:1911.02150, §2.4.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numpylm.models.decoder import LayerPast, seen_by
from numpylm.models.language_models import LANGUAGE_MODELS
from numpylm.models.seq2seq import Seq2Seq, Seq2SeqConfig, decode_forward
from numpylm.parameters import Array


class CachedGPT:
    """``read(text)``: logits (V,) of the token after a list of ids, of which the model sees the
    last ``context``.

    What it read before and the text begins with is not read again, unless the text has outgrown the
    context: then every token has another position. Raises ``ValueError`` for an empty text or ids
    outside the vocabulary.
    """

    def __init__(self, p: Any, config: Any) -> None:
        self.p, self.config = p, config
        self.text: list[int] = []
        self.past: list[Any] | None = None

    def __call__(self, text: list[int]) -> Array:
        if not text:
            raise ValueError("there is no token to continue")
        n = len(self.text)
        if not n < len(text) <= self.config.context or text[:n] != self.text:
            n, self.past, text = 0, None, text[-self.config.context :]
        self.text = []  # if reading fails, nothing was read
        new = np.array([text[n:]])
        forward, _ = LANGUAGE_MODELS[type(self.config)]
        logits, cache = forward(self.p, new, config=self.config, past=self.past)
        self.text, self.past = list(text), cache.seen
        return logits[0, -1]


class CachedDecoder:
    """``read(ids)``: logits (B, V) of the token after each of B targets; ids (B, 1) are the newest.

    memory (B, S, D) is the encoder's, source_mask (B, S) is False where it is padding.
    """

    def __init__(
        self, p: Seq2Seq, memory: Array, config: Seq2SeqConfig, source_mask: Array | None = None
    ) -> None:
        self.p, self.config, self.memory, self.mask = p, config, memory, source_mask
        self.past: list[LayerPast] | None = None

    def __call__(self, ids: Array) -> Array:
        logits, cache = decode_forward(
            self.p, self.memory, ids, config=self.config, source_mask=self.mask, past=self.past
        )
        self.past = seen_by(cache.decoder)
        self.memory = self.memory[:, :0]  # its keys and values are in the past now
        return logits[:, -1]

    def select(self, rows: Array) -> None:
        """Go on with these targets (B,), of which some may occur twice: the best of a beam. A
        target's source stays the same."""
        self.past = [
            LayerPast(type(kept)(kept.keys[rows], kept.values[rows]), cross)
            for kept, cross in self.past
        ]
