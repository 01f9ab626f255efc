"""A client of a schedule: what it has sent, and what it was told, taken apart strictly."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import h11

from tests.web.schedules.wires import Pipe

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from tests.web.schedules.requests import Asked


class Final(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool

    @property
    def says_close(self) -> bool:
        """Whether nothing comes behind it."""
        return "close" in self.headers.get("connection", "")


class Client:
    """One connection: what it has sent, and what it was told."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        self.pipe = Pipe(loop)
        self.asked: list[Asked] = []
        self.unsent = b""
        self.sent = 0
        self.has_left = False
        self.half_closed = False
        self.pipe.begin(protocol)

    def send(self, asked: Sequence[Asked], keep: int) -> None:
        """Send requests but for so many bytes."""
        self.asked += asked
        self.unsent += b"".join(one.wire for one in asked)
        self.more(max(0, len(self.unsent) - keep))

    def more(self, size: int) -> None:
        """Send so many bytes."""
        data, self.unsent = self.unsent[:size], self.unsent[size:]
        if data and not (self.has_left or self.half_closed):
            self.sent += len(data)
            self.pipe.send(data)

    def leave(self, how: str) -> None:
        """Leave, or send nothing more."""
        if self.has_left or self.half_closed:
            return
        if how == "half":
            self.half_closed = True
            self.pipe.send(b"")
        else:
            self.has_left = True
            self.pipe.leave(ConnectionResetError("reset") if how == "reset" else None)

    def whole(self) -> list[Asked]:
        """The requests that were sent whole, up to what is no HTTP."""
        found: list[Asked] = []
        at = 0
        for one in self.asked:
            at += len(one.wire)
            if at > self.sent:
                break
            found.append(one)
            if one.ends:
                break
        return found

    def begun(self) -> int:
        """How many requests were begun to be sent."""
        at = count = 0
        for one in self.asked:
            if at < self.sent:
                count += 1
            at += len(one.wire)
        return count

    def answers(self) -> list[Final]:
        """All that was written, taken apart strictly."""
        rest, found = bytes(self.pipe.written), []
        for one in self.asked:
            if not rest:
                break
            final, rest = _parsed(one.method, rest)
            if final is None:
                break
            found.append(final)
            if not final.is_whole or final.says_close:
                break
        assert not rest, f"more was written than was asked for: {rest!r}"
        return found


def _parsed(method: str, wire: bytes) -> tuple[Final | None, bytes]:
    """The first answer, and what is behind it."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    http.send(h11.EndOfMessage())
    http.receive_data(wire)
    head: h11.Response | None = None
    body = b""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            break
        elif event is h11.NEED_DATA:
            if head is None:
                assert wire == b"HTTP/1.1 100 Continue\r\n\r\n", wire
                return None, b""
            return _final(head, body, is_whole=False), b""
        elif not isinstance(event, h11.InformationalResponse):
            raise AssertionError(event)
    assert head is not None, "before its end"
    return _final(head, body, is_whole=True), http.trailing_data[0]


def _final(head: h11.Response, body: bytes, *, is_whole: bool) -> Final:
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return Final(head.status_code, headers, body, is_whole)
