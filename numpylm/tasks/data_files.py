"""Data files of the downstream tasks, read strictly and split without leaks.

A source is a file, which is split here, or a folder with one file for each part: ``train*``,
``valid*`` (or ``val*``, ``dev*``) and ``test*``. Any file may be gzipped (``.gz``). What cannot be
read is one ``ValueError`` that names the file and the line.
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.data.words import line_feeds, rules
from numpylm.tasks.dataset import Dataset

STREAM = 301  # keeps the random numbers of splits apart from those of other purposes
PARTS = {"train": ("train",), "valid": ("val", "dev"), "test": ("test",)}
SHARES = (0.9, 0.05, 0.05)
LABEL_NAMES = {"label", "labels", "class", "category", "sentiment"}
COLUMN_NAMES = LABEL_NAMES | set(
    "sentence text review question story context passage answer source target document article "
    "summary input output".split()
)
MOST_UNPACKED = 2**28  # bytes that any gzipped file may unpack to; a larger one 50 times its size


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file without their ends: LF, CR LF, or in a file without LF a CR.

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
    text = line_feeds(text).removesuffix("\n")
    return [line.removesuffix("\r") for line in text.split("\n")]


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

    A first line that names the columns (``sentence⇥label``) is no example.

    Raises ``ValueError`` naming file and line if a line has fewer columns, one of them is empty,
    or ``example`` raises it.
    """
    examples = []
    for number, line in enumerate(read_lines(path), 1):
        fields = [field.strip() for field in line.split("\t")[:columns]]
        if len(fields) < columns:
            wanted = f"{columns} columns with tabs between them"
            raise ValueError(f"{path}:{number}: expected {wanted}, not {line!r:.80}")
        if number == 1 and rules() > 1 and {field.lower() for field in fields} <= COLUMN_NAMES:
            if fields[0].lower() in LABEL_NAMES:
                raise ValueError(
                    f"{path}:1: the columns are {', '.join(fields)}: put the text first"
                )
            continue
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
    labels: Callable[[Any], Iterable[str]] = lambda example: (),
) -> Dataset:
    """A folder's three files, or one file split 90 : 5 : 5 with equal ``group`` in one part, and
    each of the ``labels`` in the training part.

    Raises ``ValueError`` if there is no such file or folder, or a file cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return Dataset(path.name, *(read(part) for part in find_parts(path, suffixes)))
    if not path.is_file():
        raise ValueError(f"{str(source)!r} is neither built in nor an existing file or folder")
    examples = read(path)
    groups = [group(e) for e in examples]
    return split_groups(
        path.name, examples, groups, SHARES, seed, [set(labels(e)) for e in examples]
    )


def split_groups(
    name: str,
    examples: Sequence[Any],
    groups: Sequence[Hashable],
    shares: tuple[float, float, float],
    seed: int,
    labels: Sequence[set[str]] = (),
) -> Dataset:
    """Train, valid and test in these shares, no group in two parts; each part in shuffled order.

    The groups are dealt out from the largest to the smallest, those of one size in an order drawn
    from the seed, each to the part that lacks most; the last ones to parts that have none yet.
    A label that the training part would lack comes there with a group of another part, if that has
    two. ``labels`` are those of each example.
    Raises ``ValueError`` if there are fewer groups than parts.
    """
    rng = np.random.default_rng([STREAM, seed])
    members = defaultdict(list)
    for i in rng.permutation(len(examples)).tolist():
        members[groups[i]].append(i)
    lack = np.array(shares) * len(examples)
    dealt: list[list[list[int]]] = [[], [], []]
    wanted = [i for i, share in enumerate(shares) if share]
    if len(members) < len(wanted):
        raise ValueError(f"{name} has too few different examples to split in {len(wanted)} parts")
    queue = sorted(members.values(), key=len)
    while queue:
        empty = [i for i in wanted if not dealt[i]]
        neediest = empty[0] if len(queue) <= len(empty) else int(lack.argmax())
        group = queue.pop()
        dealt[neediest].append(group)
        lack[neediest] -= len(group)
    if labels:
        _give_each_label(dealt, labels)
    parts = [[i for group in part for i in group] for part in dealt]
    shuffled = ([part[i] for i in rng.permutation(len(part))] for part in parts)
    return Dataset(name, *([examples[i] for i in part] for part in shuffled))


def _give_each_label(dealt: list[list[list[int]]], labels: Sequence[set[str]]) -> None:
    """Move groups to the training part, until it has each label or the others have one group."""

    def of(group: list[int]) -> set[str]:
        return set().union(*(labels[i] for i in group))

    known = set().union(*map(of, dealt[0]))
    for part in dealt[1:]:
        for group in list(part):
            if not of(group) <= known and len(part) > 1:
                part.remove(group)
                dealt[0].append(group)
                known |= of(group)
