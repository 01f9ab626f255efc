"""An independent reading of the event stream rules (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import re
from typing import NamedTuple


class Event(NamedTuple):
    """One dispatched event."""

    name: str
    data: str


def parse_events(stream: bytes) -> list[Event]:
    """The events that a browser would dispatch."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    lines = re.split("\r\n|\r|\n", text)
    events: list[Event] = []
    name, data = "", ""
    for line in lines[:-1]:  # what follows the last line end is not a complete line
        if not line:
            if data:
                events.append(Event(name or "message", data.removesuffix("\n")))
            name, data = "", ""
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data += value + "\n"
    return events
