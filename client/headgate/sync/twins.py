"""The classes for threads as far as no script makes them: each calls its twin in the loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

from typing_extensions import override

import headgate.chats
import headgate.runs
import headgate.streams.messages
import headgate.workers
from headgate.dialects.parts import NotAnItem
from headgate.misuse import NAME_THE_CHAT, NAME_THE_RUN, check_make_source, refusing_method
from headgate.runs import Step
from headgate.runs.sources import not_iterable
from headgate.runs.stored.production import SourceExit
from headgate.sync.answer import Answer
from headgate.sync.loop_thread import Calls, current, iterated, of_another_process

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator

    from headgate.chats import Turn
    from headgate.records import RunState
    from headgate.runs.stored.progress import Written

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger("headgate.runs")
MOST_AHEAD = 16  # items of a source that are not written: 7 µs for each; 4 make it 14, 100 5
Begin: TypeAlias = "Callable[[Callable[[], None]], asyncio.Future[None]]"
RunSource: TypeAlias = Iterable[object] | AbstractContextManager[Iterable[object]]
"""The source of a run: an iterable of items, or a context manager that gives one.

The context manager is entered with the first item, and left with the run.
"""
Answering: TypeAlias = "Callable[[Turn], RunSource]"
"""A function that returns the source of an answer, which is iterated in a thread of its own."""


class Twin(Generic[T]):
    """An object for threads, whose twin is used in the event loop of the process."""

    def __init__(self, twin: T, find: Callable[[], T] | None = None) -> None:
        """Without `find`, which returns a twin in any process, the twin is this process's."""
        self._twin = twin
        self._find = find
        self._pid = os.getpid()

    @classmethod
    def _of(cls, *twin: Any) -> Self:  # noqa: ANN401 - as `Twin` takes it
        """Return an object whose twin a client makes."""
        made = cls.__new__(cls)
        Twin.__init__(made, *twin)
        return made

    @override
    def __repr__(self) -> str:
        text = repr(self._twin)
        return super().__repr__() if text.startswith("<") else f"headgate.sync.{text}"

    def _call(self, use: Callable[[T], Coroutine[Any, Any, R]]) -> R:
        async def used(_: Calls) -> R:
            return await use(self._found())

        return current().call(used)

    def _get(self, use: Callable[[T], R]) -> R:
        """Return what the twin returns at once, where its loop has to run."""

        async def used(twin: T) -> R:
            return use(twin)

        return self._call(used)

    def _close(self, use: Callable[[T], Coroutine[Any, Any, R]]) -> R:
        try:
            return self._call(use)
        finally:
            current().entered.pop(self, None)

    def _found(self) -> T:
        """Return the twin, in the loop. Raises RuntimeError where it is another process's."""
        if self._find is not None:
            return self._find()
        if self._pid != os.getpid():
            raise of_another_process(type(self).__name__)
        return self._twin

    if not TYPE_CHECKING:
        __aenter__ = __aexit__ = __aiter__ = refusing_method(
            "headgate.sync is for threads: write with and for without async, or use headgate"
        )

    def __enter__(self) -> Self:
        self._call(lambda twin: twin.__aenter__())  # type: ignore[attr-defined]
        current().entered[self] = self._twin
        return self

    def __exit__(self, *error: object) -> bool | None:
        if self._find is None and self._pid != os.getpid():
            return None  # a child process leaves the block too, and it is still the parent's
        return self._close(lambda twin: twin.__aexit__(*error))  # type: ignore[attr-defined, no-any-return]


class StreamIterator(Twin["headgate.streams.messages.StreamIterator[T]"], Generic[T]):
    """An iterator over the messages of a stream, or its batches, which waits for each.

    A loop that ends early closes the request at once. An iterator that is kept is closed by
    `close`, at the end of a `with`, and with its client.
    """

    def __init__(self, twin: headgate.streams.messages.StreamIterator[T]) -> None:
        """Use `Stream.read`, `tail`, `follow` or `follow_bytes`."""
        super().__init__(twin)
        self._ready: deque[T] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if not self._ready:  # what comes together costs one wait
            self._ready.extend(self._call(lambda twin: twin._next_part()))
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    def close(self) -> None:
        """Close the request; nothing more comes."""
        self._ready.clear()
        self._close(lambda twin: twin.aclose())


class ThreadSource:
    """The items of an iterator that is made, iterated and closed in a thread.

    The thread is a few items ahead, but not of a `Step`. It closes the iterator at its end, or
    between two items once nobody reads on: nothing can interrupt it while it waits for something
    itself.
    """

    def __init__(self, make: Callable[[], RunSource], begin: Begin) -> None:
        """`begin` has the thread call a function, when the first item is wanted."""
        self._make = make
        self._begin = begin
        self.ended: asyncio.Future[None] | None = None
        self._items: deque[object] = deque()  # the first one is with the reader
        self._is_empty = threading.Event()
        self._is_left = False

    async def __aiter__(self) -> AsyncGenerator[object]:
        loop, has_items = asyncio.get_running_loop(), asyncio.Event()
        self._wake = partial(loop.call_soon_threadsafe, has_items.set)
        self.ended = ended = self._begin(self._iterate)
        ended.add_done_callback(lambda _: has_items.set())
        try:
            while self._items or not ended.done():
                has_items.clear()
                while self._items:
                    yield self._items[0]
                    self._items.popleft()
                self._is_empty.set()
                if not ended.done():
                    await has_items.wait()
            if ended.cancelled():  # what waits in the thread ends with it, and cancels this
                await loop.create_future()
            ended.result()
        finally:
            self._is_left = True
            self._is_empty.set()
            await asyncio.wait([ended])

    def _iterate(self) -> None:
        iterator = iterator_of(self._make())
        try:
            for item in iterator:
                self._items.append(item)
                if len(self._items) == 1:  # else the loop has not come to wait
                    self._wake()
                if len(self._items) >= MOST_AHEAD or isinstance(item, Step):
                    self._is_empty.clear()
                    if self._items and not self._is_left:
                        self._is_empty.wait()
                if self._is_left:
                    break
        finally:
            _close(iterator)


def in_own_thread(function: Callable[[], object]) -> asyncio.Future[None]:
    """Call the function in a thread of its own, in the context of this one."""
    calls = Calls()

    def contained() -> None:
        try:
            function()
        except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:  # which end a loop
            raise SourceExit(error) from error

    ended = calls.ask(contained)
    calls.put(None)
    work = partial(contextvars.copy_context().run, calls.work)
    threading.Thread(target=work, name="headgate.sync source", daemon=True).start()
    return ended


def in_threads(answering: Answering) -> Callable[[Turn], ThreadSource]:
    """Return a function that gives the same sources to an event loop."""
    return lambda turn: ThreadSource(partial(answering, turn), in_own_thread)


def _close(iterator: Iterator[object]) -> None:
    try:
        getattr(iterator, "close", lambda: None)()
    except Exception as error:
        log.warning("the source of a run could not be closed", exc_info=error)


def iterator_of(source: RunSource) -> Iterator[object]:
    """Return the iterator of a source. Raises TypeError for a single item."""
    if isinstance(source, Iterable) and not isinstance(source, str | bytes | Mapping):
        return iter(source)
    if isinstance(source, AbstractContextManager) and not isinstance(source, type):
        return _entered(source)
    raise TypeError(
        "a run takes an iterator of items here, or a context manager that gives one, not "
        f"{type(source).__name__}: pass source() of a `def source()` with yield; one with async is "
        "for `headgate`"
    )


def _entered(manager: AbstractContextManager[Iterable[object]]) -> Generator[object]:
    with manager as source:
        if not isinstance(source, Iterable):
            raise NotAnItem(not_iterable(source))
        yield from source


def answer_of(answer: headgate.runs.Answer) -> Answer:
    """Return an answer whose body is read in the loop of this process."""
    return Answer(answer.status, answer.headers, iterated(answer.body))


class ThreadChats(Twin[headgate.chats.Chats]):
    """Chats whose answers have sources that are iterated in threads."""

    if not TYPE_CHECKING:
        __call__ = refusing_method(NAME_THE_CHAT)


class ThreadRuns(Twin[headgate.runs.Runs]):
    """Runs whose sources are iterated in threads. They are closed as the interpreter exits."""

    if not TYPE_CHECKING:
        __call__ = refusing_method(NAME_THE_RUN)

    def __init__(self, make: Callable[[], headgate.runs.Runs]) -> None:
        made = cache(lambda _: make())  # by process: a parent's are the parent's to finalize

        def find() -> headgate.runs.Runs:
            current().entered[self] = runs = made(os.getpid())
            return runs

        super().__init__(make(), find)  # what is not valid is refused now

    def _start(self, run_id: str, source: RunSource, **options: Any) -> Answer:  # noqa: ANN401
        iterator = iterator_of(source)
        items = ThreadSource(lambda: iterator, in_own_thread)
        try:
            return answer_of(self._call(lambda runs: runs.start(run_id, items, **options)))
        except BaseException:
            _close(iterator)
            raise

    def _take_over(
        self,
        run_id: str,
        make_source: Callable[[Written], RunSource],
        **options: Any,  # noqa: ANN401
    ) -> RunState | None:
        check_make_source(make_source)
        sources: list[ThreadSource] = []  # one at most

        async def taken_over(calls: Calls) -> RunState | None:
            def make(written: Written) -> ThreadSource:
                sources.append(ThreadSource(partial(make_source, written), calls.ask))
                return sources[0]

            state = await self._found().take_over(run_id, make, **options)
            for source in sources:
                if source.ended is not None and source.ended.done():
                    source.ended.result()
            return state

        return current().call(taken_over)

    def _stopped(self, run_id: str) -> threading.Event:
        event = threading.Event()

        async def watch(runs: headgate.runs.Runs) -> None:
            waiting = asyncio.ensure_future(runs.stopped(run_id).wait())
            waiting.add_done_callback(lambda _: event.set())

        self._call(watch)
        return event


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
        async def work(job: headgate.workers.Job) -> None:
            await in_own_thread(partial(handle, job))

        self._call(lambda worker: worker.run(work))
