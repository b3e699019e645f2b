"""§6.4, §6.5 The project's own sweep, which the chapters read: whole, as planned, and fitted."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from numpylm.scaling.experiment import MEASURED
from numpylm.scaling.experiment.family import counts, planned
from numpylm.scaling.experiment.plan import Plan
from numpylm.scaling.experiment.sweep import read_rows
from numpylm.scaling.fit.allocation import valleys
from numpylm.scaling.fit.prediction import study
from numpylm.scaling.fit.run_table import read_runs

TABLE = MEASURED / "runs.csv"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan.from_json((MEASURED / "plan.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    return read_rows(TABLE)


def test_every_planned_run_is_there_once_and_was_trained_as_planned(plan, rows):
    """By its settings, not only by its name: two runs of one name would hide each other."""
    settings = {run.name: (run.width, run.steps, run.batch_size * 64, run.lr, run.seed)
                for run in plan.runs}  # fmt: skip
    assert len(settings) == len(plan.runs) == len(rows)
    found = {row["run"]: (int(row["width"]), int(row["steps"]), int(row["batch_tokens"]),
                          float(row["lr"]), int(row["seed"])) for row in rows}  # fmt: skip
    assert found == settings
    roles = {run.name: run.role for run in plan.runs}
    assert all(row["role"] in (roles[row["run"]], "diverged") for row in rows)


def test_the_table_counts_as_the_library_does(plan, rows):
    for row in rows:
        expected = counts(int(row["width"]), plan.text.vocab_size, float(row["D"]))
        for name, value in expected.items():
            assert float(row[name]) == pytest.approx(value, rel=1e-12), (row["run"], name)
        assert math.isfinite(float(row["seconds"]))


def test_the_plan_is_one_that_the_library_makes_today(plan):
    for run in plan.runs:
        rate = float(run.name.split("-x")[1]) if "-x" in run.name else 1.0
        again = planned(run.role, run.width, run.compute, plan.text.vocab_size, rate=rate,
                        seed=run.seed)  # fmt: skip
        assert again == run


def test_it_names_no_path_of_a_machine(plan):
    assert "/" not in plan.text.corpus
    assert "\\" not in plan.text.corpus


def test_the_held_out_runs_are_larger_than_all_that_are_fitted():
    runs = read_runs(TABLE)
    above = runs.holdout_above
    assert above is not None
    times = runs.compute[runs.compute > above] / above
    assert times.min() == pytest.approx(3.0, rel=0.02)
    assert times.max() == pytest.approx(10.0, rel=0.02)


def test_every_budget_has_sizes_enough_for_a_valley():
    runs = read_runs(TABLE)
    small = runs.select(runs.compute <= runs.holdout_above)
    found = valleys(small.columns["N"], small.compute, small.loss)
    assert len(found) >= 3
    assert all(len(v.sizes) >= 4 for v in found)
    assert np.all(np.diff([v.best_loss for v in found]) < 0)


def test_a_fit_of_it_takes_seconds_and_predicts(plan):
    start = time.process_time()
    found = study(read_runs(TABLE), plan.form, samples=100)
    assert found.above == found.runs.compute.max()
    result = found.as_dict()
    assert time.process_time() - start < 10.0
    assert result["r2"] > 0.9
    assert result["holdout"]["largest_error"] < 0.15
    assert [c.column for c in found.counted] == ["N", "N_without_embeddings", "N_total"]
