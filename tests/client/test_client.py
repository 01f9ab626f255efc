"""The client: JSON and text appended, read, followed and continued, each message once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

import headgate
from headgate.following import Batch
from headgate.streams import connection
from headgate.streams.client import Client
from headgate.streams.messages import Decoder
from tests.client.request_proxy import Fate, RequestProxy
from tests.support.origin_servers import reference
from tests.support.processes import Headgate
from tests.support.processes import headgate as headgate_server
from tests.support.raw_origin import RawOrigin, answer
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from aiohttp import web

    from headgate.streams.messages import Message, StreamIterator
    from headgate.streams.stream import Stream
    from tests.support.raw_origin import Wire

    Decide = Callable[[web.Request], Awaitable[Fate]]


@contextlib.contextmanager
def base(kind: str, folder: Path) -> Iterator[str]:
    """The URL below which a server of this kind has its streams."""
    with contextlib.ExitStack() as block:
        if kind == "reference":
            yield f"{block.enter_context(reference()).url}/v1/stream"
            return
        storage = {"memory": "memory:", "file": f"file:{folder}"}.get(kind, "")
        storage = storage or block.enter_context(redis_server(folder)).url
        server = Headgate(storage)
        block.callback(server.close)
        yield f"{server.start().url}/v1/stream"


@pytest.fixture
def streams(processes: None, tmp_path: Path) -> Iterator[str]:
    with base("memory", tmp_path) as url:
        yield url


@pytest.fixture
async def client(streams: str) -> AsyncIterator[Client]:
    async with Client(streams) as client:
        yield client


@contextlib.asynccontextmanager
async def through(streams: str, decide: Decide) -> AsyncIterator[Client]:
    """A client whose requests meet the fates that are decided."""
    port = int(streams.split(":")[2].split("/")[0])
    async with RequestProxy(port, decide) as way, Client(f"{way.url}/v1/stream") as client:
        yield client


async def values(stream: Stream, offset: str | Message = "-1") -> list[Any]:
    return [message.value async for message in stream.read(offset)]


@pytest.mark.parametrize("kind", ["memory", "file", "redis", "reference"])
async def test_ten_lines_create_append_and_follow(
    kind: str, tmp_path: Path, processes: None
) -> None:
    followed = []
    with base(kind, tmp_path / "data") as url:
        async with headgate.Client(url) as hg:
            orders = await hg.create("orders", json=True, ttl=3600)
            await orders.append({"id": 1})
            await orders.append([2, "☕"])
            await orders.close()
            async for order in orders.follow():
                followed.append(order.value)
    assert followed == [{"id": 1}, [2, "☕"]]


async def test_json_messages_are_read_as_they_were_appended(client: Client) -> None:
    messages = [{"a": [1, None]}, [], [[1]], 5, None, True, "☕", 1.5]
    stream = await client.create("s", json=True)
    await stream.append_many(json.dumps(it).encode() for it in messages)
    assert await values(stream) == messages
    assert [it.value async for it in stream.tail(3)] == messages[-3:]


async def test_text_is_decoded_across_cut_characters(client: Client) -> None:
    text = "Once ☕ upon 𝄞 a time"
    stream = await client.create("s")
    for byte in text.encode():
        await stream.append(bytes([byte]))
    assert "".join(await values(stream)) == text
    await stream.close()
    assert "".join([it.value async for it in stream.follow()]) == text


def test_text_is_decoded_whole_wherever_its_responses_cut_it() -> None:
    text = "é☕𝄞"
    data = text.encode()
    for cut in range(len(data) + 1):
        decoder = Decoder("text/plain", 0, "http://127.0.0.1/s")
        batches = [
            Batch((data[:cut],), "1", is_last=False),
            Batch((data[cut:],), "2", is_last=True),
        ]
        messages = [one for batch in batches for one in decoder.messages("0", batch)]
        assert "".join(one.value for one in messages) == text, cut


@pytest.mark.parametrize("is_json", [True, False])
async def test_a_reading_continues_after_any_message(client: Client, is_json: bool) -> None:
    stream = await client.create("s", json=is_json)
    await stream.append(["first"] if is_json else "first ")
    (first,) = [message async for message in stream.read()]
    parts: list[Any] = [{"n": n} for n in range(5)] if is_json else ["☕", "a", "𝄞", "b"]
    await stream.append_many(parts)
    rest = [message async for message in stream.read(first)]
    whole = [message.value for message in rest]
    for number, message in enumerate(rest, 1):
        for place in (message, message.offset):
            assert await values(stream, place) == whole[number:]
    half = await values(stream, f"{first.offset},1") if is_json else []
    assert half == whole[1:] if is_json else half == []


@pytest.mark.parametrize("kind", ["memory", "file", "redis"])
async def test_each_message_from_the_beginning_has_an_offset_that_continues_after_it(
    kind: str, tmp_path: Path, processes: None
) -> None:
    with base(kind, tmp_path / "data") as url:
        async with headgate.Client(url) as hg:
            stream = await hg.create("s", json=True)
            await stream.append_many(range(5))
            await stream.close()
            for reading in (stream.read, stream.follow):
                messages = [message async for message in reading()]
                for number, message in enumerate(messages, 1):
                    for further in (stream.read, stream.follow):
                        rest = [it.value async for it in further(message.offset)]
                        assert rest == list(range(number, 5))


async def test_a_reader_that_stops_within_fifty_thousand_messages_continues_at_the_next_one(
    client: Client,
) -> None:
    stream = await client.create("s", json=True)
    await stream.append_many(range(50_000))
    async with stream.follow() as reading:
        async for message in reading:
            if message.value == 20_000:
                break
    async with stream.follow(message.offset) as reading:
        assert (await anext(reading)).value == 20_001


async def test_before_another_server_the_first_response_is_counted_from_nowhere(
    tmp_path: Path, processes: None
) -> None:
    with base("reference", tmp_path) as url:
        async with headgate.Client(url) as hg:
            stream = await hg.create("s", json=True)
            await stream.append_many(range(3))
            places = [message.offset async for message in stream.read()]
            assert places[:2] == ["-1", "-1"]
            assert await values(stream, places[2]) == []


async def test_a_place_that_retention_has_passed_is_gone_and_the_error_says_where_to_go_on(
    processes: None,
) -> None:
    server = Headgate()
    route = {"prefix": "/v1/stream", "storage": "memory:", "retention_messages": 8}
    server.serve_routes(route)
    with contextlib.closing(server.start()):
        async with headgate.Client(f"{server.url}/v1/stream") as hg:
            stream = await hg.create("s", json=True)
            await stream.append_many(range(4))
            places = [message.offset async for message in stream.read()]
            for number in range(4, 40):
                await stream.append(number)
            for reading in (stream.read, stream.follow):
                with pytest.raises(headgate.Gone, match="the stream begins at") as caught:
                    await anext(reading(places[1]))
                assert caught.value.offset == places[1].partition(",")[0]
                (begins,) = re.findall(r"begins at (\d+_\d+) now", caught.value.reason)
                kept = await values(stream, begins)
                assert kept == await values(stream)
                assert 0 < len(kept) < 40


async def test_what_is_new_is_followed_from_now(client: Client) -> None:
    stream = await client.create("s", json=True)
    await stream.append(1)
    reading = stream.follow("now")
    first = asyncio.create_task(anext(reading))
    await asyncio.sleep(0.2)
    await stream.append(2)
    assert (await first).value == 2
    await reading.aclose()
    with pytest.raises(headgate.StreamError, match="the reading was closed"):
        await anext(reading)


MANY = 10_000


async def append(stream: Stream, _: Client) -> None:
    for number in range(MANY):
        await stream.append(number)


async def append_many(stream: Stream, _: Client) -> None:
    for first in range(0, MANY, 20):
        await stream.append_many(range(first, first + 20))


async def write(_: Stream, hg: Client) -> None:
    async with hg.writer("s", max_batch_chunks=20) as writer:
        for number in range(MANY):
            await writer.write(number)


async def append_without_producers(stream: Stream, hg: Client) -> None:
    hg._connection.producer(stream.url)._takes_producers = False
    for number in range(MANY // 20):
        with contextlib.suppress(headgate.Unavailable):
            await stream.append(number)


@pytest.mark.timeout(240)  # 10,000 requests, on a machine that does other things
@pytest.mark.parametrize(
    ("add", "losses"),
    [(append, 0.003), (append_many, 0.03), (write, 0.03), (append_without_producers, 0.1)],
)
async def test_appends_are_stored_once_and_in_order_through_a_way_that_loses_answers(
    add: Any, losses: float, processes: None
) -> None:
    chance = random.Random(1)
    fates = [Fate.LOST, Fate.LOST_AFTER, Fate.FAILED_AFTER, Fate.REFUSED, Fate.LIMITED_AFTER]

    async def decide(request: web.Request) -> Fate:
        is_cut = request.method == "POST" and chance.random() < losses
        return chance.choice(fates) if is_cut else Fate.PASSED

    with headgate_server() as server:
        async with through(server.streams, decide) as hg:
            await add(await hg.create("s", json=True), hg)
        async with Client(server.streams) as hg:
            found = await values(hg.stream("s"))
    assert found == sorted(set(found))
    assert add is append_without_producers or found == list(range(MANY))


async def test_concurrent_appends_keep_their_order_though_the_type_is_asked_for_in_vain(
    streams: str,
) -> None:
    fates = iter([Fate.REFUSED])

    async def decide(request: web.Request) -> Fate:
        return next(fates, Fate.PASSED) if request.method == "HEAD" else Fate.PASSED

    async with through(streams, decide) as hg:
        await hg.create("s", json=True)
        await asyncio.gather(*(hg.stream("s").append(number) for number in range(50)))
        assert await values(hg.stream("s")) == list(range(50))


async def test_a_cancelled_append_is_not_stored_after_later_ones(streams: str) -> None:
    held = asyncio.Event()

    async def decide(request: web.Request) -> Fate:
        if request.method == "POST" and not held.is_set():
            held.set()
            await asyncio.sleep(0.3)
        return Fate.PASSED

    async with through(streams, decide) as hg:
        stream = await hg.create("s", json=True)
        late = asyncio.create_task(stream.append(1))
        await held.wait()
        late.cancel()
        await stream.append(2)
        await asyncio.sleep(0.5)
        assert await values(stream) in ([2], [1, 2])


async def test_nothing_is_stored_of_messages_of_which_one_has_no_encoding(client: Client) -> None:
    stream = await client.create("s", json=True)
    with pytest.raises(ValueError, match="NaN and infinities have no JSON"):
        await stream.append_many([1, float("nan")])
    assert await values(stream) == []


async def test_names_are_paths_and_whole_urls_work_wherever_names_do(client: Client) -> None:
    stream = await client.create("rooms/a b/é?#")
    await stream.append("hello")
    same = await client.open(stream.url)
    assert await values(same) == ["hello"]
    assert stream.url.endswith("/rooms/a%20b/%C3%A9%3F%23")
    assert (stream.name, same.name) == ("rooms/a b/é?#", stream.url)


EVENTS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    b'event: data\ndata: [1, 2]\n\nevent: control\ndata: {"streamNextOffset": "2"}\n\n'
)
HEAD = answer(b"", "Content-Type: application/json", "Stream-Next-Offset: 1")
REFUSAL = answer(status="401 Unauthorized")


class Feed(RawOrigin):
    """A server of one JSON stream that is followed for ever."""

    def __init__(self) -> None:
        super().__init__(self.respond)
        self.accepted = ""  # the only token that is; any if empty

    async def respond(self, wire: Wire) -> None:
        if self.accepted and wire.heard.named["authorization"] != f"Bearer {self.accepted}":
            await wire.send(REFUSAL)
        else:
            await wire.send(HEAD if wire.heard.method == "HEAD" else EVENTS)

    @property
    def tokens(self) -> list[str | None]:
        return [heard.named.get("authorization") for heard in self.heard]


async def leave(stream: Stream, how: str) -> None:
    if how == "block":
        async with stream.follow() as reading:
            await anext(reading)
        return
    async for _ in stream.follow():
        if how == "break":
            break
        if how == "return":
            return
        raise ZeroDivisionError


@pytest.mark.parametrize("how", ["break", "return", "exception", "block"])
async def test_a_loop_that_is_left_closes_its_request_in_the_next_turn(how: str) -> None:
    async with Feed() as feed, Client(feed.url) as hg:
        stream = await hg.open("s")
        with contextlib.suppress(ZeroDivisionError):
            await leave(stream, how)
        await asyncio.sleep(0)
        connector = hg._connection.in_this_loop().session.connector
        assert connector is not None
        assert not connector._acquired
        await until(lambda: feed.open == 1)  # the connection of HEAD


async def test_a_closed_client_ends_its_readings_and_opens_again_when_used() -> None:
    async with Feed() as feed:
        hg = Client(feed.url)
        reading = hg.stream("s").follow()
        assert [(await anext(reading)).value for _ in range(2)] == [1, 2]
        waiting = asyncio.create_task(anext(reading))
        await asyncio.sleep(0.05)
        assert feed.open > 0
        await hg.aclose()
        with pytest.raises(headgate.StreamError, match="the reading was closed"):
            await waiting
        await until(lambda: feed.open == 0)
        assert (await anext(hg.stream("s").follow())).value == 1
        await hg.aclose()


async def test_a_reading_closed_at_any_moment_never_ends_as_if_the_stream_were_closed(
    client: Client, streams: str
) -> None:
    stream = await client.create("s", json=True)
    await stream.append_many([{"number": number, "text": "x" * 5000} for number in range(200)])

    async def follow(reading: StreamIterator[Message]) -> None:
        async for _ in reading:
            await asyncio.sleep(0)

    for turn in range(60):
        other = Client(streams)
        readings = [other.stream("s").follow() for _ in range(2)]
        loops = [asyncio.create_task(follow(reading)) for reading in readings]
        await asyncio.sleep(turn / 2000)
        await asyncio.gather(
            other.aclose(), *(reading.aclose() for reading in readings[turn % 3 :])
        )
        for loop in loops:
            with pytest.raises(headgate.StreamError, match="the reading was closed"):
                await asyncio.wait_for(loop, 5)


async def test_a_token_function_is_called_once_and_again_after_a_401() -> None:
    given = iter(["first", "second"])

    async def token() -> str:
        return next(given)

    async with Feed() as feed, Client(feed.url, token=token) as hg:
        await hg.open("s")
        await hg.open("s")
        feed.accepted = "second"
        await hg.open("s")
        await hg.open("s")
        feed.accepted = "third"
        async with Client(feed.url, token="second", retries=0) as other:
            with pytest.raises(headgate.NotAuthorized):
                await other.open("s")
    # A HEAD that is refused is followed by a GET, which alone gets the reason.
    names = ["first", "first", "first", "second", "second", "second", "second"]
    assert feed.tokens == [f"Bearer {name}" for name in names]


async def test_a_token_is_sent_to_its_own_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_AUTH", "Basic abc")
    async with Feed() as feed, Feed() as other:
        monkeypatch.setenv("STREAM_URL", feed.url)
        async with Client() as ours, Client(other.url) as theirs:
            await ours.open("s")
            await ours.open(f"{other.url}/s")
            await theirs.open("s")
    assert feed.tokens == ["Basic abc"]
    assert other.tokens == [None, None]


def test_a_forked_process_uses_connections_of_its_own(streams: str) -> None:
    hg = Client(streams)

    async def run(number: int) -> list[Any]:
        stream = await hg.create("s", json=True)
        await stream.append(number)
        return await values(stream)

    async def parent() -> None:
        assert await run(0) == [0]
        child = os.fork()
        if not child:
            found: list[list[Any]] = []
            thread = threading.Thread(target=lambda: found.append(asyncio.run(run(1))))
            thread.start()
            thread.join()
            os._exit(found != [[0, 1]])
        assert await asyncio.to_thread(os.waitpid, child, 0) == (child, 0)
        assert await run(2) == [0, 1, 2]
        await hg.aclose()

    asyncio.run(parent())


async def test_an_append_to_a_stream_created_again_survives_a_lost_answer(streams: str) -> None:
    fates = iter([Fate.PASSED, Fate.PASSED, Fate.FAILED_AFTER])

    async def decide(request: web.Request) -> Fate:
        return next(fates, Fate.PASSED) if request.method == "POST" else Fate.PASSED

    async with through(streams, decide) as hg:
        stream = await hg.create("s", json=True)
        await stream.append(1)
        await stream.append(2)
        async with Client(streams) as other:
            assert await other.delete("s")
            assert not await other.delete("s")
            await other.create("s")
        await stream.append("text")  # of another type than the handle knew
        await stream.append("!")
        assert "".join(await values(stream)) == "text!"
        await stream.close()
        assert await stream.close() is not None


async def test_a_follow_waits_for_a_server_that_is_away(processes: None) -> None:
    server = Headgate("memory:")
    async with Client(f"{server.url}/v1/stream") as hg:
        first = asyncio.create_task(anext(hg.stream("s").follow()))
        await asyncio.sleep(2)
        await asyncio.to_thread(server.start)
        try:
            async with Client(hg.base_url) as other:
                await (await other.create("s", json=True)).append(1)
            with contextlib.suppress(headgate.StreamNotFound):
                assert (await first).value == 1
        finally:
            server.close()


async def test_a_client_numbers_the_appends_of_the_streams_it_appended_to_last(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MOST_PRODUCERS", 2)
    streams = [await client.create(name, json=True) for name in "abc"]
    for number in range(2):
        await asyncio.gather(*(stream.append(number) for stream in streams))  # all busy at once
    for stream in streams:
        assert await values(stream) == [0, 1]
        await stream.append(2)
        assert len(client._connection.in_this_loop().producers) == 2
