"""Filters of the messages of a JSON stream: by text, and by the value at a path.

A path has names and numbers, as in `choices[0].delta.content`: the singular queries of JSONPath
(RFC 9535 section 2.3.5.1), in which `$` may be left out. Their cost is the length of the path.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from admin.errors import NotTold
from gateway.protocol.bodies.json_text import NOT_JSON

LONGEST_TEXT = 1024  # characters of each field
MOST_STEPS = 32
_STEP = re.compile(
    r"""\.?(?P<name>[^\s.\[\]'"]+)|\[(?P<index>-?\d{1,9})\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\]"""
    r"""|\['(?P<single>[^'\\]*)'\]"""
)
_MISSING = object()


class MessageFilter(NamedTuple):
    """Conditions that all hold for a message that is shown; empty ones hold for each.

    `text` is a part of the message as it was sent, in any case. The value at the steps of the path
    is one of `values`, or any value if there are none.
    """

    text: str = ""
    steps: tuple[str | int, ...] = ()
    values: tuple[object, ...] = ()

    def fits(self, message: bytes) -> bool:
        """Return whether a message fulfils the conditions."""
        if self.text and self.text not in message.decode(errors="replace").casefold():
            return False
        if not self.steps:
            return True
        try:
            found = _at(msgspec.json.decode(message), self.steps)
        except NOT_JSON:
            return False
        if found is _MISSING:
            return False
        return not self.values or any(_equal(found, it) for it in self.values)


def message_filter(text: str, path: str, value: str) -> MessageFilter | None:
    """Return the filter of these conditions; None if all are empty. Raises NotTold."""
    for name, entered in (("text", text), ("path", path), ("value", value)):
        if len(entered) > LONGEST_TEXT:
            raise NotTold(400, f"{name} has at most {LONGEST_TEXT:,} characters")
    if value and not path:
        raise NotTold(400, "a value needs the path at which it is")
    if not text and not path:
        return None
    return MessageFilter(text.casefold(), _steps(path), _values(value))


def _steps(path: str) -> tuple[str | int, ...]:
    rest = path.strip()
    if rest[:1] == "$":
        rest = rest[1:]
    steps: list[str | int] = []
    while rest:
        match = _STEP.match(rest)
        step = None if match is None else _step(match)
        if match is None or step is None or len(steps) == MOST_STEPS:
            raise NotTold(
                400,
                "path must be names and numbers, such as choices[0].delta.content, "
                f"and have at most {MOST_STEPS} of them",
            )
        steps.append(step)
        rest = rest[match.end() :]
    if path and not steps:
        raise NotTold(400, "path must name something, such as choices[0].delta.content")
    return tuple(steps)


def _step(match: re.Match[str]) -> str | int | None:
    if match["index"] is not None:
        return int(match["index"])
    if match["quoted"] is not None:
        try:
            return msgspec.json.decode(match["quoted"], type=str)
        except ValueError:
            return None
    return match["name"] if match["single"] is None else match["single"]


def _values(value: str) -> tuple[object, ...]:
    """Return the values that a text may mean: 3 is a number and a text."""
    if not value:
        return ()
    try:
        return value, msgspec.json.decode(value)
    except NOT_JSON:
        return (value,)


def _at(value: object, steps: tuple[str | int, ...]) -> object:
    for step in steps:
        if not isinstance(value, dict if isinstance(step, str) else list):
            return _MISSING
        try:
            value = value[step]  # type: ignore[index]  # which fits the step
        except LookupError:
            return _MISSING
    return value


def _equal(one: object, other: object) -> bool:
    """Return whether two values of JSON are equal, for which true is no number."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other
