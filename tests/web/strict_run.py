"""One run of a model as TanStack AI's adapter for Durable Streams keeps it.

The adapter checks more than the protocol promises, and throws where an answer lacks it. Each of its
checks is an assertion here, and no others are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from tests.web.serving import request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.protocol.events import Event
    from tests.support.http1 import Answer, Client
    from tests.web.serving import Serving

PRODUCER = "Producer-Id: adapter"
JSON = "Content-Type: application/json"
FLAGS = ("upToDate", "streamClosed")


class Place(NamedTuple):
    """Where a reader is: what it asks its next window with."""

    offset: str = "-1"
    cursor: str | None = None
    closed: bool = False


class Window(NamedTuple):
    """What one live answer gave: the records of its data, and where it ended."""

    records: list[object]
    end: Place


class StrictRun:
    """Writes and reads the stream of a run, below the prefix of a route."""

    def __init__(self, gateway: Serving, prefix: str, run: str) -> None:
        self._gateway = gateway
        self.path = f"{prefix}/streams/{quote(f'runs/{run}', safe='')}"

    async def create(self) -> str:
        """Where the stream ends, which is made if it is not there."""
        return _next_offset(await self._gateway.ask(request("PUT", self.path, JSON)), {200, 201})

    async def append(self, records: Sequence[object], seq: int) -> str:
        """Where the stream ends then; with the `seq` of one before, it is that one again."""
        stamp = (PRODUCER, "Producer-Epoch: 0", f"Producer-Seq: {seq}")
        body = json.dumps(records).encode()
        answer = await self._gateway.ask(request("POST", self.path, JSON, *stamp, body=body))
        return _next_offset(answer, {200, 204})

    async def close(self) -> str:
        """Where the stream ends for good. Neither a body nor its type is sent."""
        answer = await self._gateway.ask(request("POST", self.path, "Stream-Closed: true"))
        assert answer.headers.get("stream-closed", "").lower() == "true", answer
        return _next_offset(answer, {200, 204})

    async def window(self, place: Place) -> Window:
        """One live answer, up to its proper end."""
        client = await self.follow(place)
        window = window_of(place, await client.events_to_the_end())
        client.close()
        return window

    async def follow(self, place: Place) -> Client:
        """A live answer whose head has come."""
        cursor = "" if place.cursor is None else f"&cursor={place.cursor}"
        client = await self._gateway.connect()
        client.send(request("GET", f"{self.path}?offset={place.offset}&live=sse{cursor}"))
        assert (await client.answer()).status == 200
        return client

    async def read(self, enough: Callable[[Window], bool]) -> list[object]:
        """Records from the beginning on, window by window, until one is enough."""
        place, records = Place(), []
        while True:
            window = await self.window(place)
            records += window.records
            if enough(window):
                return records
            place = window.end


def window_of(place: Place, events: Sequence[Event]) -> Window:
    """What a live answer gave to whoever asked from `place` on."""
    records: list[object] = []
    end: Place | None = None
    awaits_control = False
    for event in events:
        assert event.name in {"data", "control"}, event
        awaits_control = event.name == "data"
        told = json.loads(event.data)
        if awaits_control:
            assert isinstance(told, list), event
            records += told
        else:
            end = _place(told)
    assert end is not None, "no control event came"
    assert not awaits_control, "no control event follows the last data"
    assert end.closed or end[:2] != place[:2], "neither offset nor cursor has moved on"
    return Window(records, end)


def _place(control: dict[str, object]) -> Place:
    offset, cursor = control.get("streamNextOffset"), control.get("streamCursor")
    assert all(isinstance(control.get(flag, False), bool) for flag in FLAGS), control
    assert isinstance(offset, str), control
    assert offset.strip(), control
    if control.get("streamClosed"):
        return Place(offset, closed=True)
    assert isinstance(cursor, str), control
    assert cursor.strip(), control
    return Place(offset, cursor)


def _next_offset(answer: Answer, statuses: set[int]) -> str:
    assert answer.status in statuses, answer
    offset = answer.headers.get("stream-next-offset", "")
    assert offset.strip(), answer
    return offset
