"""§3.3 The command line: ``numpylm train | generate | evaluate | gradcheck | bench``.

Bad input ends with one line on standard error and exit status 2; Ctrl-C with status 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from numpylm import __version__
from numpylm.training.config import CHOICES, PRESETS, SETTINGS


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        from numpylm import commands  # after the options are read, so that --help is quick

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
    parser = argparse.ArgumentParser(prog="numpylm", description="Language models in pure NumPy.")
    parser.add_argument("--version", action="version", version=f"numpylm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    p = _command(commands, "train", "train a language model in a run folder")
    p.add_argument("--preset", default="tiny", help=f"settings to start from: {', '.join(PRESETS)}")
    p.add_argument("--name", help="of the run folder; by default the preset's")
    p.add_argument("--runs", default="runs", help="folder of run folders")
    p.add_argument("--resume", metavar="RUN", help="go on with a run folder, with its own settings")
    _add_settings(p, "tiny")

    p = _command(commands, "generate", "let a trained model write")
    p.add_argument("run", help="a run folder, such as runs/tiny")
    p.add_argument("--prompt", default="", help="what the text starts with")
    p.add_argument("--tokens", type=int, default=300, help="new tokens")
    p.add_argument("--temperature", type=float, default=0.8, help="0: greedy; 1: the model's own")
    p.add_argument("--top-k", type=int, help="draw from the k most probable tokens")
    p.add_argument("--top-p", type=float, default=1.0, help="draw from the fewest that reach p")
    p.add_argument("--seed", type=int, default=0, help="same seed, same text")

    p = _command(commands, "evaluate", "loss and perplexity over all full windows of a text")
    p.add_argument("run", help="a run folder, such as runs/tiny")
    p.add_argument("--split", choices=("train", "valid", "test"), default="valid", help="of corpus")
    p.add_argument("--text", metavar="FILE", help="a text file instead of a split")

    p = _command(commands, "gradcheck", "check every gradient by finite differences")
    p.add_argument("--seed", type=int, default=0, help="of the example inputs")
    p.add_argument("--bar", type=float, default=1e-6, help="largest relative error that passes")

    p = _command(commands, "bench", "time training steps on this machine")
    p.add_argument("--preset", default="nanogpt-cpu", help=f"settings: {', '.join(PRESETS)}")
    p.add_argument("--vocab-size", type=int, default=65, help="size of the vocabulary, V")
    p.add_argument("--seconds", type=float, default=10.0, help="how long to measure")
    _add_settings(p, "nanogpt-cpu")
    return parser


def _command(commands: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=meaning,
        description=f"{meaning[0].upper()}{meaning[1:]}.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _add_settings(parser: argparse.ArgumentParser, default_preset: str) -> None:
    """An option for each field of ``TrainConfig``, in its groups. Absent unless given."""
    groups: dict[str, Any] = {}
    metavars = {int: "N", float: "X", str: "NAME"}
    for name, field in SETTINGS.items():
        title = field.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(f"{title} (defaults: {default_preset})")
        default = getattr(PRESETS[default_preset], name)
        options: dict[str, Any] = {"default": argparse.SUPPRESS}
        options["help"] = f"{field.metadata['help']} (default: {default})"
        if isinstance(default, bool):
            options["action"] = argparse.BooleanOptionalAction
        elif name in CHOICES:
            options["choices"] = CHOICES[name]
        else:
            options |= {"type": type(default), "metavar": metavars[type(default)]}
        groups[title].add_argument(f"--{name.replace('_', '-')}", **options)
