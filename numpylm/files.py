"""Files that are either the old one or the new one, never half of each, and that may be a
stranger's: data, never code, and nothing is taken on trust.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write a file so that a crash at any instant leaves the old or the new content.

    A temporary file in the same folder, fsync, rename, fsync of the folder. Raises ``OSError``
    naming the file (disk full, folder not writable) and then leaves the old file and nothing else;
    what a crash leaves of the temporary file, the next write removes. Links are replaced, not
    followed: nothing outside the folder is written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb") as file:
            file.write(data.encode("utf-8") if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk does not say of which file
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone, until it ends or dies.

    Raises ``ValueError`` if another process holds it. No effect where there is no ``fcntl``.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ValueError(f"another process is training in {folder}") from None
    finally:
        os.close(descriptor)


def read_utf8(path: Path) -> str:
    """A text file. Raises ``ValueError`` if it cannot be read, or is a pipe or a device."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is no regular file")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {path}: {error}") from None


def parse_json(text: str) -> Any:
    """What a JSON text holds, read more strictly than Python does.

    Raises ``ValueError`` with one line for anything else than JSON: also for NaN and infinity, a
    number that no float64 or int64 can hold, a key that occurs twice, and values nested so deep
    that reading them would fail.
    """
    try:
        return json.loads(
            text, parse_float=_finite, parse_int=_int64, parse_constant=_finite,
            object_pairs_hook=_without_repeats,
        )  # fmt: skip
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits:.20} is no finite number")
    return value


def _int64(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**63:
        raise ValueError(f"{digits:.20} does not fit 64 bits")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found
