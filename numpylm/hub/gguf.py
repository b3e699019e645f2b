"""GGUF: one file with settings, tokenizer and arrays, most of them quantised in blocks of 32.

    "GGUF", version, number of arrays, number of settings
    settings     key, type, value
    arrays       name, sizes (the last axis first), type, where it begins
    data         aligned to ``general.alignment`` bytes

    F32, F16, BF16    numbers
    Q8_0              scale d, 32 whole numbers q of 8 bits            x = d q
    Q4_0              d, 32 q of 4 bits                                x = d (q − 8)
    Q4_1              d, smallest value m, 32 q of 4 bits              x = d q + m

Llama's queries and keys are stored for interleaved pairs of rotary. Each size is held against the
size of the file before memory is taken. Source: ggml-org/ggml, docs/gguf.md and ggml-quants.c.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numpylm.hub.names import GGUF_LLAMA, fill
from numpylm.models.counting import parameter_counts
from numpylm.models.llama import LlamaConfig, llama_init
from numpylm.parameters import Array

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
           11: "<q", 12: "<d"}  # fmt: skip
STRING, LIST = 8, 9
DEEPEST = 4  # of lists in lists


class Block(NamedTuple):
    """A type of array: how many numbers a block of it holds, and how many bytes it takes."""

    name: str
    numbers: int
    size: int


TYPES = {
    0: Block("F32", 1, 4), 1: Block("F16", 1, 2), 30: Block("BF16", 1, 2),
    2: Block("Q4_0", 32, 18), 3: Block("Q4_1", 32, 20), 8: Block("Q8_0", 32, 34),
}  # fmt: skip


class GGUFFile(NamedTuple):
    """Settings, and the arrays by name as (shape, type, bytes)."""

    settings: dict[str, Any]
    tensors: dict[str, tuple[tuple[int, ...], Block, Array]]


class _Bytes:
    """A file's bytes, read one value after the other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        self.at = 0

    def take(self, size: int) -> Array:
        """The next bytes. Raises ``ValueError`` where the file ends before."""
        if not 0 <= size <= len(self.data) - self.at:
            left = len(self.data) - self.at
            raise ValueError(f"{self.path} is cut off: at byte {self.at} {left} are left of {size}")
        self.at += size
        return self.data[self.at - size : self.at]

    def scalar(self, kind: str) -> Any:
        return struct.unpack(kind, self.take(struct.calcsize(kind)).tobytes())[0]

    def string(self) -> str:
        text = self.take(self.scalar("<Q")).tobytes()
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{self.path}: a string at byte {self.at} is not UTF-8") from None

    def value(self, kind: int, depth: int = 0) -> Any:
        if kind == STRING:
            return self.string()
        if kind == LIST and depth < DEEPEST:
            kind, count = self.scalar("<I"), self.scalar("<Q")
            if kind in SCALARS:
                whole = self.take(count * struct.calcsize(SCALARS[kind]))
                return np.frombuffer(whole, SCALARS[kind]).tolist()
            if count > len(self.data):
                raise ValueError(
                    f"{self.path} is cut off: a list at byte {self.at} has {count} items"
                )
            return [self.value(kind, depth + 1) for _ in range(count)]
        if kind not in SCALARS:
            raise ValueError(
                f"{self.path}: a setting at byte {self.at} has the unknown type {kind}"
            )
        return self.scalar(SCALARS[kind])


def read_gguf(path: Path) -> GGUFFile:
    """The contents of a file, arrays as they lie there.

    Raises ``ValueError`` with the file's name for what is cut off, unknown or does not fit.
    """
    file = _Bytes(path)
    if file.take(4).tobytes() != b"GGUF":
        raise ValueError(f"{path} is no GGUF file: it does not begin with GGUF")
    version = file.scalar("<I")
    if version not in (2, 3):
        raise ValueError(f"{path} is GGUF version {version}; 2 and 3 are read here")
    n_tensors, n_settings = file.scalar("<Q"), file.scalar("<Q")
    if n_tensors + n_settings > len(file.data):
        raise ValueError(f"{path} is cut off: {n_tensors} arrays, {n_settings} settings")
    settings: dict[str, Any] = {}
    for _ in range(n_settings):
        key = file.string()
        settings[key] = file.value(file.scalar("<I"))
    places = []
    for _ in range(n_tensors):
        name, n_axes = file.string(), file.scalar("<I")
        if n_axes > 8:
            raise ValueError(f"{path}: {name:.80} has {n_axes} axes")
        shape = tuple(file.scalar("<Q") for _ in range(n_axes))[::-1]
        places.append((name, shape, file.scalar("<I"), file.scalar("<Q")))
    alignment = settings.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"{path}: general.alignment is {alignment!r:.40}")
    start = -(-file.at // alignment) * alignment
    tensors = {}
    for name, shape, kind, offset in places:
        if kind not in TYPES:
            known = ", ".join(block.name for block in TYPES.values())
            raise ValueError(f"{path}: {name:.80} has type {kind}; read here are {known}")
        block, count = TYPES[kind], math.prod(shape)
        if shape and shape[-1] % block.numbers:
            raise ValueError(
                f"{path}: {name:.80} of shape {shape} has no whole {block.name} blocks"
            )
        file.at = min(start + offset, len(file.data))
        tensors[name] = shape, block, file.take(count // block.numbers * block.size)
    return GGUFFile(settings, tensors)


def dequantised(shape: tuple[int, ...], block: Block, data: Array) -> Array:
    """The numbers of an array, float32."""
    if block.name == "F32":
        return np.frombuffer(data, "<f4").reshape(shape)
    if block.name == "F16":
        return np.frombuffer(data, "<f2").astype(np.float32).reshape(shape)
    if block.name == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    rows = data.reshape(-1, block.size)
    d = np.ascontiguousarray(rows[:, :2]).view("<f2").astype(np.float32)
    if block.name == "Q8_0":
        return (d * rows[:, 2:].view(np.int8)).reshape(shape)
    first = 4 if block.name == "Q4_1" else 2
    q = np.concatenate([rows[:, first:] & 15, rows[:, first:] >> 4], axis=1).astype(np.float32)
    if block.name == "Q4_0":
        return (d * (q - 8.0)).reshape(shape)
    m = np.ascontiguousarray(rows[:, 2:4]).view("<f2").astype(np.float32)
    return (d * q + m).reshape(shape)


def load_gguf(path: Path) -> tuple[Any, LlamaConfig, dict[str, Any]]:
    """(p, config, settings) of a Llama in a GGUF file, dequantised to float32.

    Raises ``ValueError`` for another architecture, or what does not fit.
    """
    file = read_gguf(path)
    config = _config(path, file)
    wanted = parameter_counts(config)["total"]
    found = sum(math.prod(shape) for shape, _, _ in file.tensors.values())
    if found != wanted:  # before memory is taken for a model
        raise ValueError(f"{path} holds {found:,} numbers; its settings want {wanted:,}")
    _, p = llama_init(0, config)
    fill(p, {name: dequantised(*array) for name, array in file.tensors.items()}, GGUF_LLAMA, path)
    return p, config, file.settings


def _config(path: Path, file: GGUFFile) -> LlamaConfig:
    settings, tensors = file
    kind = settings.get("general.architecture")
    if kind != "llama":
        raise ValueError(f"{path}: architecture {kind!r:.40}; only llama is read here")

    def number(name: str, of: type = int, default: Any = None) -> Any:
        value = settings.get(f"llama.{name}", default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{path}: llama.{name} is {value!r:.40}")
        return of(value)

    if settings.get("llama.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in tensors:
        raise ValueError(f"{path}: scaled rotary positions are not read from GGUF here")
    if "token_embd.weight" not in tensors:
        raise ValueError(f"{path} has no token_embd.weight")
    n_heads, d_model = number("attention.head_count"), number("embedding_length")
    if n_heads < 1:
        raise ValueError(f"{path}: llama.attention.head_count is {n_heads}")
    try:
        return LlamaConfig(
            vocab_size=tensors["token_embd.weight"][0][0], context=number("context_length"),
            n_layers=number("block_count"), n_heads=n_heads,
            n_kv_heads=number("attention.head_count_kv", default=n_heads), d_model=d_model,
            d_head=number("attention.key_length", default=d_model // n_heads),
            d_ff=number("feed_forward_length"), tied="output.weight" not in tensors,
            eps=number("attention.layer_norm_rms_epsilon", float, 1e-5),
            base=number("rope.freq_base", float, 10000.0), pairing="interleaved",
        )  # fmt: skip
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: {error}") from None
