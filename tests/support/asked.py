"""Which modules have no test that does without a fixture, read from their source."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tests.support.imports import conftests, python_files
from tests.support.sources import source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def asking(modules: Iterable[Path], fixture: str, unless: str) -> Iterator[Path]:
    """Yield the modules of which every test asks for a fixture, and none has this decorator.

    It misses modules whose tests are inherited, or ask in other ways than by their arguments,
    `usefixtures` and fixtures: to import one of these costs time and changes nothing.
    """
    for module in modules:
        read = source(module)
        if read.tests and unless not in read.marks:
            for_all = set().union(*(source(one).for_all for one in (module, *conftests(module))))
            if all(_ask(tests | for_all, fixture, module) for tests in read.tests):
                yield module


def _ask(names: Iterable[str], fixture: str, module: Path) -> bool:
    return any(name == fixture or _asks(name, fixture, module) for name in names)


@cache
def _asks(name: str, fixture: str, module: Path) -> bool:
    """Return whether what a module knows by a name asks for a fixture, perhaps through others."""
    near = (one for one in (module, *conftests(module)) if name in source(one).fixtures)
    # One that a conftest imports: its name says which, if all that are called so ask for it.
    known = [*near][:1] or _helpers().get(name, [])
    asked = [source(one).fixtures[name] - {name} for one in known]
    return bool(asked) and all(_ask(names, fixture, module) for names in asked)


@cache
def _helpers() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in python_files():
        if not path.name.startswith("test_") and path.name != "conftest.py":
            for name in source(path).fixtures:
                found.setdefault(name, []).append(path)
    return found
