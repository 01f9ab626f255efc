"""The live readers of a process: who they are, how far they are, and how an operator ends them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from headgate_gateway.access.bans import Ban
from headgate_gateway.features.console import cached_answers, reader_lists
from headgate_gateway.features.console.inspected_streams import streams_of
from headgate_gateway.features.console.reader_states import reader_states
from headgate_gateway.features.questions.contract import AnswerFailure
from headgate_gateway.features.questions.readers import (
    ApplyBans,
    EndedReaderCount,
    EndReaders,
    GroupReaders,
    ListReaders,
    ReaderGroups,
    ReaderOrder,
    ReaderPage,
    ReaderQuery,
    ReaderRow,
    rank,
)
from headgate_gateway.protocol.http1 import LAST_CHUNK
from tests.support.guarded_gateway import ROUTES, bearer, guarded, reach_tail
from tests.support.serving import EDGE, PREFIX, get, post, put, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.features.console.reader_states import ReaderState
    from tests.support.http1 import Client
    from tests.support.serving import Serving

AGENT = "User-Agent: curl/8.5"
HOUR_S = 3600.0
MOST = 20  # readers of a page


def chosen(**conditions: Any) -> ReaderQuery:
    """A choice of readers by somebody who may see addresses and user agents."""
    return ReaderQuery(with_clients=True, **conditions)


ALL = chosen()


async def readers(
    gateway: Serving, where: ReaderQuery = ALL, order: ReaderOrder = "behind", **more: Any
) -> ReaderPage:
    answer = await gateway.inspector.answer(ListReaders(where, order, **more))
    assert isinstance(answer, ReaderPage), answer
    return answer


async def waiting(gateway: Serving, count: int) -> None:
    await until(lambda: gateway.limits.live_readers == count)


async def follow(gateway: Serving, target: str, *lines: str) -> Client:
    """Return the client of one more live reader, which waits."""
    count = gateway.limits.live_readers + 1
    client = await gateway.connect()
    client.send(get(target, *lines))
    await waiting(gateway, count)
    return client


def ban(gateway: Serving, kind: str, value: str, **more: Any) -> ApplyBans:
    now = gateway.clock()
    fields = {"until": now + HOUR_S, "at": now, **more}
    return ApplyBans((Ban(kind=kind, value=value, **fields),))  # type: ignore[arg-type] # of rows


async def test_a_reader_is_listed_with_its_client_stream_offset_and_bytes() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await follow(gateway, "s?offset=now&live=sse", AGENT)
        await follow(gateway, "s?offset=now&live=long-poll", f"{AGENT} poll")
        await gateway.ask(put("other"))
        page = await readers(gateway, order="bytes")
        assert page.total == 2
        events, poll = page.rows
        facts = (events.mode, events.status, events.route, events.stream)
        assert facts == ("sse", "live", PREFIX, "s")
        assert (events.address, events.user_agent) == ("127.0.0.1", "curl/8.5")
        assert (events.principal, events.account, events.behind) == ("", "", 0)
        assert events.sent_bytes is not None
        assert events.sent_bytes > 0, "its first control event"
        assert (poll.mode, poll.user_agent, poll.sent_bytes) == ("long-poll", "curl/8.5 poll", None)
        assert events.id != poll.id
        assert events.offset == poll.offset


async def test_sent_bytes_are_those_of_the_body_without_its_framing() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        client = await follow(gateway, "s?offset=now&live=sse")
        await client.head()
        await gateway.ask(post("s", b"news"))
        received = b""
        while b"news" not in received or received.count(b"event: control") < 2:
            received += await client.chunk()
        (row,) = (await readers(gateway)).rows
        assert row.sent_bytes == len(received)


async def test_a_reader_that_does_not_read_is_slow_and_its_lag_is_listed() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        slow = await gateway.connect(receive_buffer=4096)
        slow.send(get("s?offset=now&live=sse"))
        await waiting(gateway, 1)
        slow.pause()
        for _ in range(20):
            await gateway.ask(post("s", b"x" * 500_000))
        (row,) = (await readers(gateway)).rows
        assert row.status == "slow"
        assert row.behind is not None
        assert 0 < row.behind <= 10_000_000


async def test_readers_of_an_origin_are_listed_without_a_distance(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        tail = await reach_tail(gateway, f"{EDGE}/a/s", "ann")
        await follow(gateway, f"{EDGE}/a/s?offset={tail}&live=sse", bearer("ann"))
        (row,) = (await readers(gateway, chosen(route=EDGE, stream="a/s"))).rows
        assert (row.principal, row.account, row.behind) == ("ann", "token ann", None)


ORDERS: tuple[ReaderOrder, ...] = ("behind", "since", "bytes", "stream", "principal", "address")


@pytest.mark.parametrize("order", ORDERS)
async def test_pages_of_every_order_together_list_each_reader_once(order: ReaderOrder) -> None:
    async with serving() as gateway:
        for name in "abc":
            await gateway.ask(put(name))
        for number in range(11):
            kind = "sse" if number % 2 else "long-poll"
            await follow(gateway, f"{'abc'[number % 3]}?offset=now&live={kind}")
        seen: list[ReaderRow] = []
        after = ""
        while True:
            page = await readers(gateway, order=order, after=after, limit=4)
            assert page.total == 11
            seen += page.rows
            if page.after is None:
                break
            after = page.after
        assert len({row.id for row in seen}) == len(seen) == 11
        assert [rank(order, row) for row in seen] == sorted(rank(order, row) for row in seen)


@pytest.mark.parametrize(
    "after",
    ["x", "[1]", '["a", "b", "c"]', '{"a": 1}', '["a", "b"]', "9" * 5000],
    ids=["text", "short", "long", "object", "of-another-order", "number"],
)
async def test_an_after_that_no_page_had_is_refused(after: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await follow(gateway, "s?offset=now&live=sse")
        answer = await gateway.inspector.answer(ListReaders(ALL, "behind", after))
        assert answer == AnswerFailure(400, "after is not where a page of this order ended")


@pytest.mark.parametrize(
    ("limit", "rows"),
    [(0, 1), (-3, 1), (10**9, MOST)],
    ids=["none", "negative", "beyond the bound"],
)
async def test_a_page_has_at_least_one_reader_and_at_most_the_bound(
    limit: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_lists, "MOST_READERS", MOST)
    most = MOST + 1
    async with serving(max_live_readers=most, max_connections=most + 9) as gateway:
        await gateway.ask(put("s"))
        for _ in range(most):
            await follow(gateway, "s?offset=now&live=long-poll")
        page = await readers(gateway, limit=limit)
        assert (len(page.rows), page.total) == (rows, most)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (chosen(stream="a"), 2),
        (chosen(stream="nowhere"), 0),
        (chosen(route="/elsewhere"), 0),
        (chosen(mode="sse"), 1),
        (chosen(account=""), 3),
        (chosen(account="token ann"), 0),
        (chosen(address="127.0.0.1"), 3),
        (chosen(address="10.0.0.1"), 0),
        (chosen(text="CURL"), 1),
        (chosen(text="127.0"), 3),
    ],
    ids=[
        *("stream", "another stream", "another route", "mode", "anonymous", "principal"),
        *("address", "another address", "user agent", "part of the address"),
    ],
)
async def test_a_filter_chooses_readers(where: ReaderQuery, found: int) -> None:
    async with serving() as gateway:
        for name in "ab":
            await gateway.ask(put(name))
        await follow(gateway, "a?offset=now&live=sse", AGENT)
        await follow(gateway, "a?offset=now&live=long-poll")
        await follow(gateway, "b?offset=now&live=long-poll")
        assert (await readers(gateway, where)).total == found


@pytest.mark.parametrize(
    ("conditions", "found"),
    [({}, 1), ({"address": "127.0.0.1"}, 0), ({"text": "curl"}, 0), ({"text": "a"}, 1)],
    ids=["all", "address", "user agent", "stream"],
)
async def test_addresses_and_agents_are_neither_listed_nor_compared_unless_that_is_asked_for(
    conditions: dict[str, str], found: int
) -> None:
    async with serving() as gateway:
        await gateway.ask(put("a"))
        await follow(gateway, "a?offset=now&live=sse", AGENT)
        page = await readers(gateway, ReaderQuery(**conditions))  # type: ignore[arg-type] # texts
        assert page.total == found
        assert [(it.address, it.user_agent) for it in page.rows] == [(None, None)] * found


async def test_groups_sum_the_readers_of_an_address_principal_or_stream(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        for who in ("ann", "ann", "late"):
            tail = await reach_tail(gateway, f"{PREFIX}/a/s", who)
            await follow(gateway, f"{PREFIX}/a/s?offset={tail}&live=sse", bearer(who))
        found = {}
        for by in ("principal", "address", "stream"):
            answer = await gateway.inspector.answer(GroupReaders(ALL, by))
            assert isinstance(answer, ReaderGroups)
            assert answer.total == len(answer.rows)
            found[by] = {row.key: row.readers for row in answer.rows}
        assert found == {
            "principal": {"token ann": 2, "token late": 1},
            "address": {"127.0.0.1": 3},
            "stream": {f"{PREFIX}/a/s": 3},
        }


@pytest.mark.parametrize(("counts", "found"), [(0, [1, 2, 2]), (1e9, [1, 1, 2])])
async def test_an_answer_about_groups_counts_for_as_many_times_as_long_as_it_took(
    counts: float, found: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_answers, "REST", counts)
    async with serving() as gateway:
        await gateway.ask(put("a"))
        counted: list[int] = []
        for question in (GroupReaders(ALL, "stream"),) * 2 + (GroupReaders(ALL, "address"),):
            if len(counted) < 2:
                await follow(gateway, "a?offset=now&live=sse", AGENT)
            answer = await gateway.inspector.answer(question)
            assert isinstance(answer, ReaderGroups)
            assert sum(row.readers for row in answer.rows) == answer.sums.readers
            counted.append(answer.sums.readers)
        assert counted == found


@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_disconnected_reader_ends_and_may_come_back(prefix: str, tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        tail = await reach_tail(gateway, f"{prefix}/a/s", "ann")
        target = f"{prefix}/a/s?offset={tail}&live="
        poll = await follow(gateway, f"{target}long-poll", bearer("ann"))
        events = await follow(gateway, f"{target}sse", bearer("ann"))
        other = await follow(gateway, f"{target}long-poll", bearer("late"))
        rows = (await readers(gateway, chosen(account="token ann"))).rows
        ended = await gateway.inspector.answer(EndReaders(tuple(row.id for row in rows)))
        assert ended == EndedReaderCount(2)
        answer = await poll.answer()
        assert (answer.status, answer.body) == (204, b"")
        await events.head()
        assert await events.read_until(LAST_CHUNK)
        await waiting(gateway, 1)
        live = (gateway.edge if prefix == EDGE else gateway.route).traffic.live
        assert live.sse.departures["disconnected"] == 1
        assert live.long_poll.departures["disconnected"] == 1
        assert await gateway.inspector.answer(EndReaders((rows[0].id,))) == EndedReaderCount(0)
        poll.send(get(f"{target}long-poll", bearer("ann")))
        await waiting(gateway, 2)
        other.abort()


async def test_the_end_of_a_poll_spares_the_next_one_of_its_connection() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await follow(gateway, "s?offset=now&live=sse")  # for whom the feed stays the same
        client = await follow(gateway, "s?offset=now&live=long-poll")
        (place,) = streams_of(gateway.route).live_feeds()

        def polls() -> list[ReaderState]:
            return [it for it in reader_states(place.feed) if it.mode == "long-poll"]

        (first,) = polls()
        await gateway.ask(post("s", b"news"))
        tail = (await client.answer()).headers["stream-next-offset"]
        client.send(get(f"s?offset={tail}&live=long-poll"))
        await until(lambda: bool(polls()))
        first.end("disconnected")
        (second,) = polls()
        second.end("disconnected")
        assert (await client.answer()).status == 204


@pytest.mark.parametrize(
    "identity", ["", "1", "x-1", "-", "'"], ids=["empty", "number", "process", "dash", "quote"]
)
async def test_the_id_of_no_reader_ends_nobody(identity: str) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await follow(gateway, "s?offset=now&live=sse")
        assert await gateway.inspector.answer(EndReaders((identity,))) == EndedReaderCount(0)
        assert gateway.limits.live_readers == 1


@pytest.mark.parametrize(
    ("status", "code"), [(403, "forbidden"), (429, "client_limit_reached")], ids=["403", "429"]
)
@pytest.mark.parametrize("prefix", ROUTES)
async def test_a_banned_principal_is_disconnected_and_refused_until_the_ban_ends(
    prefix: str, status: int, code: str, tmp_path: Path
) -> None:
    """Whether its requests were remembered or not, and whatever they are."""
    async with guarded(tmp_path) as gateway:
        tail = await reach_tail(gateway, f"{prefix}/a/s", "ann")
        poll_target = f"{prefix}/a/s?offset={tail}&live=long-poll"
        reading = get(f"{prefix}/a/s?offset=-1", bearer("ann"))
        again = await gateway.connect()
        poll = await follow(gateway, poll_target, bearer("ann"))
        other = await follow(gateway, f"{prefix}/a/s?offset={tail}&live=sse", bearer("late"))
        assert [(await again.ask(reading)).status for _ in range(2)] == [200, 200]
        question = ban(gateway, "principal", "token ann", status=status)
        assert await gateway.inspector.answer(question) == EndedReaderCount(1)
        assert (await poll.answer()).status == 204
        polling = get(poll_target, bearer("ann"))
        for client, wire in ((poll, polling), (again, reading), (again, reading)):
            refused = await client.ask(wire)
            assert refused.status == status
            assert msgspec.json.decode(refused.body)["code"] == code
            assert ("retry-after" in refused.headers) == (status == 429)
        assert (await again.ask(get(f"{prefix}/a/s?offset=-1", bearer("late")))).status == 200
        gateway.clock.advance(HOUR_S)
        assert (await again.ask(get(f"{prefix}/a/s?offset=-1", bearer("all")))).status == 200
        assert (await again.ask(reading)).status == 200
        other.abort()


async def test_a_banned_address_is_refused_as_trusted_proxies_report_it() -> None:
    async with serving(trusted_proxies=["127.0.0.0/8"]) as gateway:
        await gateway.ask(put("s"))
        near, far = "X-Forwarded-For: 10.1.1.1", "X-Forwarded-For: 10.1.1.2"
        first = await follow(gateway, "s?offset=now&live=sse", near)
        await follow(gateway, "s?offset=now&live=sse", far)
        await gateway.inspector.answer(ban(gateway, "address", "10.1.1.1"))
        await first.head()
        await first.read_until(LAST_CHUNK)
        await waiting(gateway, 1)
        for _ in range(2):
            assert (await gateway.ask(get("s?offset=-1", near))).status == 403
            assert (await gateway.ask(get("s?offset=-1", far))).status == 200
        assert (await gateway.ask(post("s", b"x", near))).status == 403
        assert (await gateway.ask(post("s", b"x", far))).status == 204
        await gateway.inspector.answer(ApplyBans(()))  # others than the newest bans are over
        assert (await gateway.ask(get("s?offset=-1", near))).status == 200


async def test_the_ban_of_an_address_outlasts_one_of_a_principal(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        (of_principal,) = ban(gateway, "principal", "token all").bans
        until_s = gateway.clock() + 9 * HOUR_S
        (of_address,) = ban(gateway, "address", "127.0.0.1", until=until_s).bans
        await gateway.inspector.answer(ApplyBans((of_principal, of_address)))
        gateway.clock.advance(2 * HOUR_S)
        assert (await gateway.ask(get(f"{PREFIX}/a/s?offset=-1", bearer("all")))).status == 403


async def test_long_polls_of_others_wait_without_a_task_while_a_ban_is_in_force() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await gateway.inspector.answer(ban(gateway, "address", "192.0.2.1"))
        tasks = len(asyncio.all_tasks())
        await follow(gateway, "s?offset=now&live=long-poll")
        assert len(asyncio.all_tasks()) == tasks


async def test_a_ban_without_a_duration_only_disconnects_once() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        await follow(gateway, "s?offset=now&live=sse")
        question = ban(gateway, "address", "127.0.0.1", until=gateway.clock())
        assert await gateway.inspector.answer(question) == EndedReaderCount(1)
        await waiting(gateway, 0)
        await follow(gateway, "s?offset=now&live=sse")
        assert await gateway.inspector.answer(question) == EndedReaderCount(0), "the same decision"
