"""The pages on moving from another server do what they say, with the commands that they show."""

from __future__ import annotations

import contextlib
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.support.handler_server import handler_server
from tests.support.ports import accepts, free_port
from tests.support.processes import NODE, ROOT, start
from tests.support.recipes import Kitchen, titles
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

PAGES = ROOT / "docs" / "moving-from"
REFERENCE = ROOT / "tests" / "node" / "reference.mjs"


@contextlib.contextmanager
def running(command: Sequence[str | Path], port: int, folder: Path) -> Iterator[None]:
    """Run the server that a page moves from, until the test ends."""
    process = start(command, folder=folder)
    try:
        wait_until(lambda: process.poll() is not None or accepts(port), "it accepts")
        yield
    finally:
        process.terminate()
        process.wait()


def played(page: Path, folder: Path, replaced: dict[str, str], **more: str) -> int:
    """Do all sections of a page; return how many lines of output were as they are written."""
    with Kitchen(page, folder, replaced, more) as kitchen:
        return sum(kitchen.follow(title) for title in titles(page))


@contextlib.contextmanager
def reference_server(folder: Path) -> Iterator[str]:
    """Run the reference server with files, and yield its host and port."""
    port = free_port()
    with running([NODE, REFERENCE, str(port), str(folder / "reference")], port, folder):
        yield f"127.0.0.1:{port}"


@pytest.mark.timeout(300)  # the commands start some twenty programs
def test_the_page_on_the_reference_server_moves_its_streams_as_written(tmp_path: Path) -> None:
    with reference_server(tmp_path) as host:
        page = PAGES / "reference-server.md"
        assert played(page, tmp_path, {"127.0.0.1:4438": host}) >= 8


@pytest.mark.timeout(300)
def test_the_page_on_electric_cloud_moves_streams_from_a_server_of_the_protocol(
    tmp_path: Path,
) -> None:
    with reference_server(tmp_path) as host:
        for name, kind, body in (
            ("notes", "text/plain", b"Once upon a time"),
            ("events", "application/json", b'{"step":1}'),
        ):
            url = f"http://{host}/v1/stream/svc-demo/{name}"
            urlopen(Request(url, body, {"Content-Type": kind}, method="PUT")).close()
        page = PAGES / "electric-cloud.md"
        replaced = {"https://api.electric-sql.cloud": f"http://{host}"}
        assert played(page, tmp_path, replaced, CLOUD_TOKEN=f"cloud-{'0123456789' * 4}") >= 4


@pytest.mark.timeout(300)
def test_the_page_on_redis_streams_moves_a_key_and_back_as_written(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis") as redis:
        page = PAGES / "redis-streams.md"
        assert played(page, tmp_path, {"127.0.0.1:6379": f"127.0.0.1:{redis.port}"}) >= 8


@pytest.mark.timeout(300)
def test_the_page_on_mercure_copies_a_topic_over_cuts_as_written(tmp_path: Path) -> None:
    with topic_of_a_hub() as port:
        page = PAGES / "mercure.md"
        assert played(page, tmp_path, {"127.0.0.1:3000": f"127.0.0.1:{port}"}) >= 3


@contextlib.contextmanager
def topic_of_a_hub() -> Iterator[int]:
    """Serve a topic with two updates by the documented API, and cut the connection after each.

    The hub itself is no package that the tests could install; the page was tried with it by hand.
    """
    ids = [f"urn:uuid:00000000-0000-7000-8000-{number:012}" for number in (1, 2)]

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            assert asked["topic"] == ["https://example.com/books/1"]
            (last,) = asked["lastEventID"]
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(b":\n")
            following = ids[0 if last == "earliest" else ids.index(last) + 1 :]
            for number in following[:1]:
                status = ids.index(number) + 1
                self.wfile.write(f'id: {number}\ndata: {{"status":\ndata: {status}}}\n\n'.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with handler_server(Hub) as port:
        yield port
