"""Mutants: a backward with one small mistake, planted while it runs.

A test is only worth something if it fails when the code is wrong (DeMillo, Lipton & Sayward 1978,
"Hints on test data selection"). ``mutants_of`` makes, from the syntax tree of a function, every
mistake of a list: a term dropped, ``=`` for ``+=``, an axis swapped, a scale forgotten.
``implanted`` runs the library with a mutant in place of its function, and puts the original back.
"""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from types import CodeType
from typing import Any


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
        """The function's, with its class's if it is a method."""
        return self.function.__qualname__


def tree_of(function: Callable[..., Any]) -> ast.Module:
    """The syntax tree of a function, without its docstring and its annotations."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns, node.decorator_list = None, []
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


def implanted(mutant: Mutant, entry: Callable[..., Any]) -> Callable[..., Any]:
    """``entry`` as it is in a library that has the mutant in place of its function.

    The function has the mutant's code while ``entry`` runs, and its own again afterwards. So it
    does not matter how it is reached: by name, from a table of records, as a method. Other threads
    that call the function meanwhile get the mutant, too.
    """
    function: Any = mutant.function
    code = _code_of(mutant)

    @wraps(entry)
    def wrong(*arguments: Any, **settings: Any) -> Any:
        right = function.__code__
        function.__code__ = code
        try:
            return entry(*arguments, **settings)
        finally:
            function.__code__ = right

    return wrong


def _code_of(mutant: Mutant) -> CodeType:
    tree = copy.deepcopy(mutant.tree)
    needed = ast.parse("import copy\nimport numpy as np").body  # the mutant may need them
    tree.body[0].body[:0] = needed  # type: ignore[attr-defined]  # a def, as in tree_of
    made: dict[str, Any] = {}
    title = f"<{mutant.name}: {mutant.mistake}>"
    exec(compile(ast.fix_missing_locations(tree), title, "exec"), made)
    return made[mutant.function.__name__].__code__
