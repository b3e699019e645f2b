"""Build the HTML book: Sphinx and myst-nb on the executed notebooks, which are not run again.

The pages need no network and no server: MathJax and mermaid are copied into the site, and every
script is a plain one, because a browser loads no module from a file. Both come from the npm
registry once, through ``npm pack``, in the versions below, and stay in numpylm's cache.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from numpylm.book.notebooks import CHAPTERS, NOTEBOOKS, chapter_files, notebook_file, read_chapter
from numpylm.files import write_atomically

STATIC = Path(__file__).with_name("static")  # book.css and book.js
SCRIPTS = {  # name in the site: (npm package, file in it, sha256 of that file)
    "mathjax.js": (
        "mathjax@3.2.2", "es5/tex-svg-full.js",  # formulas as outlines: no fonts to load
        "a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6",
    ),
    "mermaid.js": (
        "mermaid@11.17.2", "dist/mermaid.min.js",
        "581ed7d74bd9048d0e3a91363927d72ef22942d7722546b27f7cc29e35390eb8",
    ),
}  # fmt: skip
SETTINGS = {
    "project": "numpylm",
    "html_title": "numpylm",
    "extensions": ["myst_nb"],
    "nb_execution_mode": "off",
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_fence_as_directive": ["mermaid"],
    "myst_heading_anchors": 3,
    "mathjax_path": "mathjax.js",
    "mathjax3_config": {"options": {"enableMenu": False}},  # the menu would load more files
    "html_theme": "furo",
    "html_css_files": ["book.css"],
    "html_js_files": ["book.js"],
    "html_copy_source": False,  # each page links its chapter and its notebook
    "html_use_index": False,
    "html_show_copyright": False,
}


def build_site(folder: Path) -> list[str]:
    """Write the book into ``folder``; returns what is wrong with it, a line each.

    Every chapter with a notebook becomes a page, every other Markdown file beside them too, and
    ``chapters/README.md`` the first page. Raises ``ValueError`` if the folder holds something else,
    or if the scripts cannot be had.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "searchindex.js").exists():
        raise ValueError(f"{folder} is not empty and holds no HTML book")
    stale = [f"{c.stem}: run numpylm book {c.stem} first" for c in chapter_files() if _stale(c)]
    with tempfile.TemporaryDirectory() as scratch:
        source, extra, static = (Path(scratch) / name for name in ("pages", "extra", "static"))
        shutil.copytree(STATIC, static)
        for name in SCRIPTS:
            shutil.copy(_script(name), static / name)
        _write_pages(source)
        shutil.copytree(CHAPTERS, extra / "chapters")
        shutil.copytree(NOTEBOOKS, extra / "notebooks", ignore=lambda _, names: [
            name for name in names if not name.endswith(".ipynb")])  # fmt: skip
        warnings = _sphinx(source, folder, Path(scratch) / "doctrees", extra, static)
    return stale + [line.replace(f"{source}/", "") for line in warnings]


def _stale(chapter: Path) -> bool:
    """Whether the chapter was changed after its notebook was run."""
    import nbformat

    if not notebook_file(chapter).exists():
        return True
    notebook = nbformat.read(notebook_file(chapter), as_version=4)
    return [c.source for c in notebook.cells] != [c.source for c in read_chapter(chapter).cells]


def _script(name: str) -> Path:
    """The script in the cache; fetched if it is not there.

    Raises ``ValueError`` without npm, without network, and for a file that is not the pinned one.
    """
    import pooch

    package, member, sha256 = SCRIPTS[name]
    target = Path(pooch.os_cache("numpylm")) / "book" / f"{package}-{name}"
    if not target.exists():
        npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
        if npm is None:
            raise ValueError(f"{package} is fetched with npm, which is not here: install Node.js")
        with tempfile.TemporaryDirectory() as scratch:
            command = [npm, "pack", package, "--silent", "--pack-destination", scratch]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise ValueError(f"npm pack {package}: {done.stderr.strip() or done.returncode}")
            with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
                content = archive.extractfile(f"package/{member}").read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"{member} of {package} does not match its checksum")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content)
    return target


def _write_pages(folder: Path) -> None:
    """What Sphinx reads: notebooks with links for the site, other Markdown files, a contents."""
    import nbformat

    folder.mkdir()
    names, chapters = [], chapter_files()
    for path in sorted(CHAPTERS.glob("*.md")):
        if path in chapters:
            executed = notebook_file(path)
            notebook = nbformat.read(executed, 4) if executed.exists() else read_chapter(path)
            for cell in notebook.cells:
                _prepare(cell)
            notebook.cells[0].source = _with_sources(notebook.cells[0].source, path.stem)
            nbformat.write(notebook, folder / executed.name)
            names.append(path.stem)
        elif path.name != "README.md":
            (folder / path.name).write_text(page_text(path.read_text("utf-8")), "utf-8")
            names.append(path.stem)
    opening = page_text((CHAPTERS / "README.md").read_text("utf-8"))
    contents = "\n".join(["", "```{toctree}", ":hidden:", "", *names, "```", ""])
    (folder / "index.md").write_text(opening + contents, "utf-8")
    if (CHAPTERS / "images").exists():
        shutil.copytree(CHAPTERS / "images", folder / "images")


def _prepare(cell: Any) -> None:
    """Links that hold in the site; and the words for a cell's figure where myst-nb looks for them.

    In a chapter they are the cell's option ``alt``, which nbconvert reads, too.
    """
    if cell.cell_type == "markdown":
        cell.source = page_text(cell.source)
    elif "alt" in cell.metadata:
        cell.metadata["mystnb"] = {"image": {"alt": cell.metadata["alt"]}}


def page_text(text: str) -> str:
    """Markdown whose links hold in the site, where all pages lie in one folder.

    A link to a notebook offers the file; one to another file of the repository, which the site does
    not hold, leaves its text; one to a chapter becomes one to its page.
    """
    notebook = r'<a href="notebooks/\2" download>\1</a>'
    text = re.sub(r"\[([^]]*)\]\(\.\./notebooks/([\w.-]+)\)", notebook, text)
    text = re.sub(r"(?<!!)\[([^]]*)\]\(\.\./[^)]*\)", r"\1", text)
    return re.sub(
        r"(\]\(|^\[[^]]+\]: )([\w.-]+)\.md(?=[#)\n])", _page_link, text, flags=re.MULTILINE
    )


def _page_link(link: re.Match[str]) -> str:
    before, stem = link.groups()
    if stem == "README":
        return f"{before}index.md"
    suffix = "ipynb" if CHAPTERS / f"{stem}.md" in chapter_files() else "md"
    return f"{before}{stem}.{suffix}"


def _with_sources(text: str, stem: str) -> str:
    """The first cell with a line below the title that links the page's two sources."""
    title, rest = text.split("\n", 1)
    return f"""{title}

<p class="sources">This page: <a href="notebooks/{stem}.ipynb" download>the notebook to run</a> ·
<a href="chapters/{stem}.md" download>the chapter as text</a></p>
{rest}"""


def _sphinx(source: Path, folder: Path, doctrees: Path, extra: Path, static: Path) -> list[str]:
    """Build from nothing; returns Sphinx's warnings."""
    from sphinx.application import Sphinx

    settings = SETTINGS | {"html_extra_path": [str(extra)], "html_static_path": [str(static)]}
    if folder.exists():
        shutil.rmtree(folder)
    warnings = io.StringIO()
    app = Sphinx(
        source, None, folder, doctrees, "html",
        confoverrides=settings, status=None, warning=warnings,
    )  # fmt: skip
    app.add_directive("mermaid", _mermaid())
    app.build()
    text = re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue())
    return [line for line in text.splitlines() if line.strip()]


def _mermaid() -> Any:
    """The directive of a diagram: its text, which mermaid draws in the browser."""
    from docutils import nodes
    from docutils.parsers.rst import Directive

    class Mermaid(Directive):
        has_content = True

        def run(self) -> list[Any]:
            text = html.escape("\n".join(self.content))
            return [nodes.raw("", f'<pre class="mermaid">{text}</pre>', format="html")]

    return Mermaid
