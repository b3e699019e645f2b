"""The command line: ``numpylm train | finetune | predict | generate | …``.

Bad input ends with one line on standard error and exit status 2; Ctrl-C with status 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from numpylm import __version__


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a § still goes on
    try:
        parser = _parser()
        arguments, rest = parser.parse_known_args(argv)
        if rest and (arguments.command != "predict" or any(r.startswith("--") for r in rest)):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        elif rest:  # texts behind an option, which argparse does not connect with those before
            arguments.text += rest
        if arguments.command == "scaling":
            from numpylm.cli.scaling import scaling

            return scaling(arguments)
        if arguments.command == "book":
            from numpylm.cli.book import book

            return book(arguments)
        if arguments.command == "tokenize":
            from numpylm.cli.tokenize import tokenize

            return tokenize(arguments)
        if arguments.command == "models":
            from numpylm.cli.models import models

            return models(arguments)
        from numpylm.cli import commands  # after the options are read, so that --help is quick

        return getattr(commands, arguments.command)(arguments)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, MemoryError) as error:
        message = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.filename:
            message = f"{error.filename}: {error.strerror}"
        print(f"numpylm: error: {' '.join(message.split())}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    from numpylm.tasks.loading import TASKS
    from numpylm.training.presets import PRESETS
    from numpylm.training.pretrained import INHERITED
    from numpylm.training.train_config import FINETUNING, SETTINGS

    parser = argparse.ArgumentParser(prog="numpylm", description="Language models in pure NumPy.")
    parser.add_argument("--version", action="version", version=f"numpylm {__version__}")
    names = ", ".join(PRESETS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    p = add_command(commands, "train", "train a model in a run folder")
    p.add_argument("--preset", help=f"settings to start from: {names} (default: the objective's)")
    p.add_argument("--name", help="of the run folder (default: the preset's or the objective's)")
    p.add_argument("--runs", help="folder of run folders (default: runs)")
    p.add_argument("--resume", metavar="RUN", help="go on with a run folder, with its own settings")
    _add_cost(p)
    _add_settings(p, "tiny", [n for n in SETTINGS if n not in FINETUNING])

    p = add_command(commands, "finetune", "fine-tune a trained model for another task or text")
    p.add_argument("run", help="the run folder to start from, such as runs/bert")
    p.add_argument("task", choices=tuple(TASKS), help="what is to be learned now")
    p.add_argument("--name", help="of the run folder (default: the task's)")
    p.add_argument("--runs", help="folder of run folders (default: runs)")
    p.add_argument("--no-scratch", action="store_true",
                   help="do not train the same model from random parameters beside it")  # fmt: skip
    taken = {"objective", "pretrained", *INHERITED}
    _add_settings(p, "", [n for n in SETTINGS if n not in taken])

    p = add_command(commands, "predict", "let a trained model answer")
    p.add_argument("run", help="a run folder, such as runs/translation")
    p.add_argument("text", nargs="*", help="a text, a story, a sentence with [MASK]; or --file")
    p.add_argument("--file", help="one text a line")
    p.add_argument("--second", default="", help="the question about a story, or the second text")
    option(p, "--beam", 1, "hypotheses that are kept; 1: greedy")
    p.add_argument("--attention", metavar="PNG",
                   help="draw where an encoder-decoder looked (last text)")  # fmt: skip

    p = add_command(commands, "generate", "let a trained or published model write")
    p.add_argument("run", help="a run folder, such as runs/tiny; a published model (see models)")
    p.add_argument("--prompt", default="", help="what the text starts with (default: nothing)")
    option(p, "--tokens", 300, "new tokens")
    option(p, "--temperature", 0.8, "0: greedy; 1: the model's own")
    p.add_argument("--top-k", type=int, help="draw from the k most probable tokens (default: all)")
    option(p, "--top-p", 1.0, "draw from the fewest tokens that reach this probability")
    option(p, "--seed", 0, "same seed, same text")
    option(p, "--samples", 1, "texts, each with the next seed, --- between them")

    p = add_command(commands, "evaluate", "loss and perplexity of a trained model")
    p.add_argument("run", help="a run folder, such as runs/tiny")
    option(p, "--beam", 1, "for tasks that write a text: hypotheses that are kept; 1: greedy")
    which = p.add_mutually_exclusive_group()
    which.add_argument("--split", choices=("train", "valid", "test"), default="valid",
                       help="of the run's corpus, all full windows (default: valid)")  # fmt: skip
    which.add_argument("--text", metavar="FILE", help="a text file instead, every token of it")

    from numpylm.cli.tokenize import add_tokenize

    add_tokenize(commands)
    add_command(commands, "models", "published models that are known by name, and how to get them")

    from numpylm.cli.scaling_options import add_scaling

    add_scaling(commands)

    from numpylm.cli.book import add_book

    add_book(commands)

    p = add_command(commands, "gradcheck", "check every gradient by finite differences")
    option(p, "--seed", 0, "of the example inputs")
    option(p, "--bar", 1e-6, "largest relative error that passes")
    p.add_argument("--mutants", action="store_true",
                   help="plant wrong gradients: is each caught?")  # fmt: skip

    p = add_command(commands, "bench", "time training steps on this machine")
    option(p, "--preset", "nanogpt-cpu", f"settings to start from: {names}")
    option(p, "--vocab-size", 65, "size of the vocabulary, V")
    option(p, "--seconds", 10.0, "how long to measure")
    model = [name for name, f in SETTINGS.items() if f.metadata["group"] == "model"]
    _add_settings(p, "nanogpt-cpu", ["batch_size", "context", *model, "optimizer", "threads"])
    return parser


def _add_cost(parser: argparse.ArgumentParser) -> None:
    """What ``--dry-run`` reads; absent unless given."""
    group = parser.add_argument_group("cost")
    what = "predict parameters, FLOPs, memory, time, energy and CO2; train nothing"
    group.add_argument("--dry-run", action="store_true", help=what)
    for name, metavar, meaning in (
        ("watts", "W", "power of the run (default: assumed, 12 a thread and 0.3725 a GB)"),
        ("pue", "X", "power of the data centre over that of its computers (default: 1)"),
        ("grid", "G", "g CO2e of a kWh (default: 475, the world's mean of 2019)"),
    ):
        group.add_argument(f"--{name}", type=float, metavar=metavar, help=f"dry run: {meaning}")


def add_command(commands: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    """A command with ``--json``, and ``meaning`` as its help."""
    parser = commands.add_parser(
        name,
        help=meaning,
        description=f"{meaning[0].upper()}{meaning[1:]}.",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def option(parser: Any, name: str, default: Any, meaning: str) -> None:
    """An option of the default's type, whose help shows the default."""
    help_ = f"{meaning} (default: {default})"
    parser.add_argument(name, type=type(default), default=default, help=help_)


def _add_settings(parser: argparse.ArgumentParser, default_preset: str, names: list[str]) -> None:
    """An option for each of these fields of ``TrainConfig``, in its group. Absent unless given."""
    from numpylm.training.presets import PRESETS
    from numpylm.training.train_config import CHOICES, SETTINGS

    groups: dict[str, Any] = {}
    metavars = {int: "N", float: "X", str: "NAME"}
    for name in names:
        field = SETTINGS[name]
        title = field.metadata["group"]
        if title not in groups:
            whose = default_preset or "the preset of the task"
            groups[title] = parser.add_argument_group(f"{title} (defaults: {whose})")
        default = getattr(PRESETS[default_preset], name) if default_preset else field.default
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": field.metadata["help"]}
        if default_preset:
            options["help"] += f" (default: {default})"
        if isinstance(default, bool):
            options["action"] = argparse.BooleanOptionalAction
        elif name in CHOICES:
            options["choices"] = CHOICES[name]
        else:
            options |= {"type": type(default), "metavar": metavars[type(default)]}
        groups[title].add_argument(f"--{name.replace('_', '-')}", **options)
