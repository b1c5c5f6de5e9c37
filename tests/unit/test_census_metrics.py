"""The figures of the census: every construct that branches, every kind of line, every bad file."""

from __future__ import annotations

import ast
import io
import random
import sys
import textwrap
import tokenize
import warnings
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "examples" / "stdlib_census"))

from census_metrics import combine, decode_source, measure, parse_source, total
from census_models import TOP, LineCounts, ModuleMetrics, SourceFile
from census_sources import census_root, discover_packages, read_source, split_package


def measured(source: str | bytes, path: str = "pkg/module.py", files: int = 1) -> ModuleMetrics:
    data = textwrap.dedent(source).encode() if isinstance(source, str) else source
    return measure(SourceFile(package="pkg", path=path, files_in_package=files), data)


def complexities(source: str) -> dict[str, int]:
    metrics = measured(source)
    assert metrics.error is None, metrics.error
    return {function.name: function.complexity for function in metrics.top_functions}


def in_function(body: str) -> str:
    return "async def f(a, b, c):\n" + textwrap.indent(textwrap.dedent(body), "    ")


@pytest.mark.parametrize(
    ("body", "branches"),
    [
        ("pass", 0),
        ("if a: pass", 1),
        ("if a: pass\nelse: pass", 1),
        ("if a: pass\nelif b: pass\nelif c: pass\nelse: pass", 3),
        ("for x in a: pass", 1),
        ("for x in a: pass\nelse: pass", 1),
        ("async for x in a: pass", 1),
        ("while a: pass\nelse: pass", 1),
        ("try: pass\nexcept OSError: pass", 1),
        ("try: pass\nexcept OSError: pass\nexcept: pass\nelse: pass\nfinally: pass", 2),
        ("try: pass\nexcept* OSError: pass", 1),
        ("try: pass\nfinally: pass", 0),
        ("with a: pass", 0),
        ("async with a: pass", 0),
        ("assert a", 0),
        ("return a and b", 1),
        ("return a and b and c", 2),
        ("return a and b or c", 2),
        ("return not a", 0),
        ("return a < b < c", 0),
        ("return a if b else c", 1),
        ("return [x for x in a]", 1),
        ("return {x for x in a if x}", 2),
        ("return {x: y for x in a for y in b if x if y}", 4),
        ("return sum(x async for x in a)", 1),
        ("return lambda x: a if x else b", 1),
        ("return f'{a if b else c}'", 1),
        ("return f'{[x for x in a if x]!r:>{b or c}}'", 3),
        ("match a:\n case 1: pass", 1),
        ("match a:\n case 1: pass\n case 2 | 3: pass\n case _: pass", 2),
        ("match a:\n case [x]: pass\n case name: pass", 1),
        ("match a:\n case [1] as name: pass", 1),
        ("match a:\n case 1 if b: pass\n case _ if c: pass", 3),
        ("if a:\n if b:\n  while c: pass", 3),
        ("class C:\n if a: x = 1", 1),
    ],
)
def test_branches_of_one_function(body: str, branches: int) -> None:
    assert complexities(in_function(body)) == {"f": 1 + branches}


def test_a_nested_function_is_counted_by_itself() -> None:
    source = """
        def outer(a):
            if a:
                def inner(b=1 if a else 2):
                    while b:
                        pass
                    class Local:
                        def method(self):
                            return a or b
            return inner
    """
    assert complexities(source) == {
        "outer": 3,  # its own `if`, and the default that it evaluates
        "outer.<locals>.inner": 2,
        "outer.<locals>.inner.<locals>.Local.method": 2,
    }


def test_decorators_belong_to_the_function_around() -> None:
    source = "def f(a):\n    @(a or print)\n    def g(): pass\n"
    assert complexities(source) == {"f": 2, "f.<locals>.g": 1}


def test_names_are_qualified_and_equal_ones_kept() -> None:
    source = """
        class A:
            class B:
                async def run(self): pass
            @property
            def x(self): pass
            @x.setter
            def x(self, value): pass
    """
    metrics = measured(source)
    found = [(f.name, f.line) for f in metrics.top_functions]
    assert found == [("A.B.run", 4), ("A.x", 6), ("A.x", 8)]
    assert (metrics.functions, metrics.classes, metrics.complexity) == (3, 2, 3)


def test_branches_outside_functions_belong_to_nobody() -> None:
    metrics = measured("if True:\n    x = [y for y in ()]\nclass C:\n    z = 1 or 2\n")
    assert (metrics.functions, metrics.complexity, metrics.max_complexity) == (0, 0, 0)
    assert metrics.most_complex is None


def test_the_most_complex_function_comes_first_and_the_list_is_cut() -> None:
    source = "".join(
        f"def f{n}(a):\n" + "    if a: pass\n" * n + "    pass\n" for n in range(TOP + 5)
    )
    metrics = measured(source)
    assert [f.complexity for f in metrics.top_functions] == list(range(TOP + 5, 5, -1))
    assert metrics.most_complex is not None
    assert metrics.most_complex.name == "f14"
    assert metrics.max_complexity == 15
    assert metrics.complexity == sum(range(1, TOP + 6))


@pytest.mark.parametrize(
    ("source", "total_lines", "blank", "comment", "code"),
    [
        ("", 0, 0, 0, 0),
        ("\n", 1, 1, 0, 0),
        ("x = 1", 1, 0, 0, 1),
        ("x = 1  # why\n", 1, 0, 0, 1),
        ("# why\n\n  \t\n  # more\nx = 1\n", 5, 2, 2, 1),
        ("x = 1\r\n\r\n# y\r\n", 3, 1, 1, 1),
        ("x = 1\n\x0c\ny = 2\n", 3, 1, 0, 2),
        ('"""A docstring.\n\n# not a comment\n"""\n', 4, 0, 0, 4),
        ("x = '''\n\n# no\n''' + \"\"\"\n# no\n\"\"\"\n", 6, 0, 0, 6),
        ("x = ('a'\n     # a comment\n\n     'b')\n", 4, 1, 1, 2),
        ("x = ('''a\n# no\n'''\n     # a comment\n     '''\n\n''')\n", 7, 0, 1, 6),
        ("x = 'a\\\n# no\\\n\\\nb'\n", 4, 0, 0, 4),
        ('x = """a \\"""\n# no\n"""\n', 3, 0, 0, 3),
        ("x = f'''\n# no\n\n{1}\n# no\n'''\n# yes\n", 7, 0, 1, 6),
        ("x = 1 + \\\n\\\n  2\n", 3, 0, 0, 3),
        ("x = 'é' + '''\n# no\n'''\n", 3, 0, 0, 3),
        ("x = [\n    1,\n    # a comment\n\n]\n", 5, 1, 1, 3),
        ("def f():\n    r'''a\n\n    # no'''\n    # yes\n", 5, 0, 1, 4),
    ],
)
def test_kinds_of_lines(source: str, total_lines: int, blank: int, comment: int, code: int) -> None:
    metrics = measured(source.encode())
    assert metrics.error is None
    assert metrics.lines == LineCounts(total=total_lines, blank=blank, comment=comment, code=code)


def tokenised_lines(text: str) -> LineCounts:
    """The definition of the three kinds, taken literally and slowly."""
    code: set[int] = set()
    comments: set[int] = set()
    layout = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        rows = range(token.start[0], token.end[0] + 1)
        if token.type == tokenize.COMMENT:
            comments.update(rows)
        elif token.type not in layout:
            code.update(rows)
    lines = text.removesuffix("\n").split("\n") if text else []
    rest = [n for n in range(1, len(lines) + 1) if n not in code]
    comment = sum(n in comments for n in rest)
    blank = sum(not lines[n - 1].strip() for n in rest)
    return LineCounts(
        total=len(lines), blank=blank, comment=comment, code=len(lines) - blank - comment
    )


def test_lines_agree_with_the_tokeniser_on_real_files() -> None:
    root = census_root()
    files = [file for package in discover_packages(root) for file in split_package(package)]
    compared = 0
    for file in random.Random(20).sample(files, 40):
        data = read_source(root, file)
        metrics = measure(file, data)
        if metrics.error is None:
            assert metrics.lines == tokenised_lines(decode_source(data)), file.path
            compared += 1
    assert compared > 30


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"print 'old'\n", "SyntaxError: Missing parentheses"),
        (b"x = (\n", "SyntaxError: '(' was never closed (line 1)"),
        (b"# coding: uft-8\n", "SyntaxError: unknown encoding: uft-8"),
        (b"x = 1\n\n\n\xff\n", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff"),
        (b"\xef\xbb\xbf# coding: latin-1\n", "SyntaxError: encoding problem"),
        (b"x = '\x00'\n", ""),
        (b"x = " + b"(" * 300 + b")" * 300 + b"\n", "SyntaxError: too many nested parentheses"),
    ],
)
def test_bad_source_is_a_result(data: bytes, error: str) -> None:
    metrics = measured(data)
    assert metrics.error is not None
    assert metrics.error.startswith(error)
    assert "\n" not in metrics.error
    assert metrics.lines == LineCounts()
    assert (metrics.functions, metrics.classes, metrics.complexity) == (0, 0, 0)


def test_nesting_too_deep_for_the_parser_is_a_result() -> None:
    metrics = measured(b"x = " + b"-" * 100_000 + b"1\n")
    assert metrics.error is not None
    assert metrics.error.startswith(("MemoryError", "RecursionError"))


def test_a_deep_tree_is_no_trouble_for_the_walk() -> None:
    source = "def f(a):\n    return a" + ".b" * 900 + " or 1\n"
    assert complexities(source) == {"f": 2}


@pytest.mark.parametrize(
    "data",
    ["# coding: latin-1\nx = 'é'\n".encode("latin-1"), b"\xef\xbb\xbfx = 1\n", b"x = 1\r# y\r"],
    ids=["cookie", "byte order mark", "old line endings"],
)
def test_source_is_decoded_as_python_does(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "source.py"
    path.write_bytes(data)
    with tokenize.open(path) as file:
        assert decode_source(data) == file.read()
    assert measured(data).error is None


def test_warnings_of_old_code_are_silenced_and_the_filters_put_back() -> None:
    before = list(warnings.filters)
    assert isinstance(parse_source("x = '\\d'\ny = 1if x else 2\n"), ast.Module)
    assert warnings.filters == before


def test_a_package_is_the_sum_of_its_files_in_any_order() -> None:
    modules = [
        measured("def f(a):\n    if a: pass\n# x\n", "pkg/b.py", 3),
        measured("class A:\n    def g(self): pass\n\nx = 1\ny = 2\n", "pkg/a.py", 3),
        measured("print 1\n", "pkg/bad.py", 3),
    ]
    package = combine(modules)
    assert package == combine(reversed(modules))
    assert (package.package, package.files) == ("pkg", 3)
    assert package.lines == LineCounts(total=8, blank=1, comment=1, code=6)
    assert (package.functions, package.classes, package.complexity) == (2, 1, 3)
    assert [f.name for f in package.top_functions] == ["f", "A.g"]
    assert package.max_complexity == 2
    assert [(m.path, m.code) for m in package.largest_modules] == [("pkg/a.py", 4), ("pkg/b.py", 2)]
    assert [e.path for e in package.errors] == ["pkg/bad.py"]


@pytest.mark.parametrize(
    "paths",
    [[], ["pkg/a.py"], ["pkg/a.py", "pkg/a.py"], ["pkg/a.py", "pkg/b.py", "pkg/b.py"]],
    ids=["nothing", "one lost", "one twice, one lost", "one twice"],
)
def test_a_package_that_is_not_complete_is_refused(paths: list[str]) -> None:
    with pytest.raises(ValueError, match="files"):
        combine([measured("x = 1\n", path, 2) for path in paths])


def test_files_of_two_packages_are_refused() -> None:
    other = measured("x = 1\n").model_copy(update={"package": "other"})
    with pytest.raises(ValueError, match="exactly one package"):
        combine([measured("x = 1\n"), other])


def test_totals_are_sums_over_packages() -> None:
    one = combine([measured("def f(): pass\n")])
    two = combine([measured("print 1\n", "pkg/a.py", 2), measured("# x\n", "pkg/b.py", 2)])
    totals = total([one, two])
    assert (totals.packages, totals.files, totals.functions, totals.errors) == (2, 3, 1, 1)
    assert totals.lines == LineCounts(total=2, comment=1, code=1)


def test_figures_survive_json() -> None:
    metrics = combine([measured("def f(a):\n    return a or 1\n")])
    assert type(metrics).model_validate_json(metrics.model_dump_json()) == metrics
