"""Too much of anything (S15): bodies that unpack to more, chunks of a byte, heads and lines without
end are each refused by a documented status, and cost memory and time that are bounded.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.http1 import Wire, ask, request
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.http1 import Answer
    from tests.support.processes import Headgate

MAX_APPEND = 1 << 20
GROWTH = 3 * MAX_APPEND  # what one request may make the process grow by, with what parsing takes
CHUNKS = 100_000
CPU_S = 5.0  # of 100,000 chunks: a tenth of it on an idle machine
UNPACKED = b"0" * (200 << 20)
CODINGS = (
    *("gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "gzip, identity", "identity, gzip"),
    *("identity\r\nContent-Encoding: gzip", "gzip\r\nContent-Encoding: identity", "unknown"),
)
_numbers = itertools.count()
_TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Headgate]:
    settings = {"HEADGATE_LIMITS__MAX_APPEND": str(MAX_APPEND), "HEADGATE_HTTP__BODY_TIMEOUT": "3"}
    with headgate(environment=settings) as process:
        path = _new(process)
        ask(process.port, "POST", path, b"x" * MAX_APPEND, content_type="text/plain")  # warm
        yield process


def _new(server: Headgate) -> str:
    path = f"/v1/stream/large{next(_numbers)}"
    assert ask(server.port, "PUT", path, b"", content_type="text/plain").status == 201
    return path


def _told(server: Headgate, data: bytes) -> Answer:
    """The answer to what may be refused before all of it was taken."""
    with Wire(server.port) as wire:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(data)
        return wire.answer()


def _head(method: str, target: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


def _cpu_s(server: Headgate) -> float:
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def test_a_compressed_body_is_refused_with_415_without_growing_the_memory(
    server: Headgate, tell: Callable[[str], None]
) -> None:
    path = _new(server)
    bomb = gzip.compress(UNPACKED, 1, mtime=0)
    assert len(bomb) < MAX_APPEND
    before = server.resident_bytes()
    for coding, method, body in itertools.product(
        CODINGS, ("POST", "PUT"), (bomb, zlib.compress(b"x"), b"x")
    ):
        at = path if method == "POST" else f"{path}-created"
        told = ask(
            server.port, method, at, body, content_type="text/plain", content_encoding=coding
        )
        told.assert_problem(415, "Content-Encoding")
    assert server.resident_bytes() - before < GROWTH
    assert ask(server.port, "GET", path).body == b""
    assert ask(server.port, "GET", f"{path}-created").status == 404
    tell(f"{len(CODINGS) * 6} bodies")


def test_a_body_with_content_encoding_identity_is_appended(server: Headgate) -> None:
    path = _new(server)
    for coding in ("identity", "Identity", ""):
        told = ask(
            server.port, "POST", path, b"x", content_type="text/plain", content_encoding=coding
        )
        assert told.status == 204
    assert ask(server.port, "GET", path).body == b"xxx"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"1\r\nx\r\n", id="plain-chunks"),
        pytest.param(b"00000001;a=b;c\r\nx\r\n", id="chunks-with-extensions"),
    ],
)
def test_a_body_in_one_byte_chunks_uses_little_cpu_and_memory(
    server: Headgate, method: str, chunk: bytes, tell: Callable[[str], None]
) -> None:
    path = _new(server)
    at = path if method == "POST" else f"{path}-created"
    head = _head(method, at, "Content-Type: text/plain", "Transfer-Encoding: chunked")
    memory, cpu_s = server.resident_bytes(), _cpu_s(server)
    told = _told(server, head + chunk * CHUNKS + b"0\r\n\r\n")
    assert told.status == (204 if method == "POST" else 201)
    assert _cpu_s(server) - cpu_s < CPU_S
    assert server.resident_bytes() - memory < GROWTH
    assert ask(server.port, "GET", at).body == b"x" * CHUNKS
    tell(f"{CHUNKS} chunks, {_cpu_s(server) - cpu_s:.2f} s of a processor")


def test_a_chunked_body_beyond_max_append_is_refused_with_413_as_it_arrives(
    server: Headgate,
) -> None:
    """No length was announced that could be refused."""
    path = _new(server)
    head = _head("POST", path, "Content-Type: text/plain", "Transfer-Encoding: chunked")
    memory = server.resident_bytes()
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    _told(server, head + chunk * 512).assert_problem(413, "max_append")
    assert server.resident_bytes() - memory < GROWTH
    assert ask(server.port, "GET", path).body == b""


LINES = 128  # with Host


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_request_head_beyond_the_limit_of_lines_is_refused_with_431(
    server: Headgate, more: int
) -> None:
    path = _new(server)
    lines = [f"X-{number}: a" for number in range(LINES - 1 + more)]
    told = _told(server, _head("GET", path, *lines))
    assert told.status == (431 if more > 0 else 200)


@pytest.mark.parametrize(("size", "status"), [(8000, 200), (9 << 10, 431)])
def test_a_header_line_of_9_kib_is_answered_431(server: Headgate, size: int, status: int) -> None:
    assert _told(server, _head("GET", _new(server), f"X: {'a' * size}")).status == status


@pytest.mark.parametrize("target", ["/v1/stream/{}", "/v1/stream/a?{}", "http://a/v1/stream/{}"])
def test_a_url_of_64_kib_is_answered_431(server: Headgate, target: str) -> None:
    told = _told(server, _head("GET", target.format("a" * (64 << 10))))
    told.assert_problem(431, "line")


def test_many_refused_requests_do_not_grow_the_memory(server: Headgate) -> None:
    """Each refusal above has closed its connection, or the next request was answered on it."""
    before = server.resident_bytes()
    for _ in range(20):
        _told(server, _head("GET", "/v1/stream/" + "a" * (64 << 10)))
        with Wire(server.port) as wire:
            wire.send(request("GET", "/v1/stream/nothing") * 100)
            assert {wire.answer().status for _ in range(100)} == {404}
    assert server.resident_bytes() - before < GROWTH
