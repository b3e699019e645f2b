"""safetensors: named arrays behind a JSON header; one file, or shards with an index.

    8 bytes    n, the length of the header, little-endian
    n bytes    {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
    the rest   the arrays, row by row

The library ``safetensors`` writes; its reader for NumPy refuses bfloat16, in which most models are
published, so we read: a bfloat16 is the upper half of a float32. What a header says is held against
the size of the file before any memory is taken.

Source: the format's description, https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.parameters import Array

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4",
          "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}  # fmt: skip
LONGEST_HEADER = 100_000_000  # bytes, as in the library
INDEX = "model.safetensors.index.json"


def read_tensors(path: Path) -> dict[str, Array]:
    """All arrays of a file by name, floats as float32 (float64 stays).

    Raises ``ValueError`` with the file's name for a file that is cut off, or whose header lies.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, LONGEST_HEADER):
            raise ValueError(f"{path} is no safetensors file, or is cut off in its header")
        header = _header(path, file.read(length))
    start = 8 + length
    memory = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            tensors[name] = _tensor(path, name, entry, memory[start:])
    return tensors


def read_sharded(folder: Path) -> dict[str, Array]:
    """All arrays of a folder: of model.safetensors, or of the shards that its index names.

    Raises ``ValueError`` if there is neither, or a shard or one of its arrays is missing.
    """
    index = folder / INDEX
    if not index.is_file():
        single = folder / "model.safetensors"
        if not single.is_file():
            raise ValueError(f"{folder} holds neither model.safetensors nor {INDEX}")
        return read_tensors(single)
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(places.values()))
        safe = all(Path(shard).name == shard for shard in shards)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{index} names no shards: it needs a weight_map") from None
    if not safe:
        raise ValueError(f"{index} names a shard outside its folder")
    tensors: dict[str, Array] = {}
    for shard in shards:
        if not (folder / shard).is_file():
            raise ValueError(f"{folder / shard} is missing: {INDEX} names {len(shards)} shards")
        tensors |= read_tensors(folder / shard)
    if missing := sorted(set(places) - set(tensors)):
        raise ValueError(f"{folder}: no shard holds {missing[0]}, which {INDEX} names")
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Array], dtype: str = "float32") -> None:
    """The arrays in one file; dtype: "float32", "float16" or "bfloat16" (to the nearest even)."""
    from safetensors.numpy import save

    if dtype not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"dtype is {dtype!r}; it must be float32, float16 or bfloat16")
    metadata = {"format": "pt"}  # without it transformers refuses the file
    if dtype != "bfloat16":
        kept = {n: np.ascontiguousarray(a, dtype) for n, a in tensors.items()}
        path.write_bytes(save(kept, metadata))
        return
    header: dict[str, Any] = {"__metadata__": metadata}
    end, blocks = 0, []
    for name, array in tensors.items():
        block = bfloat16_bits(array).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(array.shape),
                        "data_offsets": [end, end + len(block)]}  # fmt: skip
        end += len(block)
        blocks.append(block)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blocks))


def bfloat16_bits(array: Array) -> Array:
    """The upper 16 bits of float32 numbers, rounded to the nearest, ties to even; uint16."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2")


def _header(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no safetensors file: its header is no JSON object")
    return header


def _tensor(path: Path, name: str, entry: Any, data: Array) -> Array:
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(n) is int and n >= 0 for n in (*shape, begin, end))
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ValueError(f"{path}: the header says nothing of use about {name:.80}")
    if kind not in DTYPES:
        raise ValueError(f"{path}: {name:.80} has dtype {kind!r:.40}, which is not read here")
    dtype = np.dtype(DTYPES[kind])
    if end - begin != math.prod(shape) * dtype.itemsize or end > len(data):
        raise ValueError(
            f"{path}: {name:.80} of shape {shape!s:.80} cannot lie at bytes {begin} to {end} "
            f"of {len(data)}"
        )
    array = np.frombuffer(data[begin:end], dtype).reshape(shape)
    if kind == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if kind in ("F32", "F16") else array.copy()
