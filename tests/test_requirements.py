"""The page of requirements is whole, and each of its rows names a test that is played."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.support.imports import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PAGE = ROOT / "docs" / "requirements.md"
COUNTS = {"A": 56, "B": 95, "C": 50, "D": 52, "E": 30, "F": 9, "G": 12}  # rows of each group
MOST_ROWS = 8  # of one test: one that stands for more says little when it fails
ID = re.compile(r"[A-Z]\d+")
TEST = re.compile(r"`(tests/[\w/]*test_\w+\.py)::(test_\w+)`")
STATE = re.compile(r"works|(?:under another name|otherwise): \S.*")
LEAVING_OUT = {"importorskip", "skip", "skipif", "xfail"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_each_requirement_has_a_state_and_a_test_that_is_played() -> None:
    assert [*complaints(PAGE.read_text(), COUNTS, ROOT)] == []


def complaints(page: str, counts: dict[str, int], root: Path) -> Iterator[str]:
    """Yield what is wrong with the rows of a page whose tests are below the folder `root`."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    rows = [row for row in rows if row[0] != "id" and set(row[0]) != {"-"}]
    found = [row[0] for row in rows]
    expected = [f"{group}{n}" for group, count in counts.items() for n in range(1, count + 1)]
    yield from (f"{one}: there is no such row" for one in expected if one not in found)
    yield from (f"{one}: is there twice" for one, count in Counter(found).items() if count > 1)
    yield from (f"{one}: is not expected" for one in found if one not in expected)
    if sorted(found) == sorted(expected) and found != expected:
        yield "the rows are not in the order of their ids"
    stands_for: Counter[str] = Counter()
    for row in rows:
        if len(row) != 4:
            yield f"{row[0]}: has {len(row)} cells, and four are needed"
            continue
        stands_for.update("::".join(named) for named in {*TEST.findall(row[3])})
        yield from (f"{row[0]}: {wrong}" for wrong in _wrong_in(row, root))
    for name, count in stands_for.items():
        if count > MOST_ROWS:
            yield f"{name} stands for {count} rows, and {MOST_ROWS} are the most"


def _wrong_in(row: list[str], root: Path) -> Iterator[str]:
    _, sentence, state, held_by = row
    if not sentence:
        yield "says nothing"
    if not STATE.fullmatch(state):
        yield f"{state!r} is none of: works; under another name: WHICH; otherwise: WHY"
    tests = TEST.findall(held_by)
    if not tests and not state.startswith("otherwise"):
        yield "names no test"
    if TEST.sub("", held_by).strip(" ,–"):
        yield f"{held_by!r} has more than tests, each as `tests/FOLDER/test_FILE.py::test_NAME`"
    for path, name in tests:
        function = _function(root, path, name)
        if function is None:
            yield f"{path}::{name} does not exist"
        elif _is_left_out(*function):
            yield f"{path}::{name} is left out"


@cache
def _module(path: Path) -> ast.Module | None:
    return ast.parse(path.read_text()) if path.exists() else None


def _function(root: Path, path: str, name: str) -> tuple[ast.Module, Function] | None:
    """Return a test and the module that defines it, which may be one that `path` imports from."""
    module = _module(root / path)
    if module is None:
        return None
    for node in module.body:
        if isinstance(node, Function) and node.name == name:
            return module, node
    for node in module.body:
        if isinstance(node, ast.ImportFrom) and {one.name for one in node.names} & {name, "*"}:
            return _function(root, f"{(node.module or '').replace('.', '/')}.py", name)
    return None


def _is_left_out(module: ast.Module, function: Function) -> bool:
    """Return whether `make test` and `make test-all` leave out a test, or it may skip itself."""
    marks = [*function.decorator_list]
    values: dict[str, ast.expr] = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values[node.targets[0].id] = node.value
    if "pytestmark" in values:
        own = values["pytestmark"]
        marks += own.elts if isinstance(own, ast.List | ast.Tuple) else [own]
    marks = [values.get(one.id, one) if isinstance(one, ast.Name) else one for one in marks]
    if any(_called(one) == "torture" for one in marks):
        return True
    parts = [*marks, *function.body, *(one for one in module.body if isinstance(one, ast.Expr))]
    return any(_called(node) in LEAVING_OUT for part in parts for node in ast.walk(part))


def _called(node: ast.AST) -> str | None:
    """Return the last name of `pytest.mark.NAME`, `pytest.NAME`, or a call of one of these."""
    node = node.func if isinstance(node, ast.Call) else node
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"pytest", "pytest.mark"}:
        return node.attr
    return None


# ---------------------------------------------------------------- the checker itself

GOOD = """
| id | what Headgate does | state | held by |
| --- | --- | --- | --- |
| A1 | Reads. | works | `tests/test_a.py::test_plain` |
| A2 | W. | under another name: b | `tests/test_a.py::test_async`, `tests/test_a.py::test_plain` |

| id | what Headgate does | state | held by |
| --- | --- | --- | --- |
| B1 | Deletes. | otherwise: nobody needs it | – |
| B2 | Lists. | works | `tests/test_a.py::test_of_a_contract` |
"""
TESTS = """
import pytest
from tests.contract import *

rest = pytest.mark.torture("others")
never = pytest.mark.skip

def test_plain(): pass
async def test_async(): pass
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=rest)])
def test_of_which_a_part_is_left_to_torture(n): pass
@pytest.mark.torture("others")
def test_torture(): pass
@rest
def test_torture_by_name(): pass
@pytest.mark.skip
def test_skip(): pass
@never
def test_skip_by_name(): pass
@pytest.mark.skipif(True, reason="")
def test_skipif(): pass
@pytest.mark.xfail(reason="")
def test_xfail(): pass
@pytest.mark.parametrize("n", [pytest.param(2, marks=pytest.mark.skip)])
def test_skip_of_a_value(n): pass
def test_skips_itself():
    if True:
        pytest.skip("today")
def test_fails_as_expected(): pytest.xfail("today")
def test_needs_a_package(): pytest.importorskip("x")
"""
PLAIN = "`tests/test_a.py::test_plain`"
LEFT_OUT = [
    "torture",
    "torture_by_name",
    "skip",
    "skip_by_name",
    "skipif",
    "xfail",
    "skip_of_a_value",
    "skips_itself",
    "fails_as_expected",
    "needs_a_package",
]
PLAYED = ["plain", "async", "of_which_a_part_is_left_to_torture", "of_a_contract"]
A1 = f"| A1 | Reads. | works | {PLAIN} |\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(TESTS)
    (tmp_path / "tests" / "contract.py").write_text("def test_of_a_contract(): pass")
    return tmp_path


def wrong(page: str, folder: Path) -> list[str]:
    return [*complaints(page, {"A": 2, "B": 2}, folder)]


@pytest.mark.parametrize("name", PLAYED)
def test_a_test_that_is_played_may_hold_a_row(name: str, folder: Path) -> None:
    assert wrong(GOOD.replace("test_plain", f"test_{name}"), folder) == []


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_test_that_is_left_out_holds_no_row(name: str, folder: Path) -> None:
    page = GOOD.replace(PLAIN, f"`tests/test_a.py::test_{name}`", 1)
    assert wrong(page, folder) == [f"A1: tests/test_a.py::test_{name} is left out"]


def test_marks_of_a_module_and_skips_in_it_leave_out_its_tests(folder: Path) -> None:
    for line in (
        "pytestmark = pytest.mark.skip",
        "pytestmark = [pytest.mark.timeout(9), pytest.mark.torture('others')]",
        "pytest.importorskip('flask')",
    ):
        (folder / "tests" / "test_b.py").write_text(f"{line}\ndef test_x(): pass\n")
        page = GOOD.replace(PLAIN, "`tests/test_b.py::test_x`", 1)
        assert wrong(page, folder) == ["A1: tests/test_b.py::test_x is left out"], line
        _module.cache_clear()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        pytest.param(lambda page: page.replace(A1, ""), "A1: there is no such row", id="missing"),
        pytest.param(lambda page: page + A1, "A1: is there twice", id="twice"),
        pytest.param(
            lambda page: page + A1.replace("A1", "A3"), "A3: is not expected", id="one-too-many"
        ),
        pytest.param(
            lambda page: page.replace(A1, "") + A1,
            "the rows are not in the order of their ids",
            id="out-of-order",
        ),
        pytest.param(
            lambda page: page.replace("| Reads. | ", "| "),
            "A1: has 3 cells, and four are needed",
            id="a-cell-less",
        ),
        pytest.param(
            lambda page: page.replace("| Reads. |", "|  |"), "A1: says nothing", id="no-sentence"
        ),
        *(
            pytest.param(
                lambda page, state=state: page.replace("| works |", f"| {state} |", 1),
                f"A1: {state!r} is none of: works; under another name: WHICH; otherwise: WHY",
                id=name,
            )
            for name, state in {
                "another-state": "partly",
                "more-than-works": "works: mostly",
                "no-name": "under another name",
                "an-empty-name": "under another name:",
                "no-reason": "otherwise",
                "an-empty-reason": "otherwise:",
            }.items()
        ),
        pytest.param(
            lambda page: page.replace(f"works | {PLAIN}", "works | –"),
            "A1: names no test",
            id="works-without-a-test",
        ),
        pytest.param(
            lambda page: page.replace(f"works | {PLAIN}", "under another name: peek | –"),
            "A1: names no test",
            id="another-name-without-a-test",
        ),
        pytest.param(
            lambda page: page.replace(PLAIN, f"{PLAIN} and more", 1),
            f"A1: '{PLAIN} and more' has more than tests, each as "
            "`tests/FOLDER/test_FILE.py::test_NAME`",
            id="words-beside-a-test",
        ),
        pytest.param(
            lambda page: page.replace("test_plain", "test_gone", 1),
            "A1: tests/test_a.py::test_gone does not exist",
            id="no-such-function",
        ),
        pytest.param(
            lambda page: page.replace("test_a.py", "test_z.py", 1),
            "A1: tests/test_z.py::test_plain does not exist",
            id="no-such-file",
        ),
    ],
)
def test_what_is_wrong_with_a_row_is_told(
    change: Callable[[str], str], complaint: str, folder: Path
) -> None:
    assert wrong(GOOD, folder) == []
    assert complaint in wrong(change(GOOD), folder)


def test_one_test_stands_for_eight_rows_at_most(folder: Path) -> None:
    rows = "".join(A1.replace("A1", f"A{n}") for n in range(1, MOST_ROWS + 1))
    assert [*complaints(rows, {"A": MOST_ROWS}, folder)] == []
    rows += A1.replace("A1", f"A{MOST_ROWS + 1}")
    assert [*complaints(rows, {"A": MOST_ROWS + 1}, folder)] == [
        "tests/test_a.py::test_plain stands for 9 rows, and 8 are the most"
    ]
