"""Two proxies in a row, such as a load balancer in front of a cache, each with its own file."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.rules import RULES
from headgate_gateway.settings import load
from tests.cdn.balanced import BALANCING, in_front_of
from tests.cdn.origin import STREAMS, TEXT
from tests.support.http1 import ask
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SETTINGS = load(None, {}, {})
RIGHT = [201, 204, 200, 200, 304, 200, 200]
RECORD = b"a line of text that everybody has seen before\n" * 100


@pytest.fixture(scope="module")
def gateway(processes: None) -> Iterator[Headgate]:
    one = Headgate()
    one.start()
    yield one
    one.close()


@pytest.fixture(scope="module")
def inner(gateway: Headgate) -> Iterator[Mapping[str, int]]:
    with in_front_of(SETTINGS, f"127.0.0.1:{gateway.port}", BALANCING) as ports:
        yield ports


@pytest.mark.parametrize(
    "name",
    [
        name
        if name == "haproxy"  # the only one whose checks have no Host by themselves
        else pytest.param(name, marks=pytest.mark.torture("the same as HAProxy"))
        for name in BALANCING
    ],
)
def test_each_request_succeeds_through_a_proxy_in_front_of_each_other_one(
    name: str, inner: Mapping[str, int]
) -> None:
    with contextlib.ExitStack() as end:
        outer = {
            other: end.enter_context(in_front_of(SETTINGS, f"127.0.0.1:{port}", [name]))[name]
            for other, port in inner.items()
        }
        time.sleep(RULES.unhealthy_s)  # until then, a proxy may send requests to one that fails
        seen = {other: statuses(port, f"{STREAMS}/{name}-{other}") for other, port in outer.items()}
    assert seen == dict.fromkeys(inner, RIGHT)


def statuses(port: int, path: str) -> list[int]:
    """Return the statuses of writes and reads through a proxy."""
    target, packed = f"{path}?offset=-1", {"Accept_Encoding": "gzip"}
    made = ask(port, "PUT", path, b"zero", Content_Type=TEXT)
    closed = ask(port, "POST", path, RECORD, Content_Type=TEXT, Stream_Closed="true")
    read = ask(port, "GET", target, None, **packed)
    again = ask(port, "GET", target, None, **packed, If_None_Match=read.get("etag") or "")
    poll = ask(port, "GET", f"{target}&live=long-poll")
    whole = ask(port, "GET", target)
    head = ask(port, "HEAD", path)
    return [one.status for one in (made, closed, read, whole, again, poll, head)]
