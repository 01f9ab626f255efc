"""A catalogue of what one client may send, and how long others wait while it is dealt with."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from headgate.multi_chunks import LENGTH_BYTES
from headgate_gateway.protocol.bodies.json_text import MAX_DEPTH, MAX_DIGITS
from headgate_gateway.protocol.bodies.multi_append import MAX_MESSAGES
from headgate_gateway.streams.writes import MAX_BATCH
from tests.support.http1 import Wire, request
from tests.support.multi_append import MULTI, framed
from tests.support.processes import ROOT, headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from tests.support.processes import Headgate

LONGEST = 16 << 20  # the default of `max_append`
PATIENCE_S = 120.0
AFTER_S = 0.1  # for what goes on when the client has its answer
NOTHING: Mapping[str, str] = MappingProxyType({})
JSON, TEXT, OCTETS = "application/json", "text/plain", "application/octet-stream"


KINDS = ("memory", "file", "redis", "http")


@contextlib.contextmanager
def started(kind: str, preface: Sequence[str] = ()) -> Iterator[Headgate]:
    """A server whose streams are in one of these places; behind `http` is another Headgate."""
    with contextlib.ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="headgate-stalls-"))
        match kind:
            case "http":
                origin = opened.enter_context(headgate()).url
            case "redis":
                origin = opened.enter_context(redis_server(Path(folder))).url
            case "file":
                origin = f"file:{folder}"
            case _:
                origin = "memory:"
        yield opened.enter_context(headgate(origin, preface=preface))


class Stall(NamedTuple):
    """The longest wait of the others: by the clock, and time of the server's threads."""

    wall_ms: float
    cpu_ms: float


def in_chunks(item: bytes, size: int) -> bytes:
    """As many chunks of it as a request may have, and the longest body has room for."""
    return framed([item] * min(MAX_MESSAGES, size // (LENGTH_BYTES + len(item))))


def array(item: bytes, size: int) -> bytes:
    """As many items as the longest body has room for."""
    return b"[" + b",".join([item] * ((size - 1) // (len(item) + 1))) + b"]"


def string(inside: bytes, size: int) -> bytes:
    """The longest JSON string of such text."""
    return b'"' + inside * ((size - 2) // len(inside)) + b'"'


def bodies(size: int) -> dict[str, tuple[str, bytes]]:
    """Content types and bodies, by what they are called."""
    return {
        "an array of digits": (JSON, array(b"1", size)),
        "an array of strings": (JSON, array(b'"x"', size)),
        "an array of objects": (JSON, array(b'{"a":1}', size)),
        "digits two arrays deep": (JSON, b"[" + array(b"1", size - 2) + b"]"),
        "empty arrays": (JSON, array(b"[]", size)),
        "an object of many keys": (JSON, b"{" + array(b'"key":{}', size)[1:-1] + b"}"),
        "one long string": (JSON, string(b"x", size)),
        "a string of escapes": (JSON, string(rb"\n", size)),
        "a string of pairs": (JSON, string(rb"\ud83d\ude00", size)),
        "a string of two-byte letters": (JSON, string("é".encode(), size)),
        "a huge number": (JSON, b"1" * size),
        "arrays as deep as may be": (JSON, array(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, size)),
        "numbers as long as may be": (JSON, array(b"1" * MAX_DIGITS, size)),
        "nothing but blanks": (JSON, b" " * size),
        "nothing but brackets": (JSON, b"[" * size),
        "nothing but quotes": (JSON, b'"' * size),
        "text": (TEXT, b"x" * size),
        "line ends": (TEXT, b"\n" * (size // 4)),
        "lines": (TEXT, b"hello world\n" * (size // 12)),
        "bytes": (OCTETS, b"\xff" * size),
    }


def chunked_bodies(size: int) -> dict[str, tuple[str, bytes]]:
    """The same of multi-appends."""
    return {
        "chunks of a byte": (TEXT, in_chunks(b"x", size)),
        "long chunks": (OCTETS, in_chunks(b"\xff" * (size // MAX_MESSAGES - LENGTH_BYTES), size)),
        "chunks of arrays": (JSON, in_chunks(array(b"[1]", size // MAX_MESSAGES - 8), size)),
        "one array in a chunk": (JSON, in_chunks(array(b"1", size - LENGTH_BYTES), size)),
    }


IN = ("append", "create")
OUT = ("append", "read", "events live", "events from the log", "a poll")
GIVEN_OUT = ("an array of digits", "one long string", "text", "line ends", "lines", "bytes")
BY_ORIGIN = (
    "an array of digits",
    "an array of strings",
    "an array of objects",
    "digits two arrays deep",
    "empty arrays",
    "one long string",
    "line ends",
)
LINE, HEAD = 8000, 32_000  # bytes that the longest line of a head has room for, and the head
CONNECTIONS = 64
NEEDED_BY_OTHERS = ("appends of a byte", "polls with many cursors")
# Requests in one piece of input: what dealing with them in one go takes is several times a stall.
IN_A_ROW = {"ping?offset=-1": 5000, "nothing": 2000, "ping?offset=bad": 2000}
TAGS = {"tags": '"a",', "commas": ",", "letters": "a", "blanks": '"a" ', "weak tags": 'W/"a",'}


class Client:
    """Whoever sends what there is in the catalogue."""

    def __init__(self, server: Headgate) -> None:
        self._server = server
        self._streams = 0

    def ask(
        self, method: str, path: str, body: bytes = b"", fields: Mapping[str, str] = NOTHING
    ) -> int:
        """The answer's status, once it is whole."""
        with self._asked(method, path, body, fields) as wire:
            return wire.answer(method).status

    @contextlib.contextmanager
    def _asked(
        self, method: str, path: str, body: bytes = b"", fields: Mapping[str, str] = NOTHING
    ) -> Iterator[Wire]:
        """A connection of its own, which the answer comes on."""
        with Wire(self._server.port, PATIENCE_S) as wire:
            wire.send(request(method, f"/v1/stream/{path}", body, **fields))
            yield wire

    def ask_much(self, requests: Iterable[bytes]) -> None:
        """As many at a time as one commit may answer."""
        left = iter(requests)
        with contextlib.ExitStack() as opened:
            wires = [
                opened.enter_context(Wire(self._server.port, PATIENCE_S))
                for _ in range(CONNECTIONS)
            ]
            while some := list(islice(left, MAX_BATCH)):
                shares = [some[number::CONNECTIONS] for number in range(CONNECTIONS)]
                for wire, share in zip(wires, shares, strict=True):
                    wire.send(b"".join(share))
                for wire, share in zip(wires, shares, strict=True):
                    _take_answers(wire, len(share))

    def ask_in_a_row(self, ask: bytes, count: int) -> None:
        """The same again and again, without waiting for the answers."""
        with Wire(self._server.port, PATIENCE_S) as wire:
            sending = Thread(target=wire.send, args=(ask * count,))
            sending.start()
            _take_answers(wire, count)
            sending.join()

    def fresh(self, content_type: str) -> str:
        """A new stream."""
        self._streams += 1
        name = f"s{self._streams}"
        assert self.ask("PUT", name, fields={"Content-Type": content_type}) == 201
        return name

    def dealt_with(self, way: str, content_type: str, body: bytes, name: str) -> None:
        """Send a body in one of the ways, or have it sent; `name` has it already, or is empty."""
        fields = {"Content-Type": content_type}
        match way:
            case "append":
                self.ask("POST", name, body, fields)
            case "create":
                self.ask("PUT", f"{name}-created", body, fields)
            case "read":
                self.ask("GET", f"{name}?offset=-1")
            case "events from the log":
                self._read_events(name, b"", content_type)
            case "events live":
                self._read_events(name, body, content_type)
            case _:
                self.ask("POST", name, body, fields)
                self.ask("GET", f"{name}?offset=-1&live=long-poll")

    def _read_events(self, name: str, body: bytes, content_type: str) -> None:
        """Follow a stream until it is closed, with a last append."""
        with self._asked("GET", f"{name}?offset=-1&live=sse") as reader:
            reader.head()
            closing = {"Content-Type": content_type, "Stream-Closed": "true"}
            self.ask("POST", name, body, closing)
            _take_events(reader)

    def be_followed(self, name: str, content_type: str, body: bytes) -> None:
        """Append to a stream whose events somebody reads, while somebody else polls it."""
        with (
            self._asked("GET", f"{name}?offset=now&live=sse") as reader,
            self._asked("GET", f"{name}?offset=-1&live=long-poll") as poll,
        ):
            reader.head()
            self.ask("POST", name, body, {"Content-Type": content_type})
            poll.answer()
            self.ask("POST", name, b"", {"Stream-Closed": "true"})
            _take_events(reader)


def _take_events(wire: Wire) -> None:
    while wire.chunk():
        pass


def _take_answers(wire: Wire, count: int) -> None:
    """They are only counted: whoever took tens of thousands apart would be what is waited for."""
    last = b""
    while count > 0:
        part = wire.socket.recv(1 << 20)
        assert part, "the server has gone"
        begin = b"HTTP/1.1 "
        count -= (last + part).count(begin)
        last = (last + part)[1 - len(begin) :]


def _multi_appends(name: str, count: int) -> Iterator[bytes]:
    """As many chunks of one byte as a request may have."""
    body = in_chunks(b"x", LONGEST)
    return repeat(request("POST", f"/v1/stream/{name}", body, content_type=TEXT, **MULTI), count)


def _posts(name: str, count: int) -> Iterator[bytes]:
    """Appends of one byte."""
    return repeat(request("POST", f"/v1/stream/{name}", b"x", content_type=TEXT), count)


def _cursors(name: str, count: int) -> Iterator[bytes]:
    """Polls whose answers are kept apart."""
    target = f"/v1/stream/{name}?offset=-1&live=long-poll&cursor="
    return (request("GET", f"{target}{number}") for number in range(count))


Entries = Iterator[tuple[str, Callable[[], object]]]


def catalogue(server: Headgate, size: int, *, in_heads: bool = True) -> Entries:
    """What is sent, by what it is called, in heads as well or in bodies alone."""
    client = Client(server)
    closed = {"Content-Type": TEXT, "Stream-Closed": "true"}  # kept before an origin, too
    assert client.ask("PUT", "ping", b"x", closed) == 201
    if is_before_origin(server):
        yield from _before_origin(client, size)
    else:
        yield from _to_own_log(client, size)
    if in_heads:
        yield from _in_heads(client)


def is_before_origin(server: Headgate) -> bool:
    """Whether the streams are at another server."""
    return server.origin.startswith("http:")


def _before_origin(client: Client, size: int) -> Entries:
    for body_name, (content_type, body) in bodies(size).items():
        if body_name not in BY_ORIGIN:
            continue
        name = client.fresh(content_type)
        yield f"followed: {body_name}", partial(client.be_followed, name, content_type, body)
        for way in ("read", "events from the log"):
            yield f"{way}: {body_name}", partial(client.dealt_with, way, content_type, body, name)


def _to_own_log(client: Client, size: int) -> Entries:
    for body_name, (content_type, body) in bodies(size).items():
        for way in OUT if body_name in GIVEN_OUT else IN:
            name = client.fresh(content_type)
            if way in {"read", "events from the log"}:
                client.dealt_with("append", content_type, body, name)
            yield (
                f"{way}: {body_name}",
                partial(client.dealt_with, way, content_type, body, name),
            )
    yield from _in_chunks(client, size)
    name = client.fresh(JSON)
    client.ask("POST", name, array(b"1", size), {"Content-Type": JSON})
    fork = {
        "Stream-Forked-From": f"/v1/stream/{name}",
        "Stream-Fork-Offset": "-1",
        "Stream-Fork-Sub-Offset": str(size // 2 - 10),
    }
    yield "a fork amid an array of digits", partial(client.ask, "PUT", f"{name}-fork", b"", fork)
    name = client.fresh(TEXT)
    yield "appends of a byte", partial(client.ask_much, _posts(name, size // 64))
    for way in ("read", "events from the log"):
        yield f"{way}: records of a byte", partial(client.dealt_with, way, TEXT, b"", name)
    name = client.fresh(TEXT)
    client.ask("POST", name, b"x", {"Content-Type": TEXT})
    yield "polls with many cursors", partial(client.ask_much, _cursors(name, size // 512))
    yield "an append behind them", partial(client.dealt_with, "append", TEXT, b"x", name)


def _in_chunks(client: Client, size: int) -> Entries:
    for body_name, (content_type, body) in chunked_bodies(size).items():
        name = client.fresh(content_type)
        fields = {"Content-Type": content_type, **MULTI}
        yield f"multi-append: {body_name}", partial(client.ask, "POST", name, body, fields)
    name = client.fresh(TEXT)
    many = _multi_appends(name, size // 64 // MAX_MESSAGES)
    yield "multi-appends of bytes", partial(client.ask_much, many)
    for way in ("read", "events from the log"):
        yield f"{way}: chunks of a byte", partial(client.dealt_with, way, TEXT, b"", name)


def _in_heads(client: Client) -> Entries:
    for tags, tag in TAGS.items():
        lines = "\r\nIf-None-Match: ".join([(tag * LINE)[:LINE]] * (HEAD // LINE))
        fields = {"If-None-Match": lines}
        yield f"If-None-Match: {tags}", partial(client.ask, "GET", "ping?offset=-1", b"", fields)
    for target, count in IN_A_ROW.items():
        ask = request("GET", f"/v1/stream/{target}")
        yield f"in a row: {target}", partial(client.ask_in_a_row, ask, count)
    yield "a long query", partial(client.ask, "GET", f"ping?{('a&' * LINE)[:LINE]}")
    yield "a query of values", partial(client.ask, "GET", f"ping?{('a=1&' * LINE)[:LINE]}")
    yield "a long offset", partial(client.ask, "GET", f"ping?offset={'9' * LINE}")
    yield "a long path", partial(client.ask, "GET", ("a/" * LINE)[:LINE])
    yield "a path of escapes", partial(client.ask, "GET", ("%41" * LINE)[: LINE // 3 * 3])
    name = client.fresh(TEXT)
    seq = {"Content-Type": TEXT, "Stream-Seq": "9" * LINE}
    yield "a long Stream-Seq", partial(client.ask, "POST", name, b"x", seq)
    producer = {"Content-Type": TEXT, "Producer-Id": "9" * LINE, "Producer-Epoch": "0"}
    yield "a long Producer-Id", partial(client.ask, "POST", name, b"x", producer)


def stalls(
    server: Headgate,
    size: int = LONGEST,
    only: Container[str] | None = None,
    *,
    in_heads: bool = True,
) -> Iterator[tuple[str, Stall]]:
    """How long others wait for a server while it deals with the entries of the catalogue.

    `only` some are measured, if so asked; what others need is sent all the same.
    """
    entries = catalogue(server, size, in_heads=in_heads)
    first = next(entries)
    # What is not cached is answered by an origin, whose own time is none of this server's.
    offsets = ("-1",) if is_before_origin(server) else ("-1", "now")
    targets = [f"/v1/stream/ping?offset={offset}" for offset in offsets]
    with measured_waits(server.port, server.admin_port, server.pid, targets) as worst:
        for name, send in (first, *entries):
            if only is None or name in only:
                worst()
                send()
                time.sleep(AFTER_S)
                yield name, worst()
            elif name in NEEDED_BY_OTHERS:
                send()


@contextlib.contextmanager
def measured_waits(
    port: int, admin_port: int, pid: int, targets: Sequence[str]
) -> Iterator[Callable[[], Stall]]:
    """Another client; what is given tells how long it waited at most since it was last asked."""
    command = [sys.executable, "-m", "tests.support.pinging"]
    numbers = [str(number) for number in (port, admin_port, pid)]
    with subprocess.Popen(
        [*command, *numbers, *targets],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as other:
        assert other.stdin is not None, "a pipe"
        assert other.stdout is not None, "a pipe"
        told, asked = other.stdout, other.stdin

        def worst() -> Stall:
            asked.write("\n")
            asked.flush()
            wall_s, cpu_s = map(float, told.readline().split())
            return Stall(wall_s * 1000, cpu_s * 1000)

        try:
            yield worst
        finally:
            asked.close()
