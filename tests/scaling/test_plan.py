"""§6.4 The plan: a function of the measured step times alone, and what a law needs is in it."""

import dataclasses
import itertools
import re

import numpy as np
import pytest

from numpylm.scaling.experiment.family import CONTEXT, WIDTHS, Text, counts, planned
from numpylm.scaling.experiment.plan import (
    Plan,
    budget_seconds,
    budgets,
    described,
    make_plan,
    makespan,
    usable,
    widths_for,
)

TEXT = Text("pydoc", "char", 96, 10**8, "sha")
RATES = {w: (1.5e-3, 6e-6 + 2e-9 * w * w) for w in WIDTHS}


def plan(budget="10min", rates=RATES, jobs=2, text=TEXT):
    return make_plan(budget, "kaplan", text, 131072, rates, jobs)


def by_role(found, role):
    return [run for run in found.runs if run.role == role]


def slower(factor):
    return {w: (factor * a, factor * b) for w, (a, b) in RATES.items()}


def test_the_same_step_times_make_the_same_plan():
    assert plan() == plan()
    assert Plan.from_json(plan().to_json()) == plan()


@pytest.mark.parametrize(("budget", "count"), [("2min", 3), ("10min", 4), ("1h", 5), ("10h", 6)])
def test_each_budget_of_compute_has_widths_on_both_sides_of_the_expected_best(budget, count):
    found = plan(budget)
    grid = sorted(by_role(found, "fit"), key=lambda r: (r.compute, r.width))
    valleys = [list(g) for _, g in itertools.groupby(grid, key=lambda r: r.compute)]
    assert len(valleys) == count
    for valley in valleys:
        n = [counts(r.width, 96)["N"] for r in valley]
        assert len(set(n)) == len(n) >= 4
        expected = 4500 * (valley[0].compute / 1e10) ** 0.5
        assert n[0] < expected < n[-1]
        for run in valley:  # what is trained costs what the budget says
            exact = counts(run.width, 96, run.tokens)["C"]
            assert exact == pytest.approx(run.compute, rel=0.03)
    points = np.log([[counts(r.width, 96)["N"], r.tokens] for r in grid])
    assert abs(np.corrcoef(points.T)[0, 1]) < 0.9  # N and D do not rise together


def test_the_checks_and_the_held_out_runs():
    found = plan()
    grid, top = by_role(found, "fit"), max(r.compute for r in by_role(found, "fit"))
    held = sorted(r.compute / top for r in by_role(found, "holdout"))
    assert held == pytest.approx([3, 3, 10])
    rates = by_role(found, "lr-check")
    widths = sorted({r.width for r in rates})
    assert widths[0] == min(r.width for r in grid)
    assert widths[1] >= 4 * widths[0]
    for width in widths:
        tried = [r for r in rates if r.width == width]
        (recipe,) = (r for r in grid if (r.width, r.compute) == (width, tried[0].compute))
        assert sorted(r.lr / recipe.lr for r in tried) == pytest.approx([0.25, 0.5, 2, 4], rel=1e-2)
        assert {(r.steps, r.batch_size, r.seed) for r in tried} == {
            (recipe.steps, recipe.batch_size, recipe.seed)
        }
    for run in by_role(found, "seed"):
        (same,) = (r for r in grid if (r.width, r.compute) == (run.width, run.compute))
        again = dataclasses.replace(run, seed=same.seed, name=same.name, role="fit")
        assert (again, run.seed != same.seed) == (same, True)
    assert len({r.name for r in found.runs}) == len(found.runs)


def test_held_out_runs_are_trained_last_and_the_longest_first():
    found = plan()
    roles = [run.role == "holdout" for run in found.runs]
    assert roles == sorted(roles)
    fitted = [found.seconds(run) for run in found.runs if run.role != "holdout"]
    assert fitted == sorted(fitted, reverse=True)


@pytest.mark.parametrize("budget", ["4min", "10min", "1h"])
@pytest.mark.parametrize("jobs", [1, 2, 4])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_plan_fills_the_time_and_does_not_exceed_it(budget, jobs, factor):
    found = plan(budget, slower(factor), jobs)
    took = makespan([found.seconds(run) for run in found.runs], jobs)
    available = usable(budget_seconds(budget))
    assert 0.7 * available < took <= available < budget_seconds(budget)


def test_a_slower_machine_plans_less_compute():
    tops = [max(r.compute for r in plan("1h", slower(f)).runs) for f in (1, 2, 4)]
    assert tops[0] > tops[1] > tops[2]


def test_the_lowest_budget_is_as_low_as_the_law_holds_where_there_is_time():
    assert budgets(6e10, 4)[0] == pytest.approx(6e9)  # no time: one decade all the same
    for top in (1e12, 3e12, 1e13):
        assert budgets(top, 4)[0] == pytest.approx(1e11)
        assert budgets(top, 4)[-1] == top
    found = budgets(2e13, 5)
    assert found[0] == pytest.approx(2e11)  # two decades at most
    assert np.ptp(np.diff(np.log(found))) < 1e-12


def test_makespan_is_that_of_a_queue():
    assert makespan([5, 3, 3, 1], 1) == 12
    assert makespan([5, 3, 3, 1], 2) == 6
    assert makespan([1, 1, 1, 6], 2) == 7
    assert makespan([], 3) == 0


def test_the_recipe():
    small, large = (planned("fit", w, 1e11, 96) for w in (16, 64))
    per_width = (r.lr * r.width / (r.batch_size * CONTEXT / 256) ** 0.35 for r in (small, large))
    assert list(per_width) == pytest.approx([0.25, 0.25], rel=1e-3)
    assert small.batch_size > large.batch_size  # more tokens, larger batches
    settings = small.settings(TEXT)
    assert settings.n_layers == 2
    assert (settings.positions, settings.tied, settings.min_lr) == ("alibi", False, 0.0)
    assert (settings.schedule, settings.steps) == ("cosine", small.steps)
    assert settings.warmup == small.steps // 20
    assert settings.threads == 1


def test_the_headline_follows_from_the_plan():
    text = dataclasses.replace(TEXT, train_tokens=10**7)
    found = [
        make_plan(budget, None, t, 131072, RATES, 2).form
        for budget, t in (("2min", TEXT), ("10min", text), ("1h", TEXT), ("1h", text))
    ]
    assert found == ["kaplan", "generalised", "generalised", "data-constrained"]


def test_another_seed_is_another_sweep_of_the_same_shape():
    first, second = (make_plan("10min", "kaplan", TEXT, 131072, RATES, 2, seed) for seed in (1, 7))
    assert (first.seed, second.seed) == (1, 7)
    for a, b in zip(first.runs, second.runs, strict=True):
        assert b.seed == a.seed + 6
        assert dataclasses.replace(b, seed=a.seed, name=a.name) == a
    assert len({run.name for run in second.runs}) == len(second.runs)


def test_widths_to_measure_are_those_that_plans_use():
    for budget in ("1min", "10min", "1h"):
        measured = widths_for(budget_seconds(budget), 2, 96)
        assert {r.width for r in plan(budget, jobs=2).runs} <= set(measured)


def test_the_table_says_what_is_to_come():
    found = plan()
    table = described(found, 2, set())
    assert f"{len(found.runs)} runs to train" in table
    minutes = float(re.search(r"about ([\d.]+) minutes in 2 processes", table)[1])
    assert minutes <= 10
    assert "sees the text" not in table
    done = {run.name for run in found.runs[:-3]}
    assert "3 runs to train" in described(found, 2, done)
    assert "beyond 4 repeated tokens" in described(
        plan(text=dataclasses.replace(TEXT, train_tokens=10**5)), 2, set()
    )


@pytest.mark.parametrize("budget", ["", "10", "-5min", "0s", "ten minutes", "5 days", "1e3s"])
def test_a_budget_that_is_none(budget):
    with pytest.raises(ValueError, match="is no time such as 90s, 10min, 1h or 10h"):
        budget_seconds(budget)


def test_budgets():
    assert [budget_seconds(b) for b in ("90s", "2min", "1.5h")] == [90, 120, 5400]


def test_too_little_time_says_what_would_do():
    with pytest.raises(
        ValueError, match=r"budget 20s is too small .* the least is about \d+s"
    ) as e:
        plan("20s")
    least = re.search(r"about (\d+s)", str(e.value))[1]
    assert plan(least).runs
    with pytest.raises(ValueError, match="the least is about"):
        plan("10min", slower(50))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"text": 1}'])
def test_a_damaged_plan(text):
    with pytest.raises(ValueError, match="not the plan of a sweep"):
        Plan.from_json(text)
