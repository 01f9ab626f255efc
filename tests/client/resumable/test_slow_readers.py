"""Readers elsewhere that are slow, silent or gone, and messages that are lost on the way.

Time is virtual here: half a minute of patience costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import pytest
from headgate import SourceFailed
from headgate.resumable import ResumableStreams
from headgate.resumable.listener import LOST_S, WINDOW
from headgate.resumable.messages import Ask, Part, decode_part, encode, requests

from tests.client.resumable.memory_broker import MemoryBroker
from tests.client.resumable.sources import Tap, whole
from tests.support.virtual_time import in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.resumable.contract import Text

CHUNK = "x" * (WINDOW // 16)


class FaultyBroker(MemoryBroker):
    """Each message is delivered as often as `times` says of its channel and number there."""

    def __init__(self, times: Callable[[str, int], int] = lambda channel, number: 1) -> None:
        super().__init__()
        self.times = times
        self.published: dict[str, list[str]] = {}
        self.lifetimes: list[float] = []

    async def publish(self, channel: str, message: str) -> None:
        sent = self.published.setdefault(channel, [])
        sent.append(message)
        for _ in range(self.times(channel, len(sent) - 1)):
            await super().publish(channel, message)

    async def expire(self, key: str, ttl: float) -> None:
        self.lifetimes.append(ttl)
        await super().expire(key, ttl)

    def parts(self) -> list[Part]:
        """What went to readers."""
        texts = [sent for channel, sent in self.published.items() if ":text:" in channel]
        return [decode_part(message) for sent in texts for message in sent]


@dataclass
class Scene:
    """A producer, and a reader at the other side of a broker."""

    broker: FaultyBroker
    tap: Tap = field(default_factory=Tap)
    ended: list[Awaitable[None]] = field(default_factory=list)

    async def open(self) -> Text:
        broker = self.broker
        self.streams = ResumableStreams(broker, keep_alive=self.ended.append)
        self.creator = await self.streams.create("a", self.tap)
        reader = await self.streams.resume("a")
        assert reader is not None
        return reader


async def opened(broker: FaultyBroker | None = None) -> tuple[Scene, Text]:
    """Return a scene with a broker, and its reader."""
    scene = Scene(broker or FaultyBroker())
    return scene, await scene.open()


@in_virtual_time
async def test_a_producer_sends_a_slow_reader_no_more_than_its_window() -> None:
    scene, reader = await opened()
    scene.tap.give(*(CHUNK,) * 100)
    await asyncio.sleep(20)
    assert sum(len(part.text) for part in scene.broker.parts()) == WINDOW
    for _ in range(8):  # half of it is taken, and so much more is asked for
        assert await anext(reader) == CHUNK
    await asyncio.sleep(0.1)
    assert sum(len(part.text) for part in scene.broker.parts()) == WINDOW * 1.5
    scene.tap.end()
    assert await whole(reader) == CHUNK * 92
    await scene.streams.aclose()


def no_part(number: int) -> Callable[[str, int], int]:
    return lambda channel, at: 0 if ":text:" in channel and at == number else 1


@pytest.mark.parametrize("number", range(1, 7))
@in_virtual_time
async def test_a_lost_part_of_a_text_is_sent_again(number: int) -> None:
    """Also when it is the end, or the last of the text."""

    scene, reader = await opened(FaultyBroker(no_part(number)))
    chunks = [f"chunk {at} " for at in range(5)]
    for chunk in chunks:
        scene.tap.give(chunk)
        await asyncio.sleep(0.01)  # so that each is a part of its own
    scene.tap.end()
    assert await whole(reader) == "".join(chunks)
    assert await whole(scene.creator) == "".join(chunks)
    await scene.ended[0]


@pytest.mark.parametrize("number", range(1, 4))
@in_virtual_time
async def test_a_lost_part_of_a_text_that_ends_in_an_error_is_sent_again(number: int) -> None:
    """Also when it is the error."""

    scene, reader = await opened(FaultyBroker(no_part(number)))
    for chunk in ("one ", "two "):
        scene.tap.give(chunk)
        await asyncio.sleep(0.01)  # so that each is a part of its own
    scene.tap.end(ValueError("the model is away"))
    got = ""
    while len(got) < len("one two "):
        got += await anext(reader)
    assert got == "one two "
    with pytest.raises(SourceFailed, match=r"^stream 'a' failed: ValueError$"):
        await anext(reader)
    await scene.ended[0]


@in_virtual_time
async def test_a_stopped_producer_ends_its_reader_at_once_although_a_part_was_lost() -> None:
    scene, reader = await opened(FaultyBroker(no_part(2)))
    for chunk in ("one ", "two "):
        scene.tap.give(chunk)
        await asyncio.sleep(0.01)
    began = asyncio.get_running_loop().time()
    await scene.streams.aclose()
    assert await anext(reader) == "one "
    with pytest.raises(SourceFailed, match="the producer of stream 'a' was stopped"):
        await anext(reader)
    assert asyncio.get_running_loop().time() - began < 1.0


@in_virtual_time
async def test_a_sentinel_gets_its_lifetime_after_10_s_and_again_every_10_s() -> None:
    """So that it goes though its process is killed, and comes back though the broker lost it.

    A short stream need not pay for it.
    """

    broker = FaultyBroker()
    streams = ResumableStreams(broker, sentinel_ttl=300.0)
    await streams.create("a", Tap())
    await asyncio.sleep(9)
    assert broker.lifetimes == []
    await asyncio.sleep(2)
    assert broker.lifetimes == [300.0]
    await asyncio.sleep(60)
    assert broker.lifetimes == [300.0] * 7
    await streams.aclose()


@in_virtual_time
async def test_a_reader_that_joins_a_stopping_producer_gets_stopped_like_all_others() -> None:
    def times(channel: str, number: int) -> int:
        if ":text:" in channel and broker.parts()[-1].kind == "stopped":
            broker.channels[requests("a")](encode(Ask("late", again=True)))
        return 1

    broker = FaultyBroker(times)
    scene = Scene(broker)
    readers = [await scene.open(), await scene.streams.resume("a")]
    await scene.streams.aclose()
    for reader in readers:
        assert reader is not None
        with pytest.raises(SourceFailed, match="the producer of stream 'a' was stopped"):
            await anext(reader)
    assert await scene.streams.state("a") == "done"


@in_virtual_time
async def test_a_slow_reader_gets_the_whole_text_although_its_producer_is_stopped_after_it() -> (
    None
):
    """Though its reader is slow, and the producer is stopped meanwhile."""

    scene, reader = await opened()
    scene.tap.give("text")
    scene.tap.end()
    await asyncio.sleep(0.01)
    await scene.streams.aclose()
    assert await whole(reader) == "text"


class LaggingBroker(FaultyBroker):
    """A message takes a moment, and one whose sender is cancelled meanwhile is lost."""

    async def publish(self, channel: str, message: str) -> None:
        await asyncio.sleep(0.01)
        await super().publish(channel, message)


@pytest.mark.parametrize(
    "error", [None, pytest.param(ValueError("the model is away"), id="after-an-error")]
)
@in_virtual_time
async def test_a_producer_stopped_after_its_source_ended_sends_readers_that_end(
    error: ValueError | None,
) -> None:
    scene = Scene(LaggingBroker())
    reader = await scene.open()
    scene.tap.give("text")
    scene.tap.end(error)
    with contextlib.suppress(SourceFailed):
        assert await whole(scene.creator) == "text"
    await scene.streams.aclose()
    assert await anext(reader) == "text"
    end = StopAsyncIteration if error is None else SourceFailed
    with pytest.raises(end, match=None if error is None else "failed: ValueError"):
        await anext(reader)


@in_virtual_time
async def test_a_stopping_producer_sends_a_slow_reader_no_more_than_its_window() -> None:
    scene = Scene(LaggingBroker())
    reader = await scene.open()
    scene.tap.give(*(CHUNK,) * 20)
    scene.tap.end()
    await whole(scene.creator)
    await scene.streams.aclose()
    sent = [len(part.text) for part in scene.broker.parts() if part.kind == "text"]
    assert sum(sent) == WINDOW
    for _ in range(16):
        assert await anext(reader) == CHUNK
    with pytest.raises(SourceFailed, match="the producer of stream 'a' was stopped"):
        await anext(reader)


@in_virtual_time
async def test_a_part_of_a_text_that_arrives_twice_is_read_once() -> None:
    scene, reader = await opened(FaultyBroker(lambda channel, number: 2))
    scene.tap.give("one ", "two ", "three")
    scene.tap.end()
    assert await whole(reader) == "one two three"
    await scene.ended[0]


def late(receive: Callable[[str], None], message: str) -> None:
    asyncio.get_running_loop().call_later(3.0, receive, message)


@in_virtual_time
async def test_text_is_sent_once_although_messages_take_longer_than_renewals() -> None:
    """Though a message takes three seconds, and readers say every five that they are there."""

    scene, reader = await opened()
    for name, receive in list(scene.broker.channels.items()):
        scene.broker.channels[name] = partial(late, receive)
    reading = asyncio.create_task(whole(reader))
    for _ in range(30):
        scene.tap.give("text")
        await asyncio.sleep(1)
    scene.tap.end()
    assert await reading == "text" * 30
    assert "".join(part.text for part in scene.broker.parts()) == "text" * 30
    await scene.streams.aclose()


@in_virtual_time
async def test_a_lost_request_of_a_reader_is_sent_again() -> None:
    # Not the first one, which resume waits for, but each of those that grant more room.
    scene, reader = await opened(
        FaultyBroker(lambda channel, at: 0 if ":request:" in channel and at % 2 else 1)
    )
    scene.tap.give(*(CHUNK,) * 100)
    scene.tap.end()
    assert await whole(reader) == CHUNK * 100
    await scene.streams.aclose()


@in_virtual_time
async def test_a_reader_of_a_dead_producer_raises_producer_lost_after_30_s() -> None:
    scene, reader = await opened()
    scene.tap.give("text")
    assert await anext(reader) == "text"
    scene.broker.channels.pop(requests("a"))  # as when its process dies
    began = asyncio.get_running_loop().time()
    with pytest.raises(
        SourceFailed, match="stream 'a' has not been heard of for 30 s, at character 4"
    ):
        await anext(reader)
    assert LOST_S <= asyncio.get_running_loop().time() - began < LOST_S + 1
    assert await scene.streams.state("a") == "lost"
    assert await scene.streams.resume("a") is None
    assert not [name for name in scene.broker.channels if ":text:" in name]
    await scene.streams.aclose()


@in_virtual_time
async def test_a_stream_declared_lost_is_active_again_once_its_producer_answers() -> None:
    scene, reader = await opened()
    answering = scene.broker.channels.pop(requests("a"))
    with pytest.raises(SourceFailed):
        await anext(reader)
    scene.broker.channels[requests("a")] = answering
    resumed = await scene.streams.resume("a")
    assert resumed is not None
    assert await scene.streams.state("a") == "active"
    scene.tap.give("text")
    scene.tap.end()
    assert await whole(resumed) == "text"
    await scene.ended[0]
    assert await scene.streams.state("a") == "done"


@in_virtual_time
async def test_a_reader_waits_for_a_producer_that_is_silent_for_less_than_the_limit() -> None:
    scene, reader = await opened()
    answering = scene.broker.channels.pop(requests("a"))
    reading = asyncio.create_task(whole(reader))
    await asyncio.sleep(LOST_S - 3)
    scene.broker.channels[requests("a")] = answering
    scene.tap.give("text")
    scene.tap.end()
    assert await reading == "text"
    await scene.ended[0]


@in_virtual_time
async def test_a_producer_drops_a_reader_that_died_silently_within_30_s() -> None:
    scene, reader = await opened()
    scene.tap.give("text")
    assert await anext(reader) == "text"
    scene.broker.channels = {  # it hears nothing, and it says nothing
        name: receive for name, receive in scene.broker.channels.items() if ":text:" not in name
    }
    scene.tap.end()
    began = asyncio.get_running_loop().time()
    await scene.ended[0]
    assert asyncio.get_running_loop().time() - began <= LOST_S
    assert await scene.streams.state("a") == "done"
    assert not scene.broker.channels
    await reader.aclose()


@in_virtual_time
async def test_a_reader_that_pauses_longer_than_the_limit_reads_on() -> None:
    scene, reader = await opened()
    scene.tap.give("before ")
    assert await anext(reader) == "before "
    await asyncio.sleep(10 * LOST_S)
    scene.tap.give("after")
    assert await anext(reader) == "after"
    scene.tap.end()
    assert await whole(reader) == ""
    await scene.ended[0]


@in_virtual_time
async def test_a_reader_back_from_a_pause_waits_for_its_producer_to_answer() -> None:
    scene, reader = await opened()
    answering = scene.broker.channels.pop(requests("a"))  # it is held up
    await asyncio.sleep(10 * LOST_S)
    reading = asyncio.create_task(whole(reader))
    await asyncio.sleep(LOST_S / 2)
    scene.broker.channels[requests("a")] = answering
    scene.tap.give("text")
    scene.tap.end()
    assert await reading == "text"
    await scene.ended[0]


@in_virtual_time
async def test_a_reader_that_pauses_too_long_after_the_end_gets_producer_lost() -> None:
    scene, reader = await opened()
    scene.tap.give(*(CHUNK,) * 40)
    scene.tap.end()
    await scene.ended[0]  # it was waited for, for half a minute
    for _ in range(16):
        assert await anext(reader) == CHUNK
    with pytest.raises(SourceFailed, match=f"at character {WINDOW}"):
        await anext(reader)


@in_virtual_time
async def test_readers_and_producers_ignore_foreign_messages_on_their_channels() -> None:
    scene, reader = await opened()
    for channel in list(scene.broker.channels):
        for junk in ("", "junk", "[]", "[1, 2]", "{}", "a b c\ntext", "[" * 100):
            await scene.broker.publish(channel, junk)
        stranger = encode(Part("another production", "text", 0, "not ours"))
        await scene.broker.publish(channel, stranger)
    scene.tap.give("text")
    scene.tap.end()
    assert await whole(reader) == "text"
    await scene.ended[0]
