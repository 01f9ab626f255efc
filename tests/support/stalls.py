"""A catalogue of what one client may send, and how long others wait while it is dealt with."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.processes import Headgate

LONGEST = 16 << 20  # the default of `max_append`
PATIENCE_S = 120.0
AFTER_S = 0.1  # for what goes on when the client has its answer
NOTHING: Mapping[str, str] = MappingProxyType({})
JSON, TEXT, OCTETS = "application/json", "text/plain", "application/octet-stream"


class Stall(NamedTuple):
    """The longest wait of the others: by the clock, and time of the server's threads."""

    wall_ms: float
    cpu_ms: float


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
        "digits two arrays deep": (JSON, b"[" + array(b"1", size)[:-2] + b"]"),
        "empty arrays": (JSON, array(b"[]", size)),
        "an object of many keys": (JSON, b"{" + array(b'"key":{}', size)[1:-1] + b"}"),
        "one long string": (JSON, string(b"x", size)),
        "a string of escapes": (JSON, string(rb"\n", size)),
        "a string of pairs": (JSON, string(rb"\ud83d\ude00", size)),
        "a string of two-byte letters": (JSON, string("é".encode(), size)),
        "a huge number": (JSON, b"1" * size),
        "nothing but blanks": (JSON, b" " * size),
        "nothing but brackets": (JSON, b"[" * size),
        "nothing but quotes": (JSON, b'"' * size),
        "text": (TEXT, b"x" * size),
        "line ends": (TEXT, b"\n" * (size // 4)),
        "lines": (TEXT, b"hello world\n" * (size // 12)),
        "bytes": (OCTETS, b"\xff" * size),
    }


IN = ("append", "create")
OUT = ("append", "read", "events live", "events from the log", "a poll")
GIVEN_OUT = ("an array of digits", "one long string", "text", "line ends", "lines", "bytes")
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
        with self._sent(method, path, body, fields) as response:
            response.read()
            return response.status

    @contextlib.contextmanager
    def _sent(
        self, method: str, path: str, body: bytes, fields: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer's head, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request(method, f"/v1/stream/{path}", body, fields)
            with connection.getresponse() as response:
                yield response

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
        with self._sent("GET", f"{name}?offset=-1&live=sse", b"", NOTHING) as reader:
            closing = {"Content-Type": content_type, "Stream-Closed": "true"}
            self.ask("POST", name, body, closing)
            reader.read()


def catalogue(server: Headgate, size: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is sent, by what it is called."""
    client = Client(server)
    assert client.ask("PUT", "ping", b"x", {"Content-Type": TEXT}) == 201
    for body_name, (content_type, body) in bodies(size).items():
        for way in OUT if body_name in GIVEN_OUT else IN:
            name = client.fresh(content_type)
            if way in {"read", "events from the log"}:
                client.dealt_with("append", content_type, body, name)
            yield (
                f"{way}: {body_name}",
                partial(client.dealt_with, way, content_type, body, name),
            )
    name = client.fresh(JSON)
    client.ask("POST", name, array(b"1", size), {"Content-Type": JSON})
    fork = {
        "Stream-Forked-From": f"/v1/stream/{name}",
        "Stream-Fork-Offset": "-1",
        "Stream-Fork-Sub-Offset": str(size // 2 - 10),
    }
    yield "a fork amid an array of digits", partial(client.ask, "PUT", f"{name}-fork", b"", fork)
    for tags, tag in TAGS.items():
        fields = {"If-None-Match": (tag * 8000)[:8000]}
        yield f"If-None-Match: {tags}", partial(client.ask, "GET", "ping?offset=-1", b"", fields)
    query = "&".join(f"a{number}=1" for number in range(900))
    yield "a long query", partial(client.ask, "GET", f"ping?{query}")
    yield "a long offset", partial(client.ask, "GET", f"ping?offset={'9' * 8000}")
    yield "a long path", partial(client.ask, "GET", "a/" * 3900 + "a")
    yield "a path of escapes", partial(client.ask, "GET", "%41" * 2600)
    seq = {"Content-Type": TEXT, "Stream-Seq": "9" * 8000}
    yield "a long Stream-Seq", partial(client.ask, "POST", "ping", b"x", seq)
    producer = {"Content-Type": TEXT, "Producer-Id": "9" * 8000, "Producer-Epoch": "0"}
    yield "a long Producer-Id", partial(client.ask, "POST", "ping", b"x", producer)


def stalls(server: Headgate, size: int = LONGEST) -> Iterator[tuple[str, Stall]]:
    """How long others wait for a server while it deals with each entry of the catalogue."""
    entries = catalogue(server, size)
    first = next(entries)
    with _watch(server) as worst:
        for name, send in (first, *entries):
            worst()
            send()
            time.sleep(AFTER_S)
            yield name, worst()


@contextlib.contextmanager
def _watch(server: Headgate) -> Iterator[Callable[[], Stall]]:
    """Another client; what is given tells how long it waited at most since it was last asked."""
    command = [sys.executable, "-m", "tests.support.pinging"]
    numbers = [str(number) for number in (server.port, server.admin_port, server.pid)]
    with subprocess.Popen(
        [*command, *numbers], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
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
