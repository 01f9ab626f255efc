"""Sources of runs that are iterated in threads, readers of their answers, and requests."""

from __future__ import annotations

import json
import threading
import urllib.request
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

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
                if isinstance(item, Exception):
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


def send(method: str, url: str, document: object = None) -> Any:
    """Send a JSON document, and return that of the response."""
    body = None if document is None else json.dumps(document).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read() or b"null")
