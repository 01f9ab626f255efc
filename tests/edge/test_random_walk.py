"""Whatever is written, read and awaited in whatever order: the edge tells what was written."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.event_stream import Event
    from tests.support.http1 import Answer, Client
    from tests.support.serving import Serving

HERE, THERE = f"{EDGE}/s", f"{PREFIX}/s"
POLL_S = 0.03
CHUNK = b"0123456789"


def place(offset: str) -> tuple[int, int]:
    """Generation and position of an own log's offset."""
    generation, _, position = offset.partition("_")
    return int(generation), int(position)


class Walk:
    """An own log as the origin of an edge, one stream, and what must be true of it.

    `strict` says that the edge sees every write, so that nothing that it tells may be old.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.contents: dict[int, bytes] = {}  # by generation
        self.generation = 0
        self.closed = False
        self.offsets = ["-1"]
        self.viewers: list[Client] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        self.origin: Serving = await enter(serving(long_poll_timeout=1.0))
        url = f"http://127.0.0.1:{self.origin.port}{PREFIX}"
        self.edge: Serving = await enter(edge_serving(url, long_poll_timeout=POLL_S))
        await self.create()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _write(self, wire: bytes, *, directly: bool) -> Answer:
        """A request whose target is THERE, sent to the origin or through the edge."""
        if directly and not self.strict:
            return await self.origin.ask(wire)
        return await self.edge.ask(wire.replace(THERE.encode(), HERE.encode(), 1))

    # Steps

    async def create(self, *, directly: bool = False) -> None:
        made = await self._write(put(THERE), directly=directly)
        assert made.status == 201
        self.generation = place(made.get("Stream-Next-Offset") or "")[0]
        self.contents[self.generation] = b""
        self.closed = False

    async def append(self, length: int, *, directly: bool) -> None:
        got = await self._write(post(THERE, CHUNK[:length]), directly=directly)
        if self.closed:
            assert got.status == 409
            return
        assert got.status == 204
        self.contents[self.generation] += CHUNK[:length]
        self.offsets.append(got.get("Stream-Next-Offset") or "")

    async def close(self, *, directly: bool) -> None:
        got = await self._write(request("POST", THERE, "Stream-Closed: true"), directly=directly)
        assert got.status == 204
        self.closed = True

    async def recreate(self, *, directly: bool) -> None:
        assert (await self._write(request("DELETE", THERE), directly=directly)).status == 204
        await self.create(directly=directly)

    async def read(self, at: int) -> None:
        """Catch up from an offset that was given out."""
        offset = self.offsets[at % len(self.offsets)]
        self.check(offset, await self.edge.ask(get(f"{HERE}?offset={offset}")))

    async def poll(self, at: int) -> None:
        """Wait at an offset that was given out."""
        offset = self.offsets[at % len(self.offsets)]
        got = await self.edge.ask(get(f"{HERE}?offset={offset}&live=long-poll"))
        assert got.status != 502, got
        self.check(offset, got)

    async def watch(self, at: int) -> None:
        """A viewer of events, who stays."""
        offset = self.offsets[at % len(self.offsets)]
        client = await self.edge.connect()
        client.send(get(f"{HERE}?offset={offset}&live=sse"))
        head = await client.answer()
        if offset != "-1" and place(offset)[0] != self.generation:
            assert head.status in {200, 410}
        else:
            assert head.status == 200

    async def advance(self, seconds: int) -> None:
        self.origin.clock.advance(seconds)
        self.edge.clock.advance(seconds)

    # What must be true

    def check(self, offset: str, got: Answer) -> None:
        if got.status == 410:
            if self.strict:
                assert offset != "-1"
                assert place(offset)[0] != self.generation, got
            return
        end = got.get("Stream-Next-Offset")
        assert end is not None, got
        generation, last = place(end)
        first = 0 if offset == "-1" else place(offset)[1]
        content = self.contents[generation]
        assert got.body == content[first:last], (offset, got)
        if offset != "-1":
            assert place(offset)[0] == generation
        is_closed = got.get("Stream-Closed") == "true"
        if is_closed:
            assert last == len(content)
        if self.strict:
            self.check_now(got, generation, last, is_closed=is_closed)

    def check_now(self, got: Answer, generation: int, last: int, *, is_closed: bool) -> None:
        """The answer is of the stream as it stands."""
        assert generation == self.generation, got
        whole = len(self.contents[generation])
        if got.get("Stream-Up-To-Date") == "true" or got.status == 204:
            assert (last, is_closed) == (whole, self.closed), got
        if is_closed:
            assert self.closed, got

    async def finish(self) -> None:
        """In the end a reader gets all of it, and learns that it is all."""
        await self.advance(400)
        got = await self.edge.ask(get(f"{HERE}?offset=-1"))
        if not self.strict:
            await until(lambda: not self.edge.edge.cache.fetches._under_way)
            got = await self.edge.ask(get(f"{HERE}?offset=-1"))
        whole = self.contents[self.generation]
        assert got.body == whole
        tail = await self.edge.ask(get(f"{HERE}?offset={got.get('Stream-Next-Offset')}"))
        assert (tail.status, tail.body) == (200, b"")
        assert (tail.get("Stream-Closed") == "true") is self.closed

    async def finish_viewing(self, viewer: Client) -> None:
        """A viewer of this generation from its beginning has got all of it."""
        whole = self.contents[self.generation].decode()
        events = await viewer.events_until(lambda events: text(events) == whole)
        if self.closed:
            events = await viewer.events_to_the_end()
            assert json.loads(events[-1].data)["streamClosed"] is True


def text(events: list[Event]) -> str:
    return "".join(event.data for event in events if event.name == "data")


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 10), st.booleans()),
    st.tuples(st.just("append"), st.integers(1, 10), st.booleans()),
    st.tuples(st.just("close"), st.booleans()),
    st.tuples(st.just("recreate"), st.booleans()),
    st.tuples(st.just("read"), st.integers(0, 30)),
    st.tuples(st.just("read"), st.integers(0, 30)),
    st.tuples(st.just("poll"), st.integers(0, 30)),
    st.tuples(st.just("watch"), st.integers(0, 30)),
    st.tuples(st.just("advance"), st.sampled_from([1, 2, 61, 400])),
)


async def walk(steps: list[tuple[str, ...]], *, strict: bool) -> None:
    async with Walk(strict=strict) as walked:
        for name, *values in steps:
            step = getattr(walked, name)
            if name in {"append", "close", "recreate"}:
                *first, directly = values
                await step(*first, directly=directly)
            else:
                await step(*values)
        await walked.finish()


def run(steps: list[tuple[str, ...]], *, strict: bool) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(walk(steps, strict=strict))


@settings(max_examples=examples(30))
@given(st.lists(STEPS, max_size=20))
def test_writes_through_the_edge_are_read_at_once_in_any_order_of_steps(
    steps: list[tuple[str, ...]],
) -> None:
    run(steps, strict=True)


@settings(max_examples=examples(30))
@given(st.lists(STEPS, max_size=20))
def test_writes_behind_the_edge_are_never_mixed_up_in_any_order_of_steps(
    steps: list[tuple[str, ...]],
) -> None:
    run(steps, strict=False)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 10), st.booleans()), max_size=12), st.booleans())
def test_viewers_get_every_byte_once_and_in_order_for_any_appends(
    appends: list[tuple[int, bool]], closes: bool
) -> None:
    async def view() -> None:
        async with Walk(strict=False) as walked:
            viewers = []
            for number, (length, directly) in enumerate([(1, False), *appends]):
                if number % 4 == 0:
                    client = await walked.edge.connect()
                    client.send(get(f"{HERE}?offset=-1&live=sse"))
                    assert (await client.answer()).status == 200
                    viewers.append(client)
                await walked.append(length, directly=directly)
            if closes:
                await walked.close(directly=True)
            await asyncio.gather(*map(walked.finish_viewing, viewers))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(view())
