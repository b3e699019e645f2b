"""The chapters and their notebooks: one document, executed, and right."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import pytest

from numpylm.book import notebooks as book
from numpylm.book.notebooks import code_cells, noise

jupytext = pytest.importorskip("jupytext", reason="the book needs jupyter and jupytext")
nbformat = pytest.importorskip("nbformat", reason="the book needs jupyter and jupytext")
CHAPTERS = book.chapter_files()
PATH = re.compile(
    r"(?<![\w.~/:-])/(?:Users|home|mnt|opt|private|root|tmp|usr|var|work)/|[A-Z]:\\\\"
)
LINES = 25


@pytest.fixture(params=CHAPTERS, ids=lambda chapter: chapter.stem)
def chapter(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def committed(chapter: Path):
    return nbformat.read(book.notebook_file(chapter), as_version=4)


def test_every_notebook_has_a_chapter_and_every_chapter_a_notebook() -> None:
    assert {c.stem for c in CHAPTERS} == {n.stem for n in book.NOTEBOOKS.glob("*.ipynb")}


def test_chapter_and_notebook_are_the_same_document(chapter: Path, committed) -> None:
    source = book.read_chapter(chapter)
    assert [(c.cell_type, c.source, c.id) for c in committed.cells] == [
        (c.cell_type, c.source, c.id) for c in source.cells
    ], "run numpylm book"


def test_an_editor_that_saves_the_notebook_gives_the_same_chapter(chapter: Path) -> None:
    text = chapter.read_text(encoding="utf-8")
    notebook = jupytext.reads(text, fmt="md:myst")
    assert body(jupytext.writes(notebook, fmt="md:myst")) == body(text)


def body(text: str) -> str:
    return text.split("\n---\n", 1)[1].strip()


def test_committed_notebook_was_run_from_top_to_bottom(committed) -> None:
    counts = [cell.execution_count for cell in code_cells(committed)]
    assert counts == list(range(1, len(counts) + 1))
    assert noise(committed) == []


def test_committed_notebook_names_no_path_of_a_machine(committed) -> None:
    for cell in code_cells(committed):
        found = PATH.search(json.dumps(cell.outputs, ensure_ascii=False))
        assert found is None, f"{found} in the output of: {cell.source[:80]}"


def test_source_that_a_cell_prints_is_that_of_the_files(committed) -> None:
    """A function that changes after its chapter was run would leave its old text in the book."""
    imported = "\n".join(
        line for cell in code_cells(committed) for line in cell.source.splitlines()
    )  # of one line and of several
    homes = {
        name.strip(): module
        for module, names in re.findall(
            r"^from (numpylm[\w.]*) import (\([^)]*\)|.*)", imported, re.M
        )
        for name in re.sub(r"[()]|#.*", "", names).split(",")
    }
    for cell in code_cells(committed):
        printed = "".join(output.get("text", "") for output in cell.outputs)
        for name in re.findall(r"inspect\.getsource\((\w+)\)", cell.source):
            function = getattr(importlib.import_module(homes[name]), name)
            body = inspect.getsource(function).split('"""')[-1].strip()
            if f"print(inspect.getsource({name}))" not in cell.source:  # its end at least
                body = "\n".join(body.splitlines()[-6:])
            assert body in printed, f"{name} has changed since: run numpylm book"


def test_cells_are_short(committed) -> None:
    long = [c.source for c in code_cells(committed) if len(c.source.splitlines()) > LINES]
    assert not long, f"more than {LINES} lines: {long}"


def test_every_picture_says_in_words_what_is_seen(chapter: Path, committed) -> None:
    """For those who cannot see it: option ``alt`` of a cell, ``accDescr`` of a diagram."""
    for cell in code_cells(committed):
        if any("image/png" in output.get("data", {}) for output in cell.outputs):
            words = cell.metadata.get("alt", "").split()
            assert len(words) >= 8, f"say in the cell's option alt what is seen: {cell.source[:80]}"
        else:
            assert "alt" not in cell.metadata, f"no picture here: {cell.source[:80]}"
    text = chapter.read_text(encoding="utf-8")
    for diagram in re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL):
        assert re.search(r"^ *accDescr: .{30}", diagram, re.MULTILINE), f"accDescr: {diagram[:80]}"
    assert all(words.strip() for words in re.findall(r"!\[([^]]*)\]\(", text))


def test_every_exercise_has_a_check_and_a_folded_solution(chapter: Path) -> None:
    assert len(book.solutions(book.read_chapter(chapter))) >= 3


@pytest.mark.slow
def test_notebook_runs_and_its_solutions_are_right(chapter: Path) -> None:
    """From a clean kernel; then each folded solution and the check of its exercise."""
    assert book.run_chapter(chapter)[1] == []


@pytest.mark.slow
def test_kernel_is_this_interpreter() -> None:
    cell = nbformat.v4.new_code_cell("import sys; print(sys.executable)")
    notebook = book.execute(nbformat.v4.new_notebook(cells=[cell]))
    assert notebook.cells[0].outputs[0].text.strip() == sys.executable


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        ({book.WIDGET, "text/plain"}, []),
        ({book.WIDGET, "text/plain", "image/png"}, [{"text/plain", "image/png"}]),
        ({"text/plain"}, [{"text/plain"}]),
    ],
    ids=["progress bar", "slider with a picture", "text"],
)
def test_of_a_widget_only_its_still_picture_is_saved(kinds, left) -> None:
    output = nbformat.v4.new_output("display_data", data=dict.fromkeys(kinds, ""))
    cell = nbformat.v4.new_code_cell(outputs=[output])
    book._drop_widgets(nbformat.v4.new_notebook(cells=[cell]))
    assert [set(o.data) for o in cell.outputs] == left


@pytest.mark.parametrize(
    ("text", "is_path"),
    [
        ("File /home/ann/numpylm/gradcheck.py", True),
        (r"C:\\Users\\ann", True),
        ("see numpyGPT/nn/modules/attention.py", False),
        ("1/var, https://example.org/home/page", False),
    ],
)
def test_what_counts_as_a_path_of_a_machine(text: str, is_path: bool) -> None:
    assert bool(PATH.search(text)) == is_path
