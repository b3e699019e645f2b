"""The mistakes that one makes in a backward, as changes of its syntax tree.

``mutants_of`` makes every mistake of the list below wherever it can be made: a term dropped, ``=``
for ``+=``, a transpose too many, a scale forgotten, a mask not applied, an index off by one, a
factor of 1.001. Each mutant holds one mistake.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

from numpylm.gradcheck.mutation.engine import Mutant, mutant_from, tree_of

FACTOR = 1.001
Change = tuple[str, ast.AST]


def mutants_of(function: Callable[..., Any]) -> list[Mutant]:
    """Every mutant of a function that the list of mistakes gives, in the order of its lines."""
    tree, found = tree_of(function), dict[str, Mutant]()
    neighbours, nodes = _neighbours(function, tree), list(ast.walk(tree))
    for i in sorted(range(len(nodes)), key=lambda i: getattr(nodes[i], "lineno", 0)):
        node = nodes[i]
        for mistake, replacement in _mistakes(node, neighbours):
            changed = copy.deepcopy(tree)
            text = ast.unparse(_Replace(list(ast.walk(changed))[i], replacement).visit(changed))
            if text != ast.unparse(tree) and text not in found:
                found[text] = mutant_from(function, mistake, ast.parse(text))
    return list(found.values())


class _Replace(ast.NodeTransformer):
    def __init__(self, place: ast.AST, replacement: ast.AST) -> None:
        self.place, self.replacement = place, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        return self.replacement if node is self.place else self.generic_visit(node)


def _mistakes(node: ast.AST, neighbours: dict[str, str]) -> Iterator[Change]:
    kinds: dict[type, Callable[[Any], Iterator[Change]]] = {
        ast.AugAssign: _of_an_update, ast.Assign: _of_an_assignment, ast.Return: _of_a_return,
        ast.Expr: _of_a_statement, ast.BinOp: _of_arithmetic, ast.Call: _of_a_call,
        ast.Subscript: _of_an_index, ast.If: _of_a_condition, ast.Compare: _of_a_comparison,
    }  # fmt: skip
    if type(node) in kinds:
        yield from kinds[type(node)](node)
    if isinstance(node, ast.Name | ast.Attribute) and (text := ast.unparse(node)) in neighbours:
        if not (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)):
            yield "wrong variable", _parse(neighbours[text])


def _of_an_update(node: ast.AugAssign) -> Iterator[Change]:
    target, value = ast.unparse(node.target), ast.unparse(node.value)
    yield "term or factor dropped", ast.Pass()
    if isinstance(node.op, ast.Add | ast.Sub):
        plus, minus = ("+=", "-=") if isinstance(node.op, ast.Add) else ("-=", "+=")
        yield "= for +=", _statement(f"{target}[...] = {value}")
        yield "sign", _statement(f"{target} {minus} {value}")
        yield "factor 1.001", _statement(f"{target} {plus} {FACTOR} * ({value})")
        yield "stray 1/N", _statement(f"{target} {plus} ({value}) / {target}.shape[0]")


def _of_an_assignment(node: ast.Assign) -> Iterator[Change]:
    target, value = ast.unparse(node.targets[0]), ast.unparse(node.value)
    derived = target.startswith("d") and isinstance(node.value, ast.BinOp | ast.Call)
    if derived and "," not in target and "zeros" not in value:
        yield "factor 1.001", _statement(f"{target} = {FACTOR} * ({value})")
        yield "sign", _statement(f"{target} = -({value})")


def _of_a_return(node: ast.Return) -> Iterator[Change]:
    for i, part in enumerate(_parts(node.value) if node.value else []):
        text = ast.unparse(part)
        changes = [("factor 1.001", f"{FACTOR} * ({text})"), ("sign", f"-({text})")]
        if isinstance(part, ast.Name):
            changes.append(("stray 1/N", f"{text} / {text}.shape[0]"))
        for mistake, change in changes:
            changed = copy.deepcopy(node)
            yield mistake, _Replace(_parts(changed.value)[i], _parse(change)).visit(changed)


def _parts(value: ast.expr) -> list[ast.expr]:
    """The gradients that a function returns: of ``(a, b) if c else d``, a and b and d."""
    if isinstance(value, ast.Tuple):
        return [part for item in value.elts for part in _parts(item)]
    return _parts(value.body) + _parts(value.orelse) if isinstance(value, ast.IfExp) else [value]


def _of_a_statement(node: ast.Expr) -> Iterator[Change]:
    if isinstance(node.value, ast.Call):
        yield "path cut off", ast.Pass()
        if len(node.value.args) == 4:
            call = copy.deepcopy(node.value)
            call.args[2] = _parse(f"{FACTOR} * ({ast.unparse(call.args[2])})")
            yield "factor 1.001", ast.Expr(call)


def _of_arithmetic(node: ast.BinOp) -> Iterator[Change]:
    left, right = ast.unparse(node.left), ast.unparse(node.right)
    if isinstance(node.op, ast.Add | ast.Sub):
        plus, minus = ("+", "-") if isinstance(node.op, ast.Add) else ("-", "+")
        yield "term or factor dropped", node.left
        yield "term or factor dropped", _parse(f"{plus}({right})")
        yield "sign", _parse(f"{left} {minus} ({right})")
    elif isinstance(node.op, ast.MatMult):
        product = f"({left} @ {right})"
        yield "transposed", _parse(f"{product}.swapaxes(-2, -1).reshape({product}.shape)")
    elif isinstance(node.op, ast.Mult | ast.Div):
        yield "term or factor dropped", node.left
        if isinstance(node.op, ast.Mult):
            yield "term or factor dropped", node.right


def _of_a_call(node: ast.Call) -> Iterator[Change]:
    called, args = ast.unparse(node.func), [ast.unparse(a) for a in node.args]
    for one, other in (("sum", "mean"), ("mean", "sum")):
        if called.endswith(f".{one}"):
            changed = copy.deepcopy(node)
            # called ends with ".sum" or ".mean": func is an attribute, as its type does not say
            changed.func.attr = other  # type: ignore[attr-defined]
            yield f"{other} for {one}", changed
    for i, keyword in enumerate(node.keywords):
        if keyword.arg == "axis":
            changed = copy.deepcopy(node)
            axis = "0" if ast.unparse(keyword.value) == "-1" else "-1"
            changed.keywords[i].value = _parse(axis)
            yield "wrong axis", changed
    if called.endswith("swapaxes") and isinstance(node.func, ast.Attribute):
        yield "not transposed", node.func.value
    if called in ("math.sqrt", "reversed"):
        yield f"{called} forgotten", node.args[0]
    if called == "merge_heads":
        yield (
            "not transposed",
            _parse(f"{args[0]}.reshape({args[0]}.shape[0], {args[0]}.shape[2], -1)"),
        )
    if called.endswith("_backward") and len(args) >= 2:
        yield from _of_a_step(node, args)


def _of_a_step(node: ast.Call, args: list[str]) -> Iterator[Change]:
    """The call of another backward: of a layer ``f(dy, cache)``, or ``f(p, dp, dy, cache)``."""
    has_p = len(args) >= 4
    yield "step skipped", node.args[2 if has_p else 0]
    changed = copy.deepcopy(node)
    if has_p:
        changed.args[1] = _parse(f"copy.deepcopy({args[1]})")
        yield "parameters cut off", changed
    else:
        changed.args = node.args[::-1]
        yield "arguments swapped", changed


def _of_an_index(node: ast.Subscript) -> Iterator[Change]:
    value, index = ast.unparse(node.value), node.slice
    *others, last = index.elts if isinstance(index, ast.Tuple) else [index]
    text, moved = ast.unparse(last), ""
    if value.endswith(".shape"):
        yield "wrong size", _parse(f"{value}[{-2 if text == '-1' else f'{text} + 1'}]")
    elif isinstance(last, ast.Slice) and last.upper is not None:
        moved = f"1:{ast.unparse(last.upper)} + 1"
    elif isinstance(last, ast.Name):
        moved = f"{text} - 1" if text == "i" else f"np.roll({text}, 1, -1)"
    elif isinstance(last, ast.Constant) and isinstance(last.value, int):
        moved = f"{last.value + 1}"
    if moved:
        before = "".join(f"{':' if isinstance(o, ast.Slice) else ast.unparse(o)}, " for o in others)
        yield "off by one", _parse(f"{value}[{before}{moved}]")


def _of_a_condition(node: ast.If) -> Iterator[Change]:
    changed = copy.deepcopy(node)
    changed.test = _parse(f"not ({ast.unparse(node.test)})")
    yield "condition negated", changed


def _of_a_comparison(node: ast.Compare) -> Iterator[Change]:
    swaps = {ast.Gt: ast.GtE, ast.Lt: ast.LtE}
    if type(node.ops[0]) in swaps:
        changed = copy.deepcopy(node)
        changed.ops = [swaps[type(node.ops[0])]()]
        yield "wrong comparison", changed


def _neighbours(function: Callable[..., Any], tree: ast.Module) -> dict[str, str]:
    """For each array from the cache, and each field of p, dp and cache: the next one like it.

    What is called ``c_…`` is the cache of a part, which means nothing to any other part; fields are
    alike if they have one type, which ``Any`` is not.
    """
    hints = get_type_hints(function)
    p, cache = hints.get("p"), hints.get("cache")
    records = [kind for kind in (get_args(p) or (p,)) if is_dataclass(kind)]
    kinds = {f.name: f.type for kind in records for f in fields(kind)}
    kept = {
        name: getattr(kind, "__forward_arg__", kind)
        for name, kind in getattr(cache, "__annotations__", {}).items()
    }
    groups: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("cache"):
            for e in getattr(node.targets[0], "elts", []):
                if not ast.unparse(e).startswith(("_", "c_")):
                    groups.setdefault("cache", []).append(ast.unparse(e))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("p", "dp", "cache"):
            text = ast.unparse(node)
            owner = ast.unparse(node.value)
            kind = (kept if owner == "cache" else kinds).get(node.attr)
            group = [] if kind == "Any" else groups.setdefault(f"{owner} {kind}", [])
            group += [text] if text not in group else []
    pairs = [pair for g in groups.values() for pair in zip(g, g[1:] + g[:1], strict=True)]
    return {a: b for a, b in pairs if a != b}


def _parse(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _statement(text: str) -> ast.stmt:
    return ast.parse(text).body[0]
