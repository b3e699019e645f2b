"""The plan of a scaling experiment: which runs fit into a budget of time on this machine.

    fit         at each of 3 to 6 compute budgets, over one or two decades, several widths around
                the size that is expected to be the best: an IsoFLOP valley whose lowest point lies
                inside, and for L(N, D) a grid in which N and D do not rise together
    lr-check    the learning rate times ¼, ½, 2 and 4, for the smallest width and for the largest
    seed        the middle of two valleys again with other seeds: how much of a loss is luck
    holdout     two runs at 3 and one at 10 times the largest fitted compute: never fitted

The compute of all of it is in proportion to the largest fitted budget, which is chosen as large as
the time allows; how long a run takes follows from measured step times (``step_seconds``).
The form of the headline is part of the plan, so it is fixed before a held-out run is trained.

The lowest budget is 10¹¹ FLOPs or above wherever there is time: smaller runs learn pairs of letters
and little else, their losses fall more slowly than those of larger ones, and a law fitted to them
predicts too much. The expected size, N_opt ≈ 4500 √(C / 10¹⁰), only says where to look: the sizes
of a valley span a factor of ten around it.
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.scaling.experiment.family import CONTEXT, WIDTHS, PlannedRun, Text, counts, planned

LAWFUL = 1e11  # FLOPs of the lowest budget, but for
SPANS = 10.0, 100.0  # highest / lowest: at least, at most
RATES = (0.25, 0.5, 2.0, 4.0)
HOLDOUTS = ((3.0, 2), (10.0, 1))  # (times the largest fitted compute, runs)
SHORT = 300.0  # a sweep of less than these seconds shows that all works, and has fewer runs
LEAST_TOP = 2e10, 6e10  # FLOPs of the highest budget, at least: in a short sweep, in others
SHARE, STARTING = 0.92, 12.0  # of the time, less these seconds, is for the runs
MOST_EPOCHS = 4.0  # repeated tokens are worth nearly as much as fresh ones up to here
EVALUATION = 0.4  # seconds of a token that is evaluated, as a share of one that is trained on
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
Rates = dict[int, tuple[float, float]]  # width: seconds of a step, and of each token in it


@dataclass(frozen=True)
class Plan:
    """What ``plan.json`` holds."""

    budget: str
    form: str
    text: Text
    valid_tokens: int
    rates: Rates
    runs: list[PlannedRun]  # in the order in which they are trained
    seed: int = 1  # of the runs' initial weights and batches

    def seconds(self, run: PlannedRun) -> float:
        """What a run is expected to take."""
        return run_seconds(run, self.rates, self.valid_tokens)

    def to_json(self) -> str:
        """One object; ``from_json`` reads it."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Raises ``ValueError`` if it is none of ours."""
        try:
            found = json.loads(text)
            found["text"] = Text(**found["text"])
            found["rates"] = {int(w): tuple(rate) for w, rate in found["rates"].items()}
            found["runs"] = [PlannedRun(**run) for run in found["runs"]]
            return cls(**found)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not the plan of a sweep: {error}") from None


def budget_seconds(budget: str) -> float:
    """ "90s", "10min", "1h", "1.5h" -> seconds. Raises ``ValueError`` for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", budget)
    if not match or not float(match[1]):
        raise ValueError(f"budget {budget!r} is no time such as 90s, 10min, 1h or 10h")
    return float(match[1]) * UNITS[match[2]]


def run_seconds(run: PlannedRun, rates: Rates, valid_tokens: int) -> float:
    """Its steps and its evaluation."""
    step, token = rates[run.width]
    training = run.steps * (step + token * run.batch_size * CONTEXT)
    return training + EVALUATION * token * valid_tokens


def make_plan(
    budget: str,
    form: str | None,
    text: Text,
    valid_tokens: int,
    rates: Rates,
    jobs: int,
    seed: int = 1,
) -> Plan:
    """The largest plan that fits. A function of its arguments alone. ``form`` None: ``headline``.

    Raises ``ValueError`` if not even the smallest fits, with the least budget that would do.
    """
    seconds = budget_seconds(budget)
    best: list[PlannedRun] = []
    for step in range(200):  # the largest fitted compute, larger by 12 % each time
        top = LEAST_TOP[seconds >= SHORT] * 10.0 ** (step / 20)
        runs = grid(top, seconds, text.vocab_size, seed)
        if not all(run.width in rates for run in runs):
            break
        expected = {run: run_seconds(run, rates, valid_tokens) for run in runs}
        runs.sort(key=lambda run: (run.role == "holdout", -expected[run]))
        took = makespan([expected[run] for run in runs], jobs)
        if took <= usable(seconds):
            best = runs
        elif not step:
            least = 5 * math.ceil((took + STARTING) / SHARE / 5)
            raise ValueError(f"budget {budget} is too small for a plan on this machine now: "
                             f"the least is about {least}s")  # fmt: skip
        elif took > 2 * seconds:  # a little more compute may fit again, in fewer small models
            break
    form = form or headline(best, text)
    return Plan(budget, form, text, valid_tokens, rates, best, seed)


def headline(runs: list[PlannedRun], text: Text) -> str:
    """The form of a sweep that is told none, by what its runs can tell apart.

    The generalised form predicted what Kaplan's did not, but has six constants. Where fitted runs
    read their text again, both promise too much, and the data-constrained law, of seven, did not.
    """
    fitted = [run for run in runs if run.role == "fit"]
    again = sum(run.tokens > text.train_tokens for run in fitted)
    if len(fitted) < 20:
        return "kaplan"
    return "data-constrained" if len(fitted) >= 25 and again >= 3 else "generalised"


def usable(seconds: float) -> float:
    """What is left for the runs: not the start of the processes, nor the fit and the report."""
    return SHARE * seconds - STARTING


def widths_for(seconds: float, jobs: int, vocab_size: int) -> list[int]:
    """All that a plan could need, if the machine were fast (8·10¹⁰ FLOP/s a process)."""
    top = max(LEAST_TOP[seconds >= SHORT], 8e10 * jobs * seconds / 27.0)
    largest = max(run.width for run in grid(top, seconds, vocab_size))
    return [width for width in WIDTHS if width <= max(largest, WIDTHS[5])]


def number_of_budgets(seconds: float) -> int:
    """Fitted budgets of compute: more time spans more of them."""
    return 3 if seconds < SHORT else 4 + (seconds >= 1800) + (seconds >= 18000)


def budgets(top: float, count: int) -> list[float]:
    """FLOPs of the fitted budgets, the same factor apart; ``top`` is the highest."""
    span = min(max(top / LAWFUL, SPANS[0]), SPANS[1])
    return [top / span ** (k / (count - 1)) for k in reversed(range(count))]


def grid(top: float, seconds: float, vocab_size: int, seed: int = 1) -> list[PlannedRun]:
    """All runs of a plan whose largest fitted budget is ``top`` FLOPs."""
    size = {width: counts(width, vocab_size)["N"] for width in WIDTHS}
    short = seconds < SHORT
    fitted = budgets(top, number_of_budgets(seconds))
    valleys = [nearest(size, c, 4 if short else 5) for c in fitted]
    runs = [planned("fit", w, c, vocab_size, seed=seed)
            for c, widths in zip(fitted, valleys, strict=True) for w in widths]  # fmt: skip
    for width, c in ((valleys[0][0], fitted[0]), (valleys[-2][-1], fitted[-2])):
        rates = RATES[1:3] if short else RATES
        runs += [planned("lr-check", width, c, vocab_size, rate=r, seed=seed) for r in rates]
    for c, widths in ((fitted[0], valleys[0]), (fitted[-2], valleys[-2])):
        middle = widths[(len(widths) - 1) // 2]
        runs += [planned("seed", middle, c, vocab_size, seed=seed + i) for i in (1, 2)]
    for times, count in HOLDOUTS:
        c = times * top
        runs += [planned("holdout", w, c, vocab_size, seed=seed) for w in nearest(size, c, count)]
    return runs


def nearest(size: dict[int, float], compute: float, count: int) -> list[int]:
    """The ``count`` neighbouring widths in whose middle the expected best size lies."""
    expected = math.log(4500.0) + 0.5 * math.log(compute / 1e10)
    logs, widths = np.log(list(size.values())), list(size)
    starts = range(len(widths) - count + 1)
    first = min(starts, key=lambda i: abs(logs[[i, i + count - 1]].mean() - expected))
    return widths[first : first + count]


def makespan(seconds: list[float], jobs: int) -> float:
    """How long ``jobs`` processes take, each of them the next run in this order when it is free."""
    free = [0.0] * jobs
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def described(plan: Plan, jobs: int, done: set[str]) -> str:
    """The table that is printed before anything is trained."""
    lines = [
        f"{plan.text.corpus}: {plan.text.train_tokens:,} {plan.text.tokenizer} tokens, "
        f"{plan.text.vocab_size} different; headline: {plan.form}",
        f"{'role':<9} {'FLOPs':>9}  {'runs':>4}  {'widths':<24} {'N':>15}  {'D':>17}  "
        f"{'minutes':>7}",
    ]
    groups: dict[tuple[str, float], list[PlannedRun]] = {}
    for run in plan.runs:
        groups.setdefault((run.role, run.compute), []).append(run)
    for (role, compute), runs in sorted(groups.items(), key=lambda g: (ORDER[g[0][0]], g[0][1])):
        widths = sorted({run.width for run in runs})
        n = [counts(w, plan.text.vocab_size)["N"] for w in widths]
        d = [run.tokens for run in runs]
        lines.append(
            f"{role:<9} {compute:>9.2e}  {len(runs):>4}  {' '.join(map(str, widths)):<24} "
            f"{_range(n):>15}  {_range(d):>17}  {sum(map(plan.seconds, runs)) / 60:>7.1f}"
        )
    todo = [run for run in plan.runs if run.name not in done]
    total = sum(counts(r.width, plan.text.vocab_size, r.tokens)["C"] for r in todo)
    minutes = makespan([plan.seconds(run) for run in todo], jobs) / 60
    lines.append(f"{len(todo)} runs to train, {total:.2e} FLOPs, about {minutes:.1f} minutes in "
                 f"{jobs} process{'es' * (jobs > 1)}")  # fmt: skip
    epochs = max(run.tokens for run in plan.runs) / plan.text.train_tokens
    if epochs > MOST_EPOCHS:
        lines.append(f"note: the longest run sees the text {epochs:.1f} times; beyond "
                     f"{MOST_EPOCHS:.0f} repeated tokens count less and the law bends: "
                     "give a larger --corpus")  # fmt: skip
    return "\n".join(lines)


ORDER = {role: i for i, role in enumerate(("fit", "lr-check", "seed", "holdout"))}


def _range(values: Any) -> str:
    low, high = (f"{v:.2g}" if v >= 1e6 else f"{v:,.0f}" for v in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"
