"""One stream as its page shows it: what it is, its producers, its readers."""

from __future__ import annotations

import pytest

from headgate_gateway.errors import StreamGone, StreamNotFound
from headgate_gateway.features.console.inspected_streams import streams_of
from headgate_gateway.features.questions.streams import MOST_PRODUCERS, ProducerRow
from headgate_gateway.protocol.appends import AppendOutcome
from headgate_gateway.protocol.requests import Append, CreateRequest, ForkRequest
from headgate_gateway.protocol.streams.state import Lifetime, Stamp
from headgate_gateway.streams.active_stream import MINUTE_S
from headgate_gateway.streams.outcomes import submitted
from tests.support.serving import PREFIX, Serving, get, post, put, request, serving, serving_with
from tests.support.waiting import until

NONE = Lifetime()


async def append(gateway: Serving, name: str, body: bytes, producer: Stamp | None = None) -> None:
    outcomes: list[object] = []
    asked = Append(body, "text/plain", None, producer, False)
    gateway.route.writes.submit(name, submitted(asked, outcomes.append))
    await until(lambda: len(outcomes) == 1)
    assert isinstance(outcomes[0], AppendOutcome)


async def test_the_description_of_a_stream_has_its_metadata() -> None:
    async with serving() as gateway:
        asked = CreateRequest(b"four", "text/plain", Lifetime(ttl_s=60), False, None)
        await gateway.route.writes.create("s", asked, None)
        fork = ForkRequest(f"{PREFIX}/s", None, 0)
        await gateway.route.writes.create("f", CreateRequest(b"", None, NONE, True, fork), "s")
        told = await streams_of(gateway.route).describe("s")
        state = (await gateway.log.load("s")).path_state.state
        assert state is not None
        assert told.row.name == "s"
        assert told.metadata == {
            "content type": "text/plain",
            "generation": "0",
            "created": told.metadata["created"],
            "lives on after its last use for": "60 s",
            "ends": told.metadata["ends"],
            "forks that need it": "1",
            "begins at": state.offset(0),
            "size": "4 bytes",
            "closed": "no",
        }
        assert told.metadata["created"] < told.metadata["ends"]
        fork_told = (await streams_of(gateway.route).describe("f")).metadata
        assert (fork_told["forked from"], fork_told["closed"]) == ("s", "yes")


async def test_an_absent_or_deleted_stream_is_not_described() -> None:
    async with serving() as gateway:
        with pytest.raises(StreamNotFound):
            await streams_of(gateway.route).describe("none")
        await gateway.ask(put("s"))
        await gateway.ask(request("PUT", "f", f"Stream-Forked-From: {PREFIX}/s"))
        await gateway.ask(request("DELETE", "s"))
        with pytest.raises(StreamGone):
            await streams_of(gateway.route).describe("s")


@pytest.mark.parametrize("producers", [MOST_PRODUCERS, MOST_PRODUCERS + 1])
async def test_the_description_lists_the_producers_used_last(producers: int) -> None:
    async with serving_with(put("s")) as gateway:
        for number in range(producers):
            gateway.clock.advance(1)
            await append(gateway, "s", b"x", Stamp(f"<p{number}>", 3, 0))
        told = await streams_of(gateway.route).describe("s")
        assert told.producers_in_all == producers
        assert len(told.producers) == MOST_PRODUCERS
        assert told.producers[0] == ProducerRow(f"<p{producers - 1}>", 3, 0)


async def test_the_description_counts_readers_by_mode_and_appends() -> None:
    async with serving_with(put("s")) as gateway:
        assert (await streams_of(gateway.route).describe("s")).readers_by_mode == {}
        for target in ("s?offset=now&live=sse", "s?offset=now&live=sse"):
            (await gateway.connect()).send(get(target))
        (await gateway.connect()).send(get("s?offset=-1&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == 3)
        told = await streams_of(gateway.route).describe("s")
        assert told.readers_by_mode == {"sse": 2, "long-poll": 1}
        assert told.row.readers == 3
        for _ in range(20):
            await gateway.ask(post("s", b"x" * 500_000))
        told = await streams_of(gateway.route).describe("s")
        assert told.row.size == 10_000_000
        assert told.row.rate == pytest.approx(20 / MINUTE_S, rel=0.5)
