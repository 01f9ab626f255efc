"""Folding of rendered groups: what a reader that comes late need not read one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.events import events_of

from gateway.features.compact.folding import fold
from gateway.protocol.bodies.content import EVENTS_TYPE

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

_ID = b"id: "


def fold_groups(groups: Sequence[bytes]) -> Generator[None, None, bytes]:
    """Join neighbouring deltas in the events of groups, in steps; return the events.

    An event keeps the id of the last one that it stands for.
    """
    events: list[bytes] = []
    ids: dict[int, bytes] = {}  # lines, by the end of their events
    end = 0
    for group in groups:
        for event in events_of(group):
            line, rest = event.split(b"\n", 1) if event.startswith(_ID) else (b"", event)
            events.append(rest)
            end += len(rest)
            if line:
                ids[end] = line + b"\n"
    folded = yield from fold(EVENTS_TYPE, 0, events)
    return b"".join(ids.get(event.end, b"") + event.data for event in folded)
