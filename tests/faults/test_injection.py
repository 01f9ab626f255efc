"""The lists of functions that are spared name functions that exist."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.faults.injection import ACCEPTS, BY_TIMERS, GIVES_BACK, GUARDS

ROOT = Path(__file__).resolve().parents[2] / "gateway"
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> set[str]:
    """The qualified names of all functions and methods of the gateway."""
    found = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                names = (it.name for it in node.body if isinstance(it, Function))
                found |= {f"{node.name}.{name}" for name in names}
            elif isinstance(node, Function):
                found.add(node.name)
    return found


def test_every_listed_exception_of_the_fault_injection_exists() -> None:
    assert (BY_TIMERS | ACCEPTS | GUARDS | GIVES_BACK) - functions() == set()
