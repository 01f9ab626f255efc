"""The lists of functions in which no fault is injected."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.injection import GIVES_BACK, GUARDS, LEFT_OUT, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


def _names(node: ast.AST, within: str = "") -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield within + child.name
        elif isinstance(child, ast.ClassDef):
            yield from _names(child, f"{within}{child.name}.")
        else:
            yield from _names(child, within)


def test_each_function_without_faults_is_in_the_gateway() -> None:
    trees = (ast.parse(path.read_text()) for path in Path(ROOT).rglob("*.py"))
    functions = {name for tree in trees for name in _names(tree)}
    assert (LEFT_OUT | GUARDS | GIVES_BACK) - functions == set()
