"""Run folders, a sweep and a saved fit of an earlier version: they load, and give what they gave.

Where this machine, NumPy and the code of today train a stored run to the very bits that it was
stored with, they must also resume it to the same bits; elsewhere up to rounding.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import numpylm
from numpylm.cli import main
from numpylm.files import parse_json
from numpylm.scaling.experiment import sweep
from numpylm.training.trainer import Trainer

STORED = Path(__file__).parent / "stored_runs"
EXPECTED = parse_json((STORED / "expected.json").read_text(encoding="utf-8"))
RUNS = ("causal", "causal-post", "bert", "classification", "translation")
STORED_AT = {"classification": 100}  # the step of the checkpoint; 300 for the others


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A copy of the folder, where the relative paths in the runs' settings hold."""
    shutil.copytree(STORED, tmp_path / "stored")
    monkeypatch.chdir(tmp_path / "stored")
    return tmp_path / "stored"


def printed(capsys, *words: str):
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", RUNS)
def test_a_stored_run_evaluates_to_the_same_numbers(name, stored):
    trainer = Trainer.resume(name)
    assert trainer.step == STORED_AT.get(name, 300)
    assert trainer.run.fingerprint == EXPECTED[name]["fingerprint"]
    for split, wanted in EXPECTED[name]["evaluate"].items():
        found = trainer.evaluate(split)
        assert found.keys() == wanted.keys()
        assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["causal", "causal-post"])
def test_a_stored_language_model_writes_the_same_text(name, stored):
    lm = numpylm.load(name)
    wanted = EXPECTED[name]["text"]
    assert lm.generate("the ", tokens=40, temperature=0.0) == wanted["greedy"]
    assert lm.generate("the ", tokens=40, seed=5) == wanted["drawn"]


@pytest.mark.parametrize("name", ["bert", "classification", "translation"])
def test_a_stored_model_predicts_the_same(name, stored, capsys):
    wanted = EXPECTED[name]["predict"]
    found = printed(capsys, "predict", name, wanted["text"])
    if name == "bert":
        (found,), (wanted_gap,) = found["gaps"], wanted["found"]["gaps"]
        assert list(found) == list(wanted_gap)
        assert found == pytest.approx(wanted_gap, rel=1e-4)
    elif name == "classification":
        assert found["label"] == wanted["found"]["label"]
        assert found["probability"] == pytest.approx(wanted["found"]["probability"], rel=1e-4)
    else:
        assert found == wanted["found"]


@pytest.mark.parametrize("name", RUNS)
def test_a_stored_run_resumes_to_the_same_end(name, stored):
    trainer = Trainer.resume(name)
    held = trainer.theta.copy()
    trainer.fit(log=None)
    wanted = EXPECTED[name]
    last = {k: v for k, v in trainer.run.metrics[-1].items() if k != "tokens_per_second"}
    assert last == pytest.approx(wanted["last"], rel=1e-3, abs=1e-9)
    assert np.linalg.norm(trainer.theta.astype(float)) == pytest.approx(
        wanted["theta_norm"], rel=1e-5
    )
    if same_bits_from_the_start(name, trainer, held):
        assert hashlib.sha256(trainer.theta.tobytes()).hexdigest() == wanted["theta_sha256"]


def same_bits_from_the_start(name: str, resumed: Trainer, held: np.ndarray) -> bool:
    """Does the same training, made here from its first step, pass through the stored bits?"""
    if resumed.config.pretrained:  # from the end of another run, which is not stored
        return np.__version__ == EXPECTED["numpy"] and same_bits_of("bert")
    again = Trainer.start(Path(f"{name}-again"), resumed.config)
    with again.parallel() as parallel:
        while again.step < STORED_AT.get(name, 300):
            next(again.steps(parallel))
    return np.array_equal(again.theta, held)


def same_bits_of(name: str) -> bool:
    resumed = Trainer.resume(name)
    return same_bits_from_the_start(name, resumed, resumed.theta.copy())


def test_a_stored_sweep_goes_on(stored):
    """One row is taken out: the same command trains that run again, and no other."""
    folder = stored / "sweep"
    rows = sweep.read_rows(folder / "runs.csv")
    lost = next(row for row in rows if row["run"] == "fit-c3.00e08-d24")
    sweep.write_rows(folder / "runs.csv", [row for row in rows if row != lost])
    plan = sweep.open_plan(folder, {})
    sweep.carry_out(plan, folder, jobs=1, log=lambda text: None)
    with open(folder / "runs.csv", encoding="utf-8") as file:
        again = list(csv.DictReader(file))
    assert len(again) == len(rows)
    assert again[-1]["run"] == lost["run"]
    for column in set(lost) - {"run", "role", "seconds"}:
        assert float(again[-1][column]) == pytest.approx(float(lost[column]), rel=1e-4)


def test_a_stored_table_is_fitted_to_the_same_law(stored, capsys):
    options = ("--form", "kaplan", "--bootstrap", "0")
    found = printed(capsys, "scaling", "fit", "sweep/runs.csv", *options)
    wanted = EXPECTED["fit"]
    for name in ("N_c", "alpha_N", "D_c", "alpha_D", "objective", "r2"):
        assert found[name] == pytest.approx(wanted[name], rel=1e-4)
    for row, one in zip(found["holdout"]["runs"], wanted["holdout"]["runs"], strict=True):
        assert row["predicted"] == pytest.approx(one["predicted"], rel=1e-5)


def test_a_stored_fit_predicts_the_same(stored, capsys):
    numbers = ("--params", "2e4", "--tokens", "3e5")
    found = printed(capsys, "scaling", "predict", "fit.json", *numbers)["predictions"]
    assert len(found) == 1
    for name, value in EXPECTED["predicted"][0].items():
        assert found[0][name] == pytest.approx(value, rel=1e-9)
