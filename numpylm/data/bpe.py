"""Byte-level byte-pair encoding: subwords that are learned from a text and know any text.

    start    each byte of UTF-8 is a token: 256 of them
    train    again and again, the most frequent pair of neighbours becomes a new token, (a, b) → ab
    encode   cut a chunk into bytes; again and again merge the pair that was learned first
    decode   put the bytes together

A text is cut into chunks (``split_patterns``) and no pair crosses their borders, so a chunk that
occurs n times is looked at once and counted n times. Sennrich et al. 2016 (arXiv:1508.07909);
on bytes: Radford et al. 2019.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar
from unicodedata import normalize

from numpylm.data.split_patterns import SPLITS, compiled, split
from numpylm.data.subword import AddedToken, SubwordTokenizer, require_utf8, split_added

Pair = tuple[int, int]
TIES = ("huggingface", "minbpe")
FORMS = ("", "NFC", "NFD", "NFKC", "NFKD")  # Unicode's normal forms; "": the text as it is
MERGED = -1  # the right half of a merged pair, which is no token any more


def _byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte, in the order of the characters.

    Printable bytes stand for themselves; the others take the characters from U+0100 on, so that
    a blank is Ġ and the end of a line Ċ.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


BYTE_ALPHABET = _byte_alphabet()


def train_bpe(
    text: str,
    vocab_size: int,
    *,
    pattern: str = "gpt2",
    ties: str = "huggingface",
    special: Sequence[str] = (),
) -> BPETokenizer:
    """Learn a vocabulary of at most ``vocab_size`` tokens: bytes, merges, then special tokens.

    ``pattern`` is a name of ``SPLITS``. Of pairs that occur equally often, ``ties="huggingface"``
    takes the smallest pair of ids, where bytes are numbered in the order of ``BYTE_ALPHABET``;
    ``"minbpe"`` numbers bytes by their value and takes the pair that stands first in the text.
    A text with few different pairs gives fewer tokens. Raises ``ValueError`` for a name that is
    none, a special token that is given twice, or a vocabulary too small for the bytes.
    """
    if pattern not in SPLITS:
        raise ValueError(f"the split pattern {pattern!r} is none of {', '.join(SPLITS)}")
    if ties not in TIES:
        raise ValueError(f"ties {ties!r} is none of {', '.join(TIES)}")
    n_merges = vocab_size - 256 - len(special)
    if n_merges < 0:
        tokens = f"256 bytes and {len(special)} special tokens" if special else "256 bytes"
        raise ValueError(f"vocab_size is {vocab_size}; a vocabulary holds at least {tokens}")
    if len(set(special)) < len(special):
        raise ValueError(f"a special token is given twice: {', '.join(special)}")
    require_utf8(text)
    patterns = (SPLITS[pattern],)
    added = [AddedToken(content, i) for i, content in enumerate(special)]
    counts: Counter[str] = Counter()
    for part in split_added(text, added):
        if isinstance(part, str):
            counts.update(split(part, patterns))
    order = BYTE_ALPHABET if ties == "huggingface" else range(256)
    pieces = {bytes([b]): i for i, b in enumerate(order)}
    merges = learn_merges(counts, pieces, n_merges, first_in_text=ties == "minbpe")
    behind = tuple(AddedToken(s, len(pieces) + i) for i, s in enumerate(special))
    return BPETokenizer(pieces=pieces, merges=merges, patterns=patterns, added=behind)


def learn_merges(
    counts: Mapping[str, int], pieces: dict[bytes, int], n_merges: int, *, first_in_text: bool
) -> dict[Pair, int]:
    """Merges, pair → new id, in the order in which they are learned; adds them to ``pieces``.

    ``counts`` are those of the different chunks, in the order of the text. A merge looks only at
    the chunks that hold its pair. The heap is cleaned lazily: a count can only fall once its pair
    is in the heap, and an entry that is out of date is put right when it comes to the top.
    """
    chunks = [[pieces[bytes([b])] for b in chunk.encode()] for chunk in counts]
    weights = list(counts.values())
    names = {i: piece for piece, i in pieces.items()}
    pair_count: dict[Pair, int] = defaultdict(int)
    chunks_with: dict[Pair, set[int]] = defaultdict(set)
    for i, chunk in enumerate(chunks):
        for pair in pairwise(chunk):
            pair_count[pair] += weights[i]
            chunks_with[pair].add(i)
    heap = [(-count, pair) for pair, count in pair_count.items()]
    heapq.heapify(heap)

    def most_frequent() -> Pair | None:
        while heap:
            count, pair = heapq.heappop(heap)
            if -count == pair_count[pair]:
                return pair
            if pair_count[pair] > 0:
                heapq.heappush(heap, (-pair_count[pair], pair))
        return None

    def first_of_tied(pair: Pair) -> Pair:
        tied, other = [pair], most_frequent()
        while other is not None and pair_count[other] == pair_count[pair]:
            tied.append(other)
            other = most_frequent()
        first = min(tied, key=place)
        for back in {*tied, other} - {first, None}:
            heapq.heappush(heap, (-pair_count[back], back))
        return first

    def place(pair: Pair) -> Pair:
        i = min(i for i in chunks_with[pair] if pair in pairwise(chunks[i]))
        return i, list(pairwise(chunks[i])).index(pair)

    merges: dict[Pair, int] = {}
    while len(merges) < n_merges and (pair := most_frequent()) is not None:
        if first_in_text:
            pair = first_of_tied(pair)
        new = merges[pair] = len(pieces)
        names[new] = names[pair[0]] + names[pair[1]]
        pieces[names[new]] = (
            new  # no other pair can give the same bytes: where they stand, they are cut alike
        )
        born: set[Pair] = set()
        for i in chunks_with.pop(pair):
            for old in pairwise(chunks[i]):
                pair_count[old] -= weights[i]
            chunks[i] = replace_pair(chunks[i], pair, new)
            for now in pairwise(chunks[i]):
                pair_count[now] += weights[i]
                if new in now:
                    chunks_with[now].add(i)
                    born.add(now)
        for now in born:
            heapq.heappush(heap, (-pair_count[now], now))
    return merges


def replace_pair(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """``ids`` with each ``pair`` of neighbours, from the left, replaced by one ``new`` id."""
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if ids[i] == pair[0] and i + 1 < len(ids) and ids[i + 1] == pair[1]:
            merged.append(new)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def merge_pairs(ids: Sequence[int], merges: Mapping[Pair, tuple[float, int]]) -> list[int]:
    """Merge until no pair of neighbours is in ``merges``, pair → (rank, new id).

    The lowest rank goes first, of equal ones the leftmost. A heap of candidates and the neighbours
    of each place make it O(n log n): a chunk of a million letters is no trap.
    """
    ids, n = list(ids), len(ids)
    left, right = list(range(-1, n - 1)), list(range(1, n + 1))
    heap: list[tuple[float, int, Pair, int]] = []

    def offer(i: int) -> None:
        if i >= 0 and right[i] < n and (found := merges.get((ids[i], ids[right[i]]))):
            heap.append((found[0], i, (ids[i], ids[right[i]]), found[1]))

    for i in range(n):
        offer(i)
    heapq.heapify(heap)
    while heap:
        _, i, pair, new = heapq.heappop(heap)
        j = right[i]
        if j >= n or (ids[i], ids[j]) != pair:
            continue  # one of the two has been merged since
        ids[i], ids[j] = new, MERGED
        right[i] = right[j]
        if right[i] < n:
            left[right[i]] = i
        for k in (left[i], i):
            size = len(heap)
            offer(k)
            if len(heap) > size:
                heapq.heappush(heap, heap.pop())
    return [i for i in ids if i != MERGED]


@dataclass(frozen=True, kw_only=True, repr=False)
class BPETokenizer(SubwordTokenizer):
    """Byte-level BPE, ours or published (GPT-2, Llama 3, Qwen, SmolLM2).

    ``merges`` are in the order in which they apply. ``patterns`` cut one after the other; ``form``
    is the Unicode normal form that a text takes first. With ``whole_chunks`` a chunk that is a
    token needs no merges to become it (``ignore_merges``, Llama 3); ``prefix_space`` puts a blank
    before a text that begins with none.
    """

    merges: dict[Pair, int]
    patterns: tuple[str, ...] = (SPLITS["gpt2"],)
    form: str = ""
    whole_chunks: bool = False
    prefix_space: bool = False
    kind: ClassVar[str] = "bpe"

    def __post_init__(self) -> None:
        super().__post_init__()
        for pattern in self.patterns:
            compiled(pattern)
        if self.form not in FORMS:
            raise ValueError(f"{self.form!r:.40} is no normal form of Unicode")

    @cached_property
    def _ranked(self) -> dict[Pair, tuple[float, int]]:
        return {pair: (rank, new) for rank, (pair, new) in enumerate(self.merges.items())}

    def encode_ordinary(self, text: str) -> list[int]:
        """Ids of a text without added tokens; each different chunk is merged once."""
        text = normalize(self.form, text) if self.form else text  # type: ignore[arg-type]  # one of FORMS
        if self.prefix_space and text and not text.startswith(" "):
            text = " " + text
        ids: list[int] = []
        known: dict[str, list[int]] = {}
        for chunk in split(text, self.patterns):
            if chunk not in known:
                known[chunk] = self._encode_chunk(chunk.encode())
            ids.extend(known[chunk])
        return ids

    def _encode_chunk(self, chunk: bytes) -> list[int]:
        if self.whole_chunks and chunk in self.pieces:
            return [self.pieces[chunk]]
        try:
            ids = [self.pieces[bytes([b])] for b in chunk]
        except KeyError as error:
            raise ValueError(f"the vocabulary has no token for the byte {error}") from None
        return merge_pairs(ids, self._ranked)
