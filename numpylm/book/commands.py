"""``numpylm book``: run and check the chapters in parallel, or build the HTML book from them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from numpylm.book.notebooks import NOTEBOOKS, Outcome, build, chapter_files


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
                   help="build the HTML book from the notebooks as they are, and run none")  # fmt: skip
    p.add_argument("--jobs", type=int, metavar="N", default=os.cpu_count() or 1,
                   help="chapters at a time (default: the number of cores)")  # fmt: skip
    p.add_argument("--json", action="store_true", help="print the result as JSON")


def book(arguments: argparse.Namespace) -> int:
    """Run the chapters, or build the site; 1 if a chapter fails or a page is not right."""
    if arguments.html is not None:
        if arguments.chapters:
            raise ValueError("--html builds the whole book: leave out the names of chapters")
        return _html(Path(arguments.html), as_json=arguments.json)
    if arguments.jobs < 1:
        raise ValueError(f"--jobs {arguments.jobs}: at least 1")
    _require("jupytext", "nbclient", "ipykernel", extra="learn")
    NOTEBOOKS.mkdir(exist_ok=True)
    start = time.perf_counter()
    outcomes = list(_run(chapter_files(arguments.chapters), arguments.jobs, arguments.json))
    failed = [o for o in outcomes if o.problems]
    if arguments.json:
        print(json.dumps([dataclasses.asdict(o) for o in outcomes]))
    else:
        right = f"{len(outcomes) - len(failed)} of {len(outcomes)} chapters are right"
        print(f"{right}; {time.perf_counter() - start:.0f} s")
    return 1 if failed else 0


def _run(chapters: list[Path], jobs: int, quiet: bool) -> Iterator[Outcome]:
    """Each outcome as it comes, printed above the progress bar."""
    from tqdm import tqdm

    with ProcessPoolExecutor(min(jobs, len(chapters))) as pool:
        running = [pool.submit(build, chapter) for chapter in chapters]
        done = as_completed(running)
        for future in tqdm(done, total=len(chapters), unit="chapter", disable=quiet):
            outcome = future.result()
            if not quiet:
                tqdm.write(str(outcome), file=sys.stdout)
            yield outcome


def _html(folder: Path, as_json: bool) -> int:
    from numpylm.book.site import build_site

    _require("sphinx", "myst_nb", "furo", extra="book")
    start = time.perf_counter()
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
