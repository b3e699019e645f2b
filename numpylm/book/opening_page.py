"""Keep the opening page true: the map and the glossary of chapters/README.md."""

from __future__ import annotations

import re
from pathlib import Path

from numpylm.book.notebooks import CHAPTERS, ROOT, chapter_files, notebook_file
from numpylm.files import write_atomically

OPENING = CHAPTERS / "README.md"


def section(chapter: Path) -> str:
    """The number of a chapter's section: 4.1 of 04-1-self-attention.md, A of A-….md."""
    parts = chapter.stem.split("-")
    return f"{int(parts[0])}.{parts[1]}" if parts[0].isdigit() else parts[0]


def glossary(chapters: list[Path]) -> dict[str, tuple[str, str, list[Path]]]:
    """English term -> (Chinese term, meaning in its first chapter, all its chapters), by alphabet.

    Raises ``ValueError`` if two chapters translate a term differently.
    """
    found: dict[str, tuple[str, str, list[Path]]] = {}
    for chapter in chapters:
        table = chapter.read_text(encoding="utf-8").partition("\n## Glossary")[2]
        for row in re.findall(r"^\|(.*)\|$", table.partition("\n## ")[0], re.MULTILINE)[2:]:
            term, chinese, meaning = (cell.strip() for cell in row.split(" | ", 2))
            known, _, homes = found.setdefault(term, (chinese, meaning, []))
            if known != chinese:
                raise ValueError(f"{term}: {known} in {homes[0].stem}, {chinese} in {chapter.stem}")
            homes.append(chapter)
    return dict(sorted(found.items(), key=lambda item: item[0].casefold()))


def refresh_opening() -> None:
    """Write the map, the glossary and the addresses of the sections into the opening page."""
    text = old = OPENING.read_text(encoding="utf-8")
    chapters = chapter_files()
    parts = {"map": _map(chapters), "glossary": _glossary(chapters), "links": _links(chapters)}
    for name, lines in parts.items():
        begin, end = f"<!-- {name}: numpylm book writes it -->", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        text = "\n".join([head + begin, "", *lines, "", end + rest.partition(end)[2]])
    if text != old:
        write_atomically(OPENING, text)


def _map(chapters: list[Path]) -> list[str]:
    """A row for each section of the textbook, from the README; those without a chapter say so."""
    lines = ["| § | chapter | notebook | the question |", "|---|---|---|---|"]
    written = {section(chapter): chapter for chapter in chapters}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for number, title in re.findall(r"^\| (\d\.\d|A) \| ([^|]*) \|", readme, re.MULTILINE):
        if number not in written:
            lines.append(f"| {number} | {title} | | not written yet |")
            continue
        chapter = written[number]
        heading, question = _heading_and_question(chapter)
        notebook = f"../notebooks/{notebook_file(chapter).name}"
        links = f"[{heading}]({chapter.name}) | [notebook]({notebook})"
        lines.append(f"| {number} | {links} | {question} |")
    return lines


def _heading_and_question(chapter: Path) -> tuple[str, str]:
    """The title without its number, and the last sentence of the paragraph "The question."."""
    text = chapter.read_text(encoding="utf-8")
    heading = re.search(r"^# \S+ (.+)$", text, re.MULTILINE)
    asked = re.search(r"^\*\*The question\.\*\* (.+)$", text, re.MULTILINE)
    if not heading or not asked:
        raise ValueError(f"{chapter.stem} lacks its title or its paragraph **The question.**")
    return heading[1], re.split(r"(?<=[.?!]) (?=[A-Z])", asked[1].strip())[-1]


def _glossary(chapters: list[Path]) -> list[str]:
    lines = ["| English | 中文 | in one line | § |", "|---|---|---|---|"]
    for term, (chinese, meaning, homes) in glossary(chapters).items():
        where = ", ".join(f"[{section(home)}]({home.name})" for home in homes)
        lines.append(f"| {term} | {chinese} | {meaning} | {where} |")
    return lines


def _links(chapters: list[Path]) -> list[str]:
    """What makes a link of [4.1] anywhere on the page."""
    return [f"[{section(chapter)}]: {chapter.name}" for chapter in chapters]
