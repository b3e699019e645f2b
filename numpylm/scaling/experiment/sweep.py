"""§6.4 A scaling experiment on a laptop: plan, train the family, resume, fit, predict.

The folder of a sweep holds

    plan.json     all runs, and the form of the headline; written before anything is trained
    runs.csv      a row for each finished run, with every way to count N and C
    running/      checkpoints of runs that are not finished
    report.md     the fit, the held-out runs and every figure, with ``figures/``

Runs are trained in processes of one BLAS thread each: small matrix products gain nothing from a
second thread, and two processes do twice the work of one. joblib gives the processes work, here or,
with its dask backend, on a cluster. A process that is killed takes its pool with it: a new one is
made, and what was not finished is trained again, from its checkpoint if there is one. The plan and
``runs.csv`` are all that a sweep remembers, so the same command goes on where it was stopped.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from numpylm.files import locked, read_utf8, write_atomically
from numpylm.scaling.experiment.family import Text
from numpylm.scaling.experiment.family_run import step_seconds, tokenized, train
from numpylm.scaling.experiment.plan import Plan, Rates, budget_seconds, make_plan, widths_for

TIMINGS = 3  # of the step times, where a budget seems too small
PATIENCE = 3  # pools in a row that may die before a run is finished
Row = dict[str, Any]


@contextmanager
def workers(jobs: int, dask: str | None) -> Iterator[type[BaseException] | tuple]:
    """Let joblib work in ``jobs`` processes, or on the cluster at an address; yields the exceptions
    that say that a worker died.

    Raises ``ValueError`` if the cluster cannot be reached.
    """
    from joblib import parallel_config

    if dask is None:
        with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
            yield BrokenProcessPool
        return
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise ValueError("--dask needs dask.distributed: pip install numpylm[cluster]") from None
    try:
        client = Client(dask, timeout=10)
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"no dask scheduler answers at {dask}: {error}") from None
    with client, parallel_config(backend="dask", n_jobs=-1):
        yield KilledWorker


def finished(
    calls: dict[str, tuple[Callable, tuple]], jobs: int, dask: str | None, log: Callable[[str], Any]
) -> Generator[tuple[str, Any]]:
    """(name, result) of each call as soon as it is done; started in the order of ``calls``.

    If a worker is killed the calls that are not finished are made again. Raises ``ValueError`` if
    that happens again and again with nothing finished in between.
    """
    from joblib import Parallel, delayed

    calls, deaths = dict(calls), 0
    while calls:
        with workers(jobs, dask) as died:
            work = [delayed(_named)(name, *call) for name, call in calls.items()]
            parallel = Parallel(return_as="generator_unordered", batch_size=1)
            try:
                with closing(parallel(work)) as results:
                    for name, result in results:
                        del calls[name]
                        deaths = 0
                        yield name, result
            except died:
                deaths += 1
                if deaths >= PATIENCE:
                    raise ValueError(
                        f"workers were killed {deaths} times without finishing a run (is memory "
                        f"short?); {len(calls)} are left, the same command goes on with them"
                    ) from None
                log(f"a worker was killed; {len(calls)} left, going on")


def _named(name: str, function: Callable, arguments: tuple) -> tuple[str, Any]:
    return name, function(*arguments)


def calibrated_plan(
    budget: str,
    form: str | None,
    corpus: str,
    tokenizer: str,
    jobs: int,
    dask: str | None,
    seed: int = 1,
) -> Plan:
    """A plan for this machine: step times are measured here and now, ``jobs`` widths at a time.

    Where the budget is too small by them, other programs may have slowed them down: they are
    measured again, up to ``TIMINGS`` times, and the best of each width counts. Raises
    ``ValueError`` if it is too small by the best ones, too.
    """
    seconds = budget_seconds(budget)
    data = tokenized(corpus, tokenizer)
    text = Text(corpus, tokenizer, data.tokenizer.vocab_size, len(data.train),
                data.summary["sha256"])  # fmt: skip
    widths = widths_for(seconds, jobs, text.vocab_size)
    valid_tokens = 1 << (17 if seconds >= 300 else 15)
    rates: Rates = {}
    for left in reversed(range(TIMINGS)):
        calls = {str(w): (step_seconds, (w, text)) for w in widths}
        for name, rate in finished(calls, jobs, dask, lambda _: None):
            rates[int(name)] = min(rates.get(int(name), rate), rate, key=_seconds_of_a_step)
        try:
            return make_plan(
                budget, form, text, valid_tokens, dict(sorted(rates.items())), jobs, seed
            )
        except ValueError:
            if not left:
                raise
    raise AssertionError("the last timing returns or raises")


def _seconds_of_a_step(rate: tuple[float, float]) -> float:
    """A step on 1024 tokens."""
    return rate[0] + 1024 * rate[1]


def open_plan(folder: Path, wanted: dict[str, Any]) -> Plan | None:
    """The plan of a folder, None if there is none yet.

    Raises ``ValueError`` if the folder holds other files, or a plan that differs from what is
    ``wanted`` (budget, form, corpus, tokenizer, seed; None: no matter).
    """
    path = folder / "plan.json"
    if not path.is_file():
        if folder.exists() and any(folder.iterdir()):
            raise ValueError(f"{folder} holds other files: take another --folder")
        return None
    try:
        plan = Plan.from_json(read_utf8(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    there = {"budget": plan.budget, "form": plan.form, "corpus": plan.text.corpus,
             "tokenizer": plan.text.tokenizer, "seed": plan.seed}  # fmt: skip
    for name, value in wanted.items():
        if value is not None and value != there[name]:
            raise ValueError(f"{folder} holds the plan of another sweep, with {name} "
                             f"{there[name]}, not {value}: take another --folder")  # fmt: skip
    return plan


def read_rows(path: Path) -> list[Row]:
    """The rows of ``runs.csv`` as they are written; none if there is no file."""
    return list(csv.DictReader(read_utf8(path).splitlines())) if path.is_file() else []


def write_rows(path: Path, rows: list[Row]) -> None:
    """All rows, atomically: a crash leaves the file with the last row or without it."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def carry_out(
    plan: Plan, folder: Path, *, jobs: int, dask: str | None = None, log: Callable[[str], Any]
) -> None:
    """Train every run of the plan that has no row yet. After Ctrl-C all finished rows are there."""
    from tqdm.auto import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "runs.csv"
    with locked(folder):
        if not (folder / "plan.json").is_file():
            write_atomically(folder / "plan.json", plan.to_json())
        rows = read_rows(path)
        done = {row["run"] for row in rows}
        todo = {run.name: run for run in plan.runs if run.name not in done}
        calls = {name: (train, (run, plan.text, plan.valid_tokens, folder.resolve(), os.getpid()))
                 for name, run in todo.items()}  # fmt: skip
        total = sum(map(plan.seconds, plan.runs))
        left = sum(map(plan.seconds, todo.values()))
        shown = "{percentage:3.0f}%|{bar}| {elapsed}, about {remaining} left"
        bar = tqdm(total=total, initial=total - left, disable=None, bar_format=shown)
        with bar, closing(finished(calls, jobs, dask, log)) as results:
            for name, row in results:
                rows.append(row)
                write_rows(path, rows)
                shutil.rmtree(folder / "running" / name, ignore_errors=True)
                bar.update(plan.seconds(todo[name]))
                with tqdm.external_write_mode():
                    log(f"{len(rows):>3}/{len(plan.runs)}  {_line(row)}")
        shutil.rmtree(folder / "running", ignore_errors=True)


def _line(row: Row) -> str:
    return (f"{row['run']:<28} N {row['N']:>9,.0f}  D {row['D']:>11,.0f}  "
            f"loss {row['loss']:.4f}  {row['seconds']:>7.1f} s")  # fmt: skip
