"""Many polls of one stream: answered in turns with all news so far, without reads of the log."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from headgate_gateway.live.long_polls import AT_ONCE, HERD, HERD_S, MOST_BYTES, STORED_BYTES
from headgate_gateway.live.poll_answers import PIECE_BYTES
from tests.support.serving import Serving, get, offset, post, put, request, serving
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.live.feed import Feed
    from tests.support.http1 import Client


class Crowd(NamedTuple):
    """Clients who wait at the tail of a stream, and its feed."""

    gateway: Serving
    feed: Feed[Any, Any]
    clients: list[Client]

    def hold(self) -> None:
        """Let nobody have a turn but by a round: it is as if the loop were busy with others."""
        self.feed.long_polls._is_scheduled = True

    async def append(self, body: bytes) -> None:
        """Append something that is told in the next round."""
        assert (await self.gateway.ask(post("s", body))).status == 204

    async def tell(self, body: bytes) -> None:
        """Append something, and wait until the round is over."""
        await self.append(body)
        await until(lambda: self.feed.position == self.feed.tail and not self.feed._is_round_due)

    def hold_rounds(self) -> None:
        """Let no round come: it is as if one were due."""
        self.feed._is_round_due = True

    async def go_on(self) -> None:
        """Let all have their turns, and then the round."""
        self.feed.long_polls._serve_next()
        await until(lambda: not self.feed.long_polls.due)
        self.feed._send_round()

    async def poll(self, client: Client, position: int) -> None:
        """Wait from a position on."""
        waiting = self.gateway.limits.live_readers
        client.send(get(f"s?offset={offset(position)}&live=long-poll"))
        await until(lambda: self.gateway.limits.live_readers == waiting + 1)

    @property
    def late(self) -> int:
        """How many have not been answered."""
        return self.gateway.limits.live_readers


@asynccontextmanager
async def crowd(size: int) -> AsyncIterator[Crowd]:
    async with serving(
        max_connections=size + 10, max_live_readers=size + 1, max_append=2 * MOST_BYTES
    ) as gateway:
        await gateway.ask(put("s", body=b"one"))
        clients = [await gateway.connect() for _ in range(size)]
        for client in clients:
            client.send(get(f"s?offset={offset(3)}&live=long-poll"))
        await until(lambda: gateway.limits.live_readers == size)
        (feed,) = gateway.route.feeds._feeds
        yield Crowd(gateway, feed, clients)


@asynccontextmanager
async def held_crowd(size: int) -> AsyncIterator[Crowd]:
    """Let the first turn of a crowd get "two", and the other clients wait for theirs."""
    async with crowd(size) as herd:
        herd.hold()
        await herd.tell(b"two")
        yield herd


async def told(clients: list[Client]) -> set[tuple[int, bytes, str | None]]:
    """What they are answered."""
    answers = await asyncio.gather(*(client.answer() for client in clients))
    return {(it.status, it.body, it.get("Stream-Next-Offset")) for it in answers}


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_long_polls_beyond_the_first_batch_are_answered_in_a_later_turn(more: int) -> None:
    async with held_crowd(AT_ONCE + more) as herd:
        assert await told(herd.clients[:AT_ONCE]) == {(200, b"two", offset(6))}
        assert herd.late == max(0, more)
        await herd.go_on()
        assert await told(herd.clients[AT_ONCE:]) <= {(200, b"two", offset(6))}
        assert herd.late == 0


async def test_long_polls_in_a_later_turn_get_data_that_came_meanwhile_in_one_response() -> None:
    async with held_crowd(AT_ONCE + 5) as herd:
        await herd.tell(b"three")
        assert await told(herd.clients[:AT_ONCE]) == {(200, b"two", offset(6))}
        assert await told(herd.clients[AT_ONCE:]) == {(200, b"twothree", offset(11))}


async def test_a_long_poll_that_returns_early_is_answered_last_without_a_log_read() -> None:
    async with held_crowd(AT_ONCE + 1) as herd:
        quick, slow = herd.clients[0], herd.clients[-1]
        assert (await quick.answer()).body == b"two"
        herd.hold_rounds()
        await herd.append(b"three")
        handled = herd.gateway.watch_handlers()
        await herd.poll(quick, 6)
        assert list(herd.feed.long_polls.due) == list(herd.feed.long_polls.parked)
        await herd.go_on()
        assert await told([slow]) == {(200, b"twothree", offset(11))}
        assert await told([quick]) == {(200, b"three", offset(11))}
        assert not handled


@pytest.mark.parametrize("size", [HERD - 1, HERD, HERD + 1])
async def test_data_that_polls_of_a_large_herd_lack_is_kept_for_them(size: int) -> None:
    async with crowd(size) as herd:
        await herd.tell(b"two")
        assert await told(herd.clients) == {(200, b"two", offset(6))}
        await herd.append(b"three")
        handled = herd.gateway.watch_handlers()
        late = herd.clients[:3]
        for client in late:
            client.send(get(f"s?offset={offset(6)}&live=long-poll"))
        assert await told(late) == {(200, b"three", offset(11))}
        assert (not handled) is (size >= HERD)


async def test_a_feed_is_kept_for_a_herd_of_long_polls_only_for_a_short_time() -> None:
    async with crowd(HERD) as herd:
        feeds = herd.gateway.route.feeds
        await herd.tell(b"two")
        await told(herd.clients)
        assert (feeds.count, herd.feed.has_readers) == (1, False)
        await until(lambda: feeds.count == 0, within_s=HERD_S + 5)
        active = herd.gateway.route.table.peek("s")
        assert active is not None
        assert active.idle


async def test_draining_does_not_wait_for_the_turns_of_polls_that_return() -> None:
    async with crowd(HERD) as herd:
        await herd.tell(b"two")
        await told(herd.clients)
        assert herd.gateway.route.feeds.count == 1
        async with asyncio.timeout(HERD_S / 2):
            await herd.gateway.route.drain()
        assert herd.gateway.route.feeds.count == 0


async def test_a_poll_with_an_offset_of_a_deleted_stream_gets_410_from_the_next() -> None:
    async with crowd(HERD) as herd:
        await herd.tell(b"two")
        await told(herd.clients)
        await herd.gateway.ask(request("DELETE", "s"))
        assert herd.gateway.route.feeds.count == 0
        await herd.gateway.ask(put("s", body=b"other"))
        again = await herd.gateway.ask(get(f"s?offset={offset(6)}&live=long-poll"))
        assert again.status == 410


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_the_data_kept_for_a_herd_of_long_polls_is_limited_in_bytes(more: int) -> None:
    async with crowd(HERD) as herd:
        await herd.tell(b"x" * (STORED_BYTES - PIECE_BYTES + more))
        await told(herd.clients)
        assert herd.feed.long_polls.answers.recent.bytes == (STORED_BYTES + more if more < 1 else 0)


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_all_long_polls_are_answered_at_once_when_too_many_bytes_wait(more: int) -> None:
    async with held_crowd(AT_ONCE + 1) as herd:
        assert herd.late == 1
        herd.hold_rounds()
        already = herd.feed.long_polls.answers.recent.bytes
        await herd.append(b"x" * (MOST_BYTES - already - PIECE_BYTES + more))
        assert herd.late == (1 if more < 1 else 0)


@pytest.mark.parametrize(
    ("change", "status", "body"),
    [
        (post("s", b"", "Stream-Closed: true"), 200, b"two"),
        (post("s", b"!", "Stream-Closed: true"), 200, b"two!"),
        (request("DELETE", "s"), 404, None),
    ],
    ids=["close", "append and close", "delete"],
)
async def test_a_long_poll_that_waits_for_its_turn_gets_the_close_or_deletion(
    change: bytes, status: int, body: bytes | None
) -> None:
    async with held_crowd(AT_ONCE + 3) as herd:
        await herd.gateway.ask(change)
        for client in herd.clients[AT_ONCE:]:
            answer = await client.answer()
            assert answer.status == status
            if body is not None:
                assert (answer.body, answer.get("Stream-Closed")) == (body, "true")
        assert herd.late == 0


async def test_a_waiting_long_poll_that_leaves_or_times_out_does_not_delay_the_others() -> None:
    async with held_crowd(AT_ONCE + 3) as herd:
        leaver, *others = herd.clients[AT_ONCE:]
        leaver.abort()
        await until(lambda: herd.late == 2)
        herd.feed.long_polls.hurry(0.0)
        herd.feed._tick()  # their time is over, and what they waited for is on its way
        assert herd.late == 2
        await herd.go_on()
        assert await told(others) == {(200, b"two", offset(6))}


async def test_deliveries_to_a_herd_answered_in_turns_are_counted_as_one_round() -> None:
    async with crowd(AT_ONCE + 10) as herd:
        live = herd.gateway.route.traffic.live
        await herd.tell(b"two")
        await told(herd.clients)
        await until(lambda: not herd.feed.long_polls.due)
        assert live.long_poll.deliveries == AT_ONCE + 10
        assert live.long_poll.departures["answered"] == AT_ONCE + 10
        assert sum(live.delays.counts) == AT_ONCE + 10
        assert (sum(live.collapsed.counts), live.collapsed.sum) == (1, AT_ONCE + 10)
        assert live.long_poll.now == 0


async def test_sse_readers_do_not_wait_behind_the_turns_of_polls() -> None:
    async with crowd(AT_ONCE + 10) as herd:
        reader = await herd.gateway.connect()
        reader.send(get(f"s?offset={offset(3)}&live=sse"))
        await reader.answer()
        await until(lambda: herd.late == AT_ONCE + 11)
        herd.hold()
        await herd.tell(b"two")
        assert herd.late == 11
        events = await reader.events_until(lambda found: any(it.data == "two" for it in found))
        assert "two" in [event.data for event in events]
        assert herd.late == 11
