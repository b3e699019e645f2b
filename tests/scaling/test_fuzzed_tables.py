"""Damaged tables and saved fits: a result or one line of error, never a traceback or a warning.

python -c "from tests.scaling.test_fuzzed_tables import fuzz; fuzz(10_000, 1)"
"""

import contextlib
import io
import json
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from numpylm.cli import main
from numpylm.scaling.fit.synthetic import synthetic_losses
from tests.scaling.conftest import KAPLAN, grid

PIECES = [
    "", " ", ",", ";", "\t", '"', "'", "\n", "\r\n", "#", "-", "0", "1e400", "-1", "nan", "inf",
    "1e-320", "1,234", "true", "null", "{", "}", "[", "]", ":", "N", "loss", "role", "holdout",
    "run", "step", "learning_rate", "\ufeff", "é", "\x00", "9" * 30, "1_000", "0x10", "E", "theta",
]  # fmt: skip
OPTIONS = [
    (), ("--form", "kaplan"), ("--form", "c-offset"), ("--form", "data-constrained"),
    ("--form", "annealing"), ("--loss", "lad"), ("--loss", "mse"), ("--tie", "alpha=beta"),
    ("--fix", "E=0"), ("--best",), ("--holdout", "N>2e4"), ("--where", "N<1e5"),
    ("--units", "loss=bits"), ("--by", "run"), ("--residuals", "nats"), ("--last", "2"),
]  # fmt: skip


def tables(rng):
    """A sound table as CSV, JSON Lines and JSON, and a curve."""
    x, c = grid((1e10, 1e11, 1e12), 4)
    y = synthetic_losses("kaplan", KAPLAN, x, 0.003, rng)
    rows = [{"run": f"r{i}", "N": float(f"{n:.6g}"), "D": float(f"{d:.6g}"), "C": float(f"{k:.6g}"),
             "loss": float(f"{loss:.6g}")}
            for i, ((n, d), k, loss) in enumerate(zip(x, c, y, strict=True))]  # fmt: skip
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    curve = [
        "step,learning_rate,loss",
        *(f"{s},{0.1 if s < 60 else 0.01},{3 + 5 / s:.4f}" for s in range(10, 110, 10)),
    ]
    return {"a.csv": "\n".join(lines), "a.jsonl": "\n".join(map(json.dumps, rows)),
            "a.json": json.dumps(rows), "curve.csv": "\n".join(curve)}  # fmt: skip


def damaged(text, rng):
    """Some pieces put in, taken out, doubled or exchanged."""
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(text) + 1))
        end = min(len(text), at + int(rng.integers(0, 12)))
        what = rng.integers(4)
        piece = PIECES[rng.integers(len(PIECES))]
        text = text[:at] + (piece, piece, "", 2 * text[at:end])[what] + text[end if what else at :]
    return text


def ended(arguments):
    """How a command ends: its status, after checking what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
    errors = err.getvalue().splitlines()
    if status == 2:
        assert not out.getvalue(), (arguments, out.getvalue())
        assert len(errors) == 1, (arguments, errors)
    else:
        assert status == 0, (arguments, status)
        assert not errors, (arguments, errors)
        if "--json" in arguments:
            json.loads(out.getvalue())
    return status


def fuzz(count, seed):
    """``count`` commands on damaged files; how many of them succeeded, by kind."""
    rng, tally = np.random.default_rng(seed), Counter()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = Path(name)
        (folder / "sound.csv").write_text(tables(rng)["a.csv"])
        saved = folder / "saved.json"
        assert ended(["scaling", "fit", str(folder / "sound.csv"), "--bootstrap", "20", "--save",
                      str(saved)]) == 0  # fmt: skip
        law = saved.read_text()
        for i in range(count):
            if i % 2:
                kind, path = "saved fit", folder / "law.json"
                path.write_bytes(damaged(law, rng).encode("utf-8", "surrogateescape"))
                asked = ["--params", "1e5", "--tokens", "1e7"]
                arguments = ["scaling", "predict", str(path), *asked, "--json"]
            else:
                kind = str(rng.choice(["a.csv", "a.csv", "a.jsonl", "a.json", "curve.csv"]))
                path = folder / kind
                path.write_bytes(damaged(tables(rng)[kind], rng).encode("utf-8"))
                option = ("--form", "annealing", "--memory", "0.99")
                if kind != "curve.csv":
                    option = OPTIONS[rng.integers(len(OPTIONS))]
                arguments = ["scaling", "fit", str(path), "--bootstrap", "0", "--json", *option]
            try:
                tally[kind, ended(arguments)] += 1
            except BaseException:
                print(arguments, repr(path.read_bytes()[:3000]))
                raise
    return tally


def test_damaged_files_end_in_a_result_or_in_one_line():
    tally = fuzz(60, 0)
    assert sum(tally.values()) == 60
    assert tally["saved fit", 0] > 0
    assert tally["saved fit", 2] > 0
