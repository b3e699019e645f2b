"""Blocks of README and CONTRIBUTING that are written from what stands elsewhere once.

python -m tests.written      # write them, after a module was moved or renamed
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill

from numpylm.gradcheck.sections import MAP
from tests.import_order import ORDER

ROOT = Path(__file__).resolve().parents[1]


def readme() -> str:
    """README with the modules of ``gradcheck/sections.py`` in its map."""

    def row(match: re.Match) -> str:
        own, *behind = MAP[match["section"]]
        modules = f"**`{own}`**"
        if behind:
            modules += "; behind it " + ", ".join(f"`{place}`" for place in behind)
        return f"| {match['section']} | {match['title']} | {modules} |"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(
        r"^\| (?P<section>\d\.\d|A) \| (?P<title>[^|]+) \| [^|]+ \|", row, text, flags=re.MULTILINE
    )


def contributing() -> str:
    """CONTRIBUTING with the order of ``tests/import_order.py``."""
    order = fill(", ".join(f"`{name}`" for name in ORDER) + ".", 100)
    block = f"<!-- imports -->\n{order}\n<!-- end -->"
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.sub(r"<!-- imports -->.*?<!-- end -->", block, text, flags=re.DOTALL)


WRITTEN = {"README.md": readme, "CONTRIBUTING.md": contributing}

if __name__ == "__main__":
    for name, text in WRITTEN.items():
        (ROOT / name).write_text(text(), encoding="utf-8")
