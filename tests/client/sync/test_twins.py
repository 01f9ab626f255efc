"""The classes for threads, which are made of those for asyncio."""

from __future__ import annotations

import ast
import inspect

import pytest

import headgate.sync

FOR_ASYNCIO = (ast.AsyncFor, ast.AsyncFunctionDef, ast.AsyncWith, ast.Await)


@pytest.mark.parametrize("name", set(headgate.sync.__all__) & set(headgate.__all__))
def test_each_class_for_threads_has_the_public_names_of_its_twin(name: str) -> None:
    ours, theirs = (
        {it for it in dir(getattr(module, name)) if not it.startswith("_")}
        for module in (headgate.sync, headgate)
    )
    assert theirs - ours <= {"aclose"}
    source = inspect.getsource(getattr(headgate.sync, name))
    assert [it for it in ast.walk(ast.parse(source)) if isinstance(it, FOR_ASYNCIO)] == []
    assert "```" not in source  # an example
