"""The page that sets the textbook beside this book: complete, and its links hold."""

import re

import pytest

from numpylm.book.notebooks import CHAPTERS, chapter_files
from numpylm.book.opening_page import section

PAGE = (CHAPTERS / "textbook.md").read_text(encoding="utf-8")
STATEMENTS = PAGE.partition("\n## Statement by statement")[2].partition("\n## Tools")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in STATEMENTS.splitlines()
    if re.match(r"\| (?!the article states|announced|-)", line)
]
SECTIONS = "1.1 1.2 2.1 2.2 2.3 3.1 3.2 3.3 4.1 4.2 4.3 5 5.1 5.2".split()
CHAPTER = {section(path): path for path in chapter_files()}


def test_every_section_of_the_textbook_is_there_in_its_order():
    assert re.findall(r"^\| \*\*(\d(?:\.\d)?)\*\*", STATEMENTS, re.MULTILINE) == SECTIONS
    assert "**The title**" in STATEMENTS
    assert len(ROWS) >= 76


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_a_statement_says_where_it_stands_and_what_became_of_it(row):
    what, where, verdict = row
    assert re.match(r"(kept|corrected|extended)\b", verdict), f"{what}: {verdict}"
    assert re.search(r"\]\([\w#.-]+", where), what


def test_the_parts_that_it_names_exist():
    named = re.findall(r"\[(\d\.\d|A)\]\(([\w.-]+)\)(?:, parts? ((?:\d+|, | and | to )+))?", PAGE)
    assert len(named) > 90
    for number, file, parts in named:
        assert CHAPTER[number].name == file
        text = CHAPTER[number].read_text(encoding="utf-8")
        for part in re.findall(r"\d+", parts):
            assert re.search(rf"^## {part}\. ", text, re.MULTILINE), f"{file} has no part {part}"


def test_its_own_anchors_exist():
    for anchor in re.findall(r"\]\(#([^)]+)\)", PAGE):
        heads = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}
