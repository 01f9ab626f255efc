"""Runs that are produced, followed, stopped and taken over from threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import durable_streams
import pytest

from headgate import Closed, RunState, SourceFailed, Unavailable, sync
from headgate.runs import Step, Written
from tests.client.sync.feeds import Feed, read, read_to
from tests.support.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_sync_run_of_a_generator_can_be_read_followed_and_deleted(runs: sync.Runs) -> None:
    answer = runs.start("a", iter(["Once ", "upon ", "a time"]))
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert read(answer) == b"Once upon a time"
    assert read(runs.follow("a", after=1)) == b"upon a time"
    assert runs.state("a") == RunState("finished")
    assert runs.state("b") is None
    assert runs.follow("b") is None
    assert runs.delete("a")
    assert runs.state("a") is None


def test_stopping_a_sync_run_ends_it_at_once_and_its_source_with_the_next_item(
    runs: sync.Runs,
) -> None:
    feed = Feed("Once ")
    answer = runs.start("a", feed.source())
    assert read_to(answer, b"Once ") == b"Once "
    assert runs.stop("a")
    assert read(answer) == b""
    assert runs.state("a") == RunState("stopped")
    assert not feed.closed.is_set()
    feed.give("upon ")
    assert feed.closed.wait(PATIENCE_S)
    assert read(runs.follow("a")) == b"Once "


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
    runs.close()
    with pytest.raises(LookupError, match="run 'a' is not produced here"):
        runs.stopped("a")


def test_a_sync_source_is_closed_when_its_run_cannot_be_started(runs: sync.Runs) -> None:
    read(runs.start("a", ["Once"]))
    begun = Feed().source()
    with pytest.raises(Closed, match="run 'a' has ended"):
        runs.start("a", begun)
    assert [*begun] == []


def test_a_sync_source_that_is_no_iterator_of_items_is_refused(runs: sync.Runs) -> None:
    for source in ("Once", b"Once", {"text": "Once"}, 3):
        kind = type(source).__name__
        with pytest.raises(TypeError, match=f"a context manager that gives one, not {kind}"):
            runs.start("a", source)  # type: ignore[arg-type]


def test_a_sync_source_is_asked_for_no_more_than_is_written(runs: sync.Runs) -> None:
    given = []

    def source() -> Iterator[str]:
        while True:
            given.append(1)
            yield "x" * 100_000

    answer = runs.start("a", source())
    wait_until(lambda: len(given) > 10)
    assert runs.stop("a")
    items = len(read(answer)) / 100_000
    assert items <= len(given) <= items + 40  # in batches of 1 MiB


class TooLong(Exception):
    """The limit of a job's time."""


@pytest.fixture
def timer() -> Iterator[threading.Timer]:
    """A timer that raises TooLong in this thread, as limits of a job's time do."""

    def fire(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGUSR1, fire)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    yield timer
    timer.join()
    signal.signal(signal.SIGUSR1, before)


def test_an_exception_of_a_signal_ends_waiting_for_a_sync_run(
    runs: sync.Runs, timer: threading.Timer
) -> None:
    timer.start()
    with pytest.raises(TooLong):
        runs.follow("a", wait=PATIENCE_S)
    assert runs.state("a") is None


def test_an_exception_raised_into_a_producing_thread_fails_its_run(
    runs: sync.Runs, timer: threading.Timer
) -> None:
    def source(_: Written) -> Iterator[str]:
        yield "Once "
        timer.start()
        time.sleep(PATIENCE_S)

    with pytest.raises(TooLong):
        runs.take_over("a", source)
    assert runs.state("a") == RunState("failed", "the source failed: TooLong")
    with pytest.raises(SourceFailed, match="the run failed: the source failed: TooLong"):
        read(runs.follow("a"))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
def test_a_sync_source_that_raises_fails_its_run_with_the_class_of_its_error(
    runs: sync.Runs, error: type[BaseException]
) -> None:
    with pytest.raises(SourceFailed, match=error.__name__):
        read(runs.start("a", Feed("Once ", error()).source()))
    assert runs.state("a") == RunState("failed", f"the source failed: {error.__name__}")


async def test_calling_sync_runs_within_an_event_loop_raises(runs: sync.Runs) -> None:
    with pytest.raises(RuntimeError, match="use `headgate` there"):
        runs.state("a")


def test_closing_sync_runs_raises_in_their_readers_and_spares_other_replicas(
    runs: sync.Runs, url: str
) -> None:
    feed = Feed("Once ")
    answer = runs.start("a", feed.source())
    reader = sync.Runs(url)
    cut = reader.follow("a")
    read_to(cut, b"Once ")
    threading.Timer(0.05, reader.close).start()
    with pytest.raises(Unavailable, match="the reading of the run was closed"):
        read(cut)
    with reader:  # which opens it again
        assert reader.state("a") == RunState("active")
    feed.end()
    assert read(answer) == b"Once "


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


WAITING = RunState("orphaned", "its producer is gone, and it can be taken over")


@pytest.fixture
def going_on(url: str) -> Iterator[sync.Runs]:
    runs = sync.Runs(url, orphan_after=1, takeover_within=60)
    yield runs
    runs.close(wait=0)


def test_a_sync_takeover_continues_after_the_steps_that_are_done(going_on: sync.Runs) -> None:
    def source(written: Written) -> Iterator[object]:
        for key in ("plan", "write"):
            if key not in written.steps:
                yield f"{key} "
                yield Step(key, threading.get_ident())
                if not written.steps:
                    raise SystemExit  # as a worker's main thread is ended

    with pytest.raises(SystemExit):
        going_on.take_over("a", source)
    wait_until(lambda: going_on.state("a") == WAITING)
    assert going_on.take_over("a", source) == RunState("finished")
    assert read(going_on.follow("a")) == b"plan write "
    with pytest.raises(Closed):
        going_on.take_over("a", source)


def test_a_sync_takeover_raises_what_its_function_raises(going_on: sync.Runs) -> None:
    with pytest.raises(RuntimeError, match="a call has raised StopIteration"):
        going_on.take_over("b", lambda _: next(iter([])))
    state = going_on.state("b")
    assert state is not None
    assert state.status == "failed"


def test_a_step_of_a_sync_takeover_is_written_before_the_next_begins(
    going_on: sync.Runs, url: str
) -> None:
    seen = []

    def source(_: Written) -> Iterator[object]:
        for number in range(5):
            yield str(number)
            yield Step(str(number))
            with durable_streams.stream(f"{url}/a", live=False) as now:
                seen.append(str(number) in now.iter_json())

    assert going_on.take_over("a", source) == RunState("finished")
    assert seen == [True] * 5
