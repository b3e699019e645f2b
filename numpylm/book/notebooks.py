"""Run a chapter: chapters/NAME.md, from a clean kernel, becomes notebooks/NAME.ipynb.

A chapter without a change gives the same file again: cell ids come from the cells' text, versions
and paths of the machine are left out, and a cell tagged ``measured`` (timings, which never repeat)
keeps its output until code of the chapter changes or the notebook is deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from numpylm.files import write_atomically
from numpylm.plots.labels import NOTICE

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS, NOTEBOOKS = ROOT / "chapters", ROOT / "notebooks"
SECONDS = 600  # of one cell, which takes seconds: only a cell that hangs gets there
WIDGET = "application/vnd.jupyter.widget-view+json"
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
Notebook = Any  # nbformat's NotebookNode


@dataclass(frozen=True)
class Outcome:
    """What came of running a chapter; without problems, its notebook has been written."""

    chapter: str
    seconds: float
    problems: list[str]

    def __str__(self) -> str:
        return f"{self.chapter:<30} {self.seconds:4.0f} s  {'; '.join(self.problems) or 'ok'}"


def chapter_files(words: Sequence[str] = ()) -> list[Path]:
    """The chapters whose name contains one of the words; without words, all.

    A chapter is a Markdown file with a Jupytext header. Raises ``ValueError`` for a word that no
    chapter contains, and where there are no chapters: they are not part of the installed package.
    """
    files = sorted(CHAPTERS.glob("*.md"))
    files = [f for f in files if f.read_text(encoding="utf-8").startswith("---\njupytext:")]
    if not files:
        raise ValueError(f"no chapters in {CHAPTERS}: the book needs a copy of the repository")
    unknown = [word for word in words if not any(word in f.stem for f in files)]
    if unknown:
        names = ", ".join(f.stem for f in files)
        raise ValueError(f"no chapter's name contains {', '.join(unknown)}; there are {names}")
    return [f for f in files if not words or any(word in f.stem for word in words)]


def notebook_file(chapter: Path) -> Path:
    """Where the chapter's notebook is."""
    return NOTEBOOKS / f"{chapter.stem}.ipynb"


def read_chapter(chapter: Path) -> Notebook:
    """The chapter as a notebook without outputs, with ids made from the cells' text."""
    import jupytext
    import nbformat

    notebook = jupytext.read(chapter, fmt="md:myst")
    notebook.metadata = nbformat.from_dict(
        {
            "jupytext": {"formats": notebook.metadata.jupytext.formats},
            "kernelspec": dict(notebook.metadata.kernelspec),
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        cell.id = digest if not seen[digest] else f"{digest}-{seen[digest]}"
        seen[digest] += 1
    return notebook


def execute(notebook: Notebook) -> Notebook:
    """Run all cells in a new kernel of this interpreter, in the folder of the notebooks.

    Raises ``nbclient.exceptions.CellExecutionError`` at the first cell that fails.
    """
    import matplotlib.font_manager  # noqa: F401  builds its cache here, not with a message in a cell
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    specs = KernelSpecManager(kernel_dirs=[])  # no list of kernels: "python3" is sys.executable
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs),
        timeout=SECONDS,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        extra_arguments=["--Application.log_level=40"],  # errors only
        record_timing=False,
        coalesce_streams=True,
    )
    # Chapters run side by side: two kernels whose BLAS takes every core each wait for one another.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    client.execute(cleanup_kc=True, env=environment)  # the kernel ends with the notebook
    del notebook.metadata["language_info"]  # holds the version of Python
    notebook.metadata["language_info"] = {"name": "python"}
    _drop_widgets(notebook)
    return notebook


def _drop_widgets(notebook: Notebook) -> None:
    """Widgets have random ids, and nothing to see without a kernel; their still picture stays."""
    notebook.metadata.pop("widgets", None)
    for cell in code_cells(notebook):
        cell.outputs = [o for o in cell.outputs if _is_still(o)]


def _is_still(output: Any) -> bool:
    """Not a widget, or one that has a picture too; takes the widget out. A progress bar is none."""
    data = output.get("data", {})
    return data.pop(WIDGET, None) is None or "image/png" in data


def code_cells(notebook: Notebook) -> list[Any]:
    """The cells that are run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def solutions(notebook: Notebook) -> list[tuple[str, str]]:
    """(text of the folded solution, cell that checks it) for every exercise.

    Raises ``ValueError`` if there are not as many of the one as of the other.
    """
    folded = [text for cell in notebook.cells for text in SOLUTION.findall(cell.source)]
    pairs = pairwise(code_cells(notebook))
    checks = [check.source for answer, check in pairs if answer.source.startswith("answer_")]
    if len(folded) != len(checks):
        raise ValueError(f"{len(checks)} exercises have a check, {len(folded)} a folded solution")
    return list(zip(folded, checks, strict=True))


def run_chapter(chapter: Path) -> tuple[Notebook, list[str]]:
    """The executed notebook, and what is wrong with it: a clean run has no problems.

    After the last cell each folded solution and the check of its exercise are run, and taken out
    again: so the notebook that a reader opens asks, and its answers are known to be right.
    """
    import nbformat
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    notebook = read_chapter(chapter)
    n_cells = len(notebook.cells)
    try:
        solved = solutions(notebook)
        for text in (text for pair in solved for text in pair):
            notebook.cells.append(nbformat.v4.new_code_cell(text))
        execute(notebook)
    except (CellControlSignal, DeadKernelError, ValueError) as error:
        return notebook, [_reason(notebook, error)]
    checks = notebook.cells[n_cells + 1 :: 2]
    problems = [f"on stderr: {line}" for line in noise(notebook)]
    for number, cell in enumerate(checks, 1):
        said = "".join(output.get("text", "") for output in cell.outputs)
        if said != "right\n":
            problems.append(f"the folded solution of exercise {number}: {said.strip()}")
    del notebook.cells[n_cells:]
    return notebook, problems


def _reason(notebook: Notebook, error: Exception) -> str:
    """The error in one line, with the line at the top of the cell that raised it."""
    what = str(error)
    if hasattr(error, "ename") and hasattr(error, "evalue"):  # of the cell, without its traceback
        what = f"{error.ename}: {error.evalue}"
    for cell in code_cells(notebook):
        if any(output.output_type == "error" for output in cell.outputs):
            what += f" (cell {cell.source.splitlines()[0]!r})"
    return " ".join(re.sub(r"\x1b\[[\d;]*m", "", what).split())


def noise(notebook: Notebook) -> list[str]:
    """What went to standard error, and errors: a clean run has none.

    The line that a font is missing is no fault of the chapter.
    """
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    bad = [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    lines = [" ".join(str(o.get("text", o.get("evalue"))).split()) for o in bad]
    return [line for line in lines if not line.startswith(NOTICE)]


def build(chapter: Path) -> Outcome:
    """Run and check a chapter; write its notebook, with outputs, if nothing is wrong."""
    import nbformat

    start = time.perf_counter()
    notebook, problems = run_chapter(chapter)
    if not problems:
        target = notebook_file(chapter)
        if target.exists():
            _keep_measured(notebook, nbformat.read(target, as_version=4))
        _write(_without_paths(notebook), target)
    return Outcome(chapter.stem, time.perf_counter() - start, problems)


def rewrite_text(chapter: Path) -> Outcome:
    """Bring the words of a notebook up to date and keep its outputs, for a change without code."""
    import nbformat

    start, target = time.perf_counter(), notebook_file(chapter)
    notebook, problems = read_chapter(chapter), ["its code has changed: it has to be run"]
    if target.exists():
        cells, old = code_cells(notebook), code_cells(nbformat.read(target, as_version=4))
        if [c.source for c in cells] == [c.source for c in old]:
            for cell, before in zip(cells, old, strict=True):
                cell.outputs, cell.execution_count = before.outputs, before.execution_count
            _write(notebook, target)
            problems = []
    return Outcome(chapter.stem, time.perf_counter() - start, problems)


def _write(notebook: Notebook, target: Path) -> None:
    import nbformat

    write_atomically(target, nbformat.writes(notebook, version=4) + "\n")


def _keep_measured(notebook: Notebook, old: Notebook) -> None:
    cells, before_cells = code_cells(notebook), code_cells(old)
    if [c.source for c in cells] == [c.source for c in before_cells]:
        for cell, before in zip(cells, before_cells, strict=True):
            if "measured" in cell.metadata.get("tags", []):
                cell.outputs = before.outputs


def _without_paths(notebook: Notebook) -> Notebook:
    import nbformat

    text = json.dumps(notebook, ensure_ascii=False)
    for path, name in ((ROOT, "."), (Path(sys.prefix), "python"), (Path.home(), "~")):
        text = text.replace(f"{path}/", f"{name}/")
    return nbformat.from_dict(json.loads(text))
