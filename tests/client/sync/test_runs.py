"""Runs that are produced, followed and stopped from threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from headgate import Closed, RunState, SourceFailed, Unavailable, sync
from headgate.runs import Step
from headgate.sync.loop_thread import current
from headgate.sync.sources import MOST_WAITING, ThreadSource

from tests.client.sync.feeds import Feed, read, read_to
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator


def test_a_sync_run_of_a_generator_can_be_read_followed_and_deleted(runs: sync.Runs) -> None:
    answer = runs.start("a", iter(["Once ", "upon ", "a time"]))
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert read(answer) == b"Once upon a time"
    assert read(runs.follow("a", after=1)) == b"upon a time"
    assert runs.state("a") == RunState("finished")
    assert runs.states(["a", "b"]) == {"a": RunState("finished"), "b": None}
    assert runs.follow("b") is None
    assert runs.delete("a")
    assert runs.state("a") is None


def test_stopping_a_sync_run_closes_its_generator_between_two_items(runs: sync.Runs) -> None:
    feed = Feed("Once ")
    answer = runs.start("a", feed.source())
    assert read_to(answer, b"Once ") == b"Once "
    assert runs.stop("a")
    assert read(answer) == b""
    assert runs.state("a") == RunState("stopped")
    feed.give("upon ")
    assert feed.closed.wait(PATIENCE_S)
    assert read(runs.follow("a")) == b"Once "


def test_stopping_a_sync_run_ends_it_at_once_although_its_source_blocks(runs: sync.Runs) -> None:
    feed = Feed("Once ")
    answer = runs.start("a", feed.source())
    read_to(answer, b"Once ")
    assert runs.stop("a")
    assert read(answer) == b""
    assert not feed.closed.is_set()
    feed.end()


def test_a_sync_source_that_watches_for_its_stop_can_yield_a_last_item(runs: sync.Runs) -> None:
    def source() -> Iterator[str]:
        stopped = runs.stopped("a")
        yield "Once "
        if stopped.wait(PATIENCE_S):
            yield "(stopped)"

    answer = runs.start("a", source())
    read_to(answer, b"Once ")
    assert runs.stop("a")
    assert read(answer) == b"(stopped)"
    assert runs.state("a") == RunState("stopped")
    with pytest.raises(LookupError, match="run 'a' is not produced here"):
        runs.stopped("a")


def test_an_exception_in_a_sync_source_fails_its_run_without_its_text(runs: sync.Runs) -> None:
    feed = Feed("Once ", OSError("secret"))
    answer = runs.start("a", feed.source())
    with pytest.raises(SourceFailed, match="the run failed: the source failed: OSError"):
        read(answer)
    assert runs.state("a") == RunState("failed", "the source failed: OSError")


def test_produce_runs_the_source_in_the_calling_thread(runs: sync.Runs) -> None:
    threads = set()

    def source() -> Iterator[str]:
        threads.add(threading.current_thread())
        yield from map(str, range(100 * MOST_WAITING))

    assert runs.produce("a", source(), format="ndjson") == RunState("finished")
    assert threads == {threading.current_thread()}
    lines = read(runs.follow("a")).splitlines()
    assert lines[: 100 * MOST_WAITING] == [b'"%d"' % number for number in range(100 * MOST_WAITING)]


def test_produce_returns_stopped_when_the_run_is_stopped_elsewhere(runs: sync.Runs) -> None:
    feed = Feed("Once ")

    def stop() -> None:
        read_to(runs.follow("a", wait=PATIENCE_S), b"Once ")
        assert runs.stop("a")
        wait_until(lambda: runs.state("a") == RunState("stopped"))
        feed.give("upon ")

    stopping = threading.Thread(target=stop)
    stopping.start()
    assert runs.produce("a", feed.source()) == RunState("stopped")
    assert feed.closed.is_set()
    stopping.join()


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_produce_reraises_the_exception_of_its_source_after_failing_the_run(
    runs: sync.Runs, kind: type[BaseException]
) -> None:
    def source() -> Iterator[str]:
        yield "Once "
        raise kind

    with pytest.raises(kind):
        runs.produce("a", source())
    state = runs.state("a")
    assert state is not None
    assert state.status == "failed"


def test_a_sync_run_that_cannot_be_started_closes_its_source(runs: sync.Runs) -> None:
    read(runs.start("a", ["Once"]))
    feed, other = Feed(), Feed()
    begun, begun_too = feed.source(), other.source()
    with pytest.raises(Closed, match="run 'a' has ended"):
        runs.start("a", begun)
    nobody = sync.Runs(f"http://127.0.0.1:{free_port()}/runs")
    with nobody, pytest.raises(Unavailable, match="cannot connect"):
        nobody.produce("a", begun_too)
    assert [*begun, *begun_too] == []


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("Once", id="text"),
        pytest.param(b"Once", id="bytes"),
        pytest.param({"text": "Once"}, id="a-dict"),
        pytest.param(3, id="a-number"),
    ],
)
def test_a_sync_source_that_is_no_iterator_of_items_is_refused(
    runs: sync.Runs, source: object
) -> None:
    kind = type(source).__name__
    with pytest.raises(TypeError, match=f"takes an iterator of items here, not {kind}"):
        runs.start("a", source)  # type: ignore[arg-type]


def test_a_thread_source_pauses_when_too_many_of_its_items_wait() -> None:
    given = []

    def source() -> Generator[int]:
        for number in range(1000):
            given.append(number)
            yield number

    items = ThreadSource(source(), current())
    ended: list[ThreadSource] = []
    items.start(ended.append)
    wait_until(lambda: len(given) > MOST_WAITING)

    async def take(count: int) -> list[object]:
        return [await anext(items) for _ in range(count)]

    assert current().call(take, 10) == [*range(10)]
    wait_until(lambda: len(given) == MOST_WAITING + 11)
    current().call(items.aclose)
    wait_until(lambda: ended == [items])
    assert len(given) == MOST_WAITING + 11


def test_a_thread_source_waits_until_its_step_is_written_before_the_next_item() -> None:
    items = ThreadSource(iter([Step("plan"), "write"]), current())
    items.start(lambda _: None)

    async def next_item() -> object:
        return await anext(items)

    assert not items.join(0.1)
    assert current().call(next_item) == Step("plan")
    assert not items.join(0.1)  # it is being written
    assert current().call(next_item) == "write"
    assert items.join(PATIENCE_S)


@pytest.fixture
def interrupt() -> Iterator[Callable[[type[BaseException]], None]]:
    """Have a signal raise an exception in this thread soon, as limits of a job's time do."""
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    before = signal.getsignal(signal.SIGUSR1)

    def soon(kind: type[BaseException]) -> None:
        def fire(*_: object) -> None:
            raise kind

        signal.signal(signal.SIGUSR1, fire)
        timer.start()

    yield soon
    timer.join()
    signal.signal(signal.SIGUSR1, before)


def test_a_keyboard_interrupt_ends_waiting_for_a_sync_run(
    runs: sync.Runs, interrupt: Callable[[type[BaseException]], None]
) -> None:
    interrupt(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        runs.follow("a", wait=PATIENCE_S)
    assert runs.state("a") is None


def test_an_exception_raised_into_a_producing_thread_fails_its_run(
    runs: sync.Runs, interrupt: Callable[[type[BaseException]], None]
) -> None:
    def source() -> Iterator[str]:
        yield "Once "
        interrupt(TooLong)
        time.sleep(PATIENCE_S)

    with pytest.raises(TooLong):
        runs.produce("a", source())
    assert runs.state("a") == RunState("failed", "the source failed: TooLong")


class TooLong(Exception):
    """The limit of a job's time."""


async def test_calling_sync_runs_within_an_event_loop_raises(runs: sync.Runs) -> None:
    with pytest.raises(RuntimeError, match="use `headgate` there"):
        runs.state("a")


def test_closing_sync_runs_raises_in_their_readers_and_spares_other_replicas(
    runs: sync.Runs, url: str
) -> None:
    feed = Feed("Once ")
    answer = runs.start("a", feed.source(), format="ndjson")
    reader = sync.Runs(url)
    cut = reader.follow("a")
    read_to(cut, b'"Once "\n')
    threading.Timer(0.05, reader.close).start()
    with pytest.raises(Unavailable, match="the reading of the run was closed"):
        read(cut)
    with pytest.raises(RuntimeError, match="once Runs is closed"):
        reader.state("a")
    with reader:  # which opens it again
        assert reader.state("a") == RunState("active")
    feed.end()
    assert b'"data":{"status":"finished"}' in read(answer)


def test_closing_sync_runs_fails_active_runs_and_waits_for_their_sources(
    runs: sync.Runs, url: str
) -> None:
    closed = []

    def source() -> Iterator[str]:
        stopped = runs.stopped("a")
        try:
            yield "Once "
            stopped.wait(PATIENCE_S)
            yield "never written"
        finally:
            time.sleep(0.1)
            closed.append(True)

    read_to(runs.start("a", source()), b"Once ")
    runs.close(wait=0)
    assert closed == [True]
    with sync.Runs(url) as other:
        assert other.state("a") == RunState("failed", "the application was shut down")
