"""A stream that was deleted and made again through a gateway is never mixed up with the old one."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.edge.events import Events
from tests.edge.gateways import PREFIX, edge
from tests.support.http1 import ask
from tests.support.origin_servers import own_log, reference
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD, NEW = b"old content", b"new content!"
SOON_S = 5.0  # a second at each of two gateways, on a busy machine
_numbers = itertools.count()


@pytest.fixture(scope="module", params=["reference", "headgate"])
def origin(processes: None, request: pytest.FixtureRequest) -> Iterator[str]:
    with reference() if request.param == "reference" else own_log() as started:
        yield started.url


@pytest.fixture(scope="module", params=["one gateway", "two in a row"])
def port(processes: None, request: pytest.FixtureRequest, origin: str) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        gateway = stack.enter_context(edge(origin))
        if request.param == "two in a row":
            gateway = stack.enter_context(edge(gateway.url))
        yield gateway.port


@pytest.fixture
def path() -> str:
    return f"{PREFIX}/again{next(_numbers)}"


def _create(port: int, path: str, body: bytes) -> str:
    assert ask(port, "PUT", path, body, content_type="text/plain").status == 201
    return ask(port, "HEAD", path).next_offset


def _queries(tail: str) -> list[str]:
    """Every kind of read that a cache may have answered."""
    begin = ("", "?offset=-1", "?offset=-1&live=long-poll", "?offset=-1&live=long-poll&cursor=1")
    return [*begin, f"?offset={tail}", f"?offset={tail}&cursor=1"]


def test_bytes_of_a_deleted_stream_are_never_served_for_its_successor(port: int, path: str) -> None:
    tail = _create(port, path, OLD)
    queries = _queries(tail)
    for _ in range(2):
        for query in queries[:4]:
            assert ask(port, "GET", path + query).body == OLD
        for query in queries[4:]:
            assert ask(port, "GET", path + query).body == b""
    assert ask(port, "DELETE", path).status == 204
    for query in queries:
        assert ask(port, "GET", path + query).status in {404, 410}
    _create(port, path, NEW)
    for _ in range(2):
        for query in queries[:4]:
            assert ask(port, "GET", path + query).body == NEW
        for query in queries[4:]:
            # An offset of the old stream is refused, or means what the origin takes it for.
            found = ask(port, "GET", path + query)
            assert found.status == 410 or NEW.endswith(found.body)


def test_a_closed_stream_recreated_at_the_origin_is_read_from_the_beginning_soon(
    origin: str, port: int, path: str
) -> None:
    at_origin = urlsplit(origin).port
    assert at_origin
    closed = {"content_type": "text/plain", "stream_closed": "true"}
    assert ask(at_origin, "PUT", path, OLD, **closed).status == 201
    queries = ("", "?cursor=1", "?offset=-1", "?offset=-1&cursor=1")
    found = [ask(port, "GET", path + query) for query in queries]
    assert {answer.body for answer in found} == {OLD}
    # For a browser's own copy, nothing says that the stream is another one.
    assert {answer.get("cache-control") for answer in found} == {
        "no-cache, s-maxage=1, stale-while-revalidate=0"
    }
    assert ask(at_origin, "DELETE", path).status == 204
    assert ask(at_origin, "PUT", path, NEW, **closed).status == 201
    wait_until(
        lambda: {ask(port, "GET", path + query).body for query in queries} == {NEW},
        within_s=SOON_S,
    )


def test_viewers_of_a_deleted_stream_are_ended_before_its_successor_is_read(
    port: int, path: str
) -> None:
    _create(port, path, OLD)
    with Events(port, f"{path}?offset=-1&live=sse") as viewer:
        assert viewer.data() == OLD
        assert ask(port, "DELETE", path).status == 204
        with pytest.raises(AssertionError, match="has ended"):
            viewer.data()
    _create(port, path, NEW)
    with Events(port, f"{path}?offset=-1&live=sse") as viewer:
        assert viewer.data() == NEW


@pytest.mark.parametrize("close", [False, True])
def test_an_append_or_closure_through_the_gateway_is_read_at_once(
    port: int, path: str, close: bool
) -> None:
    tail = _create(port, path, OLD)
    for query in _queries(tail)[:4]:
        ask(port, "GET", path + query)
    assert ask(port, "GET", f"{path}?offset={tail}").body == b""
    closing = {"stream_closed": "true"} if close else {}
    written = ask(port, "POST", path, b" and more", content_type="text/plain", **closing)
    assert written.status in {200, 204}
    for query in ("", "?offset=-1"):
        found = ask(port, "GET", path + query)
        assert found.body == OLD + b" and more"
        assert ("stream-closed" in found.headers) == close
    assert ask(port, "GET", f"{path}?offset={tail}").body == b" and more"
    assert ask(port, "HEAD", path).next_offset == written.next_offset
