"""What a training run will cost: parameters, FLOPs, memory, time, energy and CO2, before it.

    FLOPs       Σ over the steps of 3 · forward          exact (``models/counting.py``)
    memory      what lasts + the largest peak            counted (``memory.py``)
    time        FLOPs / rate                             rate: a few steps of the run itself, timed
    energy, CO2e                                         ``energy.py``

No small benchmark knows how fast a model is that mixes small and large matrices, so the rate is
that of real steps; batches of unequal length are weighed by their FLOPs. On a machine that does
other work too the wall clock runs away; the processor time holds.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from itertools import count
from typing import Any

import numpy as np

from numpylm.cost.energy import GRAMS_PER_KWH, WATTS_PER_GB, WATTS_PER_THREAD, emissions
from numpylm.cost.memory import free_bytes, process_bytes, run_bytes
from numpylm.models.counting import forward_flops, parameter_counts
from numpylm.parameters import Array
from numpylm.tasks.loading import load_task
from numpylm.tasks.task import Shape, Task
from numpylm.training.loop import OneProcess
from numpylm.training.state import TrainingState
from numpylm.training.timing import timed
from numpylm.training.train_config import TrainConfig

SAMPLE = 64  # batches that stand for all
MIB = 2**20


def predict_cost(
    config: TrainConfig,
    *,
    watts: float | None = None,
    pue: float = 1.0,
    grid: float = GRAMS_PER_KWH,
    seconds: float = 3.0,
) -> dict[str, Any]:
    """The cost of a run that is not made: its data are read, a few steps timed, nothing written.

    ``seconds``: how long to time steps. Memory in MiB; time, energy and CO2 are None if the run
    needs more memory than this machine has free. Raises ``ValueError`` as starting it would.
    """
    emissions(0.0, watts or 0.0, pue, grid)  # raises before anything takes time
    began = _clocks()
    task = load_task(config, None)
    task.baselines()
    setup = _clocks() - began
    batches = [task.batch(i) for i in range(min(SAMPLE, config.steps * config.accumulate))]
    shapes = [task.shape(batch) for batch in batches]
    per_batch = float(np.mean([step_flops(task.model, shape) for shape in shapes]))
    tokens = float(np.mean([task.positions(batch) for batch in batches]))
    updates = config.steps * config.accumulate
    counts = parameter_counts(task.model)
    memory, fits = _memory(task, shapes, counts["total"])
    figures = {
        "objective": config.objective,
        "corpus": task.summary["name"],
        "steps": config.steps,
        "parameters": counts["total"],
        "parameters_by_part": {n: c for n, c in counts.items() if n != "total"},
        "tokens": round(tokens * updates),
        "flops": per_batch * updates,
        "memory_mib": sum(memory.values()),
        "memory_by_part_mib": memory,
    }
    gigabytes = figures["memory_mib"] * MIB / 1e9
    assumed = WATTS_PER_THREAD * config.n_shards + WATTS_PER_GB * gigabytes
    power = assumed if watts is None else watts
    measured = dict.fromkeys(TIMES)
    kwh, grams = None, None
    if fits:
        measured = _times(task, figures["flops"], seconds, setup)
        kwh, grams = emissions(60 * measured["minutes"], power, pue, grid)
    return figures | measured | {
        "watts": power, "watts_assumed": watts is None, "pue": pue, "grid_g_per_kwh": grid,
        "energy_kwh": kwh, "co2_g": grams,
    }  # fmt: skip


def step_flops(model: Any, shape: Shape) -> int:
    """FLOPs of forward and backward on a batch of this shape."""
    return 3 * forward_flops(model, **asdict(shape))["total"]


def _memory(task: Task, steps: list[Shape], parameters: int) -> tuple[dict, bool]:
    """MiB by part, with what the process holds already; and whether that much is free."""
    evaluations = [task.shape(batch) for batch in task.held_out("valid")]
    settings = task.settings
    moments = int(settings.momentum > 0) if settings.optimizer == "sgd" else 2
    parts = run_bytes(task.model, parameters, steps, evaluations,
                      threads=settings.n_shards, moments=moments)  # fmt: skip
    now, highest = process_bytes()
    free = free_bytes()
    fits = free is None or sum(parts.values()) < free
    parts = {"process and data": max(now, highest - sum(parts.values())), **parts}
    return {part: size / MIB for part, size in parts.items()}, fits


TIMES = ("setup_seconds", "timed_steps", "gflops", "seconds_per_step", "training_seconds",
         "evaluations", "evaluation_seconds", "minutes", "processor_minutes")  # fmt: skip


def _clocks(parallel: OneProcess | None = None) -> Array:
    """Seconds of the wall, and of all processors together: what other work cannot stretch."""
    spent = time.process_time() if parallel is None else parallel.processor_seconds()
    return np.array([time.perf_counter(), spent])


def _times(task: Task, flops: float, seconds: float, setup: Array) -> dict[str, float]:
    """Time steps and evaluations of a run without a folder, and scale them up by FLOPs."""
    config = task.settings
    state = TrainingState(task, *task.init(config.seed))
    with state.parallel() as parallel:
        done, spent, steps = _timed_steps(state, parallel, seconds)
        evaluation = _evaluation_time(task, parallel)
    evaluations = 1 + math.ceil(config.steps / config.eval_every)
    training, evaluation = spent * (flops / done), evaluations * evaluation
    minutes = (setup + training + evaluation) / 60
    values = (setup[0], steps, done / spent[0] / 1e9, training[0] / config.steps, training[0],
              evaluations, evaluation[0], *minutes)  # fmt: skip
    return dict(zip(TIMES, values, strict=True))


def _timed_steps(state: TrainingState, parallel: OneProcess, seconds: float) -> tuple:
    """(FLOPs, time on both clocks, number) of steps, at least five, after a warm-up."""
    task, made = state.task, []
    loop = state.steps(parallel, count())
    times = timed(lambda: made.append(next(loop)), seconds, clock=lambda: _clocks(parallel))
    batches = [batch for step in made[-len(times) :] for batch in step.batches]
    done = sum(step_flops(task.model, task.shape(batch)) for batch in batches)
    return done, sum(times), len(times)


def _evaluation_time(task: Task, parallel: OneProcess) -> Array:
    """Both clocks of one evaluation: every k-th batch is timed, FLOPs say what all would take."""
    batches = task.held_out("valid")
    threads = task.settings.n_shards
    sample = batches[:: max(1, len(batches) // max(SAMPLE // 4, 2 * threads))]
    normalizer = task.count(sample[0])
    parallel.losses(sample[:threads], normalizer)  # warm-up
    start = _clocks()
    parallel.losses(sample, normalizer)
    spent = _clocks() - start
    both = [sum(step_flops(task.model, task.shape(b)) for b in bs) for bs in (sample, batches)]
    return spent * (task.evaluation_passes * both[1] / both[0])
