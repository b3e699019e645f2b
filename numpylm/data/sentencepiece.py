"""SentencePiece's BPE, as Llama 2, TinyLlama and llama2.c use it: characters, and bytes for others.

A text gets a blank in front and becomes characters; one that is no piece becomes the tokens of its
bytes, ``<0x00>`` to ``<0xFF>``. Pieces that stand side by side merge, the best score first, the
leftmost of equals. Kudo and Richardson 2018 (arXiv:1808.06226); karpathy/llama2.c, run.c.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from numpylm.data.bpe import Pair, merge_pairs
from numpylm.data.subword import AddedToken, SubwordTokenizer
from numpylm.parameters import Array

BYTE_NAMES = tuple(f"<0x{b:02X}>".encode() for b in range(256))
LONGEST_PIECE = 1024  # bytes; those of published vocabularies have at most about a hundred


@dataclass(frozen=True, kw_only=True, repr=False)
class SentencePieceTokenizer(SubwordTokenizer):
    """``pieces`` hold blanks, not ``▁``; ``merges`` are pair → (rank, new id), the lowest first."""

    merges: dict[Pair, tuple[float, int]]
    kind: ClassVar[str] = "sentencepiece"

    def __post_init__(self) -> None:
        super().__post_init__()
        if missing := [name for name in BYTE_NAMES if name not in self.pieces]:
            raise ValueError(f"the vocabulary has no token {missing[0].decode()} for a byte")

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text without added tokens."""
        ids: list[int] = []
        for character in " " + text if text else "":
            piece = character.encode()
            if piece in self.pieces:
                ids.append(self.pieces[piece])
            else:
                ids.extend(self.pieces[BYTE_NAMES[b]] for b in piece)
        return merge_pairs(ids, self.merges)

    def decode(self, ids: Sequence[int] | Array) -> str:
        """The text without the blank in front; bytes that are not UTF-8 become U+FFFD."""
        bytes_of = {name: bytes([b]) for b, name in enumerate(BYTE_NAMES)}
        data = b"".join(bytes_of.get(piece, piece) for piece in self.piece_bytes(ids))
        return data.decode("utf-8", errors="replace").removeprefix(" ")


def merges_by_score(
    pieces: dict[bytes, int], scores: Sequence[float]
) -> dict[Pair, tuple[float, int]]:
    """All pairs of pieces that together are a piece, with its negative score as their rank."""
    merges: dict[Pair, tuple[float, int]] = {}
    for piece, new in pieces.items():
        for cut in range(1, len(piece)):
            left, right = pieces.get(piece[:cut]), pieces.get(piece[cut:])
            if left is not None and right is not None:
                merges[left, right] = (-scores[new], new)
    return merges


def read_llama2c(path: Path | str, vocab_size: int | None = None) -> SentencePieceTokenizer:
    """The ``tok512.bin`` or ``tokenizer.bin`` of llama2.c.

    Little-endian: int32 longest length; for each id float32 score, int32 length, its bytes.
    Ids 0, 1, 2 are unknown, begin and end. Raises ``ValueError`` naming the file and the byte for
    one that is truncated, has another number of pieces than ``vocab_size``, or is none.
    """
    try:
        return _parse_llama2c(Path(path).read_bytes(), vocab_size)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is no tokenizer of llama2.c: {error}") from None


def _parse_llama2c(data: bytes, vocab_size: int | None) -> SentencePieceTokenizer:
    if len(data) < 4:
        raise ValueError(f"it has {len(data)} bytes")
    (longest,) = struct.unpack_from("<i", data)
    if not 0 < longest <= LONGEST_PIECE:
        raise ValueError(f"its longest piece would have {longest} bytes")
    names: list[bytes] = []
    scores: list[float] = []
    at = 4
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError(f"it ends in the middle of token {len(names)}, at byte {len(data)}")
        score, length = struct.unpack_from("<fi", data, at)
        piece = data[at + 8 : at + 8 + max(length, 0)]
        if not 0 < length <= longest or len(piece) < length or not math.isfinite(score):
            raise ValueError(f"token {len(names)} at byte {at} has length {length}, score {score}")
        names.append(piece)
        scores.append(score)
        at += 8 + length
    if vocab_size is not None and len(names) != vocab_size:
        raise ValueError(f"it holds {len(names)} tokens, the model {vocab_size}")
    if len(names) < 259:
        raise ValueError(f"it holds {len(names)} tokens, fewer than 3 special ones and 256 bytes")
    contents = ("<unk>", "<s>", "</s>")
    added = tuple(AddedToken(content, i) for i, content in enumerate(contents))
    pieces = {piece: i for i, piece in enumerate(names) if i >= len(contents)}
    if len(pieces) + len(contents) < len(names):
        raise ValueError("it holds a piece twice")
    return SentencePieceTokenizer(
        pieces=pieces, added=added, before=(1,), merges=merges_by_score(pieces, scores)
    )
