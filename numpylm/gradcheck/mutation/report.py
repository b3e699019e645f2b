"""The mutation audit: does the gradient check fail when a backward is wrong?

Every catalogued bug (``published_bugs.py``) and every systematic mistake (``operators.py``) is held
against central differences on the rows of the catalogue that call the function, its own rows first,
until one betrays it. A mutant that no row betrays is a hole in the check, or changes nothing:
``EQUIVALENT`` says why.
"""

from __future__ import annotations

import copy
import json
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from textwrap import shorten
from types import CodeType
from typing import Any

import numpy as np

from numpylm.gradcheck.audit import Pair, public_backwards
from numpylm.gradcheck.check import BAR, GradientError, compare
from numpylm.gradcheck.finite_differences import Differences
from numpylm.gradcheck.mutation.engine import Mutant, implanted
from numpylm.gradcheck.mutation.operators import mutants_of
from numpylm.gradcheck.mutation.published_bugs import ADAM_STEP, BUGS, optimizer_error, with_bug
from numpylm.gradcheck.mutation.weak_checks import WEAK_CHECKS
from numpylm.optim.optimizer import Optimizer
from numpylm.parameters import leaves

CAUGHT, NOT_RUN, SAME, SURVIVES = "caught", "does not run", "equivalent", "SURVIVES"

# The line after the mutation, and why it computes the same.
EQUIVALENT = {
    "dscores = softmax_backward(dweights, weights) / math.sqrt(k.shape[-1])":
        "the forward requires q and k of one width",
    "dq *= 1.0 / math.sqrt(k.shape[-1])": "as in attention, q and k have one width",
    "dmemory = dmemory + linear_backward(p.key, dp.key, dk, cache.value)":
        "both caches hold the one memory",
}  # fmt: skip


@dataclass(frozen=True)
class MutantRow:
    """The verdict on one mutant; row and array are where it was caught, with the likely cause."""

    function: str
    mistake: str
    origin: str  # of a published bug, else ""
    before: str
    after: str
    verdict: str
    row: str
    array: str
    relative_error: float
    note: str
    seconds: float

    def __str__(self) -> str:
        caught = self.verdict == CAUGHT
        by = f"{self.array} in {self.row}" if caught else self.note
        size = f"{self.relative_error:.1e}" if caught else "-"
        change = f"{self.before} -> {self.after}" if self.after == "pass" else self.after
        what = self.mistake + (f" ({self.origin})" if self.origin else "")
        verdict = f"{self.verdict:<12} {size:>7}  {shorten(by, 80)}   [{shorten(change, 90)}]"
        return f"{self.function:<27} {what:<23} {verdict}"


class MutationAudit:
    """Checks mutants on rows of the catalogue, whose central differences it measures once."""

    def __init__(self, pairs: Iterable[Pair], seed: int = 0, bar: float = BAR) -> None:
        self.seed, self.bar = seed, bar
        self.pairs = sorted(pairs, key=lambda pair: _size(pair, seed))
        self.called = {pair.name: _called(pair, seed) for pair in self.pairs}
        self.measured: dict[str, Differences] = {}

    def rows_for(self, mutant: Mutant) -> list[Pair]:
        """The rows that call the function: its own first, then the smallest."""
        code = mutant.function.__code__
        rows = [pair for pair in self.pairs if code in self.called[pair.name]]
        return sorted(rows, key=lambda pair: mutant.name not in pair.names)

    def check(self, mutant: Mutant, origin: str = "") -> MutantRow:
        """Try row after row until one betrays the mutant."""
        start = time.perf_counter()
        found: dict[str, Any] = {
            "verdict": SURVIVES,
            "note": f"on {len(self.rows_for(mutant))} rows",
        }
        for pair in self.rows_for(mutant):
            differences = self._differences(pair)
            try:
                with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                    errors = compare(differences, implanted(mutant, pair.backward))
            except Exception as error:  # whatever a mistake raises, a reader would see it
                text = str(error).split("\n")[0]
                found = {"verdict": NOT_RUN, "note": f"{pair.name}: {type(error).__name__}: {text}"}
                break
            worst = max(errors, key=_error)
            if not worst.relative_error <= self.bar:
                found = {"verdict": CAUGHT, "note": worst.cause, "row": pair.name,
                         "array": worst.name, "relative_error": worst.relative_error}  # fmt: skip
                break
        if found["verdict"] == SURVIVES and (proof := _proofs().get(_bare(mutant.after))):
            found = {"verdict": SAME, "note": proof}
        return MutantRow(
            mutant.name, mutant.mistake, origin, mutant.before, mutant.after, found["verdict"],
            found.get("row", ""), found.get("array", ""), found.get("relative_error", 0.0),
            found["note"], time.perf_counter() - start,
        )  # fmt: skip

    def _differences(self, pair: Pair) -> Differences:
        if pair.name not in self.measured:
            self.measured[pair.name] = pair.differences(self.seed)[0]
        return self.measured[pair.name]


def systematic_mutants() -> list[Mutant]:
    """Every mistake of the list, in every public backward."""
    return [m for function in public_backwards().values() for m in mutants_of(function)]


def catalogued_rows(audit: MutationAudit) -> Iterator[MutantRow]:
    """The catalogued bugs; the optimiser's is held against the formula instead of differences."""
    for bug in BUGS:
        yield audit.check(bug.mutant, bug.origin)
    start, wrong = time.perf_counter(), with_bug(ADAM_STEP)
    right, error = optimizer_error(Optimizer), optimizer_error(wrong)
    caught = right <= 1e-12 and not error <= audit.bar
    yield MutantRow(
        "Optimizer.update_chunks", ADAM_STEP.title, ADAM_STEP.origin, ADAM_STEP.mutant.before,
        ADAM_STEP.mutant.after, CAUGHT if caught else SURVIVES,
        "ten steps against the formula (no finite differences)", "theta", error, "",
        time.perf_counter() - start,
    )  # fmt: skip


def summary(rows: list[MutantRow]) -> dict[str, int]:
    """How many of each verdict."""
    counts = Counter(row.verdict for row in rows)
    return {verdict: counts[verdict] for verdict in (CAUGHT, NOT_RUN, SAME, SURVIVES)}


def report_mutants(pairs: Iterable[Pair], seed: int, bar: float, *, as_json: bool) -> int:
    """Audit every mutant and print a table; returns 1 if one survives, else 0."""
    start, audit, mutants = (
        time.perf_counter(),
        MutationAudit(pairs, seed, bar),
        systematic_mutants(),
    )
    show = (lambda _, rows, count: rows) if as_json else _shown
    tables = {"catalogued": list(show("catalogued bugs", catalogued_rows(audit), len(BUGS) + 1))}
    weak = [(c.title, c.origin, c.passes, audit.check(c.bug.mutant)) for c in WEAK_CHECKS]
    if not as_json:
        print("\nchecks that cannot fail, each with a bug that passes it, and what ours says of it")
        for title, origin, passes, ours in weak:
            verdict = f"{'passes' if passes else 'FAILS'}; ours: {ours.verdict} by {ours.array}"
            print(f"{title} ({origin}): {ours.mistake}: {verdict}")
    rows = map(audit.check, mutants)
    tables["systematic"] = list(show("systematic mutants", rows, len(mutants)))
    survivors = [row for table in tables.values() for row in table if row.verdict == SURVIVES]
    counts, seconds = {t: summary(rows) for t, rows in tables.items()}, time.perf_counter() - start
    if as_json:
        keys = ("check", "origin", "passes", "ours")
        found: dict[str, Any] = {t: list(map(asdict, rows)) for t, rows in tables.items()}
        found["weak_checks"] = [dict(zip(keys, (*w[:3], asdict(w[3])), strict=True)) for w in weak]
        print(json.dumps(found | {"summary": counts, "seconds": seconds}))
        return 1 if survivors else 0
    print(f"\nbar {bar:g}, {seconds:.0f} s")
    for title, numbers in counts.items():
        print(f"{title}: " + ", ".join(f"{n} {verdict}" for verdict, n in numbers.items()))
    for row in survivors:
        print(f"SURVIVES: {row.function}: {row.before}  ->  {row.after}")
    print("a hole in the check" if survivors else "no wrong backward passes the check")
    return 1 if survivors else 0


def _shown(title: str, rows: Iterable[MutantRow], count: int) -> Iterator[MutantRow]:
    """Print the rows as they come, above a progress bar on a terminal."""
    from tqdm.auto import tqdm

    print(
        f"\n{title}: function, mistake, verdict, relative error, array that betrayed it and where"
    )
    for row in tqdm(rows, total=count, unit="mutant", disable=None, leave=False):
        tqdm.write(str(row))
        yield row


def _bare(line: str) -> str:
    """Without what differs between the versions of ``ast.unparse``."""
    return re.sub(r"[()\s]|:$", "", line)


def _proofs() -> dict[str, str]:
    return {_bare(line): proof for line, proof in EQUIVALENT.items()}


def _error(e: GradientError) -> float:
    return float(np.nan_to_num(e.relative_error, nan=np.inf))


def _size(pair: Pair, seed: int) -> int:
    p, inputs, _ = pair.example(np.random.default_rng(seed))
    return sum(a.size for _, a in leaves([p, list(inputs)]))


def _called(pair: Pair, seed: int) -> set[CodeType]:
    """The code of every function that the backward of a row calls."""
    p, inputs, settings = copy.deepcopy(pair.example(np.random.default_rng(seed)))
    given = () if p is None else (p,)
    y, cache = pair.forward(*given, *inputs, **settings)
    called: set[CodeType] = set()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: called.add(frame.f_code) if event == "call" else None)
    try:
        pair.backward(*given, *copy.deepcopy(given), np.ones_like(y), cache)
    finally:
        sys.setprofile(before)
    return called
