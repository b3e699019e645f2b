"""§3.3 What the commands do; ``cli.py`` says what they take. Each returns its exit status."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shlex
import sys
from pathlib import Path

from numpylm.data.corpus import BUILT_IN
from numpylm.language_model import load
from numpylm.training.config import SETTINGS, preset
from numpylm.training.run import free_name
from numpylm.training.trainer import Trainer, TrainingInterrupted


def train(arguments: argparse.Namespace) -> int:
    """Start or resume a run; then plot it, compare it with the n-grams and let it write."""
    from numpylm.training.plots import plot_loss

    trainer = _resumed(arguments) if arguments.resume is not None else _started(arguments)
    run, folder = trainer.run, trainer.run.folder
    if not arguments.json:
        _introduce(trainer)
    try:
        trainer.fit(log=None if arguments.json else print)
    except TrainingInterrupted as stopped:
        note = (
            f"stopped and saved at {stopped}; go on with: numpylm train --resume {_quoted(folder)}"
        )
        print(note, file=sys.stderr if arguments.json else sys.stdout, flush=True)
        plot_loss(run)
        return 130
    plot_loss(run)
    last = run.metrics[-1]
    if arguments.json:
        print(json.dumps({"run": str(folder), **last, "baselines": run.baselines}))
        return 0
    unit, windows = run.config.tokenizer, (len(trainer.corpus.valid) - 1) // run.config.context
    print(f"\nvalidation loss, nats per {unit} (all {windows:,} windows of {run.config.context}):")
    for name, loss in [*run.baselines.items(), ("this model", last["val_loss"])]:
        print(f"  {name:<11} {loss:.4f}   perplexity {_perplexity(loss):,.2f}")
    print(f"\na sample:\n{load(folder).generate(tokens=300, seed=run.config.seed)}")
    print(f"\nloss curve: {folder / 'loss.png'}\nmore text:  numpylm generate {_quoted(folder)}")
    return 0


def generate(arguments: argparse.Namespace) -> int:
    """Print the prompt and what the model makes of it, token by token."""
    names = ("tokens", "temperature", "top_k", "top_p", "seed")
    sampling = {name: getattr(arguments, name) for name in names}
    pieces = load(arguments.run).stream(arguments.prompt, **sampling)
    first = next(pieces, "")  # an error in the prompt shows before anything is printed
    if arguments.json:
        text = arguments.prompt + first + "".join(pieces)
        print(json.dumps({"run": arguments.run, "prompt": arguments.prompt, "text": text}))
        return 0
    print(arguments.prompt + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Loss and perplexity of a run on a split of its corpus, or on a text file."""
    from numpylm.data.corpus import read_text

    if arguments.text is not None:
        what, loss = arguments.text, load(arguments.run).loss(read_text(Path(arguments.text)))
    else:
        what, loss = arguments.split, Trainer.resume(arguments.run).evaluate(arguments.split)
    figures = {"loss": loss, "perplexity": _perplexity(loss), "bits_per_token": loss / math.log(2)}
    if arguments.json:
        print(json.dumps({"run": arguments.run, "text": what, **figures}))
    else:
        print(f"{what}: {loss:.4f} nats per token, ", end="")
        print("perplexity {perplexity:,.3f}, {bits_per_token:.4f} bits per token".format(**figures))
    return 0


def gradcheck(arguments: argparse.Namespace) -> int:
    """Check every forward/backward pair against finite differences; 1 if one is wrong."""
    from numpylm.audit import run_audit
    from numpylm.catalogue import PAIRS
    from numpylm.gradcheck import WrongGradient

    rows = []
    try:
        for row in run_audit(PAIRS, seed=arguments.seed):
            rows.append(row)
            if not arguments.json:
                print(row, flush=True)
    except WrongGradient as error:  # a shape or a number of gradients that cannot be compared
        print(error, file=sys.stderr)
        return 1
    worst = max(rows, key=lambda row: math.inf if math.isnan(row.worst_error) else row.worst_error)
    wrong = [row.name for row in rows if not row.worst_error <= arguments.bar]
    if arguments.json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        print(
            f"\n{len(rows)} rows in {sum(row.seconds for row in rows):.1f} s; worst relative error "
            f"{worst.worst_error:.1e} ({worst.name}: {worst.worst_array}), bar {arguments.bar:g}"
        )
        print(f"WRONG: {', '.join(wrong)}" if wrong else "every gradient is right")
    return 1 if wrong else 0


def bench(arguments: argparse.Namespace) -> int:
    """Time training steps of a preset on random tokens."""
    from numpylm.benchmark import benchmark

    config = dataclasses.replace(preset(arguments.preset), **_given(arguments))
    figures = benchmark(config, arguments.vocab_size, arguments.seconds)
    if arguments.json:
        print(json.dumps(figures))
        return 0
    for name, value in figures.items():
        number = f"{value:,.3f}" if isinstance(value, float) else f"{value:,}"
        print(f"{name:<18} {number:>14}")
    return 0


def _started(arguments: argparse.Namespace) -> Trainer:
    start, given = preset(arguments.preset or "tiny"), _given(arguments)
    if "lr" in given and "min_lr" not in given and start.schedule == "cosine":
        given["min_lr"] = given["lr"] * start.min_lr / start.lr  # the preset's share of it
    config = dataclasses.replace(start, **given)
    name = arguments.preset or "tiny" if arguments.name is None else arguments.name
    if name in ("", ".", "..") or Path(name).name != name:
        raise ValueError(f"name {name!r} must be a plain folder name; --runs says where it goes")
    runs = Path(arguments.runs or "runs")
    while True:
        folder = runs / name if arguments.name else free_name(runs, name)
        try:
            return Trainer.start(folder, config)
        except FileExistsError:  # another run took the name in this moment
            if arguments.name:
                raise


def _resumed(arguments: argparse.Namespace) -> Trainer:
    """A resumed run keeps its settings: with others nobody could repeat it."""
    if arguments.preset or arguments.name or arguments.runs:
        raise ValueError("--resume takes a run as it is: leave out --preset, --name and --runs")
    trainer = Trainer.resume(arguments.resume)
    for name, value in _given(arguments).items():
        if value != getattr(trainer.config, name):
            raise ValueError(
                f"{arguments.resume} was started with {name} {getattr(trainer.config, name)}; it "
                f"cannot go on with {value}: start a new run"
            )
    return trainer


def _given(arguments: argparse.Namespace) -> dict:
    """The settings that stand on the command line; a corpus that is a path is made absolute."""
    given = {name: getattr(arguments, name) for name in SETTINGS if hasattr(arguments, name)}
    if given.get("corpus", "pydoc") not in BUILT_IN and Path(given["corpus"]).exists():
        given["corpus"] = str(Path(given["corpus"]).resolve())
    return given


def _perplexity(loss: float) -> float:
    """exp(loss), or infinity where that is too large for a float."""
    return math.exp(loss) if loss < 700 else math.inf


def _quoted(folder: Path) -> str:
    return shlex.quote(str(folder))


def _introduce(trainer: Trainer) -> None:
    """Say what is about to be trained, and on what."""
    c, corpus = trainer.config, trainer.corpus.summary
    print(
        f"{trainer.run.folder}: {trainer.theta.size:,} parameters ({c.n_layers} layers, "
        f"{c.n_heads} heads, d_model {c.d_model}, context {c.context}), "
        f"vocabulary {trainer.model.vocab_size:,}\n"
        f"corpus {corpus['name']}: {corpus['train_tokens']:,} training and "
        f"{corpus['valid_tokens']:,} validation tokens ({c.tokenizer})"
        + (f", {corpus['valid_unknown']:.1%} <unk>" if "valid_unknown" in corpus else ""),
        flush=True,
    )
