"""What tokenizers of subwords have in common: tokens that a text may hold as they are written.

Tokens such as ``<|endoftext|>`` or ``[MASK]`` are found before anything else is cut, the longest
first, and are never split or merged. What stands between them is a tokenizer's own affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from numpylm.parameters import Array


@dataclass(frozen=True)
class AddedToken:
    """A token of its own. ``lstrip`` and ``rstrip`` let it take the blanks beside it."""

    content: str
    id: int
    special: bool = True  # it stands for no text: a reader may leave it out
    lstrip: bool = False
    rstrip: bool = False

    def __post_init__(self) -> None:
        if not self.content or self.id < 0:
            raise ValueError(f"a special token needs a text and an id, not {self!s:.120}")


def split_added(text: str, tokens: Sequence[AddedToken]) -> Iterator[str | int]:
    """The text in order: strings between added tokens, and the ids of these."""
    if not tokens:
        yield text
        return
    longest_first = sorted(tokens, key=lambda token: -len(token.content))
    of_content = {token.content: token for token in longest_first}
    last, take_blanks = 0, False
    for match in re.finditer("|".join(map(re.escape, of_content)), text):
        token, between = of_content[match[0]], text[last : match.start()]
        between = between.lstrip() if take_blanks else between
        yield between.rstrip() if token.lstrip else between
        yield token.id
        last, take_blanks = match.end(), token.rstrip
    yield text[last:].lstrip() if take_blanks else text[last:]


@dataclass(frozen=True, kw_only=True, repr=False)
class SubwordTokenizer:
    """The base of the kinds, which define ``encode_ordinary``.

    ``pieces`` are the ordinary tokens with their ids, ``added`` those that stand for themselves.
    ``before`` and ``after`` are the ids that its model expects around a text, as BERT's [CLS] and
    [SEP]; ``encode`` does not add them, ``model_input`` does.
    """

    kind: ClassVar[str]
    pieces: dict[bytes, int]
    added: tuple[AddedToken, ...] = ()
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        known = self.piece_of
        if unknown := [i for i in self.before + self.after if i not in known]:
            raise ValueError(f"id {unknown[0]}, to stand around a text, is none of the vocabulary")

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text without added tokens."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.vocab_size:,} tokens, {len(self.added)} added)"

    @cached_property
    def piece_of(self) -> dict[int, bytes]:
        """The bytes of each id, ordinary and added."""
        ordinary = {i: piece for piece, i in self.pieces.items()}
        return ordinary | {token.id: token.content.encode() for token in self.added}

    @cached_property
    def vocab_size(self) -> int:
        """V: the largest id and one."""
        return max(self.piece_of) + 1

    def encode(self, text: str, *, special: bool = True) -> Array:
        """(n,) int64 ids. Without ``special`` a written ``<|endoftext|>`` is text like any other.

        Raises ``ValueError`` for half a surrogate pair.
        """
        require_utf8(text)
        ids: list[int] = []
        for part in split_added(text, self.added if special else ()):
            ids.extend([part] if isinstance(part, int) else self.encode_ordinary(part))
        return np.array(ids, np.int64)

    def model_input(self, text: str) -> Array:
        """(n,) int64 ids of a text with ``before`` and ``after`` around it."""
        return np.concatenate([self.before, self.encode(text), self.after]).astype(np.int64)

    def piece_bytes(self, ids: Sequence[int] | Array) -> list[bytes]:
        """The bytes of each id. Raises ``ValueError`` for an id that is none."""
        try:
            return [self.piece_of[i] for i in np.asarray(ids).ravel().tolist()]
        except KeyError as error:
            raise ValueError(f"id {error} is none of the vocabulary's {self.vocab_size}") from None

    def decode(self, ids: Sequence[int] | Array) -> str:
        """The text; bytes that are not UTF-8, as in half a character, become U+FFFD."""
        return b"".join(self.piece_bytes(ids)).decode("utf-8", errors="replace")

    def to_json(self) -> str:
        """As written to ``tokenizer.json``: Hugging Face's format, read by its library too."""
        from numpylm.data.tokenizer_json_writer import write_tokenizer_json

        return write_tokenizer_json(self)


def require_utf8(text: str) -> None:
    """Raise ``ValueError`` for half a surrogate pair, which UTF-8 cannot write."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        what = text[error.start]
        raise ValueError(f"{what!r} at {error.start} is no character of UTF-8") from None
