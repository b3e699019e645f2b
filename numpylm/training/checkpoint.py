"""Checkpoints: everything that the next step depends on, in one safetensors file.

    parameters.NAME     one array for each parameter, under its name in the tree
    optimizer.NAME      the optimiser's state, flat vectors
    metadata            version, step, progress, the run's fingerprint, a sha256 over all of it

Random streams are functions of (seed, step), so the step is their whole state. safetensors holds
numbers only: loading a file from a stranger runs no code.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files import parse_json, write_atomically
from numpylm.parameters import Array, leaves

FORMAT, VERSION = "numpylm", 2  # 2: with the state of the plateau schedule
GROUPS = ("parameters", "optimizer")


@dataclass
class Checkpoint:
    """``progress`` holds a few numbers that the trainer carries on; ``run`` is the fingerprint of
    the settings and the tokenizer that it belongs to.
    """

    parameters: dict[str, Array]
    optimizer: dict[str, Array]
    step: int
    progress: dict[str, float]
    run: str


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically; after a failure (``OSError``) the earlier file is untouched.

    Equal checkpoints make equal files, byte for byte.
    """
    from safetensors.numpy import save

    arrays = _flatten(checkpoint)
    header = {
        "version": VERSION,
        "step": checkpoint.step,
        "progress": checkpoint.progress,
        "run": checkpoint.run,
    }
    header["sha256"] = _digest(arrays, header)
    write_atomically(path, save(arrays, {FORMAT: json.dumps(header, sort_keys=True)}))


def load_checkpoint(path: Path, run: str | None = None, size: int | None = None) -> Checkpoint:
    """Read a checkpoint and verify it, if given for the fingerprint of a run and the number of its
    parameters, which are compared before any memory is taken for the arrays.

    Raises ``ValueError`` with one clear line if the file is missing, truncated, of another format
    or a newer version, altered since it was written, of another run, or holds NaN or infinity.
    """
    from safetensors import SafetensorError, safe_open

    header = load_header(path)
    if run is not None and header["run"] != run:
        raise ValueError(f"{path} does not belong to config.json and tokenizer.json beside it")
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}
            _require_sizes(path, shapes, size)
            arrays = {name: file.get_tensor(name) for name in shapes}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error!s:.200}") from None
    if header.pop("sha256") != _digest(arrays, header):
        raise ValueError(f"{path} is damaged: its content does not match its checksum")
    if bad := [name for name, a in arrays.items() if not np.isfinite(a).all()]:
        raise ValueError(f"{path} holds NaN or infinity in {bad[0]}")
    parameters, optimizer = (_under(group, arrays) for group in GROUPS)
    return Checkpoint(parameters, optimizer, header["step"], header["progress"], header["run"])


def load_header(path: Path) -> dict[str, Any]:
    """version, step, progress, run and sha256 of a checkpoint, without its arrays.

    Raises ``ValueError`` as ``load_checkpoint`` does.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path.parent} has no checkpoint ({path.name} is missing)")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged: {error!s:.200}") from None
    if FORMAT not in metadata:
        raise ValueError(f"{path} is not a checkpoint of numpylm")
    try:
        header = parse_json(metadata[FORMAT])
        if header["version"] not in (1, VERSION):
            raise ValueError(
                f"version {header['version']!r:.20}, this program reads 1 to {VERSION}"
            )
        types = {name: type(header[name]) for name in ("step", "progress", "run", "sha256")}
        if list(types.values()) != [int, dict, str, str] or header["step"] < 0:
            raise ValueError("its step or progress makes no sense")
        if not all(type(v) in (int, float) for v in header["progress"].values()):
            raise ValueError("its progress holds something else than numbers")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or of another version: {error!s:.200}") from None
    return header


def copy_into(tree: Any, arrays: dict[str, Array], path: Path) -> None:
    """Copy loaded parameters into a model's tree.

    Raises ``ValueError`` if names, shapes or dtypes are not exactly those of the tree.
    """
    wanted = dict(leaves(tree))
    if set(wanted) != set(arrays):
        names = ", ".join(sorted(set(wanted) ^ set(arrays))[:3])
        raise ValueError(f"{path} does not fit the model: missing or extra {names}")
    for name, array in wanted.items():
        found = arrays[name]
        if (found.shape, found.dtype) != (array.shape, array.dtype):
            raise ValueError(
                f"{path} does not fit the model: {name} is {found.dtype} {found.shape}, "
                f"not {array.dtype} {array.shape}"
            )
        array[...] = found


def _require_sizes(path: Path, shapes: dict[str, list[int]], size: int | None) -> None:
    """Raise ``ValueError`` for arrays of no group, or a size that is not that of the model."""
    if extra := [name for name in shapes if not name.startswith(tuple(f"{g}." for g in GROUPS))]:
        raise ValueError(f"{path} is damaged: no array of ours is called {extra[0]!r:.80}")
    found, state = (sum(map(math.prod, _under(group, shapes).values())) for group in GROUPS)
    if size is not None and found != size:
        raise ValueError(f"{path} holds {found:,} parameters, not {size:,}")
    if size is not None and state > 2 * size:  # Adam's two moments are the most there is
        raise ValueError(f"{path} holds {state:,} numbers of the optimiser for {size:,} parameters")


def _flatten(checkpoint: Checkpoint) -> dict[str, Array]:
    """All arrays by their names in the file; row by row, as safetensors takes memory as it lies."""
    groups = {"parameters": checkpoint.parameters, "optimizer": checkpoint.optimizer}
    return {
        f"{group}.{name}": np.asarray(array, order="C")
        for group, arrays in groups.items()
        for name, array in arrays.items()
    }


def _under(group: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {n.removeprefix(f"{group}."): a for n, a in arrays.items() if n.startswith(f"{group}.")}


def _digest(arrays: dict[str, Array], header: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()
