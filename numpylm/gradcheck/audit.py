"""The audit: pairs with example inputs, each checked against finite differences."""

from __future__ import annotations

import importlib
import inspect
import math
import pkgutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from numpylm import fast, layers, models, objectives
from numpylm.gradcheck.check import BAR, GradientError, WrongGradient, compare
from numpylm.gradcheck.finite_differences import Differences, central_differences
from numpylm.parameters import Array

Example = tuple[Any, tuple[Array, ...], dict[str, Any]]


@dataclass(frozen=True)
class Pair:
    """A forward/backward pair in one setting.

    ``example(rng)`` returns (p, inputs, settings) as ``check_gradients`` takes them, in float64.
    ``dy`` is the upstream gradient, random if None.
    """

    name: str
    section: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    example: Callable[[np.random.Generator], Example]
    dy: Array | None = None

    @property
    def names(self) -> tuple[str, str]:
        """What the backward may be called: the name's first word with ``_backward``, or a class's
        ``.backward``."""
        first = self.name.split()[0]
        return f"{first}_backward", f"{first}.backward"

    def errors(self, seed: int = 0, **options: Any) -> list[GradientError]:
        """What ``gradient_errors`` finds on the example; ``options`` such as mode go to it."""
        return self.differences(seed, **options)[1]

    def differences(self, seed: int = 0, **options: Any) -> tuple[Differences, list[GradientError]]:
        """Central differences of the forward on the example, and what the backward is off by.

        Whole models are strongly curved, hence the small steps; where a step crosses a kink of
        ReLU the difference is wrong and not the gradient, and a smaller step passes it by.
        """
        p, inputs, settings = self.example(np.random.default_rng(seed))
        best: tuple[Differences, list[GradientError]] | None = None
        for step in (3e-6, 3e-7, 1e-7):
            # Another seed, as dy drawn from the same numbers would depend on the example.
            wanted = {
                "seed": seed + 1,
                "difference_step": step,
                "dy": self.dy,
                **options,
                **settings,
            }
            measured = central_differences(self.forward, p, *inputs, **wanted)
            found = measured, compare(measured, self.backward)
            best = min(best or found, found, key=lambda m: _worst(m[1]))
            if _worst(best[1]) <= BAR:
                break
        return best


def _worst(errors: list[GradientError]) -> float:
    return max(np.nan_to_num(e.relative_error, nan=np.inf) for e in errors)


@dataclass(frozen=True)
class AuditRow:
    """The verdict on one pair: its worst array, and arrays whose gradient is exactly zero."""

    name: str
    section: str
    n_arrays: int
    n_parameters: int  # their entries; a differentiable input counts as a parameter
    worst_error: float
    worst_array: str
    vanishing: tuple[str, ...]
    seconds: float
    package: str = ""  # of the backward: layers, fast, models, objectives
    causes: tuple[str, ...] = ()  # the arrays whose error is above ``BAR``, with what is likely
    failure: str = ""  # why nothing could be compared

    def __str__(self) -> str:
        if self.failure:
            return f"{self.section:<5} {self.name:<42} {self.failure}"
        return (
            f"{self.section:<5} {self.name:<42} {self.n_arrays:>3} arrays {self.n_parameters:>5} "
            f"parameters   worst {self.worst_error:.1e} {self.worst_array}"
        )


def run_audit(pairs: Iterable[Pair], seed: int = 0) -> Iterator[AuditRow]:
    """Check every pair and yield a row for each; the caller decides what error is too large.

    Where no comparison is possible, as with a gradient of the wrong shape or a backward that
    raises, the row's error is infinite and ``failure`` says why.
    """
    for pair in pairs:
        start = time.perf_counter()
        package = (*pair.backward.__module__.split("."), "")[1]
        try:
            errors = pair.errors(seed)
        except Exception as error:  # whatever a wrong layer raises: the others are still checked
            what = "" if isinstance(error, WrongGradient) else f"{type(error).__name__}: "
            yield AuditRow(
                pair.name, pair.section, 0, 0, math.inf, "", (), time.perf_counter() - start,
                package, failure=f"{what}{error}",
            )  # fmt: skip
            continue
        worst = max(errors, key=lambda e: np.nan_to_num(e.relative_error, nan=np.inf))
        yield AuditRow(
            pair.name,
            pair.section,
            len(errors),
            sum(int(np.prod(e.shape)) for e in errors),
            worst.relative_error,
            worst.name,
            tuple(e.name for e in errors if e.vanishes),
            time.perf_counter() - start,
            package,
            causes=tuple(str(e) for e in errors if e.cause),
        )


def lowest_first(rows: Iterable[AuditRow]) -> list[AuditRow]:
    """Rows from the lowest layer up: a wrong one makes wrong what is built on it."""
    order = {p.__name__.split(".")[1]: i for i, p in enumerate((layers, fast, models, objectives))}
    return sorted(rows, key=lambda row: (order.get(row.package, len(order)), row.n_arrays))


def public_backwards() -> dict[str, Callable[..., Any]]:
    """Every public ``*_backward`` of the layers, models, objectives and their twins, by name.

    A method counts, too: ``backward`` of a class ``C`` is ``C.backward``.
    """
    found: dict[str, Callable[..., Any]] = {}
    for package in (layers, models, objectives, fast):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            for name, function in backwards_of(module).items():
                if name in found:
                    raise ValueError(f"{name} is defined twice: the audit could not tell which")
                found[name] = function
    return found


def backwards_of(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The public ``*_backward`` that a module defines: functions, and methods of its classes."""
    own = [o for o in vars(module).values() if getattr(o, "__module__", "") == module.__name__]
    classes = [o for o in own if inspect.isclass(o)]
    functions = [*own, *(method for c in classes for method in vars(c).values())]
    return {
        f.__qualname__: f
        for f in functions
        if inspect.isfunction(f)
        and (f.__name__ == "backward" or f.__name__.endswith("_backward"))
        and not f.__name__.startswith("_")
    }
