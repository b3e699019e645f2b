"""From the command line to a run: its settings, its folder, started or resumed."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from numpylm.data.corpus import BUILT_IN
from numpylm.tasks.loading import TASKS
from numpylm.training.presets import PRESET_OF, last_rate, preset, warmup_of
from numpylm.training.run_folder import free_name
from numpylm.training.train_config import SETTINGS, TrainConfig, require_read
from numpylm.training.trainer import Trainer


def chosen_settings(arguments: argparse.Namespace) -> TrainConfig:
    """The settings of the preset, or of the objective, and those given."""
    given = given_settings(arguments)
    objective = given.get("objective", "causal")
    start = preset(arguments.preset or PRESET_OF[objective])
    if not arguments.preset:
        start = dataclasses.replace(start, objective=objective)
        if start.corpus == "pydoc":
            start = dataclasses.replace(start, corpus=TASKS[objective].default)
    config = dataclasses.replace(
        start, **given, **last_rate(given, start), **warmup_of(given, start)
    )
    require_read(config, given)
    return config


def started(arguments: argparse.Namespace) -> Trainer:
    """A new run with the chosen settings, in a folder of its own."""
    config = chosen_settings(arguments)
    objective = getattr(arguments, "objective", "causal")
    name = arguments.preset or {"causal": "tiny"}.get(objective, objective)
    name = name if arguments.name is None else arguments.name
    while True:
        folder = folder_of(arguments, name, exact=bool(arguments.name))
        try:
            return Trainer.start(folder, config)
        except FileExistsError:  # another run took the name in this moment
            if arguments.name:
                raise


def folder_of(arguments: argparse.Namespace, name: str, *, exact: bool) -> Path:
    """Where a run goes: the name itself, or the first of name, name-2, … that is free."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(f"name {name!r} must be a plain folder name; --runs says where it goes")
    runs = Path(arguments.runs or "runs")
    return runs / name if exact else free_name(runs, name)


def resumed(arguments: argparse.Namespace) -> Trainer:
    """A resumed run keeps its settings: with others nobody could repeat it."""
    if arguments.preset or arguments.name or arguments.runs:
        raise ValueError("--resume takes a run as it is: leave out --preset, --name and --runs")
    trainer = Trainer.resume(arguments.resume)
    for name, value in given_settings(arguments).items():
        if value != getattr(trainer.config, name):
            raise ValueError(
                f"{arguments.resume} was started with {name} {getattr(trainer.config, name)}; it "
                f"cannot go on with {value}: start a new run"
            )
    return trainer


def given_settings(arguments: argparse.Namespace) -> dict:
    """The settings that stand on the command line; a corpus that is a path is made absolute."""
    given = {name: getattr(arguments, name) for name in SETTINGS if hasattr(arguments, name)}
    if given.get("corpus", "pydoc") not in BUILT_IN and Path(given["corpus"]).exists():
        given["corpus"] = str(Path(given["corpus"]).resolve())
    return given
