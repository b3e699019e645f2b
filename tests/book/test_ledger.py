"""chapters/results.md, the ledger: it has README's and the chapters' figures, its commands exist.

A test that fails here names a figure or a command, and says where to write it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from numpylm.book.notebooks import ROOT, chapter_files, notebook_file
from numpylm.book.opening_page import section
from numpylm.cli.parser import _parser
from numpylm.training.presets import preset

README = (ROOT / "README.md").read_text(encoding="utf-8")
LEDGER = (ROOT / "chapters" / "results.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?<!,)")


class Row(NamedTuple):
    """A row of a table; README's have no machine and no date."""

    what: str
    figure: str
    command: str
    machine: str = ""
    date: str = ""

    @property
    def commands(self) -> list[str]:
        """What can be typed: the spans between backticks that call a program."""
        spans = re.findall(r"`([^`]+)`", self.command)
        return [span for span in spans if span.startswith(("numpylm ", "python "))]


def tables(text: str) -> list[Row]:
    lines = re.findall(r"^\| (.+) \|$", text, re.MULTILINE)
    rows = [Row(*(cell.strip() for cell in line.split(" | "))) for line in lines]
    return [row for row in rows if row.what != "what"]


def numbers(text: str) -> set[str]:
    """Its figures, without what stands between backticks: 1.405, 1e-10, 2,724."""
    return set(NUMBER.findall(re.sub(r"`[^`]*`", "", text)))


MEASURED = tables(README.partition("\n## Measured\n")[2].partition("\n## ")[0])
RECORDED = tables(LEDGER)


def recorded_numbers(rows: list[Row]) -> set[str]:
    return set().union(*(numbers(f"{row.what} {row.figure}") for row in rows), set())


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row.what[:40])
def test_every_figure_of_the_readme_is_in_the_ledger(row: Row) -> None:
    same_command = [r for r in RECORDED if set(r.commands) & set(row.commands)]
    lacking = sorted(numbers(row.figure) - recorded_numbers(same_command))
    assert not lacking, (
        f"README's table states {', '.join(lacking)} for {row.what!r}, and chapters/results.md has "
        f"no row with {row.commands} that does. Copy README's row into the table of its area there "
        "and add the kind of machine and the date, or correct the row that is out of date"
    )


def test_the_readme_has_headlines_and_the_ledger_more() -> None:
    assert 8 <= len(MEASURED) <= 16, "README keeps the headlines; the others belong in the ledger"
    assert len(RECORDED) > len(MEASURED)


@pytest.mark.parametrize("chapter", chapter_files(), ids=lambda chapter: chapter.stem)
def test_what_a_chapter_quotes_from_the_ledger_is_there(chapter: Path) -> None:
    """In a sentence that links to the ledger, each figure with a decimal point."""
    text = re.sub(r"Python \d\.\d+|Sections? [\d.]+|\d\.\d million", "", chapter.read_text("utf-8"))
    known = recorded_numbers(RECORDED)
    for sentence in re.split(r"(?<=[.!?:]) (?=[A-Z`])|\n", text):
        if "(results.md)" in sentence:
            lacking = sorted(n for n in numbers(sentence) - known if "." in n)
            assert not lacking, f"{lacking} is not in chapters/results.md: {sentence}"


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: row.what[:40])
def test_a_row_is_whole_and_its_commands_exist(row: Row) -> None:
    assert numbers(row.figure), f"{row.what}: no figure"
    assert row.machine, f"{row.what}: on what kind of machine?"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", row.date), f"{row.what}: {row.date!r} is not a date"
    assert row.commands, f"{row.what}: between backticks, the command that makes it"
    for command in row.commands:
        assert unknown(command) == "", f"{command}: {unknown(command)}"


def test_every_command_of_the_readme_exists() -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    commands = re.findall(r"^numpylm .*$", blocks, re.MULTILINE)
    commands += [command for row in MEASURED for command in row.commands]
    assert len(commands) > 20
    for command in commands:
        assert unknown(command) == "", f"{command}: {unknown(command)}"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("numpylm train --preset nanogpt-cpu --init gpt2", ""),
        ("numpylm train --presto x", "the command line refuses it"),
        ("numpylm train --preset nothing", "no such preset"),
        ("python -m tests.benchmarks.train_step --one-thread", ""),
        ("python -m tests.benchmarks.train_step --three-threads", "no option --three-threads"),
        ("python -m tests.benchmarks.nothing", "no such module"),
        ("python -m pytest tests/nothing.py", "no file tests/nothing.py"),
        ("numpylm book 09-9", "no such chapter"),
    ],
)
def test_a_command_that_does_not_exist_is_seen(command: str, reason: str) -> None:
    assert unknown(command) == reason


def unknown(command: str) -> str:
    """Why the command cannot be typed; empty if it can. It is parsed, not run."""
    words = shlex.split(command, comments=True)
    if words[:2] == ["python", "-m"]:
        return unknown_module(words[2], words[3:])
    try:
        arguments, rest = _parser().parse_known_args(words[1:])
    except SystemExit as stop:  # --help ends with 0
        return "the command line refuses it" if stop.code else ""
    if any(word.startswith("--") for word in rest):
        return "the command line refuses it"
    if getattr(arguments, "preset", None):
        try:
            preset(arguments.preset)
        except ValueError:
            return "no such preset"
    if words[1] == "book":
        try:
            chapter_files(arguments.chapters)
        except ValueError:
            return "no such chapter"
    return ""


def unknown_module(module: str, words: list[str]) -> str:
    """The same for ``python -m``: the module, its options, the files that pytest is given."""
    if module == "pytest":
        lost = [w for w in words if w.startswith("tests/") and not (ROOT / w).exists()]
        return f"no file {lost[0]}" if lost else ""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return "no such module"
    source = Path(spec.origin).read_text(encoding="utf-8")
    lost = [w for w in words if w.startswith("--") and f'"{w}"' not in source]
    return f"no option {lost[0]}" if lost else ""


QUOTED = [row for row in RECORDED if re.match(r"\[(\d\.\d|A)\]", row.what)]


@pytest.mark.parametrize("row", QUOTED, ids=lambda row: row.what.partition("]")[0])
def test_what_the_ledger_says_of_a_chapter_stands_in_its_notebook(row: Row) -> None:
    """After a chapter was run anew with other figures, its row has to follow."""
    number = row.what[1:].partition("]")[0]
    (chapter,) = [c for c in chapter_files() if section(c) == number]
    cells = json.loads(notebook_file(chapter).read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = " ".join("".join(output.get("text", "")) for output in outputs)
    lacking = sorted(numbers(row.figure) - set(NUMBER.findall(printed)) - {"95"})
    assert not lacking, f"the notebook of {number} does not print {lacking}: correct the row"
    assert f"({chapter.name})" in row.what
