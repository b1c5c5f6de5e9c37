"""Blank lines, comment lines and code lines of a module that was parsed.

A line with any part of a token on it is code, and a string literal is a token: the blank lines of
a docstring are code, and so is a line of a string that starts with ``#``. So is a line with nothing
but a backslash.
Tokenising every file would give that directly, but costs twice the time of parsing it; the syntax
tree already knows where the long strings are.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence

from census_models import LineCounts

_TRIPLE_QUOTED = re.compile(r"""[rbuRBU]{0,2}(?P<quotes>\"{3}|'{3})""")
_NO_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)


def count_lines(text: str, strings: Iterable[ast.expr]) -> LineCounts:
    """Count the lines of ``text``.

    Args:
        text: the source, with ``\\n`` as the only line ending.
        strings: the string literals that span several lines, from the tree of that text.
    """
    # Not splitlines(): for Python's grammar a form feed ends no line.
    lines = text.removesuffix("\n").split("\n") if text else []
    inside = {number for node in strings for number in _lines_of_literals(lines, node)}
    blank = comment = 0
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if number in inside or (stripped and not stripped.startswith("#")):
            continue
        if stripped:
            comment += 1
        else:
            blank += 1
    total = len(lines)
    return LineCounts(total=total, blank=blank, comment=comment, code=total - blank - comment)


def _lines_of_literals(lines: Sequence[str], node: ast.expr) -> Iterable[int]:
    """The lines inside the literals of one string expression.

    ``("a"  # why`` on one line and ``"b")`` on the next is one expression made of two literals, and
    what stands between them is not inside a string.
    """
    segment = _segment(lines, node)
    match = _TRIPLE_QUOTED.match(segment)
    if match and match["quotes"] not in segment[match.end() : -3]:
        return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return _tokenised(segment, node.lineno)


def _segment(lines: Sequence[str], node: ast.expr) -> str:
    """The source of the expression. Columns of a tree count bytes of UTF-8."""
    first, last = node.lineno, node.end_lineno or node.lineno
    raw = [line.encode() for line in lines[first - 1 : last]]
    raw[-1] = raw[-1][: node.end_col_offset]
    raw[0] = raw[0][node.col_offset :]
    return b"\n".join(raw).decode()


def _tokenised(segment: str, first_line: int) -> Iterator[int]:
    # In brackets, where a line break between two literals means nothing.
    readline = io.StringIO(f"({segment})").readline
    for token in tokenize.generate_tokens(readline):
        if token.type not in _NO_CODE:
            yield from range(token.start[0] + first_line - 1, token.end[0] + first_line)
