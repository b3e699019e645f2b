"""§5.3 Checkpoints: everything that the next step depends on, in one safetensors file.

    parameters.NAME     one array for each parameter, under its name in the tree
    optimizer.NAME      the optimiser's state, flat vectors
    metadata            format, version, step, progress, and a sha256 over all of it

Random streams are functions of (seed, step), so the step is their whole state. safetensors holds
numbers only: loading a file from a stranger runs no code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.parameters import Array, leaves
from numpylm.training.files import write_atomically

FORMAT, VERSION = "numpylm checkpoint", "1"


@dataclass
class Checkpoint:
    """``progress`` is a small dictionary of JSON values that the trainer carries on."""

    parameters: dict[str, Array]
    optimizer: dict[str, Array]
    step: int
    progress: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically; after a failure (``OSError``) the earlier file is untouched."""
    from safetensors.numpy import save

    arrays = _flatten(checkpoint)
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "step": str(checkpoint.step),
        "progress": json.dumps(checkpoint.progress),
    }
    metadata["sha256"] = _digest(arrays, metadata)
    write_atomically(path, save(arrays, metadata))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint and verify it.

    Raises ``ValueError`` with one clear line if the file is missing, truncated, of another format
    or a newer version, altered since it was written, or holds NaN or infinity.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"{path.parent} has no checkpoint ({path.name} is missing)")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if metadata.get("format") != FORMAT or "version" not in metadata:
        raise ValueError(f"{path} is not a checkpoint of numpylm")
    if metadata["version"] != VERSION:
        raise ValueError(f"{path} has version {metadata['version']}, this program reads {VERSION}")
    if metadata.pop("sha256", None) != _digest(arrays, metadata):
        raise ValueError(f"{path} is damaged: its content does not match its checksum")
    if bad := [name for name, a in arrays.items() if not np.isfinite(a).all()]:
        raise ValueError(f"{path} holds NaN or infinity in {bad[0]}")
    return Checkpoint(
        _under("parameters", arrays),
        _under("optimizer", arrays),
        int(metadata["step"]),
        json.loads(metadata["progress"]),
    )


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


def _flatten(checkpoint: Checkpoint) -> dict[str, Array]:
    return {f"parameters.{name}": a for name, a in checkpoint.parameters.items()} | {
        f"optimizer.{name}": a for name, a in checkpoint.optimizer.items()
    }


def _under(group: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {n.removeprefix(f"{group}."): a for n, a in arrays.items() if n.startswith(f"{group}.")}


def _digest(arrays: dict[str, Array], metadata: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
