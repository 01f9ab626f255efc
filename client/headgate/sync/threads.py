"""The parts of the classes for threads that work in threads, and not in the loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakSet

from typing_extensions import override

import headgate.chats
import headgate.runs
import headgate.streams.client
import headgate.workers
from headgate.errors import check_runs
from headgate.misuse import check_make_source
from headgate.runs.stored.production import CLOSE_TIMEOUT_S
from headgate.sync.answer import Answer
from headgate.sync.loop_thread import Calls, current, iterated
from headgate.sync.twins import EachProcessTwin, Twin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    from headgate.chats import Turn
    from headgate.records import RunState
    from headgate.runs.stored.progress import Written

log = logging.getLogger("headgate.runs")
_END = object()
Answering: TypeAlias = "Callable[[Turn], Iterable[object]]"
"""A function that returns the source of an answer, which is iterated in a thread of its own."""


class ThreadSource:
    """The items of an iterator that is made, iterated and closed in a thread.

    It is closed when it has come to its end, or between two items once nobody reads on: nothing can
    interrupt it while it waits for something itself.

    Args:
        make: Returns the iterator.
        begin: Returns the calls of the thread, when the first item is wanted.
    """

    def __init__(self, make: Callable[[], Iterable[object]], begin: Callable[[], Calls]) -> None:
        self._make = make
        self._begin = begin
        self._iterator: Iterator[object] = iter(())
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncGenerator[object]:
        calls = self._begin()
        try:
            await calls.ask(self._open)
            while (item := await calls.ask(lambda: next(self._iterator, _END))) is not _END:
                yield item
        except Exception as error:
            self.error = error
            raise
        finally:
            calls.ask(self.close)  # nothing waits for it
            calls.end()

    def _open(self) -> None:
        self._iterator = iterator_of(self._make())

    def close(self) -> None:
        """Close the iterator; that it fails is only logged."""
        try:
            close = getattr(self._iterator, "close", None)
            if close is not None:
                close()
        except Exception as error:
            log.warning("the source of a run could not be closed", exc_info=error)


def iterator_of(source: Iterable[object]) -> Iterator[object]:
    """Return the iterator of a source. Raises TypeError for a single item."""
    if not isinstance(source, Iterable) or isinstance(source, str | bytes | Mapping):
        raise TypeError(f"a run takes an iterator of items here, not {type(source).__name__}")
    return iter(source)


def answer_of(answer: headgate.runs.Answer) -> Answer:
    """Return an answer whose body is read in the loop of this process."""
    return Answer(answer.status, answer.headers, iterated(answer.body))


class ThreadRuns(EachProcessTwin[headgate.runs.Runs]):
    """Runs whose sources are iterated in threads."""

    def __init__(self, *runs: Any) -> None:  # noqa: ANN401 - as the base takes them
        super().__init__(*runs)
        self._threads: WeakSet[threading.Thread] = WeakSet()

    def _begin(self) -> Calls:
        """Return the calls of a new thread, in the context of this one."""
        calls = Calls()
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(calls.work,),
            name="headgate run",
            daemon=True,
        )
        thread.start()
        self._threads.add(thread)
        return calls

    def _start(self, run_id: str, source: Iterable[object], **options: Any) -> Answer:  # noqa: ANN401
        iterator = iterator_of(source)
        items = ThreadSource(lambda: iterator, self._begin)
        try:
            return answer_of(self._call(lambda runs: runs.start(run_id, items, **options)))
        except BaseException:
            getattr(iterator, "close", lambda: None)()
            raise

    def _take_over(
        self,
        run_id: str,
        make_source: Callable[[Written], Iterable[object]],
        **options: Any,  # noqa: ANN401
    ) -> RunState | None:
        check_make_source(make_source)
        sources: list[ThreadSource] = []  # one at most

        async def taken_over(calls: Calls) -> RunState | None:
            def make(written: Written) -> ThreadSource:
                sources.append(ThreadSource(partial(make_source, written), lambda: calls))
                return sources[0]

            return await (await self._find()).take_over(run_id, make, **options)

        try:
            state = current().call_back(taken_over)
        finally:
            for source in sources:
                source.close()
        for source in sources:
            if source.error is not None:
                raise source.error
        return state

    def _stopped(self, run_id: str) -> threading.Event:
        event = threading.Event()

        async def watch(runs: headgate.runs.Runs) -> None:
            waiting = asyncio.ensure_future(runs.stopped(run_id).wait())
            waiting.add_done_callback(lambda _: event.set())

        self._call(watch)
        return event

    @override
    def __exit__(self, *error: object) -> None:
        self._close(10.0)

    def _close(self, wait: float) -> None:
        self._call(lambda runs: runs.aclose(wait))
        give_up_at = monotonic() + CLOSE_TIMEOUT_S
        for thread in list(self._threads):
            thread.join(max(0.0, give_up_at - monotonic()))
            if thread.is_alive():
                log.error("%r: a source does not end when it is closed", self)
        current().left_at_exit.discard(self)


class ThreadChats(EachProcessTwin[headgate.chats.Chats]):
    """Chats whose answers are iterated in threads."""

    def __init__(
        self, runs: ThreadRuns, make: Callable[[headgate.runs.Runs], headgate.chats.Chats]
    ) -> None:
        check_runs(runs, ThreadRuns, "headgate.sync.Runs")
        super().__init__(lambda: make(runs._twin))
        self._runs, self._make_of = runs, make

    @override
    async def _find(self) -> headgate.chats.Chats:
        return self._make_of(await self._runs._find())

    def _in_threads(self, answering: Answering) -> Callable[[Turn], ThreadSource]:
        """Return a function that gives the same sources to an event loop."""
        return lambda turn: ThreadSource(partial(answering, turn), self._runs._begin)


class ThreadClient(Twin[headgate.streams.client.Client]):
    """A client that waits for the sources of its runs as it is closed."""

    _survives_forks = True

    @override
    def __exit__(self, *error: object) -> None:
        self._aclose()

    def _aclose(self) -> None:
        runs: ThreadRuns | None = vars(self).pop("runs", None)
        vars(self).pop("chats", None)
        if runs is not None:
            runs._close(10.0)
        self._call(lambda client: client.aclose())


class ThreadWorker(Twin[headgate.workers.Worker]):
    """A worker whose jobs are worked on in threads."""

    @property
    def name(self) -> str:
        """The name of the worker, which other workers see."""
        return self._twin.name

    def _jobs(self) -> Generator[headgate.workers.Job]:
        with contextlib.ExitStack() as block:
            if self._twin._following is None:
                block.enter_context(self)
            yield from iterated(self._get(aiter))

    def _run(self, handle: Callable[[headgate.workers.Job], object]) -> None:
        with ThreadPoolExecutor(self._twin._concurrency) as pool:

            async def work(job: headgate.workers.Job) -> None:
                calls = Calls()
                called = calls.ask(partial(handle, job))
                calls.end()
                pool.submit(calls.work)
                await called

            self._call(lambda worker: worker.run(work))
