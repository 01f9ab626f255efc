"""A TOML file as its author sees it: in which line each of its keys stands."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
        match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", said)
        if match is None:
            # What the parser says when something is still open at the end of the file.
            line = len(self.text.splitlines())
            return line, f"{self.path}:{line}: this is not TOML: {said}."
        words, line, column = match[1], int(match[2]), match[3]
        return line, f"{self.path}:{line}: this is not TOML: {words} at column {column}."

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
                table = (match[1],)
                yield table, number
            elif match := re.match(r"\s*(?:\"([^\"]+)\"|'([^']+)'|([\w-]+))\s*[=.]", line):
                yield (*table, match[1] or match[2] or match[3]), number


def spell(path: tuple[str | int, ...]) -> str:
    """A path of keys and numbers as it is written, such as `routes[0].prefix`."""
    return "".join(map(_part, path)).removeprefix(".")


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part}" if re.fullmatch(r"[\w-]*", part) else f'."{part}"'
