"""A table as people have it: CSV, TSV, JSON Lines or JSON, to rows that know where they stand.

CSV: the separator is that of the header (comma, semicolon or tab); lines that start with # and
empty lines are left out; a mark of byte order and spaces around fields are dropped. A quote that is
not closed in its line, a row with more or fewer fields than the header, and a column that is there
twice are refused: each of them shifts or swallows data in silence.

A number may have thousands separators ("1,234,567") or a decimal comma ("2,3976"). Which of them a
column has is asked of all its cells; where "2,397" could be either, it is refused.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpylm.files import read_utf8

GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")  # 1,234 or 1,234,567.8
DECIMAL = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")  # 2,3976


@dataclass(frozen=True)
class Row:
    """Cells by column, and where they come from: "runs.csv, line 7"."""

    cells: dict[str, Any]
    place: str
    path: Path


def read_rows_of(path: Path) -> list[Row]:
    """All rows of a file. Raises ``ValueError`` with file and line for what cannot be read."""
    text = read_utf8(path).removeprefix("\ufeff")
    if path.suffix == ".jsonl":
        rows = [(f"line {i}", _parsed(line, f"{path}, line {i}"))
                for i, line in enumerate(text.splitlines(), 1) if line.strip()]  # fmt: skip
    elif path.suffix == ".json":
        everything = _parsed(text, str(path))
        if not isinstance(everything, list):
            raise ValueError(f"{path} must hold a list of runs, each with its columns")
        rows = [(f"run {i}", row) for i, row in enumerate(everything, 1)]
    else:
        rows = [(f"line {i}", row) for i, row in _csv(text, path)]
    if not all(isinstance(row, dict) for _, row in rows):
        raise ValueError(f"{path} must hold a list of runs, each with its columns")
    return [Row(row, f"{path}, {place}", path) for place, row in rows]


def columns_of(rows: list[Row]) -> list[str]:
    """Every column that any row has, in the order in which they occur."""
    return list(dict.fromkeys(name for row in rows for name in row.cells))


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError(f"{place} is nested too deep") from None
    except ValueError as error:
        kind = "JSON" if place.endswith(".json") else "a JSON object"
        raise ValueError(f"{place} is not {kind}: {error}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _csv(text: str, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, cells) of each row. Every row is one line, so each line is read by itself."""
    lines = [(i, line) for i, line in enumerate(re.split(r"\r\n|\r|\n", text), 1)
             if line.strip() and not line.lstrip().startswith("#")]  # fmt: skip
    if not lines:
        return
    first = lines[0][1]
    separator = next((mark for mark in "\t;" if mark in first), ",")
    if path.suffix == ".tsv":
        separator = "\t"
    header = _fields(first, separator, f"{path}, line {lines[0][0]}")
    named = [name for name in header if name]
    if twice := [name for name in dict.fromkeys(named) if named.count(name) > 1]:
        raise ValueError(f"{path} has two columns {twice[0]!r}")
    if named and all(is_number(name) for name in named):
        raise ValueError(f"{path} has no line with the names of its columns: the first is {first}")
    for i, line in lines[1:]:
        cells = _fields(line, separator, f"{path}, line {i}")
        if len(cells) != len(header):
            raise ValueError(f"{path}, line {i} has {len(cells)} fields, the header {len(header)}")
        yield i, {name: cell for name, cell in zip(header, cells, strict=True) if name}


def _fields(line: str, separator: str, place: str) -> list[str]:
    try:
        rows = list(csv.reader([line], delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise ValueError(f"{place}: a quote is not closed") from None
        raise ValueError(f"{place}: {error}") from None
    return [cell.strip() for cell in rows[0]]


def is_number(text: str) -> bool:
    """Does a cell hold one, as Python writes them?"""
    try:
        float(text)
    except ValueError:
        return False
    return True


def numbers(rows: list[Row], column: str) -> tuple[list[float], list[str]]:
    """The column as numbers, NaN where there is none, and for each row what is wrong ("" if
    nothing): missing, no number, or a comma that could mean two things."""
    cells = [row.cells.get(column) for row in rows]
    texts = [cell.strip() if isinstance(cell, str) else "" for cell in cells]
    commas = [text for text in texts if "," in text]
    grouped = bool(commas) and all(GROUPED.fullmatch(text) for text in commas)
    decimal = bool(commas) and all(DECIMAL.fullmatch(text) for text in commas)
    values, wrong = [], []
    for row, cell, text in zip(rows, cells, texts, strict=True):
        value, what = math.nan, ""
        if cell is None or cell == "" or (isinstance(cell, str) and not text):
            what = "is missing"
        elif "," in text and grouped and decimal:
            what = f"{text!r} could be thousands or a decimal comma; write it without"
        elif isinstance(cell, bool) or not isinstance(cell, int | float | str):
            what = f"{cell!r} is no number"
        else:
            if "," in text and (grouped or decimal):
                cell = text.replace(",", "" if grouped else ".")
            try:
                value = float(cell)
            except (ValueError, OverflowError):
                what = f"{str(cell)[:40]!r} is no number"
        values.append(value)
        wrong.append(f"{row.place}: {column} {what}" if what else "")
    return values, wrong
