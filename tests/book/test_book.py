"""The command that runs the chapters, the opening page, and what the HTML book is made of."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from numpylm.book import notebooks, opening_page, site
from numpylm.cli import main
from numpylm.models.gpt import GPTConfig, gpt_init
from numpylm.parameters import leaves

nbformat = pytest.importorskip("nbformat", reason="the book needs jupyter and jupytext")
pytest.importorskip("jupytext", reason="the book needs jupyter and jupytext")
ROOT, CHAPTERS = notebooks.ROOT, notebooks.chapter_files()
PAGE = opening_page.OPENING.read_text(encoding="utf-8")
CHAPTER = """---
jupytext:
  formats: chapters//md:myst,notebooks//ipynb
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# 4.1 Small · 小

**The question.** This is a test. Does it run? See [the next](05-1-next.md).

```{code-cell}
import sys

n = 3
FIRST
```

```{code-cell}
answer_1 = None  # what is n + 1?
```

```{code-cell}
from numpylm.book.exercises import check

check(answer_1, lambda a: a == n + 1, "count")
```

<details>
<summary>Solution</summary>

```python
answer_1 = SOLUTION
```

</details>

## Glossary · 术语表

| English | 中文 | in one line |
|---|---|---|
| small | 小 | not large |
"""


@pytest.fixture
def small_book(tmp_path):
    """A book without chapters: the package, the README with the map, the opening page."""
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "numpylm", tmp_path / "numpylm", ignore=left_out)
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "chapters").mkdir()
    (tmp_path / "chapters" / "README.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def write(book: Path, name: str, first: str = "print(n)", solution: str = "4") -> Path:
    path = book / "chapters" / f"{name}.md"
    path.write_text(CHAPTER.replace("FIRST", first).replace("SOLUTION", solution), "utf-8")
    return path


def numpylm_book(book: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "numpylm", "book", *options]
    return subprocess.run(command, cwd=book, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_command_writes_the_notebooks_of_chapters_that_are_right(small_book):
    """Several at a time; the others are named with what failed, and the exit status is 1."""
    write(small_book, "04-1-right")
    write(small_book, "05-1-wrong", solution="5")
    write(small_book, "05-2-stops", first="1 / 0")
    write(small_book, "05-3-noisy", first="print('careful', file=sys.stderr)")
    done = numpylm_book(small_book, "--jobs", "2")
    assert done.returncode == 1, done.stderr
    lines = dict(re.findall(r"^(\S+) +\d+ s  (.*)$", done.stdout, re.MULTILINE))
    assert lines == {
        "04-1-right": "ok",
        "05-1-wrong": "the folded solution of exercise 1: not yet. Hint: count",
        "05-2-stops": "ZeroDivisionError: division by zero (cell 'import sys')",
        "05-3-noisy": "on stderr: careful",
    }
    assert "1 of 4 chapters are right" in done.stdout
    assert "4/4" in done.stderr  # the progress bar
    written = sorted((small_book / "notebooks").glob("*.ipynb"))
    assert [path.name for path in written] == ["04-1-right.ipynb"]
    cells = json.loads(written[0].read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == [1, 2, 3]  # without the solution
    assert code[0]["outputs"][0]["text"] == ["3\n"]
    assert code[2]["outputs"][0]["text"] == ["not answered yet\n"]
    page = (small_book / "chapters" / "README.md").read_text(encoding="utf-8")
    assert "| 4.1 | [Small · 小](04-1-right.md) |" in page


@pytest.fixture
def one_chapter(small_book, monkeypatch):
    """A chapter of a small book that the functions of this process take for the book."""
    chapter = write(small_book, "04-1-small")
    (small_book / "notebooks").mkdir()
    for module in (notebooks, site):
        monkeypatch.setattr(module, "CHAPTERS", small_book / "chapters")
        monkeypatch.setattr(module, "NOTEBOOKS", small_book / "notebooks")
    return chapter


@pytest.fixture
def ticks(monkeypatch):
    """In place of a kernel: every cell prints how many cells have been run by now, or "right"."""
    count = itertools.count()

    def execute(notebook):
        for cell in notebooks.code_cells(notebook):
            text = "right\n" if cell.source.startswith("from") else f"{next(count)}\n"
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
        return notebook

    monkeypatch.setattr(notebooks, "execute", execute)


def first_output(chapter: Path, run=notebooks.build) -> str:
    assert run(chapter).problems == []
    notebook = nbformat.read(notebooks.notebook_file(chapter), as_version=4)
    assert notebook.cells[-1].source == notebooks.read_chapter(chapter).cells[-1].source
    return notebooks.code_cells(notebook)[0].outputs[0].text


def test_measured_output_stays_while_the_code_does(one_chapter, ticks):
    text = one_chapter.read_text(encoding="utf-8").replace(
        "```{code-cell}\nimport sys", "```{code-cell}\n:tags: [measured]\n\nimport sys"
    )
    one_chapter.write_text(text, encoding="utf-8")
    measured = first_output(one_chapter)
    one_chapter.write_text(text.replace("not large", "little"), encoding="utf-8")
    assert first_output(one_chapter) == measured
    one_chapter.write_text(text.replace("n = 3", "n = 1 + 2"), encoding="utf-8")
    assert first_output(one_chapter) != measured


def test_a_change_of_prose_needs_no_run(one_chapter, ticks):
    text = one_chapter.read_text(encoding="utf-8")
    before = first_output(one_chapter)
    one_chapter.write_text(text.replace("not large", "little"), encoding="utf-8")
    assert first_output(one_chapter, run=notebooks.rewrite_text) == before
    one_chapter.write_text(text.replace("n = 3", "n = 4"), encoding="utf-8")
    written = notebooks.notebook_file(one_chapter).read_bytes()
    assert notebooks.rewrite_text(one_chapter).problems == [
        "its code has changed: it has to be run"
    ]
    assert notebooks.notebook_file(one_chapter).read_bytes() == written


def test_an_exercise_without_a_solution_is_a_problem(one_chapter):
    text = one_chapter.read_text(encoding="utf-8").replace("<details>", "").replace("4.1", "4.2")
    one_chapter.write_text(text, encoding="utf-8")
    problem = "1 exercises have a check, 0 a folded solution"
    assert notebooks.run_chapter(one_chapter)[1] == [problem]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["09-9", "04-1"], "no chapter's name contains 09-9; there are "),
        (["--jobs", "0"], "--jobs 0: at least 1"),
        (["04-1", "--html", "site"], "leave out all names and --text"),
    ],
)
def test_bad_input_is_one_line(options, message, capsys):
    assert main(["book", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_site_is_not_built_over_other_files(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty and holds no HTML book"):
        site.build_site(tmp_path)


@pytest.mark.parametrize(
    ("chapter", "page"),
    [
        ("[3](03-2-transformer-decoder.md)", "[3](03-2-transformer-decoder.ipynb)"),
        ("[3](03-2-transformer-decoder.md#x)", "[3](03-2-transformer-decoder.ipynb#x)"),
        ("\n[3.2]: 03-2-transformer-decoder.md\n", "\n[3.2]: 03-2-transformer-decoder.ipynb\n"),
        ("[r](results.md), [the book](README.md)", "[r](results.md), [the book](index.md)"),
        ("[run](../notebooks/a-b.ipynb)", '<a href="notebooks/a-b.ipynb" download>run</a>'),
        ("see [the code](../numpylm/cli.py)", "see the code"),
        ("![loss](images/loss.png) https://a.org/b.md", "![loss](images/loss.png) https://a.org/b.md"),
    ],
)  # fmt: skip
def test_links_are_made_to_hold_in_the_site(chapter, page):
    assert site.page_text(chapter) == page


def test_a_script_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    """What npm would fetch is packed here."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.js").write_text("alert(1)")
    shutil.make_archive(str(tmp_path / "a"), "gztar", tmp_path, "package")
    npm = tmp_path / "npm"
    npm.write_text(f'#!/bin/sh\ncp {tmp_path}/a.tar.gz "$5/a.tgz"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    sha256 = "0" * 64
    monkeypatch.setitem(site.SCRIPTS, "a.js", ("a@1", "a.js", sha256))
    with pytest.raises(ValueError, match=r"a\.js of a@1 does not match its checksum"):
        site._script("a.js")
    assert not (tmp_path / "numpylm").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Sphinx warns its own extensions of its next versions
def test_the_site_has_a_page_for_each_chapter_and_links_its_sources(
    one_chapter, tmp_path, monkeypatch
):
    pytest.importorskip("sphinx", reason="the HTML book needs Sphinx: pip install -e .[book]")
    pytest.importorskip("myst_nb", reason="the HTML book needs myst-nb: pip install -e .[book]")
    monkeypatch.setattr(site, "_script", lambda name: site.STATIC / "book.js")  # in place of npm's
    parts = (
        "```mermaid\nflowchart LR\n  A --> B\n```\n\n$$\na < b\n$$\n\n"
        "```{code-cell}\n:alt: A dot at 3 and <nothing> else.\n\n"
        "import matplotlib.pyplot as plt\n\nplt.plot([n], [n], 'o')\nplt.show()\n```\n\n## Glossary"
    )
    text = one_chapter.read_text(encoding="utf-8").replace("## Glossary", parts)
    one_chapter.write_text(text.replace("[the next](05-1-next.md)", "below"), encoding="utf-8")
    (one_chapter.parent / "README.md").write_text("# The book\n\n[4.1](04-1-small.md)\n")
    (one_chapter.parent / "results.md").write_text("# Results\n\nSee [4.1](04-1-small.md).\n")
    folder = tmp_path / "site"
    with monkeypatch.context() as not_yet:
        not_yet.setattr(site, "_sphinx", lambda *folders: [])
        assert site.build_site(folder) == ["04-1-small: run numpylm book 04-1-small first"]
    assert notebooks.build(one_chapter).problems == []
    assert site.build_site(folder) == []
    page = (folder / "04-1-small.html").read_text(encoding="utf-8")
    for part in (
        '<a href="notebooks/04-1-small.ipynb" download>', '<a href="chapters/04-1-small.md" ',
        '<pre class="mermaid">flowchart LR\n  A --&gt; B</pre>', "a &lt; b", "<details>",
        'alt="A dot at 3 and &lt;nothing&gt; else."',
    ):  # fmt: skip
        assert part in page
    assert (folder / "notebooks" / "04-1-small.ipynb").read_bytes() == notebooks.notebook_file(
        one_chapter
    ).read_bytes()
    assert 'href="04-1-small.html"' in (folder / "results.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*\.(?:js|css)', page)


# The opening page


def test_the_opening_page_has_every_chapter_and_every_term_of_their_glossaries(
    tmp_path, monkeypatch
):
    copy = tmp_path / "README.md"
    copy.write_text(PAGE, encoding="utf-8")
    monkeypatch.setattr(opening_page, "OPENING", copy)
    opening_page.refresh_opening()
    assert copy.read_text(encoding="utf-8") == PAGE, "run numpylm book with any chapter"
    for chapter in CHAPTERS:
        assert f"]({chapter.name})" in PAGE
        assert len(opening_page.glossary([chapter])) >= 5, f"{chapter.name} lacks its glossary"


def test_terms_of_two_chapters_become_one_entry(tmp_path):
    head = "\n## Glossary\n\n| English | 中文 | in one line |\n|---|---|---|\n"
    first, second, third = (tmp_path / f"0{n}-1-x.md" for n in (1, 2, 3))
    first.write_text(f"{head}| nat | 奈特 | a unit |\n| b | 乙 | $a | b$ |\n\n## References\n| x |")
    second.write_text(f"{head}| nat | 奈特 | the unit |\n| Adam | 亚当 | an optimiser |\n")
    assert opening_page.glossary([first, second]) == {
        "Adam": ("亚当", "an optimiser", [second]),
        "b": ("乙", "$a | b$", [first]),
        "nat": ("奈特", "a unit", [first, second]),
    }
    third.write_text(f"{head}| nat | 纳特 | a unit |\n")
    with pytest.raises(ValueError, match="nat: 奈特 in 01-1-x, 纳特 in 03-1-x"):
        opening_page.glossary([first, third])


@pytest.mark.parametrize("path", sorted(opening_page.CHAPTERS.glob("*.md")), ids=lambda p: p.stem)
def test_links_between_chapters_hold(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)\s#]+)", text) + re.findall(
        r"^\[.+\]: (\S+)", text, re.M
    )
    for target in links:
        assert (path.parent / target).exists(), target


def test_sections_that_the_opening_page_names_are_sections():
    named = set(re.findall(r"\[(\d\.\d|A)\][^(:]", PAGE))
    assert named >= {"4.1", "5.2", "A"}
    assert named <= set(re.findall(r"^\| (\d\.\d|A) \|", PAGE, re.MULTILINE))


def test_parameters_of_the_notation_are_those_of_the_model():
    config = GPTConfig(vocab_size=7, n_layers=1, n_heads=2, d_model=4, d_ff=8)
    sizes = {"V": 7, "D": 4, r"\text{context}": config.context, "d_{ff}": 8}
    shapes = {name: array.shape for name, array in leaves(gpt_init(0, config)[1])}
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \| (`(?:embedding|decoder).*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 7
    for stated, names in rows:
        wanted = [
            tuple(sizes[symbol] for symbol in shape.split(", "))
            for shape in re.findall(r"\(([^)]*)\)", stated)
        ]
        for name in re.findall(r"`(\w+(?:\.\w+){2,})`", names):
            assert shapes[name] in wanted, name
