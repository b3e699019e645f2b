"""§6.5 ``numpylm scaling``: from a table to a law, a prediction, a page; bad input is one line."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from numpylm.cli import main
from numpylm.scaling.fit.fitting import NotConverged
from numpylm.scaling.fit.run_table import read_runs
from numpylm.scaling.fit.synthetic import synthetic_losses
from numpylm.scaling.laws.annealing import annealing_areas
from tests.scaling.conftest import KAPLAN, grid, losses
from tests.scaling.test_laws import CASES

QUICK = ("--bootstrap", "40")


def write(path, columns):
    """A CSV of columns by name."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


@pytest.fixture
def table(tmp_path, monkeypatch, rng):
    """runs.csv in the working folder: 30 runs of Kaplan's law with the noise of seeds."""
    monkeypatch.chdir(tmp_path)
    x, compute = grid()
    y = synthetic_losses("kaplan", KAPLAN, x, 0.003, rng)
    columns = {"run": [f"r{i}" for i in range(30)], "N": x[:, 0], "D": x[:, 1], "C": compute,
               "loss": y}  # fmt: skip
    write("runs.csv", columns)
    return columns


def answer(capsys, *arguments):
    """What a command prints as JSON."""
    assert main(["scaling", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_fit_as_json(table, capsys):
    found = answer(capsys, "fit", "runs.csv", "--form", "kaplan", "--holdout-above", "2e12",
                   *QUICK)  # fmt: skip
    assert found["form"] == "kaplan"
    assert found["converged"] is True
    assert found["reduction"] == "sum"
    assert found["delta"] == 1e-3
    assert found["alpha_N"] == pytest.approx(KAPLAN["alpha_N"], rel=0.1)
    for name in KAPLAN:
        low, high = found["intervals"][name]
        assert low < found[name] < high
    assert found["allocation"]["interval"][0] < found["allocation"]["exponent"]
    assert found["runs"] == 24
    held = found["holdout"]
    assert [row["run"] for row in held["runs"]] == [f"r{i}" for i in range(24, 30)]
    assert held["largest_error"] < 0.02
    for row in held["runs"]:
        assert row["error"] == pytest.approx(row["predicted"] / row["loss"] - 1)
        assert row["interval"][0] <= row["predicted"] <= row["interval"][1]
        assert row["new_run"][1] - row["new_run"][0] > row["interval"][1] - row["interval"][0]


def test_chinchillas_keys_and_the_other_losses(table, capsys):
    for loss in ("huber", "lad", "mse"):
        found = answer(capsys, "fit", "runs.csv", "--loss", loss, "--bootstrap", "0")
        wanted = {"form", "E", "A", "B", "alpha", "beta", "objective", "r2", "converged",
                  "intervals", "holdout"}  # fmt: skip
        assert wanted <= set(found)
        assert found["holdout"] is None
        assert found["intervals"] == {}
    strict = answer(capsys, "fit", "runs.csv", "--delta", "0.1", "--bootstrap", "0")
    assert strict["objective"] == pytest.approx(found["objective"], rel=1e-6)  # all within δ: mse


def test_fit_for_a_reader(table, capsys):
    assert main(["scaling", "fit", "runs.csv", "--form", "kaplan", "--holdout-above", "2e12",
                 *QUICK]) == 0  # fmt: skip
    text = capsys.readouterr().out
    for piece in ("kaplan, 24 runs of runs.csv", "of 6 inside", "mean error",
                  "30 rows read, 0 left out, 24 fitted, 6 held out", "alpha_N", "N_opt ∝ C^",
                  "converged: sum of huber terms", "starts agree"):  # fmt: skip
        assert piece in text
    assert main(["scaling", "fit", "runs.csv", "--form", "c-offset", "--bootstrap", "0"]) == 0
    assert "note: E is not identified" in capsys.readouterr().out


def test_predict_from_a_table_a_printed_fit_and_a_saved_one(table, capsys, tmp_path):
    wanted = ("--params", "1e5", "3e5", "--tokens", "1e7", "2e7")
    options = ("--form", "kaplan", *QUICK)
    (tmp_path / "printed.json").write_text(json.dumps(answer(capsys, "fit", "runs.csv", *options)))
    assert main(["scaling", "fit", "runs.csv", *options, "--save", "saved.json"]) == 0
    capsys.readouterr()
    table_, printed, saved = (
        answer(capsys, "predict", *source, *wanted)["predictions"]
        for source in (("runs.csv", *options), ("printed.json",), ("saved.json",))
    )
    x = np.array([[1e5, 1e7], [3e5, 2e7]])
    exact = losses("kaplan", KAPLAN, x)
    for i in range(2):
        assert table_[i]["predicted"] == pytest.approx(exact[i], rel=0.02)
        assert printed[i]["predicted"] == pytest.approx(table_[i]["predicted"])
        assert "interval" not in printed[i]
        assert saved[i]["interval"] == pytest.approx(table_[i]["interval"])
        assert saved[i]["new_run"] == pytest.approx(table_[i]["new_run"])
    best = answer(capsys, "predict", "saved.json", "--compute", "1e12")["predictions"][0]
    assert 6 * best["N"] * best["D"] == pytest.approx(1e12)
    assert main(["scaling", "predict", "saved.json", *wanted]) == 0
    assert re.search(r"loss \d\.\d{4} nats   law \[.*\]   a new run \[", capsys.readouterr().out)


def test_other_names_formats_and_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, compute = grid()
    y = losses("chinchilla", CASES["chinchilla"], x)
    rows = [{"size": n, "flops": c, "nats": v} for n, c, v in zip(x[:, 0], compute, y, strict=True)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name in ("a.json", "a.jsonl"):
        found = answer(capsys, "fit", name, "--columns", "N=size,C=flops,loss=nats",
                       "--bootstrap", "0")  # fmt: skip
        assert found["derived"] == "D = C / (6 N)"
        assert {k: found[k] for k in CASES["chinchilla"]} == pytest.approx(CASES["chinchilla"])
    held = answer(capsys, "fit", "a.json", "--columns", "N=size,C=flops,loss=nats",
                  "--bootstrap", "0", "--fix", "E=1,alpha=0.4")  # fmt: skip
    assert held["fixed"] == {"E": 1.0, "alpha": 0.4}


def test_annealing_from_steps_and_learning_rates(tmp_path, monkeypatch, capsys):
    """Between the rows of a curve the learning rate is interpolated."""
    monkeypatch.chdir(tmp_path)
    columns = {"run": [], "step": [], "learning_rate": [], "loss": []}
    for run, end in (("cool", 0.0), ("higher", 1.2)):
        eta = np.interp(np.arange(1, 1001), [1, 500, 1000], [0.9 + 0.1 * end, 1.0, end])
        areas = np.stack(annealing_areas(eta), axis=1)
        y = losses("annealing", {**CASES["annealing"], "C": 0.004}, areas)
        for step in (1, 100, 200, 350, 500, 600, 700, 850, 1000):
            for name, value in zip(columns, (run, step, eta[step - 1], y[step - 1]), strict=True):
                columns[name].append(value)
    write("curve.csv", columns)
    found = answer(capsys, "fit", "curve.csv", "--form", "annealing", "--bootstrap", "0")
    assert found["C"] == pytest.approx(0.004, rel=1e-4)
    assert found["E"] == pytest.approx(2.0, rel=1e-4)
    assert found["memory"] == pytest.approx(0.999, abs=1e-6)
    given = answer(capsys, "fit", "curve.csv", "--form", "annealing", "--memory", "0.999",
                   "--bootstrap", "0")  # fmt: skip
    assert given["C"] == pytest.approx(0.004, rel=1e-6)


def test_a_report_has_every_table_and_figure(table, capsys, tmp_path):
    counted = {**table, "N_without_embeddings": table["N"] * 0.8, "N_total": table["N"] + 1500.0}
    write("runs.csv", counted)
    curves = {"run": [], "N": [], "C": [], "loss": []}
    for n in np.geomspace(3e3, 1e5, 6):
        c = np.geomspace(20, 2000, 15) * 6 * n * n
        y = losses("kaplan", KAPLAN, np.stack([np.full(15, n), c / (6 * n)], axis=1))
        for a, b in zip(c, y, strict=True):
            for name, value in zip(curves, (f"s{n:.0f}", n, a, b), strict=True):
                curves[name].append(value)
    write("curves.csv", curves)
    found = answer(capsys, "report", ".", "--form", "kaplan", "--holdout-above", "2e12", *QUICK)
    page = (tmp_path / found["report"]).read_text(encoding="utf-8")
    for heading in ("Held-out runs", "Constants", "Other forms", "Compute-optimal training",
                    "by approach", "by how N is counted"):  # fmt: skip
        assert heading in page
    names = re.findall(r"\]\(figures/(\w+)\.png\)", page)
    assert names == ["predicted", "profiles", "residuals", "frontier", "curves", "isoflop",
                     "contours"]  # fmt: skip
    for name in names:
        assert (tmp_path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    a = {line.split(" | ")[0]: float(line.split(" | ")[1])
         for line in page.splitlines() if re.match(r"\| [123], ", line)}  # fmt: skip
    true = KAPLAN["alpha_D"] / (KAPLAN["alpha_N"] + KAPLAN["alpha_D"])
    assert list(a.values()) == pytest.approx([true] * 3, abs=0.06)
    assert len(a) == 3


def test_a_report_of_a_law_of_compute_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    c = np.geomspace(1e9, 1e13, 12)
    write("runs.csv", {"C": c, "loss": losses("c-offset", CASES["c-offset"], c[:, None])})
    found = answer(capsys, "report", ".", "--form", "c-offset", *QUICK)
    assert "Compute-optimal" not in (tmp_path / found["report"]).read_text(encoding="utf-8")


def refused(capsys, *arguments):
    """The one line that a refused command prints."""
    assert main(["scaling", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("numpylm: error: ")
    return line


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"rows": 4}, (), "chinchilla has 5 constants to fit; 4 runs are too few, at least 6"),
        ({"loss": -1.0}, (), "runs.csv, line 4: loss is -1; it must be positive and finite"),
        ({"loss": ""}, (), "runs.csv, line 4: loss is missing"),
        ({"N": "big"}, (), "runs.csv, line 4: N 'big' is no number"),
        ({"D": "inf"}, (), "runs.csv, line 4: D is inf"),
        ({"copy": True}, (), "runs.csv, line 3 and line 4 are the same (loss "),
        ({"same": "N"}, (), "all runs have N = 5000: the exponent of N cannot be found"),
        ({}, ("--holdout-above", "1e9"), "leaves nothing to fit: the smallest run has 3e+10"),
        ({}, ("--holdout-above", "1e15"), "leaves nothing to predict: the largest run has 3e+12"),
        ({}, ("--columns", "N=params"), "runs.csv has no column 'params' for N; it has run, N, D"),
        ({}, ("--columns", "params"), "'params' is not of the form NAME=VALUE"),
        ({}, ("--columns", "X=N"), "--columns X=… is none of N, D"),
        ({}, ("--form", "annealing"), "has no column S1, S2, which annealing needs"),
        ({}, ("--fix", "E=x"), "'x' is no number"),
        ({}, ("--fix", "Q=1"), "chinchilla has no constant 'Q'"),
        ({}, ("--bootstrap", "3"), "bootstrap 3: at least 20"),
        ({}, ("--loss", "mse", "--delta", "0.1"), "delta 0.1 must be positive, and is for"),
        ({"without": "loss"}, (), "runs.csv has no column 'loss' for loss"),
        ({"without": "D", "and": "C"}, (), "runs.csv has no column D, which chinchilla needs"),
    ],
)
def test_bad_input_is_one_line(table, capsys, change, options, message):
    columns = {name: list(values) for name, values in table.items()}
    for name in ("loss", "N", "D"):
        if name in change:
            columns[name][2] = change[name]
    if "copy" in change:
        for values in columns.values():
            values[2] = values[1]
    if "same" in change:
        columns[change["same"]] = [5000.0] * 30
    for key in ("without", "and"):
        columns.pop(change.get(key), None)
    write("runs.csv", {name: values[: change.get("rows")] for name, values in columns.items()})
    bootstrap = () if "--bootstrap" in options else ("--bootstrap", "0")
    assert message in refused(capsys, "fit", "runs.csv", *bootstrap, *options)


def test_bad_questions_are_one_line(table, capsys, tmp_path):
    quick = ("runs.csv", "--bootstrap", "0")
    assert "needs --tokens" in refused(capsys, "predict", *quick, "--params", "1e6")
    assert "give as many values for each of --params, --tokens, not 2, 1" in refused(
        capsys, "predict", *quick, "--params", "1e6", "1e7", "--tokens", "1e7"
    )
    assert "--params -1 must be positive" in refused(
        capsys, "predict", *quick, "--params", "-1", "--tokens", "1e7"
    )
    (tmp_path / "other.json").write_text('{"a": 1}')
    assert "does not hold a fit" in refused(capsys, "predict", "other.json", "--params", "1")
    assert "nowhere.csv" in refused(capsys, "fit", "nowhere.csv")
    assert "has no runs.csv" in refused(capsys, "report", "nothing")
    (tmp_path / "broken.json").write_text("[1, 2")
    assert "is not JSON" in refused(capsys, "fit", "broken.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    assert "must hold a list of runs" in refused(capsys, "fit", "list.json")
    (tmp_path / "empty.csv").write_text("")
    assert "it has no rows" in refused(capsys, "fit", "empty.csv")


def test_a_fit_that_has_not_converged_is_never_printed(table, capsys, monkeypatch):
    def stop(*_, **__):
        raise NotConverged("the fit of chinchilla has not converged: …")

    monkeypatch.setattr("numpylm.scaling.fit.prediction.fit", stop)
    assert "has not converged" in refused(capsys, "fit", "runs.csv", "--json")


def test_unique_tokens_default_to_all_tokens(table):
    runs = read_runs(Path("runs.csv"))
    np.testing.assert_array_equal(runs.columns["U"], runs.columns["D"])
