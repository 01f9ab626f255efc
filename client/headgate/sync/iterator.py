"""An iterator for threads over what is read of a stream."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from headgate.sync.loop_thread import current

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import headgate.streams.iterator

T = TypeVar("T")


class StreamIterator(Generic[T]):
    """An iterator over the messages of a stream, or its batches, which waits for each.

    A loop that ends early closes the request at once. An iterator that is kept is closed by
    `close`, at the end of a `with`, and with its client.
    """

    def __init__(self, make: Callable[[], headgate.streams.iterator.StreamIterator[T]]) -> None:
        """`make` is called in the event loop."""

        async def make_in_loop() -> headgate.streams.iterator.StreamIterator[T]:
            return make()

        self._ready: deque[T] = deque()
        self._twin = current().call(make_in_loop)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if not self._ready:  # what comes together costs one wait
            self._ready.extend(current().call(self._twin.next_part))
        if not self._ready:
            raise StopIteration
        return self._ready.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the request; nothing more comes."""
        self._ready.clear()
        current().call(self._twin.aclose)
