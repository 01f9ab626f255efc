"""Which packages a test module needs, read from its imports before it is imported."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.sources import source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[2]
OURS = {
    **dict.fromkeys(("tests", "benchmarks", "campaigns", "scripts"), ROOT),
    "headgate": ROOT / "client",
}
# What they import as they are imported, is installed to run them.
SOURCES = {"headgate_gateway", "headgate_admin", "headgate_cdn", "headgate_doctor"}
LOCK = ROOT / "requirements" / "test.txt"


def modules_of_tests(asked: Iterable[str] = (str(ROOT / "tests"),)) -> Iterator[Path]:
    """Yield the modules with tests, or with what all tests of a folder share.

    They are those of the files and folders that the arguments of pytest name.
    """
    for one in asked:
        path = Path(one.partition("::")[0]).absolute()
        yield from (
            file
            for file in ([path] if path.is_file() else python_files(path))
            if file.name == "conftest.py" or file.name.startswith("test_")
        )


def python_files(folder: Path = ROOT / "tests") -> Iterator[Path]:
    """Yield the modules of a folder, and of those in it."""
    for inner, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if one != "node_modules"]
        yield from (Path(inner, name) for name in names if name.endswith(".py"))


def lacking(modules: Iterable[Path], lock: Path = LOCK) -> dict[Path, set[str]]:
    """Return the packages beyond a lock that modules need, of each that needs any.

    What a `conftest.py` needs, all modules of its folder need.
    """
    locked = frozenset(re.findall(r"^([a-z0-9._-]+)==", lock.read_text(), re.MULTILINE))
    found = {
        module: {name for name in _packages(module) if not _is_there(name, locked)}
        for module in modules
    }
    return {module: names for module, names in found.items() if names}


def _packages(module: Path) -> set[str]:
    """Return the packages that a module needs, with those that our own helpers import for it.

    Of the module itself these are also the imports of its functions, which its tests call.
    """
    names, files = imports(module, whole=module.name != "conftest.py")
    found, seen = set(names), {*files, *conftests(module)}
    waiting = [*seen]
    while waiting:
        names, files = imports(waiting.pop())
        found |= names
        waiting += files - seen
        seen |= files
    return found


def conftests(module: Path) -> tuple[Path, ...]:
    """Return what a module shares with others, from its own folder on."""
    return _conftests(module.parent)


@cache
def _conftests(folder: Path) -> tuple[Path, ...]:
    file = folder / "conftest.py"
    above = () if folder.parent == folder else _conftests(folder.parent)
    return (file, *above) if file.is_file() else above


@cache
def imports(path: Path, *, whole: bool = False) -> tuple[frozenset[str], frozenset[Path]]:
    """Return the packages that a file imports, and the files of ours."""
    packages: set[str] = set()
    files: set[Path] = set()
    read = source(path)
    for name in read.at_once | read.late if whole else read.at_once:
        first = name.partition(".")[0]
        if first in OURS:
            files.update(_files(name))
        elif first not in SOURCES:
            packages.add(first)
    return frozenset(packages), frozenset(files)


@cache
def _files(name: str) -> tuple[Path, ...]:
    """Return the files that are run when a name of ours is imported."""
    parts = name.split(".")
    found = (file_of(".".join(parts[:count])) for count in range(1, len(parts) + 1))
    return tuple(one for one in found if one is not None)


@cache
def file_of(name: str) -> Path | None:
    """Return the file of the module or package of ours that has this name, or None."""
    first, *_ = parts = name.split(".")
    if first not in OURS:
        return None
    path = OURS[first].joinpath(*parts)
    return next(
        (one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None
    )


@cache
def _is_there(name: str, locked: frozenset[str]) -> bool:
    if name in sys.stdlib_module_names or name in locked:
        return True
    # To ask what is installed takes most of a second, and few names differ from their packages'.
    return any(
        re.sub(r"[-_.]+", "-", one).lower() in locked for one in _distributions().get(name, ())
    )


_distributions = cache(metadata.packages_distributions)


def main() -> None:
    """Print the files whose types can be checked with what `make test` installs."""
    files = [*python_files()]
    left = lacking(files)
    print(*(one.relative_to(ROOT) for one in files if one not in left))  # noqa: T201


if __name__ == "__main__":
    main()
