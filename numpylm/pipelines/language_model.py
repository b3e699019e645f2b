"""A trained language model, as one object: what ``numpylm.load`` returns.

The functional level below it is ``lm.p`` (parameters), ``lm.config`` and ``gpt_forward``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.data.batches import evaluation_windows
from numpylm.data.vocabulary import Tokenizer, WordTokenizer
from numpylm.generation.kv_cache import CachedGPT
from numpylm.generation.sampling import generate
from numpylm.models.gpt import GPT, GPTConfig, gpt_forward
from numpylm.objectives.causal import causal_lm_forward
from numpylm.parameters import Array, leaves
from numpylm.training.run_folder import open_run


@dataclass(frozen=True, repr=False)
class LanguageModel:
    """Parameters, configuration and tokenizer of a trained model."""

    p: GPT
    config: GPTConfig
    tokenizer: Tokenizer
    step: int  # updates made when it was saved

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
        ids = self.tokenizer.encode(prompt) if prompt else self._start()
        if len(ids) == 0:
            raise ValueError(f"the prompt {prompt!r} holds no token")
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must not be negative")
        new = generate(
            CachedGPT(self.p, self.config), ids, tokens, rng=np.random.default_rng(seed),
            temperature=temperature, top_k=top_k, top_p=top_p,
        )  # fmt: skip
        yield from self._pieces(int(ids[-1]), new)

    def _pieces(self, last: int, new: Iterable[int]) -> Iterator[str]:
        """The new ids as text, after a last id before them.

        Decoding the last token again shows what stands between it and the next (a blank, or
        nothing); what stands before it cannot change any more.
        """
        tail = [last]
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
        losses = [float(causal_lm_forward(self.p, *part, config=self.config)[0]) for part in parts]
        return float(np.average(losses, weights=[targets.size for _, targets in parts]))

    def logits(self, ids: Array) -> Array:
        """Scores (T, V) of the token that follows each of the ids (T,), T ≤ context."""
        logits, _ = gpt_forward(self.p, np.asarray(ids)[None], config=self.config)
        return logits[0]

    def _start(self) -> Array:
        """What stands before a text: the end of a line, or the first token if there is none."""
        try:
            return self.tokenizer.encode("\n")
        except ValueError:
            return np.zeros(1, np.int64)


def load(folder: str | Path) -> LanguageModel:
    """The model of a run folder, as of its last checkpoint.

    Raises ``ValueError`` with one clear line if the folder holds no run, no checkpoint, or a
    damaged one.
    """
    run = open_run(folder)
    if not run.config.task.language_model:
        raise ValueError(
            f"{folder} was trained for {run.config.objective}, not to write text: "
            f"use numpylm predict {folder}"
        )
    checkpoint, _, p = run.load_model()
    return LanguageModel(p, run.model, run.vocabulary.tokenizer, checkpoint.step)
