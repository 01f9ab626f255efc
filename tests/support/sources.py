"""What the source of a module says before it is imported: what it imports, and what tests ask for.

Expressions are not looked into but for decorators and `import_module`: they import nothing, and
are most of a module.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from tests.support.syntax import statements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Source:
    """What is read of a module."""

    at_once: set[str] = field(default_factory=set)
    """The names that it imports as it is imported itself."""
    late: set[str] = field(default_factory=set)
    """Those that its functions import."""
    fixtures: dict[str, set[str]] = field(default_factory=dict)
    """Its fixtures, each with those that it asks for."""
    for_all: set[str] = field(default_factory=set)
    """The fixtures that each of its tests, or of those in its folder, gets without asking."""
    tests: list[set[str]] = field(default_factory=list)
    """The fixtures that each of its tests asks for."""
    marks: set[str] = field(default_factory=set)
    """The marks that it has anywhere, on tests or on single values of their parameters."""


@cache
def source(path: Path) -> Source:
    """Read a module."""
    text = path.read_bytes()
    tree = ast.parse(text)
    found = Source()
    for node in tree.body:
        _read(node, found)
    found.marks.update(re.findall(r"\bmark\.(\w+)", text.decode()))
    if b"import_module(" in text:
        found.late.update(_imported_by_name(tree))
    return found


def _read(node: ast.stmt, found: Source) -> None:
    names = found.at_once
    waiting: list[ast.AST] = [node]
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
        marks = node.value.elts if isinstance(node.value, ast.List) else [node.value]
        found.for_all |= _used(marks)
    elif isinstance(node, Function):
        _read_function(node, found)
        names, waiting = found.late, [*node.body]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.Import):
            names.update(alias.name for alias in one.names)
        elif isinstance(one, ast.ImportFrom):
            names.update(f"{one.module}.{alias.name}" for alias in one.names)
        elif isinstance(one, Function):
            found.late.update(_imports_of(one.body))
        elif not (isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"):
            waiting += statements(one)


def _imports_of(body: list[ast.stmt]) -> set[str]:
    inner = Source()
    for node in body:
        _read(node, inner)
    return inner.at_once | inner.late


def _read_function(node: Function, found: Source) -> None:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    asked = {argument.arg for argument in arguments} | _used(node.decorator_list)
    names = {_name(decorator) for decorator in node.decorator_list}
    if names & {"pytest.fixture", "pytest_asyncio.fixture"}:
        found.fixtures[node.name] = asked
        if any("autouse=True" in ast.unparse(decorator) for decorator in node.decorator_list):
            found.for_all.add(node.name)
    elif node.name.startswith("test_"):
        found.tests.append(asked)


def _name(decorator: ast.expr) -> str:
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)


def _used(marks: list[ast.expr]) -> set[str]:
    """Return the fixtures that marks of `usefixtures` name."""
    return {
        ast.literal_eval(argument)
        for mark in marks
        if isinstance(mark, ast.Call) and _name(mark) == "pytest.mark.usefixtures"
        for argument in mark.args
    }


def _imported_by_name(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        if name == "import_module":
            yield from (
                one.value
                for one in node.args
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )
