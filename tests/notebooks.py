"""Build the notebooks: chapters/NAME.md, run from a clean kernel, becomes notebooks/NAME.ipynb.

python -m tests.notebooks            rebuilds every notebook
python -m tests.notebooks 04-1       rebuilds those whose name contains 04-1

A chapter without a change gives the same file again: cell ids come from the cells' text, versions
and paths of the machine are left out, and a cell tagged ``measured`` (timings, which never repeat)
keeps its output until a cell of the chapter changes or the notebook is deleted.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from pathlib import Path

import jupytext
import matplotlib.font_manager  # noqa: F401  builds its cache here, not with a message in a cell
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
SECONDS = 600  # of one cell, which takes seconds: only a cell that hangs gets there
WIDGET = "application/vnd.jupyter.widget-view+json"


def chapter_files() -> list[Path]:
    """The chapters that are notebooks: Markdown files with a Jupytext header."""
    files = sorted((ROOT / "chapters").glob("*.md"))
    return [f for f in files if f.read_text(encoding="utf-8").startswith("---\njupytext:")]


def notebook_file(chapter: Path) -> Path:
    return NOTEBOOKS / f"{chapter.stem}.ipynb"


def read_chapter(chapter: Path) -> NotebookNode:
    """The chapter as a notebook without outputs, with ids made from the cells' text."""
    notebook = jupytext.read(chapter, fmt="md:myst")
    formats = notebook.metadata.jupytext.formats
    notebook.metadata = nbformat.from_dict(
        {
            "jupytext": {"formats": formats},
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


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run all cells in a new kernel of this interpreter, in the folder of the notebooks.

    Raises ``nbclient.exceptions.CellExecutionError`` at the first cell that fails.
    """
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
    client.execute(cleanup_kc=True)  # the kernel ends with the notebook
    del notebook.metadata["language_info"]  # holds the version of Python
    notebook.metadata["language_info"] = {"name": "python"}
    _drop_widgets(notebook)
    return notebook


def _drop_widgets(notebook: NotebookNode) -> None:
    """Widgets have random ids, and nothing to see without a kernel; their still picture stays."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if _is_still(o)]


def _is_still(output: NotebookNode) -> bool:
    """Not a widget, or one that has a picture too; takes the widget out. A progress bar is none."""
    data = output.get("data", {})
    return data.pop(WIDGET, None) is None or "image/png" in data


def build(chapter: Path) -> None:
    """Write the chapter's notebook, with outputs."""
    target = notebook_file(chapter)
    notebook = execute(read_chapter(chapter))
    if target.exists():
        _keep_measured(notebook, nbformat.read(target, as_version=4))
    text = nbformat.writes(_without_paths(notebook), version=4) + "\n"
    target.write_text(text, encoding="utf-8")


def _keep_measured(notebook: NotebookNode, old: NotebookNode) -> None:
    if [c.source for c in notebook.cells] == [c.source for c in old.cells]:
        for cell, before in zip(notebook.cells, old.cells, strict=True):
            if "measured" in cell.metadata.get("tags", []):
                cell.outputs = before.outputs


def _without_paths(notebook: NotebookNode) -> NotebookNode:
    text = json.dumps(notebook, ensure_ascii=False)
    for path, name in ((ROOT, "."), (Path(sys.prefix), "python"), (Path.home(), "~")):
        text = text.replace(f"{path}/", f"{name}/")
    return nbformat.from_dict(json.loads(text))


def main(words: list[str]) -> None:
    NOTEBOOKS.mkdir(exist_ok=True)
    for chapter in chapter_files():
        if not words or any(word in chapter.stem for word in words):
            start = time.perf_counter()
            build(chapter)
            print(f"{chapter.stem}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
