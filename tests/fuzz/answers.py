"""An origin that keeps the protocol for one stream, and spoils its answers for the others."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.fuzz import corpus
from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from tests.support.raw_origin import Wire

PROBE = f"{corpus.PREFIX}/probe"
RIGHT = b"what the origin has always had"
_HOLD_S = 0.5
_STATUSES = (
    *(
        "200 OK",
        "200 OK",
        "200 OK",
        "200 OK",
        "200",
        "201 Created",
        "204 No Content",
        "206 Partial",
    ),
    *(
        "301 Moved",
        "302 Found",
        "304 Not Modified",
        "400 Bad",
        "404 None",
        "409 Conflict",
        "410 Gone",
    ),
    *(
        "412 No",
        "416 No",
        "429 Later",
        "503 Away",
        "599 x",
        "99 x",
        "1000 x",
        "+200 x",
    ),
    *("101 Switching", "103 Early", "200 \xff\xfe", "-1 x", "2e2 x"),
)
_FIELDS = (
    *("Stream-Next-Offset: 0000", "Stream-Next-Offset: 0009", "Stream-Next-Offset: -1"),
    *("Stream-Next-Offset: now", "Stream-Next-Offset:", f"Stream-Next-Offset: {'9' * 5000}"),
    *(
        "Stream-Next-Offset: a b",
        "Stream-Next-Offset: \xff",
        "Stream-Cursor: 9",
        "Stream-Cursor: x",
    ),
    *(f"Stream-Cursor: {'9' * digits}" for digits in (18, 19, 20, 4301)),
    *("Stream-Cursor: -1", "Stream-Up-To-Date: true", "Stream-Up-To-Date: maybe"),
    *("Stream-Closed: true", "Stream-Closed: no", "Stream-TTL: x", "Stream-Expires-At: 0"),
    *("Content-Type: application/json", "Content-Type: text/event-stream", "Content-Type: "),
    *("Content-Type: text/plain; charset=x", "Content-Type: ;=", "Content-Encoding: gzip"),
    *(
        "Content-Encoding: x",
        "Content-Range: bytes 0-1/9",
        "Content-Range: x",
        "Vary: *",
        "Vary: x,,",
    ),
    *(
        "Cache-Control: max-age=600",
        f"Cache-Control: max-age={'9' * 30}",
        "Cache-Control: no-store",
    ),
    *("Cache-Control: private, =,", 'Cache-Control: max-age="1', "Cache-Control: immutable"),
    *("Age: -1", f"Age: {'9' * 30}", "Age: x", "Date: then", "Expires: 0", "Last-Modified: x"),
    *(
        'ETag: "a"',
        "ETag: a",
        'ETag: W/"',
        'ETag: "\xff"',
        "Location: http://[",
        "Location: /x\x7f",
    ),
    *("Retry-After: x", f"Retry-After: {'9' * 30}", "Connection: close", "Connection: ,,"),
    *(
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: x",
        "Content-Length: 3",
        "Content-Length: x",
    ),
    *("Trailer: x", "Set-Cookie: a=b", "X: " + "x" * 9000, "Broken", ": x", " folded", "X: a\x00b"),
    *("Via: 1.1 x", "Keep-Alive: timeout=x", "Producer-Epoch: x", "Producer-Seq: 9", "Link: <"),
)
_BODIES = (
    b"",
    b"some data",
    b"[1,2]",
    b'[{"a": 1}',
    b"{",
    b"\xff\xfe",
    b"event: data\ndata: x\n\n",
)


class SpoilingOrigin(RawOrigin):
    """Everything that it says follows from the seed and the order in which it is asked."""

    def __init__(self, seed: str) -> None:
        super().__init__(self._play)
        self._chance = random.Random(seed)
        self.answers = 0

    async def _play(self, wire: Wire) -> None:
        target = wire.heard.target
        del self.heard[:-100]  # hours of them
        self.answers += 1
        await wire.body()
        query = parse_qs(urlsplit(target).query)
        is_probe = urlsplit(target).path == PROBE
        if is_probe or (self._is_first(wire) and self._chance.random() < 0.8):
            kept = ("Content-Type: text/plain", "Cache-Control: no-store")
            await wire.send(answer(RIGHT, *kept, "Stream-Next-Offset: 30"))
            return
        if "live" in query:
            await asyncio.sleep(self._chance.random() * _HOLD_S)  # its own slowness
        await self._say(wire, _spoilt(self._chance))

    def _is_first(self, wire: Wire) -> bool:
        """Whether nothing was asked on this connection before.

        What is not spoilt there leaves it for the next request: only on such a one are answers
        taken without a task.
        """
        return all(heard.connection != wire.number for heard in self.heard[:-1])

    async def _say(self, wire: Wire, data: bytes) -> None:
        chance = self._chance
        end = chance.random()
        if end < 0.1:
            data = data[: chance.randrange(len(data) + 1)]
        for part in corpus.segments(chance, data):
            await wire.send(part)
            await asyncio.sleep(chance.choice((0, 0, 0.01, 0.1)))  # its own slowness
        if end < 0.05:
            await wire.reset()
        elif end < 0.2:
            await wire.close()


def _spoilt(chance: random.Random) -> bytes:
    body = chance.choice(_BODIES) * chance.choice((1, 1, 1, 1000))
    fields = ["Stream-Next-Offset: 0003", "Stream-Up-To-Date: true", "Content-Type: text/plain"]
    for _ in range(chance.choice((0, 1, 2, 4))):
        if chance.random() < 0.4:
            fields[chance.randrange(len(fields))] = chance.choice(_FIELDS)
        else:
            fields.insert(chance.randrange(len(fields)), chance.choice(_FIELDS))
    if chance.random() < 0.3:
        fields.append("Transfer-Encoding: chunked")
        size = chance.choice((b"%x" % len(body), b"%x" % len(body), b"9", b"-1", b"x", b"f" * 17))
        body = (
            size
            + b"\r\n"
            + body
            + b"\r\n"
            + chance.choice((b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0"))
        )
    elif chance.random() < 0.9:
        fields.append(f"Content-Length: {len(body) + chance.choice((0, 0, 0, 0, 1, -1, 9**9))}")
    head = "\r\n".join([f"HTTP/1.1 {chance.choice(_STATUSES)}", *fields, "", ""]).encode("latin-1")
    head = chance.choice((b"", b"", b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n")) + head
    if chance.random() < 0.1:
        at = chance.randrange(len(head))
        head = head[:at] + bytes([chance.randrange(256)]) + head[at + 1 :]
    return head + body
