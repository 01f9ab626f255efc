"""Find the lines of keys in a TOML file, for error messages."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from headgate_gateway.settings.reading.tables import Setting

    # Returns the setting at a place, None where there is none.
    SettingAt: TypeAlias = Callable[[tuple[str | int, ...]], Setting | None]

# The parser's messages for a repeated key, and for a repeated table.
TWICE = ("Cannot overwrite a value", "Cannot declare")
# And for the end of a line in a string, between double quotes and between single ones.
LINE_END = ("Illegal character '\\n'", "Found invalid character '\\n'")
# A text of several lines, of which none is a key; or another text or a comment, whose quotes begin
# no such text.
TEXT = re.compile(
    r'("""(?:\\.|[^\\])*?"""|' r"'''.*?''')" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'|#[^\n]*",
    re.DOTALL,
)
_KEY = r"""(?:[\w-]+|"(?:\\.|[^"\\])*"|'[^']*')"""
_DOTTED = rf"({_KEY}(?:\s*\.\s*{_KEY})*)"
_HEADER = re.compile(rf"\s*(\[\[?)\s*{_DOTTED}\s*\]\]?\s*(?:#|$)")
_ASSIGNED = re.compile(rf"\s*{_DOTTED}\s*=")


@dataclass(frozen=True)
class TomlFile:
    """A TOML file whose keys are looked up by line."""

    path: Path
    text: str

    def position(self, path: tuple[str | int, ...]) -> str:
        """Return `FILE:LINE`, or `FILE` alone if the line is unknown."""
        line = self.line(path)
        return str(self.path) if line is None else f"{self.path}:{line}"

    def line(self, path: tuple[str | int, ...]) -> int | None:
        """Return the line of a key or of the nearest table around it."""
        # A missing key is reported at the line of its table.
        tables = (path[:length] for length in range(len(path), 0, -1))
        return next((self._lines[it] for it in tables if it in self._lines), None)

    @cached_property  # a file may have thousands of keys, each with its line
    def _lines(self) -> dict[tuple[str | int, ...], int]:
        """The first line of each key and table."""
        lines: dict[tuple[str | int, ...], int] = {}
        for spot, line in self._spots():
            for length in range(1, len(spot) + 1):
                lines.setdefault(spot[:length], line)
        return lines

    def no_toml(self, message: str, setting_at: SettingAt) -> tuple[int, str]:
        """Return the line of a syntax error, and a sentence with the parser's words.

        The sentence begins with the place, as those of all mistakes do.
        """
        match = re.fullmatch(
            r"(.*) \((?:at line (\d+), column (\d+)|at end of document)\)", message
        )
        # Without a line in the message, something is unclosed at the end of the file.
        line = int(match[2]) if match and match[2] else len(self.text.splitlines())
        if message.startswith(TWICE):
            if short := self._beside_short_form(line, setting_at):
                return short
            if twice := self._twice(line, setting_at):
                return line, f"{self.path}:{line}: {twice}."
        if message.startswith(LINE_END):
            return line, f"{self.path}:{line}: this is not TOML: a quote is open at the line's end."
        words = f"{match[1]} at column {match[3]}" if match and match[3] else message
        return line, f"{self.path}:{line}: this is not TOML: {words}."

    def _beside_short_form(self, last: int, setting_at: SettingAt) -> tuple[int, str] | None:
        """Return the line of a section that has its short form in an earlier line, and a sentence.

        Such an earlier line is `admin = "HOST:PORT"`, before [admin] or [[admin.users]]. Lines
        after `last` do not count.
        """
        short_forms: dict[tuple[str | int, ...], int] = {}
        for spot, line in self._spots():
            if line > last:
                break
            place = spot[:1]
            if first := short_forms.get(place):
                return line, f"{self.path}:{line}: {_beside(spot, first, setting_at)}."
            one = None if self._is_header(line) else setting_at(spot)
            if one is not None and one.section is not None and one.section.short:
                short_forms[spot] = line
        return None

    def _is_header(self, line: int) -> bool:
        return self.text.split("\n")[line - 1].lstrip().startswith("[")

    def _twice(self, line: int, setting_at: SettingAt) -> str | None:
        """Return words about a key or table that is in this line and in an earlier one, or None."""
        spots = [*self._spots()]
        here = next((path for path, at in spots if at == line), None)
        if here is None:
            return None
        if self._is_header(line):
            here = _names(here)
            # A dotted key, such as limits.max_append, makes the table before it, too.
            spots = [(_names(path)[: len(here)], at) for path, at in spots]
        first = next(at for path, at in spots if path == here)
        one = setting_at(here)
        is_array = one is not None and one.table is not None
        hint = f": each of several tables begins with [[{spell(here)}]]" if is_array else ""
        return (
            f"{spell(here)} is given again, first in line {first}{hint}" if first < line else None
        )

    def _spots(self) -> Iterator[tuple[tuple[str | int, ...], int]]:
        """Yield each key and table header with its line, which tomllib does not provide."""
        table: tuple[str | int, ...] = ()
        tables: Counter[tuple[str | int, ...]] = Counter()  # of each array so far
        text = TEXT.sub(lambda it: "\n" * it[1].count("\n") if it[1] else it[0], self.text)
        for number, line in enumerate(text.split("\n"), start=1):
            if match := _HEADER.match(line):
                table = ()
                for name in _parts(match[2]):
                    # A table inside an array of tables belongs to the latest of them.
                    table += (name, tables[*table, name] - 1) if tables[*table, name] else (name,)
                if match[1] == "[[":
                    array = _array_of(table)
                    table = (*array, tables[array])
                    tables[array] += 1
                yield table, number
            elif match := _ASSIGNED.match(line):
                yield (*table, *_parts(match[1])), number


def _beside(spot: tuple[str | int, ...], first: int, setting_at: SettingAt) -> str:
    """Return words about a key or table at `spot`, whose section is short in line `first`."""
    section, names = str(spot[0]), _names(spot)
    one = setting_at((section,))
    assert one is not None
    assert one.section is not None, "only a section has a short form"
    short = one.section.short
    words = f"{section} = … in line {first} is short for [{section}] with {short}"
    if len(names) > 1:
        return (
            f"{words}, and cannot stand beside {spell(names)}: "
            f"write {section}.{short} = … in line {first}"
        )
    return (
        f"{words}, and cannot stand beside [{section}]: "
        f"remove line {first}, and write {short} = … below [{section}]"
    )


def _parts(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key without their quotes and escapes."""
    if not {'"', "'"} & set(key):
        return tuple(re.split(r"\s*\.\s*", key))
    import tomllib  # the caller has parsed the file by it

    try:
        inner: object = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:  # which is the file's mistake
        return (key,)
    parts = []
    while isinstance(inner, dict):
        ((name, inner),) = inner.items()
        parts.append(name)
    return tuple(parts)


def _array_of(table: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """Return the path of the array that a table is in, or that it begins."""
    return table[:-1] if isinstance(table[-1], int) else table


def _names(path: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return tuple(part for part in path if isinstance(part, str))


def spell(path: tuple[str | int, ...]) -> str:
    """Return a path of keys and numbers in its written form, such as `routes[0].prefix`."""
    return "".join(map(spell_step, path)).removeprefix(".")


def spell_step(part: str | int) -> str:
    """Return a key or number as it follows the path before it."""
    if isinstance(part, int):
        return f"[{part}]"
    is_bare = re.fullmatch(r"[\w-]+", part) is not None
    return f".{part if is_bare else json.dumps(part, ensure_ascii=False)}"
