"""Whether all tests of a module ask for a fixture, or none does, read from their source."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tests.support.imports import conftests, file_of, imports
from tests.support.sources import source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def asking(modules: Iterable[Path], fixture: str, unless: str) -> Iterator[Path]:
    """Yield the modules of which every test asks for a fixture, and nothing has this mark.

    It misses modules whose tests are inherited, or ask in other ways than by their arguments,
    `usefixtures` and fixtures: to import one of these costs time and changes nothing.
    """
    for module in modules:
        if unless not in source(module).marks:
            asked = _asked(module, fixture)
            if asked and all(asked):
                yield module


def not_asking(modules: Iterable[Path], fixture: str) -> Iterator[Path]:
    """Yield the modules of which no test asks for a fixture.

    A value of a parameter may ask for it by a mark of its name, also in what is imported.
    """
    for module in modules:
        asked = _asked(module, fixture)
        if asked and not any(asked) and not _may_have(fixture, module):
            yield module


def _may_have(mark: str, module: Path) -> bool:
    _, imported = imports(module)
    return any(mark in source(one).marks for one in (module, *conftests(module), *imported))


def _asked(module: Path, fixture: str) -> list[bool]:
    """Return for each test of a module whether it asks."""
    for_all = set().union(*(_for_all(one) for one in (module, *conftests(module))))
    return [_ask(names | for_all, fixture, module) for names in source(module).tests]


def _ask(names: Iterable[str], fixture: str, module: Path) -> bool:
    return any(name == fixture or _asks(name, fixture, module) for name in names)


@cache
def _asks(name: str, fixture: str, module: Path) -> bool:
    """Return whether what a module knows by a name asks for a fixture, perhaps through others."""
    for one in (module, *conftests(module)):
        if name in _fixtures(one):
            return _ask(_fixtures(one)[name] - {name}, fixture, module)
    return False


@cache
def _fixtures(path: Path) -> dict[str, set[str]]:
    """Return the fixtures of a module, and those that it imports, each with what it asks for."""
    imported = {name: source(file).fixtures[name] for file, name in _imported(path)}
    return {**imported, **source(path).fixtures}


@cache
def _for_all(path: Path) -> set[str]:
    """Return those of them that no test has to ask for."""
    imported = {name for file, name in _imported(path) if name in source(file).for_all}
    return imported | source(path).for_all


def _imported(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the fixtures that a module imports, each with the module that it is from."""
    for one in source(path).at_once:
        module, _, name = one.rpartition(".")
        file = file_of(module)
        if file is not None and name in source(file).fixtures:
            yield file, name
