"""Readers elsewhere that are slow, silent or gone, and messages that are lost on the way.

Time is virtual here: half a minute of patience costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from headgate import SourceFailed
from headgate.resumable.listener import WINDOW
from headgate.resumable.messages import LOST_S, Part, decode_part, encode, requests
from tests.client.resumable.doubles import MemoryBroker, Tap, resumed, whole
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate.resumable.messages import Text

CHUNK = "x" * (WINDOW // 16)

Times = Callable[[str, int], int]


class FaultyBroker(MemoryBroker):
    """A broker that delivers each message as often as `times` says of its channel and number.

    A delivery takes `delay_s`; a message whose sender is cancelled meanwhile is lost.
    """

    def __init__(self, times: Times, delay_s: float) -> None:
        super().__init__()
        self.times = times
        self.delay_s = delay_s
        self.published: dict[str, list[str]] = {}

    async def publish(self, channel: str, message: str) -> None:
        await asyncio.sleep(self.delay_s)
        sent = self.published.setdefault(channel, [])
        sent.append(message)
        for _ in range(self.times(channel, len(sent) - 1)):
            await super().publish(channel, message)

    def sent_text(self) -> str:
        """What went to readers."""
        texts = [sent for channel, sent in self.published.items() if ":text:" in channel]
        return "".join(decode_part(message).text for sent in texts for message in sent)


class Scene:
    """A producer, and a reader at the other side of a broker."""

    def __init__(
        self, times: Times = lambda channel, at: 1, delay_s: float = 0.0, unit: str = "characters"
    ) -> None:
        self.broker = FaultyBroker(times, delay_s)
        self.tap = Tap()
        self.streams = self.broker.streams(unit=unit)

    async def open(self, resume_at: int = 0) -> Text:
        self.creator = await self.streams.create("a", self.tap)
        return await resumed(self.streams, resume_at)

    async def ended(self) -> None:
        """Wait until no channel is subscribed to any more."""
        await until(lambda: not self.broker.channels, within_s=2 * LOST_S)


@pytest.mark.parametrize(("unit", "resume_at"), [("characters", WINDOW), ("utf-16", 2 * WINDOW)])
@in_virtual_time
async def test_a_producer_sends_a_slow_reader_no_more_than_its_window(
    unit: str, resume_at: int
) -> None:
    """Although its first request is not answered, and each one comes twice."""
    scene = Scene(lambda channel, at: 2 if ":request:" in channel else int(at > 0), 0.01, unit)
    scene.tap.give("🙂" * WINDOW)
    reader = await scene.open(resume_at)
    scene.tap.give(*(CHUNK,) * 100)
    await asyncio.sleep(20)
    assert len(scene.broker.sent_text()) == WINDOW
    for _ in range(8):  # half of it is taken, and so much more is asked for
        assert await anext(reader) == CHUNK
    await asyncio.sleep(1)
    assert len(scene.broker.sent_text()) == WINDOW * 1.5
    scene.tap.end()
    assert await whole(reader) == CHUNK * 92
    await scene.streams.aclose(wait=0)


def losing(part: int) -> Times:
    return lambda channel, at: int(":text:" not in channel or at != part)


LOSSES: dict[str, Times] = {
    # All but the first request, which resume waits for.
    "every second request": lambda channel, at: 0 if ":request:" in channel and at % 2 else 1,
    "nothing, and all comes twice": lambda channel, at: 2,
    **{f"part {number}": losing(number) for number in range(1, 7)},
}


@pytest.mark.parametrize("error", [None, pytest.param(ValueError("broken"), id="error")])
@pytest.mark.parametrize("lost", LOSSES)
@pytest.mark.parametrize(("unit", "resume_at"), [("characters", 3), ("utf-16", 5)])
@in_virtual_time
async def test_what_is_lost_is_sent_again_and_read_once(
    lost: str, error: ValueError | None, unit: str, resume_at: int
) -> None:
    scene = Scene(LOSSES[lost], unit=unit)
    reader = await scene.open(resume_at)
    chunks = [f"🙂🚀{at} " for at in range(5)]
    for chunk in chunks:
        scene.tap.give(chunk)
        await asyncio.sleep(0.01)  # so that each is a part of its own
    scene.tap.end(error)
    text = ""
    with contextlib.nullcontext() if error is None else pytest.raises(SourceFailed):
        async for chunk in reader:
            text += chunk
    assert text == "".join(chunks)[3:]
    await scene.ended()


@in_virtual_time
async def test_a_stopped_producer_ends_its_reader_at_once_although_a_part_was_lost() -> None:
    scene = Scene(LOSSES["part 2"])
    reader = await scene.open()
    for chunk in ("one ", "two "):
        scene.tap.give(chunk)
        await asyncio.sleep(0.01)
    began = asyncio.get_running_loop().time()
    await scene.streams.aclose(wait=0)
    assert await anext(reader) == "one "
    with pytest.raises(SourceFailed, match="the producer of stream 'a' was stopped"):
        await anext(reader)
    assert asyncio.get_running_loop().time() - began < 1.0


@pytest.mark.parametrize("error", [None, pytest.param(ValueError("broken"), id="error")])
@in_virtual_time
async def test_a_producer_stopped_after_its_source_ended_sends_readers_that_end(
    error: ValueError | None,
) -> None:
    scene = Scene(delay_s=0.01)
    reader = await scene.open()
    scene.tap.give("text")
    scene.tap.end(error)
    with contextlib.suppress(SourceFailed):
        assert await whole(scene.creator) == "text"
    await scene.streams.aclose(wait=0)
    assert await anext(reader) == "text"
    end = StopAsyncIteration if error is None else SourceFailed
    with pytest.raises(end, match=None if error is None else "failed: ValueError"):
        await anext(reader)


@in_virtual_time
async def test_a_reader_of_a_dead_producer_gets_an_error_after_30_s() -> None:
    scene = Scene()
    reader = await scene.open()
    scene.tap.give("text")
    assert await anext(reader) == "text"
    scene.broker.channels.pop(requests("a"))  # as when its process dies
    began = asyncio.get_running_loop().time()
    with pytest.raises(
        SourceFailed, match="stream 'a' has not been heard of for 30 s, at character 4"
    ):
        await anext(reader)
    assert LOST_S <= asyncio.get_running_loop().time() - began < LOST_S + 1
    assert await scene.streams.state("a") == "active"
    patient = scene.broker.streams(resume_timeout=3)
    for streams, timeout_s in ((scene.streams, 1), (patient, 3)):
        began = asyncio.get_running_loop().time()
        assert await streams.resume("a") is None
        assert timeout_s <= asyncio.get_running_loop().time() - began < timeout_s + 0.1
    await patient.aclose()
    assert scene.broker.channels == {}
    await scene.streams.aclose(wait=0)


@pytest.mark.parametrize(
    ("pause_s", "silent_s"),
    [(0, LOST_S - 3), (10 * LOST_S, LOST_S / 2)],
    ids=["it reads", "it pauses before"],
)
@in_virtual_time
async def test_a_reader_waits_for_a_producer_that_is_held_up(
    pause_s: float, silent_s: float
) -> None:
    scene = Scene()
    reader = await scene.open()
    scene.tap.give("before ")
    assert await anext(reader) == "before "
    answering = scene.broker.channels.pop(requests("a"))
    await asyncio.sleep(pause_s)
    reading = asyncio.create_task(whole(reader))
    await asyncio.sleep(silent_s)
    scene.broker.channels[requests("a")] = answering
    scene.tap.give("after")
    scene.tap.end()
    assert await reading == "after"
    await scene.ended()


@in_virtual_time
async def test_a_producer_drops_a_reader_that_died_silently_within_30_s() -> None:
    scene = Scene()
    reader = await scene.open()
    scene.tap.give("text")
    assert await anext(reader) == "text"
    scene.broker.channels = {requests("a"): scene.broker.channels[requests("a")]}
    scene.tap.end()
    began = asyncio.get_running_loop().time()
    await scene.ended()
    assert asyncio.get_running_loop().time() - began <= LOST_S + 1
    assert await scene.streams.state("a") == "done"
    await reader.aclose()


@in_virtual_time
async def test_readers_and_producers_ignore_foreign_messages_on_their_channels() -> None:
    scene = Scene()
    reader = await scene.open()
    for channel in list(scene.broker.channels):
        for junk in ("", "junk", "[]", "[1, 2]", "{}", "a b c\ntext", "[" * 100):
            await scene.broker.publish(channel, junk)
        stranger = encode(Part("another production", "text", 0, "not ours"))
        await scene.broker.publish(channel, stranger)
    scene.tap.give("text")
    scene.tap.end()
    assert await whole(reader) == "text"
    await scene.ended()
