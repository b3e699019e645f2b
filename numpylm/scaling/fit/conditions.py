"""Which rows of a table: ``dataset=rpj``, ``N>1e9``, ``role!=seed``.

A condition is a column, one of = != < <= > >=, and a value. Numbers are compared as numbers, other
values as text, and only for being equal.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass

from numpylm.scaling.fit.table_file import Row, columns_of

OPERATORS = {"=": operator.eq, "==": operator.eq, "!=": operator.ne, "<": operator.lt,
             "<=": operator.le, ">": operator.gt, ">=": operator.ge}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A column, how, and the value that it is compared with."""

    column: str
    how: str
    value: str

    @classmethod
    def parsed(cls, text: str) -> Condition:
        """Raises ``ValueError`` unless the text is a condition."""
        match = re.fullmatch(r"\s*(.+?)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*", text)
        if not match:
            raise ValueError(f"{text!r} is no condition such as dataset=rpj or N>1e9")
        return cls(match[1], match[2], match[3].strip("\"'"))

    def holds(self, rows: list[Row], renamed: dict[str, str]) -> list[bool]:
        """For each row; ``renamed`` maps our names to the file's.

        Raises ``ValueError`` for a column that no row has, or text that should be larger or
        smaller.
        """
        header = columns_of(rows)
        column = renamed.get(self.column, self.column)
        if column not in header:
            raise ValueError(f"{self} asks for a column {column!r}; there is {', '.join(header)}")
        return [self._holds(row, row.cells.get(column)) for row in rows]

    def _holds(self, row: Row, cell: object) -> bool:
        compare = OPERATORS[self.how]
        try:
            return bool(compare(float(str(cell)), float(self.value)))
        except ValueError:
            if self.how in ("=", "==", "!="):
                return bool(compare("" if cell is None else str(cell), self.value))
            raise ValueError(f"{row.place}: {self.column} {cell!r} cannot be compared: {self}"
                             ) from None  # fmt: skip

    def __str__(self) -> str:
        return f"{self.column}{self.how}{self.value}"
