"""``numpylm book``: run and check the chapters in parallel, or build the HTML book from them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numpylm.book.notebooks import NOTEBOOKS, Outcome, build, chapter_files, rewrite_text
from numpylm.book.opening_page import refresh_opening


def add_book(commands: Any) -> None:
    """Add ``book`` with its options."""
    p = commands.add_parser(
        "book",
        help="run and check the chapters, or build the HTML book",
        description="Run and check the chapters and write their notebooks, several at a time. "
        "Exit status 1 if one fails; its notebook then stays as it was.",
    )
    p.add_argument("chapters", nargs="*", metavar="CHAPTER",
                   help="part of a chapter's name, such as 04-1 (default: all)")  # fmt: skip
    p.add_argument("--html", metavar="FOLDER",
                   help="build the HTML book from the notebooks as they are; run none")  # fmt: skip
    p.add_argument("--text", action="store_true",
                   help="only prose has changed: bring it to the notebooks; run none")  # fmt: skip
    p.add_argument("--jobs", type=int, metavar="N", default=os.cpu_count() or 1,
                   help="chapters at a time (default: the number of cores)")  # fmt: skip
    p.add_argument("--json", action="store_true", help="print the result as JSON")


def book(arguments: argparse.Namespace) -> int:
    """Run the chapters, or build the site; 1 if a chapter fails or a page is not right."""
    if arguments.html is not None:
        if arguments.chapters or arguments.text:
            raise ValueError("--html builds the whole book: leave out all names and --text")
        return _html(Path(arguments.html), as_json=arguments.json)
    if arguments.jobs < 1:
        raise ValueError(f"--jobs {arguments.jobs}: at least 1")
    _require("jupytext", "nbclient", "ipykernel", extra="learn")
    NOTEBOOKS.mkdir(exist_ok=True)
    refresh_opening()
    start = time.perf_counter()
    work = rewrite_text if arguments.text else build
    outcomes = list(_run(work, chapter_files(arguments.chapters), arguments.jobs, arguments.json))
    failed = [o for o in outcomes if o.problems]
    if arguments.json:
        print(json.dumps([dataclasses.asdict(o) for o in outcomes]))
    else:
        right = f"{len(outcomes) - len(failed)} of {len(outcomes)} chapters are right"
        print(f"{right}; {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


def _run(work: Callable, chapters: list[Path], jobs: int, quiet: bool) -> Iterator[Outcome]:
    """Each outcome as it comes, printed above the progress bar."""
    from tqdm import tqdm

    ignore_ctrl_c = (signal.SIGINT, signal.SIG_IGN)  # it ends the pool, and that the processes
    with multiprocessing.Pool(min(jobs, len(chapters)), signal.signal, ignore_ctrl_c) as pool:
        done = pool.imap_unordered(work, chapters)
        for outcome in tqdm(done, total=len(chapters), unit="chapter", disable=quiet):
            if not quiet:
                tqdm.write(str(outcome), file=sys.stdout)
            yield outcome


def _html(folder: Path, as_json: bool) -> int:
    from numpylm.book.site import build_site

    _require("sphinx", "myst_nb", "furo", extra="book")
    start = time.perf_counter()
    refresh_opening()
    problems = build_site(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "problems": problems}))
        return 1 if problems else 0
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{folder / 'index.html'} in {time.perf_counter() - start:.0f} s")
    return 1 if problems else 0


def _require(*packages: str, extra: str) -> None:
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ValueError(f"{', '.join(missing)} not installed: pip install -e .[{extra}]")
