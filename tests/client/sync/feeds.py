"""Sources of runs that are iterated in threads, and readers of their answers."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Generator

    from headgate.sync import Answer


class Feed:
    """A source that gives what the test gives it, when it does; an exception is raised."""

    def __init__(self, *items: object) -> None:
        self.closed = threading.Event()
        self._items: SimpleQueue[object] = SimpleQueue()
        self.give(*items)

    def give(self, *items: object) -> None:
        for item in items:
            self._items.put(item)

    def end(self) -> None:
        self._items.put(StopIteration)

    def source(self) -> Generator[object]:
        try:
            while (item := self._items.get(timeout=PATIENCE_S)) is not StopIteration:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.closed.set()


def read(answer: Answer | None) -> bytes:
    """Return the whole body."""
    assert answer is not None, "there is nothing to be read"
    return b"".join(answer.body)


def read_to(answer: Answer | None, last: bytes) -> bytes:
    """Return the body up to these bytes; the answer stays open."""
    assert answer is not None, "there is nothing to be read"
    body = b""
    while not body.endswith(last):
        body += next(answer.body)
    return body
