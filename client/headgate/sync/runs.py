"""Runs for threads: started here or elsewhere, followed, stopped and looked at by their ids."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from typing_extensions import override

from headgate import runs as for_asyncio
from headgate.notes import ORPHAN_AFTER_S
from headgate.runs.runs import DAY_S
from headgate.runs.stored.production import CLOSE_TIMEOUT_S, class_name
from headgate.sync.answer import answer_of
from headgate.sync.loop_thread import PerProcess
from headgate.sync.sources import ThreadSource

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable, Iterable
    from types import TracebackType

    from headgate.endpoint import Authorization
    from headgate.records import RunState
    from headgate.runs.cursors import Cursor
    from headgate.runs.formats.contract import FormatName
    from headgate.runs.stored.progress import Written
    from headgate.sync.answer import Answer
    from headgate.sync.loop_thread import LoopThread

log = logging.getLogger("headgate.runs")


@dataclass(slots=True)
class InProcess:
    """The runs of one process, and the sources that are iterated in its threads."""

    thread: LoopThread
    runs: for_asyncio.Runs
    ends: deque[Awaitable[None]]  # of the run that has just been started, and no other
    # Of each run that is produced here, which is what keeps it.
    sources: WeakValueDictionary[str, ThreadSource] = field(default_factory=WeakValueDictionary)
    threads: set[ThreadSource] = field(default_factory=set)


class Runs:
    """The runs below one URL of a Durable Streams server, for threads. Times are in seconds.

    ```python
    runs = headgate.sync.Runs("http://127.0.0.1:4437/v1/stream/runs")
    answer = runs.start("run-17", source)
    ```

    Make one for all threads, where the program begins: a process that is forked has connections of
    its own. It is closed when the interpreter exits, unless it was before. Once closed, it can be
    entered again.

    Args:
        url: The URL below which the streams of the runs are.
        authorization: The value of the `Authorization` field, or a function that returns it.
        orphan_after: Seconds of silence after which a producer counts as gone; 10 by default.
        ttl: Seconds after its last use until a run is deleted, but not while it is produced; None
            for never.
        stop_grace: Seconds for which a source that watches `stopped` may go on after a stop.
        retry_for: Seconds for which a server that is away is retried.
        error_text: Makes of a source's exception the text that readers get.
        takeover_within: Seconds for which a run whose producer is gone waits for `take_over`
            before it ends as orphaned; 0 for none.

    Raises:
        TypeError: A time is not a number.
        ValueError: A time is out of its range, or the URL or credential is invalid.
    """

    def __init__(  # noqa: PLR0913 - the settings of an application, each by its name
        self,
        url: str,
        *,
        authorization: Authorization | None = None,
        orphan_after: int = ORPHAN_AFTER_S,
        ttl: int | None = DAY_S,
        stop_grace: float = 2.0,
        retry_for: float = 30.0,
        error_text: Callable[[Exception], str] = class_name,
        takeover_within: int = 0,
    ) -> None:
        self._make = partial(
            for_asyncio.Runs,
            url,
            authorization=authorization,
            orphan_after=orphan_after,
            ttl=ttl,
            stop_grace=stop_grace,
            retry_for=retry_for,
            error_text=error_text,
            takeover_within=takeover_within,
        )
        self.unopened = self._make()  # ValueError for what no run can be below
        self._in_process = PerProcess(self._opened)

    @override
    def __repr__(self) -> str:
        return f"headgate.sync.{self.unopened!r}"

    def __enter__(self) -> Self:
        here = self.in_process()
        here.thread.call(here.runs.__aenter__)
        here.thread.keep(self, at_exit=self.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(
        self,
        run_id: str,
        source: Iterable[object],
        *,
        format: FormatName = "text",  # noqa: A002
        message_id: str | None = None,
    ) -> Answer:
        """Produce a run from the source, in a thread of its own, and answer with what it gives.

        A stop closes the source once it has returned its next item: nothing can interrupt it while
        it waits for something itself.

        Args:
            run_id: The id of the run.
            source: An iterable of text, of JSON values or of an SDK's events.
            format: How items are stored and sent to readers: `text`, `ndjson`, `sse` or `ai-sdk`.
            message_id: For `ai-sdk`, the id of the message that the run goes on with; by default
                that of the run.

        Returns:
            The answer: status, header fields and a body that streams the run.

        Raises:
            Closed: The run of this id has ended.
            Unavailable: The server is away.
        """
        here = self.in_process()
        items = ThreadSource(source, here.thread)
        answer, _ = self._started(here, items, run_id, format, message_id)
        here.threads.add(items)
        items.start(here.threads.discard)
        return answer_of(here.thread, answer)

    def produce(
        self,
        run_id: str,
        source: Iterable[object],
        *,
        format: FormatName = "text",  # noqa: A002
        message_id: str | None = None,
    ) -> RunState | None:
        """Produce a run from the source, in this thread, and return how it has ended.

        For workers, whose job the run is. What the source raises is raised here, too, once the run
        has ended; so is what interrupts it, such as a limit of the job's time.

        Args:
            run_id: The id of the run.
            source: An iterable as for `start`.
            format: As for `start`.
            message_id: As for `start`.

        Returns:
            The state of the run; None if it has been deleted meanwhile.

        Raises:
            Closed: The run of this id has ended before.
            Unavailable: The server is away.
        """
        here = self.in_process()
        items = ThreadSource(source, here.thread)
        _, ended = self._started(here, items, run_id, format, message_id)

        async def end() -> None:
            await ended

        try:
            items.pump()
        except BaseException as error:
            items.give_up(error)
            raise
        finally:
            here.thread.call(end)
        return self.state(run_id)

    def take_over(
        self,
        run_id: str,
        make_source: Callable[[Written], Iterable[object]],
        *,
        format: FormatName = "text",  # noqa: A002
        message_id: str | None = None,
        only_orphaned: bool = True,
        closes: bool = True,
    ) -> RunState | None:
        """Go on with a run that another process has left, or start it, and wait for the end of it.

        `make_source` and its source run in this thread; their exceptions are raised here, too. An
        interrupted call, as by KeyboardInterrupt, leaves the run to the next producer at once.

        Args:
            run_id: The id that the run was, or will be, started with.
            make_source: A function that returns a source of what is not in the stream yet.
            format: As for `start`; the same that the run was started with.
            message_id: As for `start`, for a run that is not there yet.
            only_orphaned: Whether to leave a run to another producer that has it.
            closes: Whether the run ends with the source, or waits to be taken over again.

        Returns:
            The state of the run; None if another producer has it.

        Raises:
            Closed: The run has ended.
            Unavailable: The server is away.
            ValueError: The run has another format, or `closes` is false without `takeover_within`.
        """
        here = self.in_process()
        items = ThreadSource((), here.thread)
        first_written: Future[Written] = Future()

        def begin(written: Written) -> ThreadSource:
            here.sources[run_id] = items
            first_written.set_result(written)
            return items

        ended = here.thread.submit(
            here.runs.take_over,
            run_id,
            begin,
            format=format,
            message_id=message_id,
            only_orphaned=only_orphaned,
            closes=closes,
        )
        return _pumped(items, make_source, first_written, ended)

    def follow(
        self,
        run_id: str,
        after: int | Cursor | None = None,
        *,
        only_active: bool = False,
        wait: float = 0.0,
    ) -> Answer | None:
        """Answer with the run from its beginning, or `after` so many items, and on to its end.

        Args:
            run_id: The id that the run was, or will be, started with.
            after: Number of items that the reader has, or a `Cursor`. A negative number begins so
                many items before the newest one.
            only_active: Whether a run that has ended already is of no use.
            wait: Seconds to wait for a run that has not been started yet.

        Returns:
            The answer; None if there is no such run, or it has ended and the reader has it all.

        Raises:
            Unavailable: The server is away, or `close` was called during the wait.
            ProtocolError: The stream is not a run.
        """
        here = self.in_process()
        answer = here.thread.call(
            here.runs.follow, run_id, after, only_active=only_active, wait=wait
        )
        return None if answer is None else answer_of(here.thread, answer)

    def stop(self, run_id: str) -> bool:
        """Stop the run, wherever it is produced; False if there is none, or it has ended.

        Its producer acknowledges that, or else the run is ended here after the time of a heartbeat.
        """
        here = self.in_process()
        return here.thread.call(here.runs.stop, run_id)

    def stopped(self, run_id: str) -> threading.Event:
        """Return an event for the source of a run, which is set when the run is to stop.

        A source that has asked for it may go on for `stop_grace` seconds after it was set, and what
        it gives then is written.

        Args:
            run_id: The id of the run.

        Raises:
            LookupError: The run is not produced in this process.
        """
        here = self.in_process()

        async def stopped() -> threading.Event:
            event = here.runs.stopped(run_id)
            return await here.sources[run_id].stopped(event)

        return here.thread.call(stopped)

    def state(self, run_id: str) -> RunState | None:
        """Return what has become of the run; None if there is none."""
        here = self.in_process()
        return here.thread.call(here.runs.state, run_id)

    def states(self, run_ids: Iterable[str]) -> dict[str, RunState | None]:
        """Return what `state` does for each of these runs, by their ids, in their order.

        Raises what `state` raises for any of them.
        """
        here = self.in_process()
        return here.thread.call(here.runs.states, run_ids)

    def delete(self, run_id: str) -> bool:
        """Stop the run, if it goes on, and delete it; False if there is none.

        Whoever reads it is told that it failed.
        """
        here = self.in_process()
        return here.thread.call(here.runs.delete, run_id)

    def close(self, wait: float = 10.0) -> None:
        """Let the runs that are produced here end within `wait` seconds, then end them.

        Readers are cut then, of whatever run: they can go on at another replica. Sources have a
        while to be closed; those that wait for something themselves are left to themselves.
        """
        here = self.in_process()
        here.thread.call(here.runs.close, wait)
        here.thread.forget(self)
        give_up_at = monotonic() + CLOSE_TIMEOUT_S
        for source in list(here.threads):
            if not source.join(max(0.0, give_up_at - monotonic())):
                log.error("%r: a source does not end when it is closed", self)

    def in_process(self) -> InProcess:
        """Return what this process has of it; the first call makes that."""
        return self._in_process.here()

    def _opened(self, thread: LoopThread) -> InProcess:
        ends: deque[Awaitable[None]] = deque(maxlen=1)
        thread.keep(self, at_exit=self.close)
        return InProcess(thread, self._make(keep_alive=ends.append), ends)

    def _started(
        self,
        here: InProcess,
        items: ThreadSource,
        run_id: str,
        form: FormatName,
        message_id: str | None,
    ) -> tuple[for_asyncio.Answer, Awaitable[None]]:
        """Start the run, whose source is not iterated yet; the answer, and what ends with it."""

        async def started() -> tuple[for_asyncio.Answer, Awaitable[None]]:
            answer = await here.runs.start(run_id, items, format=form, message_id=message_id)
            here.sources[run_id] = items
            return answer, here.ends.pop()

        try:
            return here.thread.call(started)
        except BaseException as error:
            items.give_up(error)
            raise


def _pumped(
    items: ThreadSource,
    make_source: Callable[[Written], Iterable[object]],
    first_written: Future[Written],
    ended: Future[RunState | None],
) -> RunState | None:
    """Iterate the source of a run in this thread once the run has begun; return how it ended."""
    try:
        either: set[Future[Any]] = {first_written, ended}
        wait(either, return_when=FIRST_COMPLETED)
        if first_written.done():
            items.pump(lambda: make_source(first_written.result()))
        return ended.result()
    except Exception:
        wait({ended})
        raise
    except BaseException:
        ended.cancel()
        raise
