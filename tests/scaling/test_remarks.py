"""§6.5 A fit of nonsense converges as well as any other: each kind gets its remark."""

from dataclasses import replace

import numpy as np
import pytest

from numpylm.scaling.fit.prediction import study
from numpylm.scaling.fit.remarks import of_runs
from numpylm.scaling.fit.run_table import read_runs
from numpylm.scaling.fit.synthetic import synthetic_losses
from tests.scaling.conftest import CHINCHILLA, grid


def table(tmp_path, x, y, **more):
    """A table with these inputs and losses, and columns of text."""
    columns = {"N": x[:, 0], "D": x[:, 1], "loss": y} | more
    rows = [",".join(columns)]
    rows += [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    return read_runs(tmp_path / "runs.csv")


def said(runs, **options):
    return " ".join(study(runs, "chinchilla", profiled=False, **options).remarks())


@pytest.fixture
def sound(rng):
    x, _ = grid()
    return x, synthetic_losses("chinchilla", CHINCHILLA, x, 1e-3, rng)


def test_a_sound_fit_gets_none(tmp_path, sound):
    assert said(table(tmp_path, *sound), samples=40) == ""


@pytest.mark.parametrize(
    ("make", "remark"),
    [
        (lambda x, y, _: (x, 3.0 + 0 * y), "All losses are 3: there is no law in them."),
        (lambda x, y, rng: (x, rng.uniform(2, 4, len(y))), "R² is"),
        (lambda x, y, _: (x, y[::-1]), "The losses rise with"),
        (lambda x, y, _: (x[::5], y[::5]), "6 runs for 5 constants leave 1 to test the law with"),
    ],
)  # fmt: skip
def test_nonsense_is_remarked_on(tmp_path, sound, rng, make, remark):
    assert remark in said(table(tmp_path, *make(*sound, rng)))


def test_runs_that_are_no_one_experiment(tmp_path, sound, rng):
    x, y = sound
    corpora = np.where(np.arange(30) % 2, "c4", "rpj")
    assert "The runs differ in dataset (c4, rpj)" in said(table(tmp_path, x, y, dataset=corpora))
    size = [f"d{n:.0f}" for n in x[:, 0]]  # another name for N says nothing
    assert "differ in" not in said(table(tmp_path, x, y, model=size))
    twice = np.concatenate([x, x])
    losses = np.concatenate([y, y * 1.1])
    found = said(table(tmp_path, twice, losses, lr=np.repeat([1e-3, 1e-2], 30)))
    assert "Losses at the same N and D differ by up to 10.0%, with lr" in found


def test_tokens_in_proportion_to_parameters(tmp_path, sound, rng):
    x, y = sound
    x = np.stack([x[:, 0], 20 * x[:, 0] * rng.uniform(0.99, 1.01, 30)], axis=1)
    (text,) = (t for t in of_runs(table(tmp_path, x, y), ("N", "D")) if "rise together" in t)
    assert text.startswith("N and D rise together in all runs, but for 0.")


def test_compute_that_is_not_6nd(tmp_path, sound):
    x, y = sound
    assert "C is 10 to 10 times 6 N D" in said(table(tmp_path, x, y, C=60 * x.prod(axis=1)))


def test_a_floor_above_the_losses_and_runs_of_one_name(tmp_path, sound):
    x, y = sound
    held = said(table(tmp_path, x, y), fixed={"E": 2.65}, loss="mse")
    assert "E is held at 2.65, above the lowest loss, 2.644" in held
    found = study(table(tmp_path, x, y, run=["a"] * 30), "chinchilla", samples=20, profiled=False)
    assert found.boot is None
    assert "There are no intervals: all 30 rows are one run, a" in " ".join(found.remarks())


def test_a_prediction_decades_away(tmp_path, sound):
    runs = table(tmp_path, *sound)
    far = replace(runs, held_out=runs.columns["N"] > 3e4, held_by="N>3e4")
    far.columns["N"][far.held_out] *= 1e4
    assert "decades outside the fitted range" in said(far)
