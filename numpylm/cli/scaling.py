"""``numpylm scaling fit | predict | report | sweep``: what they take and what they print."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files import write_atomically
from numpylm.scaling.fit.allocation import optimum
from numpylm.scaling.fit.prediction import FittedLaw, Study, study
from numpylm.scaling.fit.run_table import read_runs
from numpylm.scaling.laws.power_laws import Law


def scaling(arguments: argparse.Namespace) -> int:
    """Run the action; returns the exit status."""
    actions = {"fit": _fit, "predict": _predict, "report": _report, "sweep": _sweep}
    return actions[arguments.action](arguments)


def _fit(arguments: argparse.Namespace) -> int:
    found = _studied(arguments)
    result = found.as_dict()
    if arguments.save:
        text = json.dumps(_plain(found.saved()), ensure_ascii=False)
        write_atomically(Path(arguments.save), text + "\n")
    if arguments.json:
        print(json.dumps(_plain(result), ensure_ascii=False))
    else:
        print(described(result))
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    path = Path(arguments.runs)
    record = _record(path)
    if record is None:
        found = _studied(arguments)
        predictor, constants = FittedLaw.of(found), found.fit.constants
    else:
        try:
            predictor, constants = FittedLaw.loaded(record), record
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    law = predictor.law
    columns = _asked(arguments, law, constants)
    x = np.stack([columns[name] for name in law.inputs], axis=1)
    rows = [
        {name: float(value) for name, value in zip(law.inputs, inputs, strict=True)} | row
        for inputs, row in zip(x, predictor.rows(x, arguments.seed), strict=True)
    ]
    if arguments.json:
        print(json.dumps(_plain({"form": law.form, "predictions": rows}), ensure_ascii=False))
        return 0
    for row in rows:
        where = "  ".join(f"{name} {row[name]:,.4g}" for name in law.inputs)
        line = f"{where}   loss {row['predicted']:.4f} nats"
        if "interval" in row:
            line += (
                f"   law {_range(row['interval'])}   a new run {_range(row['new_run'])}   (95 %)"
            )
        print(line)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from numpylm.scaling.experiment.sweep import open_plan
    from numpylm.scaling.report.page import write_report

    folder = Path(arguments.folder)
    if not (folder / "runs.csv").is_file():
        raise ValueError(f"{folder} has no runs.csv; a report is made of a folder with one")
    arguments.runs = str(folder / "runs.csv")
    plan = open_plan(folder, {}) if (folder / "plan.json").is_file() else None
    arguments.form = arguments.form or (plan.form if plan else "kaplan")
    page = write_report(folder, _studied(arguments))
    print(json.dumps({"report": str(page)}) if arguments.json else f"report: {page}")
    return 0


def _sweep(arguments: argparse.Namespace) -> int:
    from numpylm.cli.sweep import printed, sweep

    found = sweep(arguments)
    if found is not None:
        print(json.dumps(_plain(found), ensure_ascii=False) if arguments.json else printed(found))
    return 0


def _studied(arguments: argparse.Namespace) -> Study:
    """The fit that the options ask for."""
    return study(
        read_runs(Path(arguments.runs), _pairs(arguments.columns, "columns")),
        arguments.form or "chinchilla",
        above=arguments.holdout_above,
        samples=1000 if arguments.bootstrap is None else arguments.bootstrap,
        seed=arguments.seed,
        loss=arguments.loss,
        delta=arguments.delta,
        fixed={name: _float(name, value) for name, value in _pairs(arguments.fix, "fix").items()},
    )


def _pairs(text: str, option: str) -> dict[str, str]:
    """ "N=a,D=b" -> {"N": "a", "D": "b"}."""
    found = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ValueError(f"--{option} {text!r}: {part!r} is not of the form NAME=VALUE")
        found[name.strip()] = value.strip()
    return found


def _float(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"--fix {name}={value}: {value!r} is no number") from None


def _asked(
    arguments: argparse.Namespace, law: Law, constants: dict[str, float]
) -> dict[str, np.ndarray]:
    """The inputs (m,) at which a prediction is wanted, by column."""
    form, inputs = law.form, law.inputs
    given = {"N": arguments.params, "D": arguments.tokens, "U": arguments.unique,
             "C": arguments.compute}  # fmt: skip
    if arguments.compute and {"N", "D"} <= set(inputs) and not arguments.params:
        best = optimum(form, constants, np.array(arguments.compute))
        return {"N": best.parameters, "D": best.tokens, "U": best.tokens}
    if "U" in inputs and not arguments.unique:
        given["U"] = arguments.tokens
    options = {"N": "--params", "D": "--tokens", "U": "--unique", "C": "--compute"}
    missing = [options.get(name, name) for name in inputs if not given.get(name)]
    if missing:
        raise ValueError(f"a prediction of {form} needs {' and '.join(missing)}")
    lengths = {len(given[name]) for name in inputs}
    if len(lengths) > 1:
        raise ValueError(f"give as many values for each of {', '.join(inputs)}, not "
                         f"{', '.join(str(len(given[name])) for name in inputs)}")  # fmt: skip
    columns = {name: np.array(given[name]) for name in inputs}
    for name, values in columns.items():
        if not (np.isfinite(values) & (values > 0)).all():
            raise ValueError(f"{options[name]} {values.min():g} must be positive")
    return columns


def _record(path: Path) -> dict[str, Any] | None:
    """A fit that was printed or saved as JSON; None if the file is a table of runs."""
    if path.suffix in (".csv", ".jsonl"):
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None  # the reader of tables says what is wrong with it
    return record if isinstance(record, dict) else None


def described(result: dict[str, Any]) -> str:
    """A fit for a reader: the hold-out first, then the constants."""
    lines = [f"{result['form']}, {result['runs']} runs of {result['source']}"
             + (f" ({result['derived']})" if result["derived"] else "")]  # fmt: skip
    holdout = result["holdout"]
    if holdout:
        lines.append(f"held out above {holdout['above']:g} FLOPs: largest error "
                     f"{holdout['largest_error']:.2%}")  # fmt: skip
        for row in holdout["runs"]:
            line = f"  {row['run']:<20} C {row.get('C', math.nan):.3g}  measured {row['loss']:.4f}"
            line += f"  predicted {row['predicted']:.4f} ({row['error']:+.2%})"
            lines.append(line + (f"  {_range(row['new_run'])}" if "new_run" in row else ""))
    names = [n for n in result if n in ("E", "A", "B", "C", "gamma") or n in ALL_CONSTANTS]
    for name in names:
        interval = result["intervals"].get(name)
        held = "   held" if name in result["fixed"] else ""
        spread = f"   {_range(interval)}" if interval else held
        lines.append(f"  {name:<8} {result[name]:<12.6g}{spread}")
    if "allocation" in result:
        a = result["allocation"]
        spread = f"   {_range(a['interval'])}" if "interval" in a else ""
        lines.append(f"  N_opt ∝ C^{a['exponent']:.3f}{spread}")
    threshold = f", δ {result['delta']:g}" if result["delta"] else ""
    lines.append(
        f"converged: sum of {result['loss']} terms{threshold} {result['objective']:.10g}, R² "
        f"{result['r2']:.4f}, gradient {result['gradient']:.0e}, {result['starts_agreeing']} of "
        f"{result['starts_followed']} starts agree, condition {result['condition']:.0f}"
    )
    if proof := result["certificate"]:
        lines.append(
            f"certificate: {proof['zeros']} residuals are zero, {proof['needed']} constants free, "
            f"largest multiplier {proof['largest_multiplier']:.3f} (at most 1 at a minimum)"
        )
    if result["bootstrap"]:
        lines.append(f"in brackets: middle 95 % of {result['bootstrap']} resamples of the runs")
    return "\n".join(lines + [f"note: {text}" for text in result["remarks"]])


ALL_CONSTANTS = {"alpha", "beta", "N_c", "D_c", "alpha_N", "alpha_D", "R_D", "R_N"}


def _range(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.4g}, {interval[1]:.4g}]"


def _plain(value: Any) -> Any:
    """JSON knows no infinity and no tuple of floats from NumPy."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
