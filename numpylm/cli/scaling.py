"""``numpylm scaling fit | predict | report | sweep``: what they take and what they do."""

from __future__ import annotations

import argparse
import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.cli.scaling_printed import described, predicted_line
from numpylm.cli.scaling_questions import asked, scheduled
from numpylm.files import write_atomically
from numpylm.scaling.fit.fitted_law import FittedLaw
from numpylm.scaling.fit.prediction import Study, study
from numpylm.scaling.fit.remarks import of_distance
from numpylm.scaling.fit.run_table import read_runs
from numpylm.scaling.fit.runs import Runs

OF_A_TABLE = ("form", "columns", "units", "where", "best", "last", "holdout", "holdout_above",
              "bootstrap", "loss", "delta", "residuals", "fix", "tie", "memory")  # fmt: skip


def scaling(arguments: argparse.Namespace) -> int:
    """Run the action; returns the exit status. What overflows far outside the data is remarked on
    by the fit itself, not by NumPy."""
    actions = {"fit": _fit, "predict": _predict, "report": _report, "sweep": _sweep}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.RankWarning)
        return actions[arguments.action](arguments)


def _fit(arguments: argparse.Namespace) -> int:
    if arguments.by:
        return _fit_by(arguments)
    found = _studied(arguments)
    result = found.as_dict()
    if arguments.save:
        text = json.dumps(_plain(result) | found.saved(), ensure_ascii=False, allow_nan=False)
        write_atomically(Path(arguments.save), text + "\n")
    print(_json(result) if arguments.json else described(result))
    return 0


def _fit_by(arguments: argparse.Namespace) -> int:
    """One fit for each value of a column; a group that cannot be fitted says why."""
    if arguments.save:
        raise ValueError("--save keeps one fit: give --where in place of --by")
    column = arguments.by
    every = _runs(arguments)
    values = list(dict.fromkeys(str(row.cells.get(column)) for row in every.rows))
    if not any(column in row.cells for row in every.rows):
        raise ValueError(f"{every.source} has no column {column!r} to make groups of")
    if len(values) > 100:
        raise ValueError(f"--by {column} would make {len(values)} fits; 100 are the most")
    groups: dict[str, Any] = {}
    for value in values:
        part = every.select(np.array([str(r.cells.get(column)) == value for r in every.rows]))
        gone = {f"not {column}={value}": len(every) - len(part)}
        part = Runs(**{**part.__dict__, "left_out": every.left_out | gone})
        try:
            groups[value] = _studied(arguments, part).as_dict()
        except ValueError as error:
            groups[value] = {"error": str(error)}
    if all("error" in group for group in groups.values()):
        value, group = next(iter(groups.items()))
        raise ValueError(f"no group can be fitted; {column}={value}: {group['error']}")
    if arguments.json:
        print(_json({"by": column, "groups": groups}))
        return 0
    for value, group in groups.items():
        text = f"not fitted: {group['error']}" if "error" in group else described(group)
        print(f"{column}={value}: {text}\n")
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    record = _record([Path(name) for name in arguments.runs])
    if record is None:
        found = _studied(arguments)
        predictor, constants = found.fitted_law(), found.fit.constants
        source = f"fitted to {len(found.runs)} runs of {found.runs.source}"
    else:
        _refuse_fit_options(arguments)
        path = arguments.runs[0]
        try:
            predictor, constants = FittedLaw.loaded(record), record
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        source = f"saved in {path}"
    law = predictor.law
    names: list[dict[str, Any]] = []
    if arguments.schedule:
        x, names = scheduled(Path(arguments.schedule), law, predictor.memory)
    else:
        columns = asked(arguments, law, constants)
        x = np.stack([columns[name] for name in law.inputs], axis=1)
    rows = [
        {name: float(value) for name, value in zip(law.inputs, inputs, strict=True)} | row
        for inputs, row in zip(x, predictor.rows(x, arguments.seed), strict=True)
    ]
    rows = [name | row for name, row in zip(names or [{}] * len(rows), rows, strict=True)]
    said = of_distance(dict(zip(law.inputs, x.T, strict=True)), predictor.fitted)
    if not all(math.isfinite(row["predicted"]) for row in rows):
        raise ValueError(f"the law of {source} predicts no finite loss there")
    if arguments.json:
        print(_json({"form": law.form, "predictions": rows, "remarks": said}))
        return 0
    print(f"{law.form}, {source}")
    for row in rows:
        print(predicted_line(row, law.inputs))
    for text in said:
        print(f"note: {text}")
    return 0


def _refuse_fit_options(arguments: argparse.Namespace) -> None:
    """A saved fit has been made: what says how to fit cannot change it."""
    usual = {"columns": "", "units": "", "where": [], "best": False, "loss": "huber",
             "residuals": "log", "fix": ""}  # fmt: skip
    for name in OF_A_TABLE:
        if getattr(arguments, name) != usual.get(name):
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option} is for a table; {arguments.runs[0]} is a saved fit")


def _report(arguments: argparse.Namespace) -> int:
    from numpylm.scaling.report.page import write_report

    folder = Path(arguments.folder)
    if not (folder / "runs.csv").is_file():
        raise ValueError(f"{folder} has no runs.csv; a report is made of a folder with one")
    arguments.runs = [str(folder / "runs.csv")]
    page = write_report(folder, _studied(arguments))
    print(json.dumps({"report": str(page)}) if arguments.json else f"report: {page}")
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    from numpylm.cli.sweep import printed, sweep

    found = sweep(arguments)
    if found is not None:
        print(_json(found) if arguments.json else printed(found))
    return 0


def _runs(arguments: argparse.Namespace) -> Runs:
    """The table that the options ask for."""
    if arguments.holdout and arguments.holdout_above is not None:
        raise ValueError("--holdout and --holdout-above both say which runs are held out")
    return read_runs(
        [Path(name) for name in arguments.runs], _pairs(arguments.columns, "columns"),
        where=arguments.where, holdout=arguments.holdout, best=arguments.best, last=arguments.last,
        units=_pairs(arguments.units, "units"),
    )  # fmt: skip


def _studied(arguments: argparse.Namespace, runs: Runs | None = None) -> Study:
    """The fit that the options ask for."""
    form = arguments.form or form_of_plan(Path(arguments.runs[0])) or "chinchilla"
    if arguments.memory is not None and form != "annealing":
        raise ValueError(f"--memory is for the annealing law, not for {form}")
    if arguments.holdout and arguments.holdout_above is not None:
        raise ValueError("--holdout and --holdout-above both say which runs are held out")
    return study(
        _runs(arguments) if runs is None else runs,
        form,
        above=arguments.holdout_above,
        samples=1000 if arguments.bootstrap is None else arguments.bootstrap,
        seed=arguments.seed,
        loss=arguments.loss,
        delta=arguments.delta,
        fixed={name: _float(name, value) for name, value in _pairs(arguments.fix, "fix").items()},
        tied=_tied(arguments.tie),
        nats=arguments.residuals == "nats",
        memory=arguments.memory,
    )


def form_of_plan(table: Path) -> str | None:
    """The form that the plan of a sweep fixed, if there is one beside the table."""
    from numpylm.scaling.experiment.plan import Plan

    path = table.parent / "plan.json"
    if table.name != "runs.csv" or not path.is_file():
        return None
    try:
        return Plan.from_json(path.read_text(encoding="utf-8")).form
    except ValueError as error:
        raise ValueError(f"{path}: {error}; give --form") from None


def _tied(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    pairs = _pairs(text, "tie")
    if len(pairs) != 1:
        raise ValueError(f"--tie {text!r} must tie two exponents, as alpha=beta")
    return next(iter(pairs.items()))


def _pairs(text: str, option: str) -> dict[str, str]:
    """ "N=a,D=b" -> {"N": "a", "D": "b"}."""
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ValueError(f"--{option} {text!r}: {part!r} is not of the form NAME=VALUE")
        if name in found:
            raise ValueError(f"--{option} {text!r} says {name} twice")
        found[name] = value
    return found


def _float(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"--fix {name}={value}: {value!r} is no number") from None


def _record(paths: list[Path]) -> dict[str, Any] | None:
    """A fit that was printed or saved as JSON; None if the file is a table of runs."""
    if len(paths) > 1 or paths[0].suffix in (".csv", ".tsv", ".jsonl"):
        return None
    try:
        record = json.loads(paths[0].read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return None  # the reader of tables says what is wrong with it
    return record if isinstance(record, dict) else None


def _json(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """JSON knows no infinity and no tuple of floats from NumPy."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
