"""A fitted scaling law for a reader: the hold-out first, then the constants, then the remarks."""

from __future__ import annotations

import math
from typing import Any

CONSTANTS = ("E", "A", "alpha", "B", "beta", "C", "gamma", "N_c", "alpha_N", "D_c", "alpha_D",
             "C_c", "alpha_C", "R_D", "R_N")  # fmt: skip


def described(result: dict[str, Any]) -> str:
    """What ``scaling fit`` prints."""
    tied = f", {' = '.join(result['tied'])}" if result["tied"] else ""
    lines = [f"{result['form']}{tied}, {result['runs']} runs of {result['source']}"
             + (f" ({result['derived']})" if result["derived"] else ""),
             result["account"]]  # fmt: skip
    if result["holdout"]:
        lines += _holdout(result["holdout"])
    for name in (n for n in CONSTANTS if n in result):
        interval = result["intervals"].get(name)
        held = "   held" if name in result["fixed"] else ""
        lines.append(f"  {name:<8} {result[name]:<12.6g}"
                     + (f"   {_range(interval)}" if interval else held))  # fmt: skip
    if result["memory"] is not None:
        lines.append(f"  lambda   {result['memory']:<12.6g}")
    if "allocation" in result:
        a = result["allocation"]
        spread = f"   {_range(a['interval'])}" if "interval" in a else ""
        lines.append(f"  N_opt ∝ C^{a['exponent']:.3f}{spread}")
    return "\n".join(lines + _quality(result) + [f"note: {text}" for text in result["remarks"]])


def _holdout(holdout: dict[str, Any]) -> list[str]:
    """The held-out runs, and how many lie in their intervals."""
    rows = holdout["runs"]
    lines = [f"held out ({holdout['by']}): mean error {holdout['mean_error']:.2%}, largest "
             f"{holdout['largest_error']:.2%}"
             + ("" if holdout["inside"] is None else
                f"; {holdout['inside']} of {len(rows)} inside their 95 % intervals")]  # fmt: skip
    for row in rows[:40]:
        line = f"  {row['run']:<20} C {row.get('C', math.nan):.3g}  measured {row['loss']:.4f}"
        line += f"  predicted {row['predicted']:.4f} ({row['error']:+.2%})"
        if "new_run" in row:
            line += f"  {_range(row['new_run'])}{'' if row['inside'] else '  outside'}"
        lines.append(line)
    if len(rows) > 40:
        lines.append(f"  … and {len(rows) - 40} more (--json has all)")
    return lines


def _quality(result: dict[str, Any]) -> list[str]:
    """How the fit ended, and what the brackets are."""
    threshold = f", δ {result['delta']:g}" if result["delta"] else ""
    of = "L" if result["nats"] else "ln L"
    lines = [
        f"{'converged, but see the notes' if result['remarks'] else 'converged'}: sum of "
        f"{result['loss']} terms of {of}{threshold} {result['objective']:.10g}, R² "
        f"{result['r2']:.4f}, gradient {result['gradient']:.0e}, {result['starts_agreeing']} of "
        f"{result['starts_followed']} starts agree, condition {result['condition']:.0f}"
    ]
    if proof := result["certificate"]:
        lines.append(
            f"certificate: {proof['zeros']} residuals are zero, {proof['needed']} constants free, "
            f"largest multiplier {proof['largest_multiplier']:.3f} (at most 1 at a minimum)"
        )
    if result["bootstrap"]:
        lines.append(f"in brackets: middle 95 % of {result['bootstrap']} resamples of the runs, "
                     f"{result['bootstrap_failed']} more failed")  # fmt: skip
    return lines


def predicted_line(row: dict[str, Any], inputs: tuple[str, ...]) -> str:
    """One prediction."""
    at = [f"{row['run']}  step {row['step']:,.0f}"] if "step" in row else []
    at += [f"{name} {row[name]:,.4g}" for name in inputs]
    line = f"{'  '.join(at)}   loss {row['predicted']:.4f} nats"
    if "interval" in row:
        line += f"   law {_range(row['interval'])}   a new run {_range(row['new_run'])}   (95 %)"
    return line


def _range(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:.4g}, {interval[1]:.4g}]"
