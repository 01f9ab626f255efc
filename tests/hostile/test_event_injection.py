"""Text that is taken for events (S11): whatever is appended, the events that readers parse are
those that the gateway sent, with what was appended as their data. Two parsers say so: our reading
of the standard, and the npm package `eventsource-parser`, which knows nothing of us.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from base64 import b64decode
from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.event_stream import Event, parse_events
from tests.support.examples import examples
from tests.support.processes import NODE, ROOT
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, Serving, edge_serving, get, put

if TYPE_CHECKING:
    from collections.abc import Callable

PARSER = ROOT / "tests" / "node" / "parse_events.mjs"
INJECTED = (
    *("\r", "\n", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r", "\u2028", "\u2029", "\x85", "\x0b"),
    *("data:", "data: x", "event: control", "id: 7", "retry: 1", ":", ": comment", "\ufeff"),
    *(
        'data: {"streamClosed":true}',
        "event: control\ndata: {}\n\n",
        "a",
        " ",
        "  ",
        "\0",
        "\u00e9",
    ),
)
TEXT = st.lists(st.sampled_from(INJECTED), min_size=1, max_size=8).map("".join)
KINDS = st.sampled_from(["text/plain", "application/json", "application/octet-stream"])


def by_node(streams: list[bytes]) -> list[list[Event]]:
    """The events of each, by the package `eventsource-parser`."""
    text = json.dumps([stream.decode() for stream in streams])
    done = subprocess.run(
        [str(NODE), str(PARSER)], input=text.encode(), capture_output=True, check=True, timeout=50
    )
    return [[Event(*event) for event in events] for events in json.loads(done.stdout)]


def told(kind: str, event: Event) -> bytes:
    """What was appended, as an event tells it."""
    if kind == "application/octet-stream":
        return b64decode(event.data, validate=True)
    return event.data.encode()


def expected(kind: str, body: bytes) -> bytes:
    """Of text every line end is LF, as the standard has it; of JSON there is one more array."""
    if kind == "application/octet-stream":
        return body
    text = re.sub(b"\r\n|\r", b"\n", body)
    return b"[" + text + b"]" if kind == "application/json" else text


class Stage:
    """A gateway with a log of its own and a route to an origin."""

    def __init__(self, origin: RawOrigin, gateway: Serving) -> None:
        self.origin = origin
        self.gateway = gateway
        self._numbers = count()

    async def events_of_own_log(self, kind: str, body: bytes) -> bytes:
        name = f"s{next(self._numbers)}"
        closed = "Stream-Closed: true"
        made = await self.gateway.ask(put(name, closed, body=body, content_type=kind))
        assert made.status == 201, made
        return await self._events(f"{PREFIX}/{name}?offset=-1&live=sse")

    async def events_of_origin(self, kind: str, body: bytes) -> bytes:
        content = b"[" + body + b"]" if kind == "application/json" else body
        ends = ("Stream-Next-Offset: 9", "Stream-Up-To-Date: true", "Stream-Closed: true")
        self.origin.scripts = [answer(content, f"Content-Type: {kind}", *ends)]
        return await self._events(f"{EDGE}/s{next(self._numbers)}?offset=-1&live=sse")

    async def _events(self, target: str) -> bytes:
        client = await self.gateway.connect()
        client.send(get(target))
        head = await client.head()
        assert head.status == 200, head
        await client.events_to_the_end()
        client.close()
        return client.received


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
def test_appended_text_cannot_inject_events_into_an_event_stream(
    tell: Callable[[str], None],
) -> None:
    seen: list[bytes] = []
    wanted: list[tuple[str, bytes]] = []

    async def once(stage: Stage, kind: str, body: bytes) -> None:
        for stream in (
            await stage.events_of_own_log(kind, body),
            await stage.events_of_origin(kind, body),
        ):
            seen.append(stream)
            wanted.append((kind, expected(kind, body)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        origin = runner.run(stack.enter_async_context(RawOrigin(answer())))
        gateway = runner.run(stack.enter_async_context(edge_serving(origin)))
        stage = Stage(origin, gateway)

        @settings(max_examples=examples(120), deadline=None)
        @given(KINDS, TEXT)
        def for_all(kind: str, text: str) -> None:
            body = json.dumps(text, ensure_ascii=False) if kind == "application/json" else text
            runner.run(once(stage, kind, body.encode()))

        try:
            for_all()
        finally:
            runner.run(stack.aclose())
    for parser in (list(map(parse_events, seen)), by_node(seen)):
        for events, (kind, body) in zip(parser, wanted, strict=True):
            names = [event.name for event in events]
            assert names == ["data"] * (len(names) - 1) + ["control"], events
            assert b"".join(told(kind, event) for event in events[:-1]) == body
            assert json.loads(events[-1].data)["streamClosed"] is True
    tell(f"{len(seen)} event streams")


@pytest.mark.parametrize(
    "offset",
    [
        '9","streamClosed":true',
        "9\\",
        "9 9",
        "9&a=1",
        "",
        pytest.param("x" * 257, id="over-the-limit"),
    ],
)
async def test_an_origin_offset_that_could_end_its_event_starts_no_event_stream(
    offset: str,
) -> None:
    said = answer(b"x", "Content-Type: text/plain", f"Stream-Next-Offset: {offset}")
    async with RawOrigin(said) as origin, edge_serving(origin) as gateway:
        told = await gateway.ask(get(f"{EDGE}/s?offset=-1&live=sse"))
        assert told.get("Content-Type") != "text/event-stream"
