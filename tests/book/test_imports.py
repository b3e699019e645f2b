"""No unexplained import in the book: whoever meets a name for the first time is told what it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from numpylm.book.notebooks import chapter_files, code_cells, read_chapter

KNOWN = {"math", "matplotlib.pyplot", "numpy"}  # the opening page has them
WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Every imported name, and whether a comment stands above it, or beside it or its use."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            above = node.lineno > 1 and lines[node.lineno - 2].startswith("#")
            beside = "#" in lines[node.lineno - 1]
            for name in node.names:
                used = rf"\b{re.escape(name.name)}\b.*#"
                yield name.name, above or beside or any(re.search(used, line) for line in lines)


def is_named(name: str, prose: str) -> bool:
    """In code marks, or by its words, as ``learning_rate`` is where that rate is explained."""
    stem = re.sub(r"_(forward|backward|init)$", "", name)
    if re.search(rf"`[^`]*\b{re.escape(stem)}(_forward|_backward)?\b[^`]*`", prose):
        return True
    words = [word.lower() for word in WORDS.findall(stem)]
    return all(re.search(rf"\b{word}", prose.lower()) for word in words)


def test_every_import_is_explained_where_it_comes_first() -> None:
    seen, unexplained = set(KNOWN), []
    for chapter in chapter_files():
        cells = read_chapter(chapter).cells
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        for cell in code_cells(read_chapter(chapter)):
            for name, commented in imports(cell.source):
                if not (name in seen or commented or is_named(name, prose)):
                    unexplained.append(f"{chapter.stem}: {name}")
                seen.add(name)
    assert not unexplained, f"say in a comment or in the text what they are: {unexplained}"


def test_a_name_is_explained_by_its_words_or_in_code_marks() -> None:
    assert is_named("layer_norm_forward", "The layer norm comes first.")
    assert is_named("Counter", "Python's `collections.Counter` counts.")
    assert not is_named("strata_of", "Draw the runs anew.")
    assert list(imports("import io  # text as a file\nimport os")) == [("io", True), ("os", False)]
