"""Runs that go on in another thread than the one that has begun them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import durable_streams
import pytest
from headgate import Closed, RunState, sync
from headgate.runs import Step, Written

from tests.client.sync.feeds import read
from tests.support.waiting import PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def test_an_exception_in_the_source_of_a_sync_takeover_fails_the_run(going_on: sync.Runs) -> None:
    def source(_: Written) -> Iterator[str]:
        yield "Once "
        raise LookupError

    with pytest.raises(LookupError):
        going_on.take_over("a", source)
    assert going_on.state("a") == RunState("failed", "the source failed: LookupError")
    with pytest.raises(ZeroDivisionError):
        going_on.take_over("b", lambda _: [1 // 0])
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


def test_stopping_a_run_ends_its_sync_takeover(going_on: sync.Runs) -> None:
    def source(_: Written) -> Iterator[str]:
        stopped = going_on.stopped("a")
        yield "Once "
        threading.Thread(target=going_on.stop, args=("a",)).start()
        assert stopped.wait(PATIENCE_S)

    assert going_on.take_over("a", source) == RunState("stopped")
