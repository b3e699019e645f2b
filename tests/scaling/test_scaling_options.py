"""§6.5 ``numpylm scaling``: what the options mean, and which contradict each other."""

import json
import shutil

import numpy as np
import pytest

from numpylm.cli import main
from numpylm.scaling.experiment import MEASURED
from numpylm.scaling.fit.synthetic import synthetic_losses
from numpylm.scaling.laws.annealing import annealing_areas
from tests.scaling.conftest import CHINCHILLA, grid, losses
from tests.scaling.test_laws import CASES
from tests.scaling.test_scaling_commands import answer, refused, write


@pytest.fixture
def table(tmp_path, monkeypatch, rng):
    """runs.csv: two data sets, whose laws differ in E alone."""
    monkeypatch.chdir(tmp_path)
    x, _ = grid()
    columns = {"run": [], "dataset": [], "N": [], "D": [], "loss": []}
    for name, e in (("a", 1.0), ("b", 1.5)):
        y = synthetic_losses("chinchilla", CHINCHILLA | {"E": e}, x, 1e-4, rng)
        for i, ((n, d), loss) in enumerate(zip(x, y, strict=True)):
            for column, value in zip(columns, (f"{name}{i}", name, n, d, loss), strict=True):
                columns[column].append(value)
    write("runs.csv", columns)
    return columns


def test_one_default_form_in_fit_predict_and_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("runs.csv", "plan.json"):
        shutil.copy(MEASURED / name, tmp_path)
    form = json.loads((tmp_path / "plan.json").read_text())["form"]
    quick = ("--bootstrap", "0")
    assert answer(capsys, "fit", "runs.csv", *quick)["form"] == form
    far = answer(capsys, "predict", "runs.csv", "--params", "1e5", "--tokens", "1e7", *quick)
    assert far["form"] == form
    page = answer(capsys, "report", ".", *quick)["report"]
    assert f"Form **{form}**" in (tmp_path / page).read_text(encoding="utf-8")
    assert main(["scaling", "predict", "runs.csv", "--params", "1e5", "--tokens", "1e7",
                 *quick]) == 0  # fmt: skip
    assert capsys.readouterr().out.startswith(f"{form}, fitted to 25 runs of runs.csv")
    (tmp_path / "plan.json").unlink()
    assert answer(capsys, "fit", "runs.csv", *quick)["form"] == "chinchilla"


def test_a_fit_for_each_value_of_a_column(table, capsys):
    found = answer(capsys, "fit", "runs.csv", "--by", "dataset", "--bootstrap", "0")["groups"]
    assert found["a"]["E"] == pytest.approx(1.0, abs=0.02)
    assert found["b"]["E"] == pytest.approx(1.5, abs=0.02)
    assert (
        found["a"]["account"]
        == "60 rows read, 30 left out (not dataset=a 30), 30 fitted, 0 held out"
    )
    one = answer(capsys, "fit", "runs.csv", "--where", "dataset=b", "--bootstrap", "0")
    assert one["E"] == pytest.approx(found["b"]["E"])
    assert "has no column 'x' to make groups of" in refused(capsys, "fit", "runs.csv", "--by", "x")
    assert "--save keeps one fit" in refused(
        capsys, "fit", "runs.csv", "--by", "dataset", "--save", "f.json"
    )


def test_tied_exponents_and_a_floor_of_zero(table, capsys):
    where = ("runs.csv", "--where", "dataset=a", "--bootstrap", "20")
    found = answer(capsys, "fit", *where, "--tie", "alpha=beta", "--save", "tied.json")
    assert found["alpha"] == found["beta"]
    assert found["tied"] == ["alpha", "beta"]
    again = answer(capsys, "predict", "tied.json", "--params", "1e5", "--tokens", "1e7")
    assert again["predictions"][0]["interval"][0] < again["predictions"][0]["predicted"]
    none = answer(capsys, "fit", *where, "--fix", "E=0", "--save", "none.json")
    assert none["E"] == 0.0
    assert none["objective"] > found["objective"]
    there = answer(capsys, "predict", "none.json", "--params", "1e5", "--tokens", "1e7")
    k = none
    by_hand = k["A"] / 1e5 ** k["alpha"] + k["B"] / 1e7 ** k["beta"]
    assert there["predictions"][0]["predicted"] == pytest.approx(by_hand)
    assert "kaplan cannot have alpha_N = alpha_D" in refused(
        capsys, "fit", *where, "--form", "kaplan", "--tie", "alpha_N=alpha_D"
    )
    assert "must tie two exponents" in refused(capsys, "fit", *where, "--tie", "a=b,c=d")


def test_compute_says_what_the_other_two_leave_open(table, capsys):
    ask = ("predict", "runs.csv", "--where", "dataset=a", "--bootstrap", "0")
    by_size = answer(capsys, *ask, "--params", "1e5", "--compute", "6e12")["predictions"][0]
    by_tokens = answer(capsys, *ask, "--tokens", "1e7", "--compute", "6e12")["predictions"][0]
    assert by_size == by_tokens
    assert by_size["D"] == pytest.approx(1e7)
    three = ("--params", "1e5", "--tokens", "1e7", "--compute", "6e12")
    assert "two of them say the third" in refused(capsys, *ask, *three)
    assert "chinchilla does not read --unique" in refused(
        capsys, *ask, "--params", "1e5", "--tokens", "1e7", "--unique", "1e6"
    )
    far = answer(capsys, *ask, "--params", "1e9", "--tokens", "1e7")
    assert "N is 3." in far["remarks"][0]
    assert "decades outside the fitted range" in far["remarks"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--holdout", "N>1e5", "--holdout-above", "1e12"), "both say which runs are held out"),
        (("--memory", "0.9"), "--memory is for the annealing law, not for chinchilla"),
        (("--columns", "N=N,N=D"), "says N twice"),
        (("--units", "N=bits"), "--units N=bits must be one of"),
    ],
)
def test_options_that_contradict_are_refused(table, capsys, options, message):
    assert message in refused(capsys, "fit", "runs.csv", *options)


def test_a_saved_fit_cannot_be_fitted_otherwise(table, capsys):
    assert main(["scaling", "fit", "runs.csv", "--bootstrap", "0", "--save", "law.json"]) == 0
    capsys.readouterr()
    ask = ("predict", "law.json", "--params", "1e5", "--tokens", "1e7")
    for option in (("--form", "kaplan"), ("--holdout-above", "1e11"), ("--bootstrap", "0")):
        assert f"{option[0]} is for a table" in refused(capsys, *ask, *option)


def test_residuals_of_the_loss_itself(table, capsys):
    where = ("fit", "runs.csv", "--where", "dataset=a", "--bootstrap", "0", "--loss", "mse")
    log, nats = (answer(capsys, *where, "--residuals", r) for r in ("log", "nats"))
    x = np.stack([table["N"][:30], table["D"][:30]], axis=1)

    def squares(k):
        return (
            (losses("chinchilla", {n: k[n] for n in CHINCHILLA}, x) - table["loss"][:30]) ** 2
        ).sum()

    assert 2 * nats["objective"] == pytest.approx(squares(nats), rel=1e-6)
    assert squares(nats) < squares(log)


def test_a_schedule_in_and_a_curve_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    law = {**CASES["annealing"], "C": 0.004}
    rates = {"flat": np.full(400, 0.9), "fall": np.linspace(1.0, 0.0, 400),
             "asked": np.where(np.arange(400) < 250, 1.0, 0.2)}  # fmt: skip
    curves = {}
    for name, eta in rates.items():
        y = losses("annealing", law, np.stack(annealing_areas(eta, 0.99), axis=1))
        curves[name] = y
        steps = np.arange(1, 401)
        write(f"{name}.csv", {"step": steps, "learning_rate": eta, "loss": y})
    found = answer(capsys, "fit", "flat.csv", "fall.csv", "--form", "annealing", "--bootstrap", "0",
                   "--save", "law.json")  # fmt: skip
    assert found["memory"] == pytest.approx(0.99, abs=1e-4)
    rows = answer(capsys, "predict", "law.json", "--schedule", "asked.csv")["predictions"]
    assert [row["step"] for row in rows] == list(range(1, 401))
    np.testing.assert_allclose([row["predicted"] for row in rows], curves["asked"], rtol=1e-3)
    assert "a prediction of annealing needs --schedule" in refused(capsys, "predict", "law.json")
    (tmp_path / "broken.csv").write_text("step,learning_rate\n1,0.1\n2,x\n")
    assert "broken.csv, line 3: learning_rate 'x' is no number" in refused(
        capsys, "predict", "law.json", "--schedule", "broken.csv"
    )


def test_help_names_every_column(capsys):
    with pytest.raises(SystemExit):
        main(["scaling", "fit", "--help"])
    text = capsys.readouterr().out
    for name in ("N", "D", "C", "U", "S1", "S2", "loss", "step", "learning_rate", "run", "role"):
        assert f"{name}," in text or f" {name} " in text, name
