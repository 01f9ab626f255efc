"""Multi-appends on every log: order and borders exact, all of a request or nothing of it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import BadRequest, HeadgateError
from headgate_gateway.protocol.appends import AppendOutcome
from headgate_gateway.protocol.streams.state import Stamp
from tests.logs.contract import kind as kind
from tests.logs.contract import opened
from tests.streams.service import Service
from tests.support.examples import IS_WHOLE
from tests.support.multi_append import framed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from headgate_gateway.logs.contract import Log
    from headgate_gateway.protocol.streams.state import StreamState

WRITERS = 50
MESSAGES = 2000 if IS_WHOLE else 400  # of a writer
MOST = 100  # messages of a request
ROOM = 64 << 20
REPEATED = 0.2  # of all requests, sent once more at the same moment


def batches(writer: int, chance: random.Random) -> Iterator[list[bytes]]:
    """What a writer sends: messages of 20 bytes that name it and count up."""
    messages = [b"%03d %015d\n" % (writer, number) for number in range(MESSAGES)]
    at = 0
    while at < MESSAGES:
        count = chance.randint(1, MOST)
        yield messages[at : at + count]
        at += count


async def write(service: Service, writer: int) -> list[list[bytes]]:
    """One request after the other, some twice; all that was sent."""
    chance = random.Random(writer)
    sent = list(batches(writer, chance))
    for seq, batch in enumerate(sent):
        stamp = Stamp(f"p{writer}", 0, seq)
        times = 2 if chance.random() < REPEATED else 1
        outcomes = await asyncio.gather(
            *[
                service.submit("s", framed(batch), producer=stamp, is_multi=True)
                for _ in range(times)
            ]
        )
        assert [told(one).stored for one in outcomes] == [len(batch), 0][:times]
    return sent


def told(outcome: AppendOutcome | HeadgateError) -> AppendOutcome:
    assert isinstance(outcome, AppendOutcome), outcome
    return outcome


async def records(log: Log, state: StreamState) -> Sequence[bytes]:
    """All that a stream has, chunk by chunk as readers are given it."""
    found: list[bytes] = []
    at = 0
    while at < state.tail:
        chunk = await log.read(state, at, at + (1 << 18))
        assert chunk.start == at
        found += chunk.records
        at = chunk.end
    return found


async def test_multi_appends_of_many_writers_stay_whole_and_in_order(
    kind: str, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as log:
        service = Service(log, max_pending_bytes=ROOM)
        await service.create("s")
        sent = await asyncio.gather(*(write(service, writer) for writer in range(WRITERS)))
        found = await records(log, await service.present("s"))
        assert len(found) == WRITERS * MESSAGES
        # Whoever's message comes next, all of its request follow it.
        waiting = [iter(of_one) for of_one in sent]
        at = 0
        while at < len(found):
            batch = next(waiting[int(found[at][:3])])
            assert found[at : at + len(batch)] == batch
            at += len(batch)
        assert [next(rest, None) for rest in waiting] == [None] * WRITERS
        figures, requests = service.writes.figures, sum(map(len, sent))
        assert (figures.stored, figures.messages) == (requests, WRITERS * MESSAGES)
        assert log.histograms()["appends"].sum == requests


async def test_each_message_of_a_multi_append_has_its_end_offset(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as log:
        service = Service(log)
        await service.create("s", b"0")
        messages = [b"a", b"bcd", b"ef"]
        await service.submit("s", framed(messages), is_multi=True)
        state = await service.present("s")
        at = 1
        for number, message in enumerate(messages):
            read = await log.read(state, at, state.tail)
            assert (read.start, list(read.records)) == (at, messages[number:])
            at += len(message)
        await service.fork("f", "s", position=5)
        assert await service.data("f") == b"0abcd"
        with pytest.raises(BadRequest, match="lies inside an append"):
            await service.fork("g", "s", position=4)


async def test_a_refused_multi_append_changes_nothing_and_uses_no_sequence(
    kind: str, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as log:
        service = Service(log)
        await service.create("s")
        body = framed([b"a", b"b"])
        first, second = Stamp("p", 0, 0), Stamp("p", 0, 1)
        outcomes = await asyncio.gather(
            service.submit("s", body[:-1], producer=first, is_multi=True),
            service.submit("s", body, producer=first, stream_seq="1", is_multi=True),
            service.submit("s", body, producer=second, stream_seq="1", is_multi=True),
            service.submit("s", body, producer=second, close=True, is_multi=True),
        )
        assert [getattr(one, "code", "stored") for one in outcomes] == [
            "bad_request",
            "stored",
            "sequence_regression",
            "stored",
        ]
        last = told(outcomes[3])
        assert (last.closed, last.stored) == (True, 2)
        state = await service.present("s")
        assert (state.tail, state.closed) == (4, True)
        assert await records(log, state) == [b"a", b"b"] * 2
