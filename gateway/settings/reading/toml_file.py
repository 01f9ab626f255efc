"""A TOML file as its author sees it: in which line each of its keys stands."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What the parser says of a key, and of a table.
TWICE = ("Cannot overwrite a value", "Cannot declare")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A TOML file whose text tells the lines of its keys."""

    path: Path
    text: str

    def position(self, path: tuple[str | int, ...]) -> str:
        """`FILE:LINE`, or `FILE` alone where the line cannot be told."""
        line = self.line(path)
        return str(self.path) if line is None else f"{self.path}:{line}"

    def line(self, path: tuple[str | int, ...]) -> int | None:
        """The line of a key or of the nearest table around it."""
        spots = tuple(self._spots())
        # A key that is missing is told by the line of its table.
        for length in range(len(path), 0, -1):
            for spot, line in spots:
                if spot[:length] == path[:length]:
                    return line
        return None

    def no_toml(self, said: str) -> tuple[int, str]:
        """The line of what is no TOML, and a sentence with the parser's words.

        The place stands in front, where every other mistake has it.
        """
        match = re.fullmatch(r"(.*) \((?:at line (\d+), column (\d+)|at end of document)\)", said)
        # Without a place something is still open at the end of the file.
        line = int(match[2]) if match and match[2] else len(self.text.splitlines())
        if said.startswith(TWICE) and (twice := self._twice(line)) is not None:
            return line, f"{self.path}:{line}: {twice}."
        words = f"{match[1]} at column {match[3]}" if match and match[3] else said
        return line, f"{self.path}:{line}: this is not TOML: {words}."

    def _twice(self, line: int) -> str | None:
        """What stands in this line and in one before, where that is seen."""
        spots = [*self._spots()]
        here = next((path for path, at in spots if at == line), None)
        if here is None:
            return None
        if is_table := self.text.splitlines()[line - 1].lstrip().startswith("["):
            here, spots = _names(here), [(_names(path), at) for path, at in spots]
        first = next(at for path, at in spots if path == here)
        hint = f": each of several tables begins with [[{spell(here)}]]" if is_table else ""
        return (
            f"{spell(here)} is given again, first in line {first}{hint}" if first < line else None
        )

    def _spots(self) -> Iterator[tuple[tuple[str | int, ...], int]]:
        """Each key and table header with its line; tomllib itself tells none."""
        table: tuple[str | int, ...] = ()
        headers: Counter[str] = Counter()
        for number, line in enumerate(self.text.splitlines(), start=1):
            if match := re.match(r"\s*\[\[\s*([\w.-]+)\s*\]\]", line):
                table = (match[1], headers[match[1]])
                headers[match[1]] += 1
                yield table, number
            elif match := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
                first, *inner = match[1].split(".")
                # What is inside an array of tables is inside its latest.
                table = (first, *([headers[first] - 1] if headers[first] else ()), *inner)
                yield table, number
            elif match := re.match(r"\s*(?:\"([^\"]+)\"|'([^']+)'|([\w-]+))\s*[=.]", line):
                yield (*table, match[1] or match[2] or match[3]), number


def _names(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return tuple(part for part in path if isinstance(part, str))


def spell(path: tuple[str | int, ...]) -> str:
    """A path of keys and numbers as it is written, such as `routes[0].prefix`."""
    return "".join(map(_part, path)).removeprefix(".")


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[\w-]*", part) else f'."{part}"'
