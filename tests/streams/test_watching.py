"""Parts of a process that watch a stream of a shared log hear of its changes by any process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_gateway.streams.stream_loader import LINGER_S
from tests.streams.service import two
from tests.streams.test_shared_table import change_of
from tests.support import virtual_time
from tests.support.gated_log import turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.protocol.streams.state import Record, StreamState


class Watch:
    """A watcher that remembers everything."""

    def __init__(self) -> None:
        self.news: list[tuple[int | None, list[bytes]]] = []

    def __call__(self, state: StreamState | None, records: Sequence[Record]) -> None:
        self.news.append((None if state is None else state.tail, [it.data for it in records]))


async def test_a_watcher_hears_of_own_commits_of_those_of_others_and_of_the_removal() -> None:
    service, log, other = two()
    await other.create("s", b"a")
    active = await service.table.load("s")
    watch = Watch()
    service.table.following.watch(active, watch)
    log.news.on_change(await change_of(other, "s", b"b"))
    await service.append("s", b"c")
    assert watch.news == [(2, [b"b"]), (3, [b"c"])]
    assert active.state is not None
    await other.lifecycle.delete("s")
    log.news.on_removal("s", active.state.stream_id)
    await turns()
    assert watch.news[-1] == (None, [])


async def test_a_watcher_gets_the_state_anew_after_missed_changes() -> None:
    service, log, other = two()
    await other.create("s", b"a")
    watch = Watch()
    service.table.following.watch(service.table.get("s"), watch)
    await change_of(other, "s", b"b")
    log.news.on_missed_changes("s")
    await turns()
    assert watch.news == [(2, [])]


async def test_a_removal_by_another_process_is_observed_by_path_and_id() -> None:
    service, log, _ = two()
    observed: list[tuple[str, int, str]] = []
    service.table.removal_observers.append(lambda *removed: observed.append(removed))
    log.news.on_removal("s", 4711)
    assert observed == [("s", 4711, "elsewhere")]


def test_a_stream_is_followed_for_a_while_after_its_last_watcher_has_left() -> None:
    async def watched() -> None:
        service, log, other = two()
        await other.create("s", b"a")
        active = await service.table.load("s")
        ends = [service.table.following.watch(active, Watch()) for _ in range(2)]
        ends[0]()
        await asyncio.sleep(2 * LINGER_S)
        assert active.followed
        assert not active.idle
        ends[1]()
        assert active.followed
        await asyncio.sleep(2 * LINGER_S)
        assert log.followed == ["+s", "-s"]
        assert active.idle

    virtual_time.run(watched())
