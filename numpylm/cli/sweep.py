"""``numpylm scaling sweep``: plan, print the plan, train, fit, judge by the held-out runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from numpylm.files import locked
from numpylm.scaling.experiment.checks import rate_checks, seed_spreads
from numpylm.scaling.experiment.plan import SHORT, Plan, budget_seconds, described
from numpylm.scaling.experiment.sweep import calibrated_plan, carry_out, open_plan, read_rows
from numpylm.scaling.fit.prediction import Study, study
from numpylm.scaling.fit.run_table import read_runs
from numpylm.scaling.report.page import write_report

COUNTED = {"N": "with the head", "N_without_embeddings": "blocks alone", "N_total": "all"}


def sweep(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Run it; returns what it found, None after a dry run. Progress goes to standard error."""
    seconds = budget_seconds(arguments.budget)
    if arguments.jobs < 1:
        raise ValueError(f"--jobs {arguments.jobs} must be at least 1")
    default = 1000 if seconds >= SHORT else 100
    samples = default if arguments.bootstrap is None else arguments.bootstrap
    if samples < 20:
        raise ValueError(f"bootstrap {samples}: at least 20 resamples make an interval")
    if arguments.seed is not None and arguments.seed < 0:
        raise ValueError(f"--seed {arguments.seed} must not be negative")
    folder = Path(arguments.folder or f"results/{arguments.budget}")
    wanted = {name: getattr(arguments, name) for name in ("form", "corpus", "tokenizer", "seed")}
    plan = open_plan(folder, {"budget": arguments.budget, **wanted})
    if plan is None:
        _log(f"measuring step times for a plan of {seconds / 60:g} minutes")
        plan = calibrated_plan(
            arguments.budget, wanted["form"], wanted["corpus"] or "pydoc",
            wanted["tokenizer"] or "char", arguments.jobs, arguments.dask,
            1 if wanted["seed"] is None else wanted["seed"],
        )  # fmt: skip
    done = {row["run"] for row in read_rows(folder / "runs.csv")}
    _log(described(plan, arguments.jobs, done))
    if arguments.dry_run:
        return None
    try:
        carry_out(plan, folder, jobs=arguments.jobs, dask=arguments.dask, log=_log)
    except KeyboardInterrupt:
        count = len(read_rows(folder / "runs.csv"))
        _log(f"\n{count} of {len(plan.runs)} runs are in {folder / 'runs.csv'}; the same command "
             "trains the others")  # fmt: skip
        raise
    with locked(folder):
        found = study(read_runs(folder / "runs.csv"), plan.form, samples=samples)
        page = write_report(folder, found)
    return summary(plan, found) | {"report": str(page)}


def summary(plan: Plan, found: Study) -> dict[str, Any]:
    """What ``--json`` prints: the fit, the hold-out, the exponents, the checks."""
    result, path = found.as_dict(), Path(found.runs.source)
    kept = ("form", "runs", "r2", "intervals", "holdout", "account", "remarks")
    rows = read_rows(path)
    return {name: result[name] for name in kept} | found.fit.constants | {
        "allocation": [c._asdict() for c in found.counted],
        "rates": [{"width": c.width, "rates": c.rates, "losses": c.losses, "lost": c.lost}
                  for c in rate_checks(path)],
        "seeds": [{"width": s.width, "compute": s.compute, "deviation": s.deviation}
                  for s in seed_spreads(path)],
        "diverged": [row["run"] for row in rows if row["role"] == "diverged"],
        "seconds": sum(float(row["seconds"]) for row in rows),
        "expected_seconds": sum(plan.seconds(run) for run in plan.runs),
    }  # fmt: skip


def printed(result: dict[str, Any]) -> str:
    """The short table of a finished sweep."""
    holdout = result["holdout"]
    lines = [f"{result['form']}, {result['runs']} runs fitted: R² {result['r2']:.4f}"]
    for row in holdout["runs"]:
        line = (
            f"  held out at {row['C'] / holdout['above']:4.1f} x the compute, N {row['N']:,.0f}: "
            f"measured {row['loss']:.4f}, predicted {row['predicted']:.4f} ({row['error']:+.2%})"
        )
        if "new_run" in row:  # not if the resamples have not converged
            low, high = row["new_run"]
            line += f", {'inside' if row['inside'] else 'OUTSIDE'} [{low:.4f}, {high:.4f}]"
        lines.append(line)
    lines.append("N_opt ∝ C^a, by how N is counted (95 %):")
    for c in result["allocation"]:
        between = "[{:.3f}, {:.3f}]".format(*c["interval"]) if c["interval"] else ""
        lines.append(f"  {COUNTED[c['column']]:<14} a {c['exponent']:.3f} {between}")
    for c in result["rates"]:
        best = c["rates"][c["losses"].index(min(c["losses"]))]
        lines.append(f"learning rate at width {c['width']}: best at {best:g} times the recipe's, "
                     f"which loses {c['lost']:.4f} nats")  # fmt: skip
    for s in result["seeds"]:
        lines.append(f"seeds at width {s['width']}, {s['compute']:.2g} FLOPs: standard deviation "
                     f"{s['deviation']:.4f} nats")  # fmt: skip
    if result["diverged"]:
        lines.append(f"diverged, and left out: {', '.join(result['diverged'])}")
    lines += [f"note: {text}" for text in result["remarks"]]
    return "\n".join([*lines, f"report: {result['report']}"])


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
