"""What events say, compared with a plan."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Event: TypeAlias = tuple[str, str]  # the name, "" without one, and the data
Said: TypeAlias = list[tuple[str, str]]  # what an event is apart from its text, and the text
END = "headgate.end"
_LINE_END = re.compile("\r\n|\r|\n")
_REASON = re.compile('"finish_reason": ?"')
_BLOCK_END = re.compile(b"(?:\r\n|\r(?!\n)|\n)(?:\r\n|\r(?!\n)|\n)")


def complete_part(raw: bytes) -> bytes:
    """Return the bytes up to the end of the last complete event."""
    ends = [found.end() for found in _BLOCK_END.finditer(raw)]
    return raw[: ends[-1]] if ends else b""


def parse(raw: bytes) -> list[tuple[str | None, str, str]]:
    """Return id, name and data of each complete event."""
    events = []
    for block in _BLOCK_END.split(raw)[:-1]:
        name, data, number = "", [], None
        for line in _LINE_END.split(block.decode()):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                number = value
        if data or name or number is not None:
            events.append((number, name, "\n".join(data)))
    return events


def events_of(raw: bytes) -> list[Event]:
    """Return names and data of the events that have data."""
    return [(name, data) for _, name, data in parse(raw) if data]


def is_error(event: Event) -> bool:
    """Return whether an SDK raises an error for this event."""
    name, data = event
    if data == "[DONE]":
        return False
    value = json.loads(data)
    kind = value.get("type")
    return name == "error" or bool(value.get("error")) or kind in ("error", "response.failed")


def is_last(event: Event) -> bool:
    """Return whether nothing follows this event in an answer that is complete."""
    kinds = ("response.completed", "response.incomplete", "message_stop")
    return event[1] == "[DONE]" or (event[0] in kinds)


def has_end(events: Sequence[Event]) -> bool:
    """Return whether events have the end of their answer, for a chat also as a reason."""
    return any(is_last(event) or _REASON.search(event[1]) for event in events)


def without_errors(events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
    """Return the events of the answer, and the errors behind them."""
    at = len(events)
    while at and is_error(events[at - 1]):
        at -= 1
    return list(events[:at]), list(events[at:])


def said(events: Sequence[Event]) -> Said:
    """Return the events with neighbouring deltas of a part added up."""
    found: Said = []
    for event in events:
        rest, text = _delta_of(event)
        if text is not None and found and found[-1][0] == rest:
            found[-1] = (rest, found[-1][1] + text)
        else:
            found.append((rest, text or ""))
    return found


def _delta_of(event: Event) -> tuple[str, str | None]:
    name, data = event
    if data == "[DONE]":
        return data, None
    value = json.loads(data)
    place = _text_place(value)
    if place is None:
        return f"{name}: {data}", None
    holder, key = place
    text, holder[key] = holder[key], ""
    value.pop("obfuscation", None)
    value.pop("sequence_number", None)
    return f"{name}: {json.dumps(value, sort_keys=True)}", text


def _text_place(value: dict[str, Any]) -> tuple[dict[str, Any], str] | None:
    kind = value.get("type", "")
    if kind.startswith("response.") and kind.endswith(".delta"):
        return value, "delta"
    if kind == "content_block_delta":
        keys = [key for key in ("text", "thinking", "partial_json") if key in value["delta"]]
        return value["delta"], keys[0]
    choices = value.get("choices")
    if not choices or value.get("usage"):
        return None
    delta = choices[0]["delta"]
    for call in delta.get("tool_calls", ()):
        return call["function"], "arguments"
    for key in ("content", "reasoning_content"):
        if key in delta:
            return delta, key
    return None


def is_beginning(part: Said, whole: Said) -> bool:
    """Return whether these are the first events of those, the last one maybe with less text."""
    if not part:
        return True
    *first, (rest, text) = part
    at = len(first)
    return (
        len(part) <= len(whole)
        and first == whole[:at]
        and rest == whole[at][0]
        and whole[at][1].startswith(text)
    )
