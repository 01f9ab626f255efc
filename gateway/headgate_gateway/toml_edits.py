"""Edits of TOML files by programs: comments, order and white space stay as somebody wrote them.

tomlkit edits one part of a file, from the header of a table to the next. In a whole file it moves
the tables of an array together, and takes seconds for thousands of them.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, MutableMapping

    # Changes the values of a file, as a dictionary or as a document that remembers its text.
    Change: TypeAlias = Callable[[MutableMapping[str, Any]], None]

MOST_ENDS = 100  # places that are tried, of which the first is usually right
_LINE = re.compile(r"(?<=\n)")
_BARE_LINE_END = re.compile(r"(?<!\r)\n")


def edited_table(text: str, table: str, change: Change) -> str:
    """Return the text of a file after a change of a top-level table, made if it is missing.

    Raises ValueError as `_checked`.
    """
    import tomllib

    parts = [*_parts(text)]
    at = next((index for index, part in enumerate(parts) if table in tomllib.loads(part)), None)
    if at is None:
        parts.append(_new_part(text, change))
    else:
        parts[at] = _changed(parts[at], change)
    return _checked("".join(parts), text, change)


def appended(text: str, array: str, entry: Mapping[str, object]) -> str:
    """Return the text of a file with one more entry of a top-level array of tables.

    Raises ValueError as `_checked`.
    """

    def change(values: MutableMapping[str, Any]) -> None:
        values.setdefault(array, []).append(dict(entry))

    import tomllib

    first = next(_parts(text))
    if array in tomllib.loads(first):  # as one value, before all tables
        rest = text[len(first) :]
        for ended in _with_last_comma(first):
            with contextlib.suppress(ValueError):
                return edited_table(ended + rest, array, change)
        return edited_table(text, array, change)
    new = _new_part(text, lambda values: values.update({array: [dict(entry)]}))
    return _checked(text + new, text, change)


def _checked(made: str, text: str, change: Change) -> str:
    """Return the edited text; raise ValueError if it has not exactly the changed values."""
    import tomllib

    expected = tomllib.loads(text)
    change(expected)
    try:
        is_changed = tomllib.loads(made) == expected
    except tomllib.TOMLDecodeError:  # as tomlkit writes after a comment at the end of an array
        is_changed = False
    if not is_changed:
        raise ValueError(
            "the file is written in a form that cannot be edited: end each entry of its arrays "
            "with a comma"
        )
    return made


def _with_last_comma(text: str) -> Iterator[str]:
    """Yield the text, and then with a comma after the last entry of an array of tables.

    An editor writes a new entry behind a comment that follows an entry without one. Only the last
    MOST_ENDS places where an entry ends are tried.
    """
    import tomllib

    yield text
    values, at = tomllib.loads(text), len(text)
    for _ in range(MOST_ENDS):
        at = text.rfind("}", 0, at)
        if at < 0:
            return
        ended = f"{text[: at + 1]},{text[at + 1 :]}"
        with contextlib.suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(ended) == values:
                yield ended


def _parts(text: str) -> Iterator[str]:
    """Yield what is before all tables, and each part that begins with the header of a table."""
    import tomllib

    part = ""
    for line in _LINE.split(text):
        if line.lstrip(" \t").startswith("["):
            try:
                tomllib.loads(part)
            except tomllib.TOMLDecodeError:
                part += line  # of a text or an array of several lines
                continue
            yield part
            part = ""
        part += line
    yield part


def _new_part(text: str, change: Change) -> str:
    """Return what is added at the end of a text, which a blank line sets apart."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
    return _BARE_LINE_END.sub(line_end, gap + _changed("", change))


def _changed(text: str, change: Change) -> str:
    import tomlkit  # only where a file is edited

    lines = _LINE.split(text)
    end = len(lines)
    while end and lines[end - 1].strip()[:1] in {"", "#"}:  # they are about what follows
        end -= 1
    body, tail = "".join(lines[:end]), "".join(lines[end:])
    document = tomlkit.parse(body)
    change(document)
    made = document.as_string()
    if "\r\n" in body and not _BARE_LINE_END.search(body):
        made = _BARE_LINE_END.sub("\r\n", made)
    return made + tail
