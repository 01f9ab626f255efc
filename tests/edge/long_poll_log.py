"""Streams at an origin that knows catch-up and long-poll only, and has troubles on order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.edge.gateways import PREFIX
from tests.support.blocking_origin import BlockingOrigin, Exchange

TIMEOUT_S = 20.0
"""Longer than any test waits for something."""
HOLD_S = 0.3
"""How long a poll is held."""


def offset_after(messages: int) -> str:
    """The offset after so many messages; offsets sort as text."""
    return f"{messages:04d}_0"


Trouble = Callable[[Exchange], None]


class LongPollOrigin(BlockingOrigin):
    """The streams by their paths; others do not exist."""

    def __init__(self) -> None:
        self._logs: dict[str, LongPollLog] = {}
        self._numbers = itertools.count()
        super().__init__(self._find)

    def begin(self, content_type: str = "text/plain") -> LongPollLog:
        """A new stream."""
        log = LongPollLog(f"{PREFIX}/log{next(self._numbers)}", content_type)
        self._logs[log.path] = log
        return log

    def end(self, log: LongPollLog) -> None:
        """Delete it."""
        del self._logs[log.path]
        log.end()

    def leave(self) -> None:
        """End every connection and take no more, nor hold one for a poll."""
        super().leave()
        for log in self._logs.values():
            log.end()

    def _find(self, exchange: Exchange) -> None:
        log = self._logs.get(exchange.target.partition("?")[0])
        if log is None:
            exchange.answer(b"no such stream", status="404 Not Found")
        else:
            log.play(exchange)


class LongPollLog:
    """One stream; an offset counts its messages.

    `seen` is what it was asked, `failed` counts what met a trouble, `idle` polls without news.
    """

    def __init__(self, path: str, content_type: str) -> None:
        self.path = path
        self.content_type = content_type
        self.messages: list[bytes] = []
        self.seen: list[str] = []
        self.failed = 0
        self.idle = 0
        self.polling = 0
        self.most_polling = 0
        self._trouble: Trouble | None = None
        self._changed = threading.Condition()
        self._ended = False

    def append(self, message: bytes) -> None:
        """Add a message and answer the polls that wait for it."""
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()

    def trouble(self, trouble: Trouble | None) -> None:
        """Meet every request so from now on, those that wait included; None behaves again."""
        with self._changed:
            self._trouble = trouble
            self.failed = 0
            self._changed.notify_all()

    def end(self) -> None:
        """Let every poll go."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def rest(self) -> None:
        """For longer than a poll is held."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, 3 * HOLD_S)

    def wait_for(self, claim: Callable[[Self], bool]) -> None:
        """Until something is so."""
        with self._changed:
            assert self._changed.wait_for(lambda: claim(self), TIMEOUT_S), "it did not come about"

    def play(self, exchange: Exchange) -> None:
        """Answer, at once or when there is something new."""
        self.seen.append(exchange.target)
        asked = parse_qs(urlsplit(exchange.target).query)
        offset = asked.get("offset", ["-1"])[0]
        live = asked.get("live", [""])[0]
        if live == "sse":
            exchange.answer(b"no such mode", status="400 Bad Request")
            return
        known = {"-1": 0, "now": len(self.messages)}
        begin = known[offset] if offset in known else int(offset.partition("_")[0])
        if live:
            self._wait(begin)
        with self._changed:
            trouble, new = self._trouble, self.messages[begin:]
            self.failed += trouble is not None
            self._changed.notify_all()
        if trouble is None:
            self._answer(exchange, begin, new, live=bool(live))
        else:
            trouble(exchange)

    def _answer(self, exchange: Exchange, begin: int, new: list[bytes], *, live: bool) -> None:
        end = begin + len(new)
        fields = [f"Stream-Next-Offset: {offset_after(end)}", "Stream-Up-To-Date: true"]
        if live:
            fields.append(f"Stream-Cursor: {end}")
        if live and not new:
            self.idle += 1
            exchange.answer(b"", *fields, status="204 No Content")
        else:
            exchange.answer(b"".join(new), f"Content-Type: {self.content_type}", *fields)

    def _wait(self, begin: int) -> None:
        with self._changed:
            self.polling += 1
            self.most_polling = max(self.most_polling, self.polling)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: len(self.messages) > begin or self._trouble or self._ended, HOLD_S
            )
            self.polling -= 1
