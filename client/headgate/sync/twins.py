"""The common part of the classes for threads: each calls its twin for asyncio in the loop."""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from typing_extensions import override

from headgate.misuse import refusing_method
from headgate.sync.loop_thread import current

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import headgate.streams.iterator

T = TypeVar("T")
R = TypeVar("R")


class Twin(Generic[T]):
    """An object for threads, whose twin is used in the event loop of the process."""

    _survives_forks: ClassVar[bool] = False

    def __init__(self, twin: T) -> None:
        self._twin: T = twin
        self._pid = os.getpid()

    @classmethod
    def _of(cls, *twin: Any) -> Self:  # noqa: ANN401 - as its base takes it
        """Return an object whose twin a client makes."""
        made = cls.__new__(cls)
        super(cls, made).__init__(*twin)
        return made

    @override
    def __repr__(self) -> str:
        return f"headgate.sync.{self._twin!r}"

    def _call(self, use: Callable[[T], Coroutine[Any, Any, R]]) -> R:
        """Return what is awaited of the twin. Raises RuntimeError where it is another process's."""
        if self._is_of_parent():
            raise RuntimeError(
                f"this {type(self).__name__} belongs to the process that opened it, not to "
                f"{os.getpid()}, which was forked from that one: open another"
            )
        return current().call(lambda: use(self._twin))

    def _get(self, use: Callable[[T], R]) -> R:
        """Return what the twin returns at once, where its loop has to run."""

        async def used(twin: T) -> R:
            return use(twin)

        return self._call(used)

    def _is_of_parent(self) -> bool:
        return not self._survives_forks and self._pid != os.getpid()

    if not TYPE_CHECKING:
        __aenter__ = __aexit__ = __aiter__ = refusing_method(
            "headgate.sync is for threads: write with and for without async, or use headgate"
        )

    def __enter__(self) -> Self:
        self._call(lambda twin: twin.__aenter__())  # type: ignore[attr-defined]
        current().entered.add(self)
        return self

    def __exit__(self, *error: object) -> bool | None:
        if self._is_of_parent():
            return None  # a child process leaves the block too, and it is still the parent's
        current().entered.discard(self)
        return self._call(lambda twin: twin.__aexit__(*error))  # type: ignore[attr-defined, no-any-return]


class EachProcessTwin(Twin[T]):
    """A twin of which each process makes its own, which is closed as the interpreter exits."""

    _survives_forks = True

    def __init__(self, make: Callable[[], T], unused: T | None = None) -> None:
        super().__init__(unused or make())  # what is not valid is refused now
        self._make = make
        self._made: dict[int, T] = {}  # by process: that of a parent is the parent's to finalize

    @override
    def _call(self, use: Callable[[T], Coroutine[Any, Any, R]]) -> R:
        async def used() -> R:
            return await use(await self._find())

        return current().call(used)

    async def _find(self) -> T:
        """Return the twin of this process, in the loop."""
        pid = os.getpid()
        if pid not in self._made:
            self._made[pid] = self._make()
            await self._made[pid].__aenter__()  # type: ignore[attr-defined]
        current().left_at_exit.add(self)
        return self._made[pid]

    @override
    def __exit__(self, *error: object) -> bool | None:
        try:
            return super().__exit__(*error)
        finally:
            current().left_at_exit.discard(self)


class StreamIterator(Twin["headgate.streams.iterator.StreamIterator[T]"], Generic[T]):
    """An iterator over the messages of a stream, or its batches, which waits for each.

    A loop that ends early closes the request at once. An iterator that is kept is closed by
    `close`, at the end of a `with`, and with its client.
    """

    def __init__(self, twin: headgate.streams.iterator.StreamIterator[T]) -> None:
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
        self._call(lambda twin: twin.aclose())
