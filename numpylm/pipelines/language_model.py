"""A trained language model, as one object: what ``numpylm.load`` returns.

The functional level below it is ``lm.p`` (parameters), ``lm.config`` and
``LANGUAGE_MODELS``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.data.batches import evaluation_windows
from numpylm.data.vocabulary import Tokenizer, WordTokenizer
from numpylm.generation.kv_cache import CachedGPT
from numpylm.generation.sampling import generate
from numpylm.hub.known import place_of
from numpylm.hub.loading import is_published, load_published
from numpylm.models.language_models import LANGUAGE_MODELS
from numpylm.objectives.causal import causal_lm_backward, causal_lm_forward
from numpylm.parameters import Array, leaves, view
from numpylm.training.run_folder import open_run


@dataclass(frozen=True, repr=False)
class LanguageModel:
    """Parameters, configuration and tokenizer of a trained model."""

    p: Any
    config: Any
    tokenizer: Tokenizer
    step: int = 0  # updates made when it was saved
    ends: tuple[int, ...] = ()  # ids after which a text is over

    def __repr__(self) -> str:
        size = sum(a.size for _, a in leaves(self.p))
        kind = self.tokenizer.kind
        return f"LanguageModel({size:,} parameters, {kind} tokens, step {self.step}, {self.config})"

    def generate(self, prompt: str = "", **sampling: Any) -> str:
        """The prompt and what continues it; ``sampling`` as in ``stream``."""
        return prompt + "".join(self.stream(prompt, **sampling))

    def stream(
        self,
        prompt: str = "",
        *,
        tokens: int = 200,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """``tokens`` tokens that continue the prompt, in pieces as they are drawn.

        An empty prompt starts after the end of a line. temperature 0 is greedy; the same seed
        gives the same text. Raises ``ValueError`` for a prompt with characters that the vocabulary
        does not know, or settings out of range (see ``generation.sampling``).
        """
        ids = self._read(prompt) if prompt else self._start()
        if len(ids) == 0:
            raise ValueError(f"the prompt {prompt!r} holds no token")
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must not be negative")
        new = generate(
            CachedGPT(self.p, self.config), ids, tokens, rng=np.random.default_rng(seed),
            temperature=temperature, top_k=top_k, top_p=top_p,
        )  # fmt: skip
        new = takewhile(lambda token: token not in self.ends, new)
        yield from self._pieces(int(ids[-1]), new)

    def _pieces(self, last: int, new: Iterable[int]) -> Iterator[str]:
        """The new ids as text, after a last id before them.

        Decoding the last token again shows what stands between it and the next (a blank, or
        nothing); what stands before it cannot change any more.
        """
        tail = [] if last in getattr(self.tokenizer, "before", ()) else [last]
        known = len(self.tokenizer.decode(tail))
        for token in new:
            tail.append(token)
            piece = self.tokenizer.decode(tail)[known:]
            if not piece.endswith("\N{REPLACEMENT CHARACTER}"):  # half a character so far
                yield piece
                tail, known = [token], len(self.tokenizer.decode([token]))
        if rest := self.tokenizer.decode(tail)[known:]:
            yield rest

    def unknown(self, text: str) -> dict[str, float]:
        """{"unknown": share of a text's words that are none of the vocabulary}; {} of characters.

        Raises ``ValueError`` if none of them is known.
        """
        if not isinstance(self.tokenizer, WordTokenizer):
            return {}
        share = self.tokenizer.unknown_words(text)
        if share == 1.0:
            raise ValueError(f"the vocabulary knows none of the words of {text!r:.80}")
        return {"unknown": share}

    def loss(self, text: str) -> float:
        """Mean −log P of every token of a text but the first, in nats per token.

        The text is read in windows of ``context`` tokens that do not overlap. Raises
        ``ValueError`` if it has fewer than two tokens.
        """
        parts = self._windows(text)
        losses = [float(causal_lm_forward(self.p, *part, config=self.config)[0]) for part in parts]
        return float(np.average(losses, weights=[targets.size for _, targets in parts]))

    def gradient(self, text: str) -> Any:
        """∂loss/∂p of the ``loss`` of a text, a tree like ``p``: ``leaves`` names its arrays.

        Raises ``ValueError`` as ``loss`` does.
        """
        parts = self._windows(text)
        arrays = [array for _, array in leaves(self.p)]
        dp = view(self.p, np.zeros(sum(a.size for a in arrays), arrays[0].dtype))
        n = float(sum(targets.size for _, targets in parts))
        for part in parts:
            loss, cache = causal_lm_forward(self.p, *part, config=self.config, normalizer=n)
            causal_lm_backward(self.p, dp, np.ones_like(loss), cache)
        return dp

    def attention(self, text: str) -> Array:
        """Where each token of a text looks: weights (n_layers, H, T, T), whose rows sum to 1.

        Entry [l, h, t, s] is what head h of layer l at position t takes from position s ≤ t. Raises
        ``ValueError`` for a text without a token, or of more tokens than the context.
        """
        ids = self.tokenizer.encode(text)
        if not 1 <= len(ids) <= self.config.context:
            raise ValueError(
                f"the text has {len(ids)} tokens; attention is shown for 1 to the context of "
                f"{self.config.context}"
            )
        _, cache = self._forward(ids)
        return np.stack([weights[0] for weights in cache.attention_weights])

    def _windows(self, text: str) -> list[tuple[Array, Array]]:
        """ids and targets (B, T) of all tokens, the last part of a text first."""
        ids = self.tokenizer.encode(text)
        if len(ids) < 2:
            raise ValueError(f"a loss needs at least 2 tokens, the text has {len(ids)}")
        full = (len(ids) - 1) // self.config.context * self.config.context
        parts = [(ids[None, full:-1], ids[None, full + 1 :])] if full < len(ids) - 1 else []
        if full:
            windows, targets = evaluation_windows(ids[: full + 1], self.config.context)
            parts += [
                (windows[i : i + 16], targets[i : i + 16]) for i in range(0, len(windows), 16)
            ]
        return parts

    def logits(self, ids: Array) -> Array:
        """Scores (T, V) of the token that follows each of the ids (T,), T ≤ context."""
        logits, _ = self._forward(np.asarray(ids))
        return logits[0]

    def _forward(self, ids: Array) -> tuple[Array, Any]:
        forward, _ = LANGUAGE_MODELS[type(self.config)]
        return forward(self.p, ids[None], config=self.config)

    def _read(self, text: str) -> Array:
        """The ids of a text that begins, behind what its model expects in front of one."""
        before = getattr(self.tokenizer, "before", ())
        return np.concatenate([before, self.tokenizer.encode(text)]).astype(np.int64)

    def _start(self) -> Array:
        """What stands before a text: what its model expects there, or the end of a line, or the
        first token if there is neither."""
        if before := getattr(self.tokenizer, "before", ()):
            return np.array(before)
        try:
            return self.tokenizer.encode("\n")
        except ValueError:
            return np.zeros(1, np.int64)


def load(where: str | Path) -> LanguageModel:
    """The model of a run folder, as of its last checkpoint; or a published one: a Hugging Face
    folder, a ``.gguf`` or llama2.c's ``.bin`` file, or a name that is known (``numpylm models``).

    Raises ``ValueError`` with one clear line if nothing of it is there, or it is damaged.
    """
    folder = place_of(str(where))
    if is_published(folder):
        p, config, tokenizer, ends = load_published(folder)
        return LanguageModel(p, config, tokenizer, ends=ends)
    run = open_run(folder)
    if not run.config.task.language_model:
        raise ValueError(
            f"{folder} was trained for {run.config.objective}, not to write text: "
            f"use numpylm predict {folder}"
        )
    checkpoint, _, p = run.load_model()
    return LanguageModel(p, run.model, run.vocabulary.tokenizer, checkpoint.step)
