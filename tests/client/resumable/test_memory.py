"""The memory of productions is free once they have ended, and goes back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate.resumable import memory, production
from headgate.resumable.memory import TRIM_FROM_BYTES, HeldText
from tests.client.resumable.doubles import MemoryBroker, Tap
from tests.client.resumable.stress import OURS, loaded
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.support.redis_servers import RedisServer

STREAMS, SECONDS, INTERVAL_S = 100, 1.0, 0.01  # of 1 MB each
MOST_GROWTH_MB = 10.0
CHUNK = 1_000_000
LITTLE = CHUNK // 10
MOST = TRIM_FROM_BYTES - LITTLE  # that is kept: chunks count with what they cost


class Trims:
    """Counts the calls of `malloc_trim`: in which second, and in which thread."""

    def __init__(self) -> None:
        self.at: list[float] = []
        self.threads: list[threading.Thread] = []

    def malloc_trim(self) -> Trims:
        self.at.append(round(asyncio.get_running_loop().time(), 3))
        return self

    def __call__(self, pad: int) -> None:
        assert pad == 0
        self.threads.append(threading.current_thread())


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> Trims:
    counting = Trims()
    monkeypatch.setattr(memory, "malloc_trim", counting.malloc_trim)
    monkeypatch.setattr(production, "held_text", HeldText())  # none of other tests
    return counting


class Produced(NamedTuple):
    """A stream of so many bytes, all at once, from one second to another."""

    size: int
    begins: float
    ends: float
    fails: bool = False
    most_kept: int = 64 << 20


SCENES: dict[str, tuple[list[Produced], list[float]]] = {
    "more than the bound": ([Produced(TRIM_FROM_BYTES, 0, 10)], [11]),
    "no more than the bound": ([Produced(MOST, 0, 10)], []),
    "its source fails": ([Produced(TRIM_FROM_BYTES, 0, 10, fails=True)], [11]),
    "two at once": ([Produced(MOST, 0, 10), Produced(LITTLE, 5, 20)], [21]),
    "two, one after the other": ([Produced(MOST, 0, 10), Produced(MOST, 15, 20)], []),
    "another one begins within the second": (
        [Produced(TRIM_FROM_BYTES, 0, 10), Produced(1, 10.5, 20)],
        [21],
    ),
    "another one begins and ends within it": (
        [Produced(TRIM_FROM_BYTES, 0, 10), Produced(1, 10.25, 10.5)],
        [11.5],
    ),
    "another one, long after": ([Produced(TRIM_FROM_BYTES, 0, 10), Produced(1, 20, 30)], [11]),
    "as much, long after": (
        [Produced(TRIM_FROM_BYTES, 0, 10), Produced(TRIM_FROM_BYTES, 20, 30)],
        [11, 31],
    ),
    "what was dropped": ([Produced(2 * TRIM_FROM_BYTES, 0, 10, most_kept=MOST)], []),
}


async def produce(broker: MemoryBroker, number: int, stream: Produced) -> None:
    tap = Tap()
    async with broker.streams(max_buffer_bytes=stream.most_kept) as streams:
        await asyncio.sleep(stream.begins)
        await streams.create(f"{number}", tap)
        whole_chunks, rest = divmod(stream.size, CHUNK)
        tap.give(*("x" * CHUNK,) * whole_chunks, "x" * rest)
        await asyncio.sleep(stream.ends - stream.begins)
        tap.end(ValueError() if stream.fails else None)
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("scene", SCENES)
@in_virtual_time
async def test_memory_is_trimmed_once_a_second_after_the_last_production_of_more_than_32_mb(
    scene: str, trims: Trims
) -> None:
    broker, (streams, expected) = MemoryBroker(), SCENES[scene]
    await asyncio.gather(*(produce(broker, *stream) for stream in enumerate(streams)))
    await asyncio.sleep(100)
    for thread in threading.enumerate():
        if thread.name == "headgate-trim":
            thread.join()
    assert trims.at == expected
    assert len(trims.threads) == len(expected)
    assert threading.current_thread() not in trims.threads


@in_virtual_time
async def test_memory_is_not_trimmed_while_another_event_loop_has_a_production(
    trims: Trims, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, held_text = MemoryBroker(), HeldText()
    monkeypatch.setattr(production, "held_text", held_text)
    with held_text.production("of another event loop"):
        await produce(broker, 1, Produced(TRIM_FROM_BYTES, 0, 10))
        await asyncio.sleep(100)
    assert trims.at == []
    await asyncio.sleep(1)
    assert len(trims.at) == 1


class OtherLibrary:
    """A C library without `malloc_trim`, as that of macOS or musl."""

    def __init__(self, name: None) -> None: ...


@pytest.mark.parametrize("missing", ["ctypes", "malloc_trim"])
@in_virtual_time
async def test_nothing_is_trimmed_without_glibc(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert memory.malloc_trim() is not None
    if missing == "ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    else:
        monkeypatch.setattr(ctypes, "CDLL", OtherLibrary)
    assert memory.malloc_trim() is None
    held_text, started = HeldText(), list[object]()
    monkeypatch.setattr(threading, "Thread", lambda **options: started.append(options))
    with held_text.production("a"):
        held_text.set("a", 2 * TRIM_FROM_BYTES)
    await asyncio.sleep(100)
    assert started == []


@pytest.mark.usefixtures("processes")
def test_resident_memory_returns_to_its_start_after_each_load_of_a_hundred_streams_at_once(
    redis: RedisServer,
) -> None:
    """It is what `top` shows; neither this process nor that of the load trims anything itself."""
    with loaded(OURS, redis.url, STREAMS, SECONDS, INTERVAL_S) as load:
        start_mb = load.resident_mb()
        for _ in range(2):
            counts = load.run()
            assert counts["streams"] == counts["resumed"] + counts.get("too late", 0) >= STREAMS
            assert counts["read to the end"] == counts["resumed"]
            assert load.peak_mb > start_mb + 3 * MOST_GROWTH_MB  # it can be seen at all
            wait_until(lambda: load.resident_mb() <= start_mb + MOST_GROWTH_MB)
