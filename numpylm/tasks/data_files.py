"""Data files of the downstream tasks, read strictly and split without leaks.

A source is a file, which is split here, or a folder with one file for each part: ``train*``,
``valid*`` (or ``val*``, ``dev*``) and ``test*``. Any file may be gzipped (``.gz``). What cannot be
read is one ``ValueError`` that names the file and the line.
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.tasks.dataset import Dataset

STREAM = 301  # keeps the random numbers of splits apart from those of other purposes
PARTS = {"train": ("train",), "valid": ("val", "dev"), "test": ("test",)}
SHARES = (0.9, 0.05, 0.05)
MOST_UNPACKED = 2**28  # bytes that any gzipped file may unpack to; a larger one 50 times its size


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file without their ends; only ``\\n`` and ``\\r\\n`` end a line.

    Raises ``ValueError`` if the file is missing, no gzip although it is called so, empty, or not
    in that encoding.
    """
    try:
        data = _unpacked(path) if path.suffix == ".gz" else path.read_bytes()
        text = data.removeprefix(b"\xef\xbb\xbf").decode(encoding)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = f"byte {error.object[error.start]:#x}"
        raise ValueError(f"{path}:{line}: not {encoding.upper()} text: {byte}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _unpacked(path: Path) -> bytes:
    """The content of a gzipped file; ``ValueError`` if a small one would fill the memory."""
    most = max(MOST_UNPACKED, 50 * path.stat().st_size)
    with gzip.open(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"cannot read {path}: it unpacks to more than {most:,} bytes")
    return data


def read_table(path: Path, columns: int, example: Callable[..., Any]) -> list[Any]:
    """``example(*fields)`` for each line of a TSV file; columns beyond ``columns`` are ignored.

    Raises ``ValueError`` naming file and line if a line has fewer columns, one of them is empty,
    or ``example`` raises it.
    """
    examples = []
    for number, line in enumerate(read_lines(path), 1):
        fields = [field.strip() for field in line.split("\t")[:columns]]
        if len(fields) < columns:
            wanted = f"{columns} columns with tabs between them"
            raise ValueError(f"{path}:{number}: expected {wanted}, not {line!r:.80}")
        if "" in fields:
            raise ValueError(f"{path}:{number}: column {fields.index('') + 1} is empty")
        try:
            examples.append(example(*fields))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from None
    return examples


def find_parts(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of train, valid and test; of several that fit, the first by its name's stem.

    Raises ``ValueError`` naming the part that is missing.
    """
    files = [p for p in folder.iterdir() if p.is_file()]  # no pipe, no device
    files = [p for p in files if p.name.removesuffix(".gz").endswith(suffixes)]
    files.sort(key=lambda p: (p.name.split(".")[0], p.name))
    found = []
    for part, beginnings in PARTS.items():
        fitting = [p for p in files if p.name.startswith(beginnings)]
        if not fitting:
            raise ValueError(f"folder {folder} has no {part} file ({part}{suffixes[0]})")
        found.append(fitting[0])
    return found


def load_files(
    source: str | Path,
    read: Callable[[Path], list[Any]],
    group: Callable[[Any], Hashable],
    suffixes: tuple[str, ...] = (".tsv",),
    seed: int = 0,
) -> Dataset:
    """A folder's three files, or one file split 90 : 5 : 5 with equal ``group`` in one part.

    Raises ``ValueError`` if there is no such file or folder, or a file cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return Dataset(path.name, *(read(part) for part in find_parts(path, suffixes)))
    if not path.is_file():
        raise ValueError(f"{str(source)!r} is neither built in nor an existing file or folder")
    examples = read(path)
    return split_groups(path.name, examples, [group(e) for e in examples], SHARES, seed)


def split_groups(
    name: str,
    examples: Sequence[Any],
    groups: Sequence[Hashable],
    shares: tuple[float, float, float],
    seed: int,
) -> Dataset:
    """Train, valid and test in these shares, no group in two parts; each part in shuffled order.

    The groups are dealt out from the largest to the smallest, those of one size in an order drawn
    from the seed, each to the part that lacks most; the last ones to parts that have none yet.
    Raises ``ValueError`` if there are fewer groups than parts.
    """
    rng = np.random.default_rng([STREAM, seed])
    members = defaultdict(list)
    for i in rng.permutation(len(examples)).tolist():
        members[groups[i]].append(i)
    lack = np.array(shares) * len(examples)
    parts: list[list[int]] = [[], [], []]
    wanted = [i for i, share in enumerate(shares) if share]
    if len(members) < len(wanted):
        raise ValueError(f"{name} has too few different examples to split in {len(wanted)} parts")
    queue = sorted(members.values(), key=len)
    while queue:
        empty = [i for i in wanted if not parts[i]]
        neediest = empty[0] if len(queue) <= len(empty) else int(lack.argmax())
        group = queue.pop()
        parts[neediest] += group
        lack[neediest] -= len(group)
    shuffled = ([part[i] for i in rng.permutation(len(part))] for part in parts)
    return Dataset(name, *([examples[i] for i in part] for part in shuffled))
