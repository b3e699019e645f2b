"""Mutants: a backward with one small mistake, in a copy of the library.

A test is only worth something if it fails when the code is wrong (DeMillo, Lipton & Sayward 1978,
"Hints on test data selection"). ``mutants_of`` makes, from the syntax tree of a function, every
mistake of a list: a term dropped, ``=`` for ``+=``, an axis swapped, a scale forgotten. The
original is never touched: ``implanted`` copies the functions of the library together with their
namespaces, and only the copies call the mutant.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import FunctionType
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mutant:
    """A function with one mistake; before and after are the lines that differ."""

    function: Callable[..., Any]
    mistake: str
    before: str
    after: str
    tree: ast.Module = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The function's."""
        return self.function.__name__


def tree_of(function: Callable[..., Any]) -> ast.Module:
    """The syntax tree of a function, without its docstring and its annotations."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    # the source of a function: its one statement is a def, which has a body
    body = tree.body[0].body  # type: ignore[attr-defined]
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body.pop(0)
    return tree


def edited(function: Callable[..., Any], mistake: str, edits: dict[str, str]) -> Mutant:
    """A mutant in which statements or expressions are replaced, given as text: before, after.

    Raises ``ValueError`` unless each stands in the function exactly once.
    """
    wanted = {ast.unparse(ast.parse(before)): after for before, after in edits.items()}
    left = dict(wanted)

    class Edit(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> Any:
            text = ast.unparse(node) if isinstance(node, ast.stmt | ast.expr) else ""
            if text not in wanted:
                return self.generic_visit(node)
            if text not in left:
                raise ValueError(f"{function.__name__}: {text} stands there twice")
            new = ast.parse(left.pop(text)).body
            # in the place of an expression stands an expression statement, which has a value
            return new if isinstance(node, ast.stmt) else new[0].value  # type: ignore[attr-defined]

    tree = Edit().visit(tree_of(function))
    if left:
        raise ValueError(f"{function.__name__} has no {', '.join(left)}")
    return mutant_from(function, mistake, ast.fix_missing_locations(tree))


def mutant_from(function: Callable[..., Any], mistake: str, tree: ast.Module) -> Mutant:
    """A mutant from a changed tree; raises ``ValueError`` if nothing is changed."""
    old, new = (ast.unparse(t).splitlines() for t in (tree_of(function), tree))
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    if not (old or new):
        raise ValueError(f"{function.__name__}: {mistake} changes nothing")
    before, after = (" ".join(" ".join(lines).split()) for lines in (old, new))
    return Mutant(function, mistake, before, after, tree)


def implanted(mutant: Mutant, entry: Any) -> Any:
    """``entry`` as it is in a copy of the library that has the mutant in place of its function.

    entry: a function, or a partial of functions. What it calls, and what that calls, are copies.
    """
    copies, made = _Copies(), dict[str, Any]()
    wrong = copies.of(mutant.function)
    exec(
        compile(mutant.tree, f"<{mutant.name}: {mutant.mistake}>", "exec"), wrong.__globals__, made
    )
    wrong.__globals__.update(copy=copy, np=np)  # the mutant may need them
    wrong.__code__ = made[mutant.name].__code__
    return copies.of(entry)


class _Copies:
    """Copies of the library's functions, whose namespaces hold the copies: each made once."""

    def __init__(self) -> None:
        self.functions: dict[FunctionType, FunctionType] = {}
        self.spaces: dict[int, dict[str, Any]] = {}

    def of(self, value: Any) -> Any:
        if isinstance(value, partial):
            given = {name: self.of(v) for name, v in value.keywords.items()}
            return partial(self.of(value.func), *map(self.of, value.args), **given)
        if type(value) is tuple:
            return tuple(map(self.of, value))
        if type(value) is dict:  # such as the table of activations
            return {key: self.of(v) for key, v in value.items()}
        if not isinstance(value, FunctionType) or not value.__module__.startswith("numpylm."):
            return value
        space = self.space_of(value.__globals__)
        if value not in self.functions:
            made = FunctionType(value.__code__, space, value.__name__, value.__defaults__)
            made.__kwdefaults__ = value.__kwdefaults__
            self.functions[value] = made
        return self.functions[value]

    def space_of(self, module: dict[str, Any]) -> dict[str, Any]:
        if id(module) not in self.spaces:
            space = self.spaces[id(module)] = {}
            special = {name: v for name, v in module.items() if name.startswith("__")}
            space |= special
            space |= {name: self.of(v) for name, v in module.items() if name not in special}
        return self.spaces[id(module)]
