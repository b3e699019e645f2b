"""A trained model with its vocabulary: all that a task needs to answer, without any corpus."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpylm.data.special import SpecialTokens
from numpylm.data.vocabulary import Tokenizer
from numpylm.data.words import RULES
from numpylm.parameters import Array


@dataclass(frozen=True)
class Vocabulary:
    """What stands between text and ids: it belongs to a run for good."""

    tokenizer: Tokenizer
    target: Tokenizer | None = None  # of an encoder-decoder whose target has its own
    labels: tuple[str, ...] = ()  # the classes of a head
    rules: int = RULES  # how texts were read and split (``data/words.py``)


@dataclass(frozen=True, repr=False)
class Trained:
    """Parameters, configuration and vocabulary of a trained model."""

    p: Any
    model: Any
    vocabulary: Vocabulary
    name: str = "this model"  # whose it is, in errors
    summary: dict[str, Any] = field(default_factory=dict)  # what config.json says of its data

    @property
    def special(self) -> SpecialTokens:
        """The special tokens of the (source's) vocabulary."""
        return SpecialTokens(self.vocabulary.tokenizer.vocab_size)

    def ids(self, split: str, text: str) -> Array:
        """Ids (n,) of a text that is split already.

        Raises ``ValueError``, which shows ``text``, if nothing of it is known.
        """
        tokenizer = self.vocabulary.tokenizer
        ids = encode_known(tokenizer, split)
        if not tokenizer.decode(ids).strip():
            raise ValueError(f"the vocabulary of {self.name} knows none of {text!r:.80}")
        return ids

    def framed(self, *parts: Array) -> Array:
        """[CLS] … [SEP] as one row (1, T); raises ``ValueError`` if it exceeds the context."""
        ids = np.concatenate([[self.special.cls], *parts, [self.special.sep]]).astype(np.int64)
        self.require_room(len(ids))
        return ids[None]

    def framed_and_cut(self, *parts: Array) -> tuple[Array, dict[str, int]]:
        """[CLS] … [SEP] as one row (1, T), cut at the context as texts of training are.

        Beside it {"cut": how many tokens}, or {} if there was room for all of them.
        """
        ids = np.concatenate(parts).astype(np.int64)
        room = self.model.context - 2
        ids, beyond = ids[:room], len(ids) - room
        return self.framed(ids), ({"cut": beyond} if beyond > 0 else {})

    def require_room(self, length: int) -> None:
        """Raise ``ValueError`` if so many tokens exceed the context."""
        if length > self.model.context:
            raise ValueError(
                f"the text has {length} tokens with special ones, the model takes "
                f"{self.model.context}"
            )


def encode_known(tokenizer: Tokenizer, text: str) -> Array:
    """Ids of a text; the characters that a character vocabulary does not know are left out."""
    if tokenizer.kind == "char":
        # Only a character tokenizer has symbols, which its kind tells and its type does not.
        known = set(tokenizer.symbols)  # type: ignore[attr-defined]
        text = "".join(c for c in text if c in known)
    return tokenizer.encode(text)


def decode_ordinary(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of the ids, without special tokens."""
    return tokenizer.decode(np.array([i for i in ids if i < tokenizer.vocab_size], np.int64))
