"""The client for threads: made of the one for asyncio, with the same results."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import headgate
from headgate.sync import Client
from tests.support.processes import headgate as headgate_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

POOL = {"type": "pull-wake", "pattern": "s", "wake_stream": "wakes"}


@pytest.fixture
def server(processes: None) -> Iterator[Headgate]:
    with headgate_server() as server:
        yield server


def test_messages_are_appended_read_and_followed_in_threads(server: Headgate) -> None:
    with Client(server.streams) as hg:
        orders = hg.create("orders", json=True, ttl=3600)
        followed: list[Any] = []
        reader = threading.Thread(
            target=lambda: followed.extend(it.value for it in orders.follow())
        )
        reader.start()
        orders.append({"id": 1})
        orders.append_many([2, [3]])
        assert [it.value for it in orders.tail(1)] == [[3]]
        (first, *_) = orders.read()
        assert [it.value for it in hg.open("orders").read(first.offset)][-1] == [3]
        with pytest.raises(TypeError, match="append the value itself"):
            orders.append("{}")
        orders.close()
        reader.join(10)
        assert followed == [{"id": 1}, 2, [3]]
        assert orders.delete()
        with pytest.raises(headgate.StreamNotFound):
            hg.open("orders")


def test_a_loop_that_is_left_and_a_closed_client_close_their_requests(server: Headgate) -> None:
    hg = Client(server.streams)
    stream = hg.create("s", json=True)
    stream.append(1)
    for _ in stream.follow():
        break
    closed = stream.follow()
    closed.close()
    with pytest.raises(headgate.StreamError, match="the reading was closed"):
        next(closed)
    reading = stream.follow()
    assert next(reading).value == 1

    def connections() -> int:
        open_now = hg._twin._connection._connections
        return 0 if open_now is None else len(open_now.session.connector._acquired)  # type: ignore[union-attr]

    wait_until(lambda: connections() == 1)
    hg.close()
    assert connections() == 0
    with pytest.raises(headgate.StreamError, match="the reading was closed"):
        next(reading)


def test_a_client_makes_writers_runs_chats_and_workers_on_its_connections(
    server: Headgate,
) -> None:
    with Client(server.streams) as hg:
        hg.create("wakes", json=True)
        httpx.put(f"{server.streams}/__ds/subscriptions/pool", json=POOL).raise_for_status()
        stream = hg.create("s", json=True)
        with hg.writer("s", max_batch_chunks=10) as writer:
            for number in range(100):
                writer.write(number)
        assert [it.value for it in stream.read()] == [*range(100)]
        assert b"".join(hg.runs.start("run", iter(["Once ", "upon"])).body) == b"Once upon"
        message = {"id": "1", "role": "user", "parts": [{"type": "text", "text": "Why?"}]}
        answer = hg.chats.send("chat", message, lambda turn: [f"{turn.messages[0]['id']} is it"])
        assert b"1 is it" in b"".join(answer.body)
        for job in hg.worker("pool"):
            assert [*job.pending[0].messages()] == [*range(100)]
            break
    assert hg.runs.state("run") == headgate.RunState("finished")  # it opens again
    hg.close()


def test_chunks_of_threads_that_share_a_writer_are_stored_once_and_in_order(
    server: Headgate,
) -> None:
    with Client(server.streams) as hg:
        stream = hg.create("s", json=True)
        with hg.writer("s", max_buffer_bytes=1000, max_batch_bytes=500) as writer:

            def write(first: int) -> None:
                for number in range(first, first + 100):
                    writer.write(number)

            with ThreadPoolExecutor(5) as pool:
                assert [*pool.map(write, range(0, 500, 100))] == [None] * 5
            writer.end()
        found = [it.value for it in stream.read()]
        assert sorted(found) == [*range(500)]
        assert [it for it in found if it < 100] == [*range(100)]
        assert (writer.taken, writer.acknowledged) == (500, 500)
        assert stream.head().is_closed


@pytest.mark.parametrize(
    ("error", "stored"), [(ZeroDivisionError, ["Once"]), (KeyboardInterrupt, [])]
)
def test_an_exception_in_the_block_flushes_a_sync_writer_and_an_interrupt_discards(
    server: Headgate, error: type[BaseException], stored: list[str]
) -> None:
    with Client(server.streams) as hg:
        stream = hg.create("s", json=True)

        def write() -> None:
            with hg.writer("s", flush_interval=60) as writer:
                writer.write("Once")
                raise error

        with pytest.raises(error):
            write()
        assert [it.value for it in stream.read()] == stored
