"""A copy of nginx is served no longer than its response is fresh, whatever its Age was."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.protocol.http.header_names import NGINX_FIELD
from tests.cdn.candidates import Candidate
from tests.cdn.line_origin import SendsLines, path_of
from tests.cdn.origin import TEXT, HeadgateOrigin
from tests.support.handler_server import handler_server
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.proxy_engines import started
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.http1 import Answer

KINDS = ("nginx", "nginx-njs")


class Aging(SendsLines):
    """Says in each body whether nginx asked for the rest of a lifetime."""

    shown = NGINX_FIELD


def target_of(lines: Sequence[str]) -> str:
    """Return a new target, at which the response has these header lines."""
    return f"{path_of([*lines, f'Content-Type: {TEXT}'])}?offset=1"


class Edge(NamedTuple):
    """A real nginx in front of a gateway."""

    port: int
    gateway: HeadgateOrigin

    def read(self, target: str, **fields: str) -> Answer:
        return ask(self.port, "GET", target, None, **fields)

    def age_at_gateway(self, target: str) -> int:
        return int(ask(self.gateway.port, "GET", target).get("Age") or 0)

    def is_hit(self, target: str) -> bool:
        return self.read(target).get("X-Cache-Status") == "HIT"


@pytest.fixture(scope="module", params=KINDS)
def edge(processes: None, request: pytest.FixtureRequest) -> Iterator[Edge]:
    with handler_server(Aging) as origin_port:
        gateway = HeadgateOrigin(origin_port, 1.0, (), ("*",))
        try:
            gateway.start()
            candidate, port = Candidate(request.param), free_port()
            with started(candidate.engine, candidate.files(port, gateway), port):
                yield Edge(port, gateway)
        finally:
            gateway.close()


def test_a_copy_that_was_old_when_nginx_got_it_ends_with_its_lifetime(edge: Edge) -> None:
    lifetime_s, begun_s = 60, 53
    target = target_of([f"Cache-Control: max-age={lifetime_s}", f"Age: {begun_s}"])
    began = time.monotonic()
    wait_until(lambda: edge.age_at_gateway(target) == begun_s + 2, "a copy of the gateway to age")
    first, copy = edge.read(target), edge.read(target)
    assert [it.get("X-Cache-Status") for it in (first, copy)] == ["MISS", "HIT"]
    assert (first.get("X-Cache"), first.body) == ("HIT", copy.body)
    wait_until(lambda: not edge.is_hit(target), "the copy to end")
    assert begun_s + time.monotonic() - began <= 1.1 * lifetime_s


class Row(NamedTuple):
    """An origin's fields, and Cache-Control as browsers get it with a copy; None for no copy."""

    said: tuple[str, ...]
    for_browsers: str | None


AGE = "Age: 20"


@pytest.mark.parametrize(
    "row",
    [
        Row(("Cache-Control: public, max-age=60, a=b", AGE), "public, max-age=40, a=b"),
        Row(("Cache-Control: max-age=60",), "max-age=60"),
        Row(("Cache-Control: max-age=30, s-maxage=60", AGE), "max-age=0, s-maxage=40"),
        Row(("Cache-Control: s-maxage=60, max-age=30", AGE), "s-maxage=40, max-age=0"),
        Row(("Cache-Control: s-maxage=60", AGE), "s-maxage=40"),
        Row(("Cache-Control: max-age=9", "CDN-Cache-Control: max-age=60", AGE), "max-age=0"),
        Row(("Cache-Control: no-cache", "CDN-Cache-Control: max-age=60", AGE), "no-cache"),
        Row(("Cache-Control: max-age=20", AGE), None),
        Row(("Cache-Control: max-age=10", AGE), None),
        Row(("Cache-Control: max-age=10, s-maxage=20", AGE), None),
        Row(("Cache-Control: max-age=60", "CDN-Cache-Control: max-age=20", AGE), None),
        Row(("Cache-Control: max-age=60", AGE, "X-Accel-Expires: 0"), "max-age=40"),
        Row(("Cache-Control: max-age=20", AGE, "X-Accel-Expires: 60"), None),
        Row(("Cache-Control: no-store", "X-Accel-Expires: 60"), None),
    ],
    ids=lambda row: "; ".join(row.said),
)
def test_a_copy_has_no_age_and_the_rest_of_the_lifetime_for_browsers(edge: Edge, row: Row) -> None:
    target = target_of(row.said)
    first, second = edge.read(target), edge.read(target)
    cache_control = row.said[0].partition(": ")[2]
    age = "20" if AGE in row.said else "0"
    assert (first.get("Cache-Control"), first.get("Age")) == (cache_control, age)
    if row.for_browsers is None:
        assert second.get("X-Cache-Status") == "MISS"
        assert (second.get("Cache-Control"), second.get("Age")) == (cache_control, age)
    else:
        assert second.get("X-Cache-Status") == "HIT"
        assert (second.get("Cache-Control"), second.get("Age")) == (row.for_browsers, None)
    for told in (first, second):
        assert told.get("X-Accel-Expires") is None
        assert not [name for name, _ in told.fields if name.startswith("x-headgate-")]


@pytest.mark.parametrize("passed", [{}, {"Authorization": "Bearer a"}], ids=["cached", "passed"])
def test_a_client_cannot_ask_for_what_only_nginx_gets(edge: Edge, passed: dict[str, str]) -> None:
    target = target_of(["Cache-Control: max-age=60", "Age: 20"])
    for _ in range(2):
        told = edge.read(target, **{NGINX_FIELD.replace("-", "_"): "1"}, **passed)
        assert told.get("X-Accel-Expires") is None
        assert told.body.startswith(b"None ")  # nor does the origin get it
