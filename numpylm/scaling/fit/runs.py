"""The runs of a table in memory: columns of numbers, and where each row comes from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from numpylm.parameters import Array
from numpylm.scaling.fit.table_file import Row
from numpylm.scaling.laws.power_laws import Law


@dataclass(frozen=True)
class Runs:
    """Columns by name, (n,) each, and the names of the runs."""

    columns: dict[str, Array]
    names: list[str]
    source: str
    derived: str = ""  # which column was computed, and how
    renamed: dict[str, str] = field(default_factory=dict)  # our names to the file's
    places: list[str] = field(default_factory=list)  # file and line of each row
    wrong: dict[str, list[str]] = field(default_factory=dict)  # by column and row
    held_out: Array = field(
        default_factory=lambda: np.zeros(0, bool)
    )  # as the table or a condition says
    held_by: str = ""  # what says so
    read: int = 0  # rows of the files
    left_out: dict[str, int] = field(default_factory=dict)  # why, and how many
    rows: list[Row] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def column(self, name: str) -> Array:
        """A column (n,). Raises ``ValueError`` at the first cell that holds no usable number."""
        for what in self.wrong.get(name, []):
            if what:
                raise ValueError(what)
        return self.columns[name]

    def inputs(self, law: Law) -> Array:
        """What the law reads, (n, K). Raises ``ValueError`` if a column or a cell is missing."""
        missing = [name for name in law.inputs if name not in self.columns]
        if missing:
            raise ValueError(
                f"{self.source} has no column {', '.join(missing)}, which {law.form} needs; it has "
                f"{', '.join(self.columns)} (rename with --columns {missing[0]}=NAME)"
            )
        return np.stack([self.column(name) for name in law.inputs], axis=1)

    @property
    def loss(self) -> Array:
        """(n,) nats."""
        return self.columns["loss"]

    @property
    def compute(self) -> Array:
        """(n,) FLOPs; where there is none, the position of a row in the table."""
        return self.columns.get("C", np.arange(1.0, len(self) + 1.0))

    @property
    def holdout_above(self) -> float | None:
        """FLOPs of the largest fitted run, if the held-out rows are all those above it."""
        held = self.held_out
        if not held.any() or held.all() or "C" not in self.columns:
            return None
        top = float(self.compute[~held].max())
        return top if (self.compute[held] > top).all() else None

    def select(self, kept: Array) -> Runs:
        """The rows for which booleans (n,) are True."""

        def chosen(items: list) -> list:
            return [item for item, keep in zip(items, kept, strict=True) if keep]

        return replace(
            self, names=chosen(self.names), places=chosen(self.places), rows=chosen(self.rows),
            columns={name: column[kept] for name, column in self.columns.items()},
            wrong={name: chosen(what) for name, what in self.wrong.items()},
            held_out=self.held_out[kept],
        )  # fmt: skip

    @property
    def account(self) -> str:
        """Rows read, and why some were left out."""
        reasons = ", ".join(f"{why} {count}" for why, count in self.left_out.items())
        gone = sum(self.left_out.values())
        return f"{self.read} rows read, {gone} left out" + (f" ({reasons})" if gone else "")
