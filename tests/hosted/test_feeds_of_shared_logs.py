"""Live readers of a log that others write to: they get everything in order, or are told why not."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.errors import LogUnavailable, RecordDamaged, StreamGone
from headgate_gateway.live.contract import Parked, ReaderClient
from headgate_gateway.protocol.requests import LongPoll, parse_target
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from headgate_gateway.protocol.streams.state import Record
from headgate_gateway.protocol.views import PLAIN
from tests.live.test_feed import controls, follow, is_told, text
from tests.streams.service import Service
from tests.streams.shared_log import SharedLog
from tests.support.event_stream import parse_events
from tests.support.gated_log import turns
from tests.support.serving import Serving, get, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.live.contract import PollAnswer
    from headgate_gateway.live.feed import Feed
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.protocol.streams.state import StreamState
    from tests.support.event_stream import Event
    from tests.support.http1 import Client

BIG = 100_000


class Sharing(NamedTuple):
    """A gateway with its view of the log, and another process with its own."""

    gateway: Serving
    log: SharedLog
    other: Service
    beside: SharedLog

    def tell(self) -> None:
        """The gateway hears of what the other process did last."""
        (change,) = self.beside.committed[-1]
        self.log.news.on_change(change)

    async def state(self) -> StreamState:
        """The stream as it stands."""
        state = (await self.other.table.load("s")).state
        assert state is not None
        return state

    async def viewer(self) -> Client:
        """Follow the stream from its beginning up to its tail."""
        client = await follow(self.gateway, "s?offset=-1&live=sse")
        await up_to(client, await self.tail())
        return client

    async def tail(self) -> str:
        state = await self.state()
        return state.offset(state.tail)


@contextlib.asynccontextmanager
async def sharing(body: bytes = b"", **options: object) -> AsyncIterator[Sharing]:
    """With a stream that the other process has created."""
    log = SharedLog()
    async with serving(log, **options) as gateway:
        beside = SharedLog(log)
        other = Service(beside, gateway.clock)
        await other.create("s", body)
        yield Sharing(gateway, log, other, beside)


async def up_to(client: Client, offset: str) -> list[Event]:
    told = {"streamNextOffset": offset, "upToDate": True}
    return await client.events_until(is_told(**told))  # type: ignore[arg-type] # a predicate


async def poll(sharing: Sharing) -> Client:
    """One that waits at the tail."""
    waiting = sharing.gateway.limits.live_readers
    client = await sharing.gateway.connect()
    client.send(get(f"s?offset={await sharing.tail()}&live=long-poll"))
    await until(lambda: sharing.gateway.limits.live_readers == waiting + 1)
    return client


# ---------------------------------------------------------------- gaps


@pytest.mark.parametrize("told", ["the last change", "that something was missed"])
async def test_appends_without_a_notification_are_read_by_live_readers(told: str) -> None:
    async with sharing(b"one ") as shared:
        client = await shared.viewer()
        waiting = await poll(shared)
        for data in (b"two ", b"three ", b"four "):
            await shared.other.append("s", data)
        if told == "the last change":
            shared.tell()
        else:
            shared.log.news.on_missed_changes("s")
        events = await up_to(client, await shared.tail())
        assert text(events) == "one two three four "
        answer = await waiting.answer()
        assert (answer.status, answer.body) == (200, b"two three four ")
        assert answer.get("Stream-Next-Offset") == await shared.tail()


async def test_missed_appends_arrive_in_chunks_of_which_only_the_last_is_up_to_date() -> None:
    async with sharing() as shared:
        client = await follow(shared.gateway, "s?offset=-1&live=sse")
        start = await shared.tail()
        await up_to(client, start)
        letters = "abcdefgh"
        for letter in letters:
            await shared.other.append("s", letter.encode() * BIG)
        shared.log.news.on_missed_changes("s")
        events = await up_to(client, await shared.tail())
        assert text(events) == "".join(letter * BIG for letter in letters)
        told = [str(control["streamNextOffset"]) for control in controls(events)]
        assert told == sorted(told)
        ends = [f"{start[:16]}_{position:016d}" for position in (3 * BIG, 6 * BIG, 8 * BIG)]
        assert told[1:] == ends
        caught_up = [control.get("upToDate", False) for control in controls(events)]
        assert caught_up == [True, False, False, True]


async def test_a_poll_after_missed_notifications_gets_the_first_chunk_of_the_missed_data() -> None:
    async with sharing() as shared:
        waiting = await poll(shared)
        for _ in range(4):
            await shared.other.append("s", b"x" * BIG)
        shared.log.news.on_missed_changes("s")
        answer = await waiting.answer()
        assert (answer.status, len(answer.body)) == (200, 3 * BIG)
        assert answer.get("Stream-Up-To-Date") is None
        assert 3 * BIG >= CHUNK_BYTES > 2 * BIG


async def test_appends_during_the_read_of_a_gap_arrive_after_it_and_once() -> None:
    async with sharing(b"one ") as shared:
        client = await shared.viewer()
        shared.log.reads.clear()
        await shared.other.append("s", b"two ")
        shared.log.news.on_missed_changes("s")
        await turns()  # "two" was read, and is on its way
        for data in (b"three ", b"four "):
            await shared.other.append("s", data)
            shared.tell()
            await turns()
        assert text(parse_events(client.received)) == "one "
        shared.log.reads.set()
        events = await up_to(client, await shared.tail())
        assert text(events) == "one two three four "
        await shared.other.append("s", b"five")
        shared.tell()
        assert text(await up_to(client, await shared.tail())) == "one two three four five"


async def test_a_close_that_was_missed_ends_sse_readers_after_the_last_data() -> None:
    async with sharing(b"one ") as shared:
        client = await shared.viewer()
        await shared.other.append("s", b"two ")
        await shared.other.append("s", b"last", close=True)
        shared.log.news.on_missed_changes("s")
        events = await client.events_to_the_end()
        assert text(events) == "one two last"
        assert controls(events)[-1]["streamClosed"] is True


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
async def test_a_deleted_or_replaced_stream_ends_its_live_readers(replaced: bool) -> None:
    async with sharing(b"one ") as shared:
        client = await shared.viewer()
        waiting = await poll(shared)
        await shared.other.lifecycle.delete("s")
        if replaced:
            await shared.other.create("s", b"another")
        shared.log.news.on_missed_changes("s")
        assert text(await client.events_to_the_end()) == "one "
        assert (await waiting.answer()).status == 404


# ---------------------------------------------------------------- a log that lost its tail


@pytest.mark.parametrize("written", [b"", b"x", b"other bytes, and more of them"])
async def test_a_poll_from_now_gets_the_new_tail_after_a_loss(written: bytes) -> None:
    async with sharing(b"one ") as shared:
        kept = await shared.state()
        await shared.other.append("s", b"lost ")
        waiting = await shared.gateway.connect()
        waiting.send(get("s?offset=now&live=long-poll"))
        await until(lambda: shared.gateway.limits.live_readers == 1)
        shared.log.put_back(kept)
        if written:
            await shared.other.append("s", written)
        shared.log.news.on_history_change()
        answer = await waiting.answer()
        assert (answer.status, answer.get("Stream-Next-Offset")) == (204, await shared.tail())


@pytest.mark.parametrize("written", [b"", b"x", b"other bytes, and more of them"])
async def test_readers_of_lost_data_are_ended_and_polls_get_410(written: bytes) -> None:
    async with sharing(b"one ") as shared:
        kept = await shared.state()
        await shared.other.append("s", b"lost ")
        client = await follow(shared.gateway, "s?offset=-1&live=sse")
        lost = await shared.tail()
        await up_to(client, lost)
        waiting = await poll(shared)
        shared.log.put_back(kept)
        if written:
            await shared.other.append("s", written)
        shared.log.news.on_history_change()
        assert text(await client.events_to_the_end()) == "one lost "
        answer = await waiting.answer()
        assert answer.status == 410
        assert b"the log has lost what was before this offset" in answer.body
        again = await shared.gateway.ask(get(f"s?offset={lost}"))
        assert again.status == 410
        whole = await shared.gateway.ask(get("s?offset=-1"))
        assert whole.body == b"one " + written


async def test_live_readers_continue_after_a_restart_without_losses() -> None:
    async with sharing(b"one ") as shared:
        client = await follow(shared.gateway, "s?offset=-1&live=sse")
        before = await shared.tail()
        await up_to(client, before)
        waiting = await poll(shared)
        shared.log.put_back(await shared.state())
        shared.log.news.on_history_change()
        await turns()
        await shared.other.append("s", b"two")
        shared.log.news.on_missed_changes("s")
        events = await up_to(client, await shared.tail())
        assert text(events) == "one two"
        assert (await waiting.answer()).body == b"two"
        assert (await shared.tail())[:16] > before[:16]


async def test_a_cached_lost_tail_is_not_served() -> None:
    async with sharing(b"one ") as shared:
        kept = await shared.state()
        await shared.other.append("s", b"lost")
        assert (await shared.gateway.ask(get("s?offset=-1"))).body == b"one lost"
        shared.log.put_back(kept)
        await shared.other.append("s", b"new!")
        shared.log.news.on_history_change()
        assert (await shared.gateway.ask(get("s?offset=-1"))).body == b"one new!"


# ---------------------------------------------------------------- trouble


async def test_polls_get_503_while_the_log_fails_and_viewers_wait() -> None:
    async with sharing(b"one ") as shared:
        client = await shared.viewer()
        waiting = await poll(shared)
        await shared.other.append("s", b"two")
        shared.log.damages.append(LogUnavailable("the log is away"))
        shared.log.news.on_missed_changes("s")
        assert (await waiting.answer()).status == 503
        assert text(await up_to(client, await shared.tail())) == "one two"


async def test_an_unreadable_log_is_queried_with_pauses() -> None:
    async with sharing(b"one ") as shared:
        client = await shared.viewer()
        await shared.other.append("s", b"two")
        shared.log.damages += [RecordDamaged("a record is missing")] * 1000
        asked = shared.log.loaded
        shared.log.news.on_missed_changes("s")
        await turns(500)
        assert shared.log.loaded <= asked + 2
        shared.log.damages.clear()
        assert text(await up_to(client, await shared.tail())) == "one two"


# ---------------------------------------------------------------- polls behind the feed


class Waiting:
    """A long-poll of a feed, and what it was answered."""

    principal = None
    client = ReaderClient(1, "", None, None)

    def __init__(self, feed: Feed[StreamState, Record], offset: str) -> None:
        self.answers: list[Response] = []
        feed.long_polls.park(self, polling(offset), offset)

    def answer(self, answer: PollAnswer) -> None:
        assert answer.wire.endswith(answer.response.body)
        self.answers.append(answer.response)

    def abandon(self) -> None:
        raise AssertionError("there is an answer")


def polling(offset: str) -> LongPoll:
    read = parse_target(f"/v1/stream/s?offset={offset}&live=long-poll")
    assert isinstance(read, LongPoll)
    return read


async def feed_of(shared: Sharing) -> Feed[StreamState, Record]:
    """A feed that begins at the tail as it is."""
    active = await shared.gateway.route.table.load("s")
    assert active.state is not None
    return shared.gateway.route.feeds.join(active, active.state, PLAIN)


@pytest.mark.parametrize(("at", "body"), [(0, b"onetwo"), (3, b"two"), (6, None), (2, None)])
async def test_an_append_answers_a_poll_that_waits_at_one_of_its_record_boundaries(
    at: int, body: bytes | None
) -> None:
    async with sharing(b"onetwo") as shared:
        source, state = shared.gateway.route.feeds.source, await shared.state()
        news = [Record(3, b"one"), Record(6, b"two")]
        offset = state.offset(at)
        answer = source.poll_data(state, Parked(offset, polling(offset), 0.0), news)
        assert (None if answer is None else answer.body) == body


async def test_a_notification_that_begins_after_a_polls_offset_does_not_answer_the_poll() -> None:
    async with sharing(b"onetwo") as shared:
        source, state = shared.gateway.route.feeds.source, await shared.state()
        offset = state.offset(0)
        parked = Parked(offset, polling(offset), 0.0)
        assert source.poll_data(state, parked, [Record(6, b"two")]) is None
        assert source.poll_data(state, parked, []) is None


async def test_a_poll_from_before_the_feed_is_answered_from_the_log() -> None:
    async with sharing(b"one") as shared:
        feed = await feed_of(shared)
        begin = (await shared.state()).offset(0)
        waiting = Waiting(feed, begin)
        await until(lambda: bool(waiting.answers))
        assert [(one.status, one.body) for one in waiting.answers] == [(200, b"one")]
        assert shared.gateway.limits.live_readers == 0


async def test_a_poll_behind_the_feed_is_answered_once_although_appends_arrive() -> None:
    async with sharing(b"one ") as shared:
        feed = await feed_of(shared)
        begin = (await shared.state()).offset(0)
        shared.log.reads.clear()
        waiting = Waiting(feed, begin)
        await turns()
        await shared.other.append("s", b"two")
        shared.tell()
        await turns()
        assert waiting.answers == []
        shared.log.reads.set()
        await until(lambda: bool(waiting.answers))
        await turns(50)
        assert len(waiting.answers) == 1
        assert b"one two".startswith(waiting.answers[0].body)
        assert shared.gateway.limits.live_readers == 0


async def test_a_poll_at_a_lost_offset_behind_the_feed_gets_410() -> None:
    async with sharing(b"one ") as shared:
        kept = await shared.state()
        await shared.other.append("s", b"lost")
        lost = await shared.tail()
        shared.log.put_back(kept)
        await shared.other.append("s", b"other bytes")
        feed = await feed_of(shared)
        assert lost < feed.position
        waiting = Waiting(feed, lost)
        await until(lambda: bool(waiting.answers))
        assert waiting.answers[0].status == 410


async def test_a_poll_whose_client_left_is_not_answered() -> None:
    async with sharing(b"one") as shared:
        feed = await feed_of(shared)
        begin = (await shared.state()).offset(0)
        shared.log.reads.clear()
        waiting = Waiting(feed, begin)
        await turns()
        feed.remove(waiting)
        shared.log.reads.set()
        await turns(50)
        assert (waiting.answers, shared.gateway.limits.live_readers) == ([], 0)


# ---------------------------------------------------------------- between processes


async def test_a_read_includes_appends_acknowledged_by_another_process() -> None:
    """Nothing is followed and nobody told: what is remembered is confirmed first."""
    async with sharing(b"one ") as shared:
        for number in range(5):
            before = await shared.gateway.ask(get("s?offset=-1"))
            again = await shared.gateway.ask(get("s?offset=-1"))
            assert again.body == before.body
            await shared.other.append("s", b"%d " % number)
            after = await shared.gateway.ask(get("s?offset=-1"))
            assert after.body == before.body + b"%d " % number
            head = await shared.gateway.ask(b"HEAD /v1/stream/s HTTP/1.1\r\nHost: a\r\n\r\n")
            assert head.get("Stream-Next-Offset") == await shared.tail()


async def test_a_cached_full_chunk_is_answered_without_a_query_to_the_log() -> None:
    async with sharing(b"x" * CHUNK_BYTES) as shared:
        await shared.other.append("s", b"more")
        first = await shared.gateway.ask(get("s?offset=-1"))
        asked = (shared.log.loaded, shared.log.confirmed)
        again = await shared.gateway.ask(get("s?offset=-1"))
        assert (len(again.body), again.same == first.same) == (CHUNK_BYTES, True)
        assert (shared.log.loaded, shared.log.confirmed) == asked


@pytest.mark.parametrize("lost", [False, True], ids=["trimmed", "lost"])
async def test_a_poll_ahead_of_a_feed_whose_tail_is_gone_does_not_get_410(lost: bool) -> None:
    """It has heard elsewhere of what this gateway has still to read."""
    async with sharing(b"one ") as shared:
        kept = await shared.state()
        if lost:
            await shared.other.append("s", b"lost ")
        feed = await feed_of(shared)
        await shared.gateway.route.table.load("s")
        behind = Waiting(feed, feed.tail)
        if lost:
            shared.log.put_back(kept)
        await shared.other.append("s", b"two ")
        state = await shared.state()
        shared.gateway.limits.reader_joins()
        ahead = Waiting(feed, state.offset(state.tail))
        if not lost:
            shared.log.damages.append(StreamGone("what follows offset is no longer kept"))
        await shared.other.append("s", b"three")
        shared.log.news.on_missed_changes("s")
        await until(lambda: bool(behind.answers and ahead.answers))
        assert [waiting.answers[0].status for waiting in (behind, ahead)] == [410, 503]
