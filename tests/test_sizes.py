"""No class or function is larger than a reader takes in at once."""

from __future__ import annotations

import ast
import functools

import pytest

from tests.test_architecture import PACKAGES, ROOT, sources

MOST_METHODS = 20
MOST_ATTRIBUTES = 16
MOST_LINES = 50  # of a function, with its docstring
# Declarations have an attribute for each thing that is declared; splitting one would hide some.
DECLARATIONS = {
    "CdnTarget": "a target as the console shows it",
    "LogKind": "what settings, console, alerts and commands ask of a kind of log",
    "ModelSettings": "one for each setting of a model route",
    "Options": "one for each option of `headgate cdn render`",
    "Overview": "one for each figure of the first page",
    "Route": "one for each setting of a route",
    "Settings": "one for each setting",
    "StreamState": "one for each column of a stream",
    "Target": "one for each feature of a CDN or proxy",
    "ActiveStream": "50,000 are in memory: an object more for each stream takes 5 MB more",
    "CachedResponse": "one for each decision on a response",
    "Context": "one for each part of a worker that all its routes share",
    "Exchange": "one for each thing that counts and the access log need of a request",
}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def definitions(package: str) -> list[tuple[str, ast.ClassDef | Function]]:
    """All classes and functions of a package, by the places of their modules."""
    return [
        (str(path), node)
        for path in sources(package)
        if path.suffix == ".py"
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.ClassDef | Function)
    ]


def methods(found: ast.ClassDef) -> list[str]:
    """The names of the functions in a class."""
    return [node.name for node in found.body if isinstance(node, Function)]


def attributes(found: ast.ClassDef) -> set[str]:
    """The attributes of an instance: those that are declared, and those assigned to self."""
    declared = {
        node.target.id
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return declared | {
        node.attr
        for node in ast.walk(found)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_no_class_has_more_methods_than_the_limit(package: str) -> None:
    classes = [(path, it) for path, it in definitions(package) if isinstance(it, ast.ClassDef)]
    assert classes
    assert {
        f"{path}: {it.name}": len(methods(it))
        for path, it in classes
        if len(methods(it)) > MOST_METHODS
    } == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_class_but_a_declaration_has_more_attributes_than_the_limit(
    package: str,
) -> None:
    classes = [(path, it) for path, it in definitions(package) if isinstance(it, ast.ClassDef)]
    assert {
        f"{path}: {it.name}": len(attributes(it))
        for path, it in classes
        if len(attributes(it)) > MOST_ATTRIBUTES and it.name not in DECLARATIONS
    } == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_longer_than_a_screen(package: str) -> None:
    functions = [(path, it) for path, it in definitions(package) if isinstance(it, Function)]
    assert functions
    lengths = {f"{path}: {it.name}": (it.end_lineno or 0) - it.lineno + 1 for path, it in functions}
    assert {place: lines for place, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_exemption_from_the_size_limits_is_needed() -> None:
    classes = [
        it for package in PACKAGES for _, it in definitions(package) if isinstance(it, ast.ClassDef)
    ]
    many_attributes = {it.name for it in classes if len(attributes(it)) > MOST_ATTRIBUTES}
    assert DECLARATIONS.keys() == many_attributes
