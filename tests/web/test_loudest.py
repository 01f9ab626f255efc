"""Which clients and streams cause the largest load, as a gateway lists them for its console."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.access.principal import CredentialUse, TokenHolder
from headgate_gateway.features.questions.loudest import (
    ClientLoad,
    ListLoudest,
    LoudestList,
    StreamLoad,
)
from headgate_gateway.features.questions.tokens import ListTokens, TokenPage
from headgate_gateway.runtime.loudest import (
    APPENDS,
    FADES_S,
    MOST,
    MOST_ADDED,
    MOST_PENDING,
    NO_SENDER,
    NO_STREAM,
    NONE,
    OTHERS,
    RECEIVED,
    Counts,
    TopList,
)
from tests.support.guarded_gateway import bearer, guarded
from tests.support.raw_origin import RawOrigin
from tests.support.raw_origin import answer as said
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import Serving

AGENT = "User-Agent: curl/8.5"


async def loudest(gateway: Serving) -> LoudestList:
    answer = await gateway.inspector.answer(ListLoudest())
    assert isinstance(answer, LoudestList), answer
    return answer


def of(row: ClientLoad | StreamLoad) -> tuple[int, int, int, int, int]:
    """Return requests, appends, refusals and bytes: the rates of the first second."""
    numbers = row.requests, row.appends, row.refused, row.sent_bytes, row.received_bytes
    requests, appends, refused, sent, received = (round(it / 1.0016) for it in numbers)
    return requests, appends, refused, sent, received


async def clients(gateway: Serving) -> dict[tuple[str | None, str | None], tuple[int, ...]]:
    found = (await loudest(gateway)).clients
    return {(it.account or it.address, it.user_agent): of(it) for it in found}


async def streams(gateway: Serving) -> dict[str, tuple[int, ...]]:
    return {f"{it.route}/{it.name}": of(it) for it in (await loudest(gateway)).streams}


async def test_each_way_to_read_and_to_append_counts_for_its_client_and_its_stream() -> None:
    async with serving() as gateway:
        client = await gateway.connect()
        await client.ask(put("s", AGENT))
        for _ in range(6):  # by a handler, then by its plan
            assert (await client.ask(post("s", b"12345", AGENT))).status == 204
        for _ in range(6):  # from the log, then from memory
            assert len((await client.ask(get("s?offset=-1", AGENT))).body) == 30
        own = ("127.0.0.1", "curl/8.5")
        assert await clients(gateway) == {own: (13, 6, 0, 180, 30)}
        assert await streams(gateway) == {f"{PREFIX}/s": (13, 6, 0, 180, 30)}
        assert (await client.ask(get("absent?offset=-1", AGENT))).status == 404
        assert (await client.ask(post("absent", b"x", AGENT))).status == 404
        assert (await clients(gateway))[own][:3] == (15, 7, 2)
        assert [*await streams(gateway)] == [f"{PREFIX}/s"], "no absent stream is listed"


@pytest.mark.parametrize("mode", ["sse", "long-poll"])
async def test_live_readers_count_what_they_are_sent(mode: str) -> None:
    async with serving() as gateway:
        tail = (await gateway.ask(put("s"))).get("Stream-Next-Offset")
        readers = [await gateway.connect() for _ in range(3)]
        for at, reader in enumerate(readers):
            reader.send(get(f"s?offset={tail}&live={mode}", f"User-Agent: reader/{at}"))
        await until(lambda: gateway.limits.live_readers == 3)
        await gateway.ask(post("s", b"x" * 1000, AGENT))
        for _ in range(2):  # readers that stay are counted once, and as they leave not again
            await asyncio.sleep(0.05)
            found = await clients(gateway)
            for at in range(3):
                requests, _, _, sent, _ = found["127.0.0.1", f"reader/{at}"]
                assert requests == 1
                assert 1000 <= sent < 1400
            requests, appends, _, sent, received = (await streams(gateway))[f"{PREFIX}/s"]
            assert (requests, appends, received) == (5, 1, 1000)
            assert 3000 <= sent < 4200
            for reader in readers:
                reader.abort()
            await until(lambda: gateway.limits.live_readers == 0)


async def test_each_client_behind_a_trusted_proxy_counts_by_its_address() -> None:
    async with serving(trusted_proxies=("127.0.0.1",)) as gateway:
        proxy = await gateway.connect()
        await proxy.ask(put("s", body=b"one"))
        for client, count in (("192.0.2.1", 5), ("192.0.2.2", 3), ("2001:db8:0:1::5", 1)):
            for _ in range(count):
                await proxy.ask(get("s?offset=-1", f"X-Forwarded-For: {client}"))
                await proxy.ask(post("s", b"x", f"X-Forwarded-For: {client}"))
        found = await clients(gateway)
        assert found["192.0.2.1", None][:2] == (10, 5)
        assert found["192.0.2.2", None][:2] == (6, 3)
        assert found["2001:db8:0:1::/64", None][:2] == (2, 1), "as limits count it"
        assert found["127.0.0.1", None][0] == 1, "the proxy itself"


async def test_requests_for_an_origin_count_as_those_for_a_log() -> None:
    async with RawOrigin(said(b"one")) as origin, edge_serving(origin) as gateway:
        client = await gateway.connect()
        for _ in range(3):
            await client.ask(get(f"{EDGE}/s?offset=-1", AGENT))
            await client.ask(post(f"{EDGE}/s", b"12", AGENT))
        requests, appends, _, _, received = (await streams(gateway))[f"{EDGE}/s"]
        assert (requests, appends, received) == (6, 3, 6)


async def test_a_principal_is_one_client_and_its_token_shows_where_it_was_used(
    tmp_path: Path,
) -> None:
    async with guarded(tmp_path) as gateway:
        for agent in ("one/1", "two/2"):
            lines = bearer("ann"), f"User-Agent: {agent}"
            client = await gateway.connect()
            for _ in range(3):
                await client.ask(get(f"{PREFIX}/a/s?offset=-1", *lines))
            refused = await client.ask(post(f"{PREFIX}/a/s", b"no", *lines))
            assert refused.status == 403
        assert (await clients(gateway))["token ann", None][:3] == (8, 2, 2)
        answer = await gateway.inspector.answer(ListTokens("ann"))
        assert isinstance(answer, TokenPage)
        (use,) = (it.use for it in answer.tokens)
        found = [(it.address, it.user_agent) for it in use.places]
        assert found == [("127.0.0.1", "two/2"), ("127.0.0.1", "one/1")]


def test_of_the_places_where_a_token_was_used_the_newest_four_stay() -> None:
    use = CredentialUse(TokenHolder("token ann", "ann"))
    for use.at, number in enumerate((1, 2, 3, 4, 5, 3)):
        use.note_place("127.0.0.1", f"app/{number}")
    assert [(it.agent[-1], it.at) for it in use.places] == [("3", 5), ("5", 4), ("4", 3), ("2", 1)]


# The list itself


def counts(requests: float) -> Counts:
    return [requests, *NONE[1:]]


def test_a_full_list_keeps_the_heaviest_and_states_what_may_be_missing() -> None:
    top: TopList[int] = TopList()
    top.look({number: counts(10) for number in range(MOST)}, 1.0)
    assert top.missed == 0
    top.look({MOST: counts(12)}, 1.0)
    assert len(top.rows) == MOST
    assert top.rows[MOST][OTHERS] == 12, "the 257th is heavier than some"
    assert top.missed == 10, "what one that has left may lack"
    top.look({MOST + 1: counts(1)}, 0.5)
    assert top.rows[MOST + 1][OTHERS] == 1, "perhaps it was there before: it counts as 6"
    assert len(top.rows) == MOST


def test_a_loud_client_stands_out_from_many_that_come_once() -> None:
    top: TopList[int] = TopList()
    for look in range(50):
        once = {1 + look * 1000 + number: counts(1) for number in range(1000)}
        top.look({0: counts(10)} | once, 1.0)
    assert len(top.rows) == MOST
    assert max(top.rows, key=lambda it: top.rows[it][OTHERS]) == 0
    assert top.rows[0][OTHERS] == 500
    assert top.missed <= 51_000 / MOST


def test_counts_fade_until_they_are_dropped() -> None:
    top: TopList[int] = TopList()
    top.look({0: counts(100)}, 1.0)
    top.look({}, 0.05)
    assert top.rows[0][OTHERS] == 5
    top.look({}, 1e-5)
    assert not top.rows


async def test_a_rate_is_the_average_of_the_last_minutes() -> None:
    async with serving() as gateway:
        top = gateway.services.loudest
        for _ in range(900):
            top.counted["192.0.2.1", NO_SENDER, NO_STREAM][OTHERS] += 7
            gateway.elapsed.advance(1)
            top.look_if_due()
        (row,) = (await loudest(gateway)).clients
        assert row.requests == pytest.approx(7, rel=0.02)
        gateway.elapsed.advance(3 * FADES_S)
        (row,) = (await loudest(gateway)).clients
        assert row.requests == pytest.approx(0.35, rel=0.1)


async def test_the_fastest_growth_is_that_of_one_stream_and_ends_with_its_writer() -> None:
    async with serving() as gateway:
        top = gateway.services.loudest

        def grow(received: dict[str, int]) -> int:
            for _ in range(20):
                for name, size in received.items():
                    counts = top.counted["192.0.2.1", NO_SENDER, f"{PREFIX}/{name}"]
                    counts[APPENDS] += 1
                    counts[RECEIVED] += size
                gateway.elapsed.advance(1)
                top.look_if_due()
            return round(top.fastest_growth())

        assert (
            grow({"hot": 300_000, "warm": 200_000, **{f"s{it}": 9 for it in range(9)}}) == 300_000
        )
        assert grow({"warm": 200_000}) == 200_000
        assert grow({}) == 0


async def test_of_many_clients_at_once_a_sample_of_the_lighter_ones_is_added_up() -> None:
    async with serving() as gateway:
        top = gateway.services.loudest
        for number in range(MOST_PENDING):  # each of two networks has half of them
            address = f"2001:db8:0:{number % 2}::{number:x}"
            top.counted[address, NO_SENDER, NO_STREAM][OTHERS] += 1
        top.counted["192.0.2.1", NO_SENDER, NO_STREAM][OTHERS] += 900
        top.look_if_due()
        assert not top.counted, "before they take much memory"
        found = {client.address: row[OTHERS] for client, row in top.clients.rows.items()}
        assert found.pop("192.0.2.1") == 900
        assert sum(found.values()) == pytest.approx(MOST_PENDING)
        for requests in found.values():
            assert requests == pytest.approx(MOST_PENDING / 2, rel=8 / MOST_ADDED**0.5)
