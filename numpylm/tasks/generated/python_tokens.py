"""What each token of a Python function is, as the compiler sees it.

    def, if, and       keyword           x (in the signature) parameter, wherever it is used
    name after def     function          x (assigned)         variable
    name after class   class             x.name               attribute
    "…", f"…"          string            x.name(…)            method
    12, 1e-3           number            len, ValueError      builtin
    ( + : =            operator          f(name=…)            argument
    import name        module            any other name       global

The same word is a parameter in one function, a variable or an attribute in another: the context
decides. The labels come from ``tokenize`` and ``ast``; nothing is imported, no code runs. The
scopes of functions, lambdas and comprehensions inside a function are not kept apart.
"""

from __future__ import annotations

import ast
import builtins
import io
import keyword
import tokenize
from collections.abc import Iterator
from typing import Any

Position = tuple[int, int]  # line and column, as ast and tokenize both count them in ASCII text
BUILTINS = frozenset(dir(builtins))
LITERALS = {tokenize.STRING: "string", tokenize.NUMBER: "number", tokenize.OP: "operator"}
WORDS = {tokenize.STRING: "STRING", tokenize.NUMBER: "NUMBER"}
DEFINED = {"def": "function", "class": "class"}


def label_tokens(source: str) -> tuple[list[str], list[str]]:
    """The words and labels of one function in ASCII, without comments, layout and docstring.

    A string is the word ``STRING``, a number ``NUMBER``. Raises ``SyntaxError`` or
    ``tokenize.TokenError`` if it is not Python.
    """
    function = ast.parse(source).body[0]
    nodes = _nodes(function)
    scope, imports = _scope(function, nodes), _imports(nodes)
    places = _places(nodes, scope)
    docstring = _docstring_lines(function)
    words, labels = [""], [""]
    for kind, word, position in tokens(source):
        if kind == tokenize.STRING and position[0] in docstring:
            continue
        if kind in LITERALS:
            label = LITERALS[kind]
        elif keyword.iskeyword(word):
            label = "keyword"
        elif words[-1] in DEFINED:
            label = DEFINED[words[-1]]
        elif any(start <= position < end for start, end in imports):
            label = "module"
        else:  # ast gives no place to a name after "as" or "global", nor to "match" and "case"
            unplaced = "keyword" if keyword.issoftkeyword(word) else "global"
            label = places.get(position) or scope.get(word) or unplaced
        words.append(WORDS.get(kind, word))
        labels.append(label)
    return words[1:], labels[1:]


def outermost_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions and methods that are in no other function, in the order of the source."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        else:
            yield from outermost_functions(node)


def tokens(source: str) -> Iterator[tuple[int, str, Position]]:
    """Names, operators, numbers and strings; an f-string is one token in every Python version."""
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        name = tokenize.tok_name[token.type]
        if name.endswith("STRING_START"):  # since Python 3.12 it comes in pieces
            if depth == 0:
                yield tokenize.STRING, token.string, token.start
            depth += 1
        elif name.endswith("STRING_END"):
            depth -= 1
        elif depth == 0 and (token.type in LITERALS or token.type == tokenize.NAME):
            yield token.type, token.string, token.start


def _nodes(tree: ast.AST) -> list[Any]:
    """Like ``ast.walk``, but not into f-strings, whose names are no tokens of their own."""
    nodes = [tree]
    for node in nodes:
        if type(node).__name__ not in ("JoinedStr", "TemplateStr"):
            nodes.extend(ast.iter_child_nodes(node))
    return nodes


def _scope(function: ast.AST, nodes: list[Any]) -> dict[str, str]:
    """What the names that the function binds are; a parameter stays one when it is assigned."""
    bound: dict[str, str] = {}
    parameters: dict[str, str] = {}
    outer: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.setdefault(node.id, "variable")
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            bound.setdefault(node.name, "variable")
        elif isinstance(node, ast.alias):
            bound[node.asname or node.name.partition(".")[0]] = "module"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node is not function:
            bound[node.name] = "function"
        elif isinstance(node, ast.ClassDef):
            bound[node.name] = "class"
        elif isinstance(node, ast.arg):
            parameters[node.arg] = "parameter"
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer |= dict.fromkeys(node.names, "global")
    return bound | parameters | outer


def _places(nodes: list[Any], scope: dict[str, str]) -> dict[Position, str]:
    """Where the names stand whose label their part in the syntax decides."""
    places: dict[Position, str] = {}
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if isinstance(node, ast.Name):
            free = "builtin" if node.id in BUILTINS else "global"
            places[node.lineno, node.col_offset] = scope.get(node.id, free)
        elif isinstance(node, ast.Attribute):
            column = node.end_col_offset - len(node.attr)
            places[node.end_lineno, column] = "method" if id(node) in called else "attribute"
        elif isinstance(node, ast.keyword) and node.arg:
            places[node.lineno, node.col_offset] = "argument"
    return places


def _imports(nodes: list[Any]) -> list[tuple[Position, Position]]:
    """Start and end of each import statement."""
    return [
        ((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset))
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def _docstring_lines(function: Any) -> range:
    if ast.get_docstring(function, clean=False) is None:
        return range(0)
    return range(function.body[0].lineno, function.body[0].end_lineno + 1)
