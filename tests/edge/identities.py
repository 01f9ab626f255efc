"""Readers who have nothing in common, an origin that answers each of them, and what they get.

Every field of a request that can hold text holds a mark of who sent it. A mark of one reader in an
answer to another is a leak, wherever it stands.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.edge.gateways import PREFIX, edge
from tests.support.blocking_origin import BlockingOrigin, Exchange
from tests.support.http1 import Answer, ConnectionEnded, Wire
from tests.support.raw_origin import answer

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = "nobody"
# Who a reader is, is said in one of these; a third of the readers say nothing.
SAY_WHO = (
    *("Authorization", "Cookie", "X-Api-Key", "X-Auth-Token", "X-Session-Id", "X-Tenant-Id"),
    *("X-Forwarded-User", "Cf-Access-Jwt-Assertion", "X-Amz-Security-Token", "X-Csrf-Token"),
)
# What an origin says of its answers, by the first part of their path.
SAYS = {
    "nothing": (),
    "private": ("Cache-Control: private, max-age=600",),
    "no-store": ("Cache-Control: no-store",),
    "max-age": ("Cache-Control: max-age=600",),
    "must-revalidate": ("Cache-Control: max-age=600, must-revalidate",),
    "s-maxage": ("Cache-Control: s-maxage=600",),
    "public": ("Cache-Control: public, max-age=600",),
    "no-cache": ("Cache-Control: no-cache",),
    "stale": ("Cache-Control: max-age=1, stale-while-revalidate=600",),
    "failing": ("Cache-Control: max-age=0, stale-if-error=600",),
    "vary": ("Cache-Control: max-age=600", "Vary: User-Agent"),
    "vary-all": ("Cache-Control: max-age=600", "Vary: *"),
    "set-cookie": ("Cache-Control: max-age=600",),
}
# Of these an origin may make each answer for whoever asks, though he does not say who he is. Not
# where a stream ends: what the protocol has be no-store because it passes is the same for all.
FOR_ONE_REQUEST = frozenset({"private", "no-store", "vary-all", "set-cookie"})
GROWS_EVERY_S = 0.5
IN_A_CHUNK = 3
HOLDS_S = 0.3  # a long-poll, in short: so many come to an end in a test
FIRST_CURSOR = 9 * 10**12  # of readers far in the future, each with a million of his own
CURSORS = 10**6
WAYS = ("catch-up", "later", "now", "long-poll", "sse", "head", "condition", "range", "stray")
# What must have happened, or the reads prove nothing.
EXPECTED = (
    *("HIT", "STALE", "REVALIDATED", "MISS", "BYPASS", "a joined request", "a feed"),
    *("a stand-in", "status 200", "status 204", "status 206", "status 304", "an event"),
)
_MARK = re.compile(r"zq(\d+)x")
_CURSOR = re.compile(r"\b9000\d{9}\b")


class Origin(BlockingOrigin):
    """Gives readers whom it knows their own bytes at the same URL, and all others the same."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._failures = itertools.count()
        super().__init__(self._answer)

    def _answer(self, exchange: Exchange) -> None:
        self.seen.clear()
        kind = exchange.target.removeprefix(f"{PREFIX}/").partition(".")[0]
        if kind == "failing" and next(self._failures) % 2:
            exchange.answer(b"", status="503 Service Unavailable")
            return
        start = _start(exchange.target)
        live = "live=long-poll" in exchange.target
        end = self._tail()
        if live and start >= end:
            time.sleep(HOLDS_S)  # as an origin holds a poll
            end = self._tail()
        elif not live:
            time.sleep(0.01)  # so that others can come for the same meanwhile
        start = min(end, start)
        self._tell(exchange, kind, start, min(end, start + IN_A_CHUNK), end)

    def _tail(self) -> int:
        return IN_A_CHUNK + int((time.monotonic() - self._began) / GROWS_EVERY_S)

    def _tell(self, exchange: Exchange, kind: str, start: int, end: int, tail: int) -> None:
        who = _who(exchange, kind)
        fields = [
            "Content-Type: text/plain",
            f"Stream-Next-Offset: {end:06}_0",
            f'ETag: "{start}-{end}-{who if len(who) < 20 else hash(who)}"',
            "Stream-Cursor: 1",
            f"X-Told: {who[:100]}",
            *SAYS[kind],
        ]
        if end == tail:
            fields.append("Stream-Up-To-Date: true")
        if kind == "set-cookie":
            fields.append(f"Set-Cookie: session={who[:100]}")
        if f'"{start}-{end}-{who}"' == exchange.field("if-none-match"):
            exchange.answer(b"", *fields, status="304 Not Modified")
        elif start == end and "live=" in exchange.target:
            exchange.answer(b"", *fields, status="204 No Content")
        else:
            body = "".join(f"<{at} {who}>" for at in range(start, end))
            whole = answer(body.encode(), *fields)
            exchange.send(whole.removesuffix(body.encode()) if exchange.method == "HEAD" else whole)


def _start(target: str) -> int:
    found = re.search(r"offset=(\d+)_0", target)
    return int(found[1]) if found else 10**6 if "offset=now" in target else 0


def _who(exchange: Exchange, kind: str) -> str:
    """Whom an answer is made for: whoever is known, or by all that came where it may be."""
    if kind == "public":
        return NOBODY
    head = exchange.head.decode("latin-1").replace("\r\n", "; ")
    known = [value for name, value in exchange.fields if name in _SAY_WHO]
    if kind in FOR_ONE_REQUEST and not (kind == "no-store" and "offset=now" in exchange.target):
        return re.sub(r'["<>]', "", head)
    if known:
        return known[0]
    return (exchange.field("user-agent") or NOBODY) if kind == "vary" else NOBODY


_SAY_WHO = frozenset(name.lower() for name in SAY_WHO)


@dataclass(frozen=True)
class Reader:
    """One identity, of which all fields of its requests tell."""

    number: int

    @property
    def mark(self) -> str:
        return f"zq{self.number}x"

    @property
    def says_who(self) -> str | None:
        return SAY_WHO[self.number // 3 * 2 % len(SAY_WHO)] if self.number % 3 else None

    @property
    def cursor(self) -> int:
        return FIRST_CURSOR + self.number * CURSORS

    def head(self, target: str, method: str, *more: str, host: str = "streams.example") -> bytes:
        """A request in which every field that can has the mark."""
        mark = self.mark
        who = () if self.says_who is None else (f"{self.says_who}: {mark}",)
        fields = (
            f"User-Agent: {mark}-agent",
            f"Accept-Language: {mark}",
            f"Referer: http://{mark}.example/",
            f"Origin: http://{mark}.example",
            f"Accept: text/{mark}, */*",
            f"X-Forwarded-For: {mark}",
            f"X-Forwarded-Host: {mark}.example",
            f"Forwarded: for={mark}",
            f"X-Original-URL: /{mark}",
            f"X-Custom: {mark}",
        )
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *who, *fields, *more, "", ""]
        return "\r\n".join(lines).encode()

    def leaks(self, text: str) -> set[str]:
        """What of others stands in an answer to this one."""
        cursors = {int(found) for found in _CURSOR.findall(text)}
        others = {str(one) for one in cursors if (one - FIRST_CURSOR) // CURSORS != self.number}
        marks = {f"zq{one}x" for one in _MARK.findall(text)} - {self.mark}
        return others | marks


@dataclass
class Count:
    """What was read, in which ways, and what leaked."""

    reads: int = 0
    own: int = 0  # answers that hold their reader's mark
    ways: Counter[str] = field(default_factory=Counter)
    leaks: list[str] = field(default_factory=list)

    def add(self, other: Count) -> None:
        self.reads += other.reads
        self.own += other.own
        self.ways += other.ways
        self.leaks += other.leaks

    @property
    def missing(self) -> list[str]:
        return [way for way in EXPECTED if not self.ways[way]]

    def __str__(self) -> str:
        ways = ", ".join(f"{way} {count}" for way, count in sorted(self.ways.items()))
        return (
            f"{self.reads} reads, {self.own} with something for their reader alone, "
            f"{len(self.leaks)} with something of another one\n{ways}"
        )


class Client:
    """Reads of all identities in turn, on one connection to each gateway."""

    def __init__(self, ports: tuple[int, ...], identities: int, seed: int) -> None:
        self._chance = random.Random(seed)
        self._readers = [Reader(number) for number in range(identities)]
        self._ports = ports
        self._wires: dict[int, Wire] = {}
        self._tags: dict[tuple[int, str], str] = {}
        self.count = Count()

    def read(self, reads: int) -> Count:
        """Whatever chance has it; a connection that ends is made anew."""
        with contextlib.ExitStack() as closing:
            closing.callback(self._close)
            for _ in range(reads):
                self._read_one()
        return self.count

    def _close(self) -> None:
        for wire in self._wires.values():
            wire.socket.close()

    def _read_one(self) -> None:
        reader, port = self._chance.choice(self._readers), self._chance.choice(self._ports)
        way = self._chance.choice(WAYS)
        kind = self._chance.choice([*SAYS])
        path = f"{PREFIX}/{kind}.{self._chance.randrange(2)}"
        self.count.reads += 1
        if way == "sse":
            self._events(reader, port, path)
            return
        wire = self._wires.get(port) or self._wires.setdefault(port, Wire(port))
        method = "HEAD" if way == "head" else "GET"
        wire.send(self._request(reader, way, method, path))
        try:
            answer = wire.answer(method)
        except ConnectionEnded:
            self._wires.pop(port).socket.close()
            self.count.ways["cut"] += 1
            return
        if answer.status == 200 and "etag" in answer.headers:
            self._tags[reader.number, path] = answer.headers["etag"]
        self._note(reader, way, answer)

    def _request(self, reader: Reader, way: str, method: str, path: str) -> bytes:
        query, more, host = "offset=-1", [], "streams.example"
        if way == "later":
            query = f"offset={self._chance.randrange(9):06}_0"
        elif way == "now":
            query = "offset=now"
        elif way == "long-poll":
            offset = self._chance.choice(["-1", "now", f"{self._chance.randrange(9):06}_0"])
            query = f"cursor={reader.cursor}&live=long-poll&offset={offset}"
        elif way == "condition":
            more = [f"If-None-Match: {self._tags.get((reader.number, path), '*')}"]
        elif way == "range":
            more = ["Range: bytes=1-5"]
        elif way == "stray":
            query = f"offset=-1&utm_source={reader.mark}"
            more = [f"X-Request-Id: {reader.mark}"]
            host = self._chance.choice([host, f"{reader.mark}.example"])
        return reader.head(f"{path}?{query}", method, *more, host=host)

    def _events(self, reader: Reader, port: int, path: str) -> None:
        target = f"{path}?cursor={reader.cursor}&live=sse&offset=-1"
        events = b""
        with Wire(port) as wire:
            wire.send(reader.head(target, "GET"))
            answer = wire.head()
            if answer.headers.get("content-type") != "text/event-stream":
                answer = wire.whole(answer)
            else:
                with contextlib.suppress(ConnectionEnded):
                    while b"streamCursor" not in events and (chunk := wire.chunk()):
                        events += chunk
        self.count.ways["an event"] += b"event: data" in events or b"\ndata:" in events
        self._search(reader, "sse", target, (answer.wire + answer.body + events).decode("latin-1"))

    def _note(self, reader: Reader, way: str, answer: Answer) -> None:
        ways = self.count.ways
        told = answer.headers.get("cache-status", "").rpartition(", ")[2]  # by the nearest
        x_cache = answer.headers.get("x-cache", "none")
        ways[x_cache] += 1
        ways[f"status {answer.status}"] += 1
        ways["a joined request"] += "; collapsed" in told and "fwd-status" in told
        ways["a feed"] += "; collapsed" in told and "fwd-status" not in told
        ways["a stand-in"] += "stale-if-error" in told
        self._search(reader, way, x_cache, f"{dict(answer.headers)}{answer.body.decode('latin-1')}")

    def _search(self, reader: Reader, way: str, what: str, text: str) -> None:
        self.count.own += reader.mark in text
        if leaks := reader.leaks(text):
            self.count.leaks.append(f"{way}, {what}, to {reader}: {sorted(leaks)} in {text[:900]}")


@contextlib.contextmanager
def _two_gateways(origin: str) -> Iterator[tuple[int, ...]]:
    quick = {"HEADGATE_LONG_POLL_TIMEOUT": "0.5"}
    with (
        edge(origin, environment=quick) as near,
        edge(f"http://127.0.0.1:{near.port}", environment=quick) as far,
    ):
        yield near.port, far.port


def mixed_reads(reads: int, identities: int, clients: int = 16) -> Count:
    """Read through a gateway and through two in a row, many at once."""
    count = Count()
    lock = threading.Lock()

    def run(seed: int) -> None:
        mine = Client(ports, identities, seed).read(reads // clients)
        with lock:
            count.add(mine)

    with (
        Origin() as origin,
        _two_gateways(origin.url) as ports,
        ThreadPoolExecutor(clients) as pool,
    ):
        list(pool.map(run, range(clients)))
    return count
