"""One walk over a syntax tree: its functions with their complexity, classes and long strings.

Cyclomatic complexity is McCabe's: one for the function itself, and one more for

* each ``if`` and ``elif``, and each conditional expression ``a if b else c``;
* each ``for``, ``async for`` and ``while``;
* each ``except`` and ``except*`` clause;
* each ``for`` and each ``if`` of a comprehension or generator expression;
* each operand of ``and`` and ``or`` beyond the first;
* each ``case`` whose pattern may fail to match (``case _`` and ``case name`` are an ``else``),
  and each guard of a ``case``.

``else``, ``finally``, ``with``, ``assert`` and ``try`` itself add nothing.

A branch belongs to the innermost function around it, so a nested function does not make its
outer one more complex; decorators, defaults and annotations of a nested function are evaluated by
the outer one and belong there. Lambdas and class bodies belong to the function around them.
Branches of a module outside all functions belong to nobody and are not counted.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass
class FunctionScan:
    """One function while its branches are being counted."""

    name: str
    line: int
    complexity: int = 1


@dataclass
class TreeScan:
    """What one walk found."""

    functions: list[FunctionScan] = field(default_factory=list)
    """In order of their lines."""
    classes: int = 0
    strings: list[ast.expr] = field(default_factory=list)
    """String literals, implicit concatenations too, that span more than one line."""


class _Scope(NamedTuple):
    """Where the walk is: whose branches are counted, and what names are prefixed with."""

    function: FunctionScan
    prefix: str


_Stack = list[tuple[ast.AST, _Scope]]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Python 3.14 adds template strings, which the type stubs of older versions do not know.
_INTERPOLATED = (ast.JoinedStr, getattr(ast, "TemplateStr", ast.JoinedStr))
_ENTERED = frozenset({*_FUNCTIONS, ast.ClassDef, *_INTERPOLATED})

# Half of all nodes are these; they hold nothing that counts, so the walk does not visit them.
_BARREN = frozenset({ast.Name, ast.Load, ast.Store, ast.Del})


def scan_tree(tree: ast.Module) -> TreeScan:
    """Walk the tree once. It uses a stack of its own, so no depth of nesting is too much."""
    scan = TreeScan()
    stack: _Stack = [(tree, _Scope(FunctionScan(name="", line=0), ""))]
    while stack:
        node, scope = stack.pop()
        kind = type(node)
        if kind in _ENTERED:
            _enter(node, scope, scan, stack)
            continue
        if kind in _BRANCHES:
            scope.function.complexity += _BRANCHES[kind](node)
        elif isinstance(node, ast.Constant) and node.end_lineno != node.lineno:
            scan.strings.append(node)
        for child in _children(node):
            stack.append((child, scope))
    scan.functions.sort(key=lambda function: function.line)
    return scan


def _one(_: ast.AST) -> int:
    return 1


def _operands(node: ast.BoolOp) -> int:
    return len(node.values) - 1


def _clauses(node: ast.comprehension) -> int:
    return 1 + len(node.ifs)


def _case(node: ast.match_case) -> int:
    always = isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None
    return (not always) + (node.guard is not None)


_BRANCHES: dict[type[ast.AST], Callable[[Any], int]] = {
    ast.If: _one,
    ast.IfExp: _one,
    ast.For: _one,
    ast.AsyncFor: _one,
    ast.While: _one,
    ast.ExceptHandler: _one,
    ast.BoolOp: _operands,
    ast.comprehension: _clauses,
    ast.match_case: _case,
}
"""What a node adds by itself, its children not included."""


def _children(node: ast.AST) -> list[ast.AST]:
    """As ``ast.iter_child_nodes``, without the barren ones and twice as fast."""
    children: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            children.extend(item for item in value if isinstance(item, ast.AST))
        elif isinstance(value, ast.AST) and type(value) not in _BARREN:
            children.append(value)
    return children


def _enter(node: ast.AST, scope: _Scope, scan: TreeScan, stack: _Stack) -> None:
    if isinstance(node, _FUNCTIONS):
        _enter_function(node, scope, scan, stack)
    elif isinstance(node, ast.ClassDef):
        scan.classes += 1
        inner = _Scope(scope.function, f"{scope.prefix}{node.name}.")
        stack.extend((child, inner) for child in _children(node))
    elif isinstance(node, ast.expr):
        _enter_interpolated(node, scope, scan)


def _enter_function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope, scan: TreeScan, stack: _Stack
) -> None:
    name = scope.prefix + node.name
    function = FunctionScan(name=name, line=node.lineno)
    scan.functions.append(function)
    inner = _Scope(function, f"{name}.<locals>.")
    body = {id(statement) for statement in node.body}
    stack.extend((child, inner if id(child) in body else scope) for child in _children(node))


def _enter_interpolated(node: ast.expr, scope: _Scope, scan: TreeScan) -> None:
    """Count the branches in an f-string, but look for no strings inside it.

    Python 3.11 gives the nodes inside an f-string positions that are not their own.
    """
    if node.end_lineno != node.lineno:
        scan.strings.append(node)
    for child in ast.walk(node):
        if type(child) in _BRANCHES:
            scope.function.complexity += _BRANCHES[type(child)](child)
