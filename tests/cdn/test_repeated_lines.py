"""What an origin says in two lines is one line, and counts, at every configuration in front."""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.protocol.http.repeated_fields import FIRST, JOINED
from tests.cdn.candidates import CANDIDATES
from tests.cdn.line_origin import SendsLines, path_of
from tests.cdn.origin import TEXT, HeadgateOrigin
from tests.support.handler_server import handler_server
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.cdn.candidates import Candidate
    from tests.support.http1 import Answer

PAGE, OTHER_PAGE = "https://a.example", "https://b.example"
MINUTE = "Cache-Control: max-age=60"
FOR_ONE, BY_LANGUAGE, FOR_ALL = "for one reader", "by language", "for all"


class Row(NamedTuple):
    """A field in two lines beside `others`, and to whom the response may be given."""

    name: str
    values: tuple[str, str]
    others: tuple[str, ...] = (MINUTE,)
    recipient: str = FOR_ALL


ROWS = (
    Row("Cache-Control", ("max-age=60", "private"), (), FOR_ONE),
    Row("Cache-Control", ("max-age=60", "no-store"), (), FOR_ONE),
    Row("Cache-Control", ("max-age=60", "s-maxage=60"), ()),
    Row("CDN-Cache-Control", ("max-age=60", "private"), ("Cache-Control: no-store",), FOR_ONE),
    Row("Surrogate-Control", ("max-age=60", 'content="ESI/1.0"')),
    Row("Vary", ("Accept-Language", "X-Other"), (MINUTE,), BY_LANGUAGE),
    Row("Vary", ("X-Other", "*"), (MINUTE,), FOR_ONE),
    Row("Vary", ("X-Other, *", "X-Third"), (MINUTE,), FOR_ONE),
    Row("Set-Cookie", ("a=1", "b=2"), (MINUTE,), FOR_ONE),
    Row("Pragma", ("a", "b")),
    Row("Content-Encoding", ("x-one", "x-two")),
    Row("Age", ("0", "10")),
    Row("ETag", ('"a"', '"b"')),
    Row("Date", ("Fri, 15 Jan 2027 07:59:58 GMT", "Fri, 15 Jan 2027 07:59:59 GMT")),
    Row("Expires", ("Fri, 15 Jan 2027 07:59:58 GMT", "Fri, 15 Jan 2027 07:59:59 GMT")),
    Row("Last-Modified", ("Fri, 15 Jan 2021 07:59:58 GMT", "Fri, 15 Jan 2021 07:59:59 GMT")),
    Row("Retry-After", ("7", "9")),
    Row("X-Accel-Expires", ("30", "60")),
    Row("Content-Type", ("text/plain", "text/event-stream")),
    Row("Location", ("/v1/personal/a", "/v1/personal/b")),
    Row("Stream-Up-To-Date", ("false", "true")),
    Row("Stream-Closed", ("false", "true")),
)
# Responses without a lifetime, in which some caches find a minute.
NEVER_FRESH = (
    Row("Cache-Control", ("max-age=0", "max-age=60"), (), FOR_ONE),
    Row("Cache-Control", ("max-age=0", 'ext="a, max-age=60"'), (), FOR_ONE),
    Row("Cache-Control", ('ext="a, max-age=60, b"', "max-age=0"), (), FOR_ONE),
    Row("Cache-Control", ("x-s-maxage=60", "max-age=0"), (), FOR_ONE),
    Row("Cache-Control", ("public", "s-maxage=60.0"), (), FOR_ONE),
    Row("Cache-Control", ("public", "max-age=+60"), (), FOR_ONE),
    Row("Cache-Control", ("public", 'ext="max-age=60"'), (), FOR_ONE),
    Row(
        "Surrogate-Control",
        ('content="a', 'max-age=60, b"'),
        ("Cache-Control: max-age=0",),
        FOR_ONE,
    ),
)
# Fields that files read, and of which an origin's lines do not reach them, or are not repeated.
NOT_OF_ORIGINS = {
    # The file's own.
    *("headgate-away", "headgate-config", "x-headgate-copy-control", "x-headgate-cache-control"),
    *("x-cache", "x-cache-hits", "x-request-id"),  # the gateway's, in place of the origin's
    "content-length",  # the gateway refuses a response with two
    # Of pages: browsers refuse a repeated one, or take all lines.
    *("access-control-allow-origin", "access-control-expose-headers"),
    *("server-timing", "timing-allow-origin"),
}
_READ = re.compile(
    r"upstream_http_(\w+)|(?:be)?resp\.http\.([\w-]+)|obj\.http\.([\w-]+)|res\.hdrs?\(([\w-]+)"
    r"|(?<!request\.)(?<!read\.)headers\.(?:get|has)\(\"([\w-]+)\"\)|headersOut\[.([\w-]+)"
)


class Repeating(SendsLines):
    """Says in each body for which language it is."""

    shown = "Accept-Language"


@pytest.fixture(scope="module", params=[("*",), (PAGE, OTHER_PAGE)], ids=["all pages", "two sites"])
def edges(processes: None, request: pytest.FixtureRequest) -> Iterator[Mapping[Candidate, int]]:
    """The ports of all configurations, in front of one gateway."""
    with contextlib.ExitStack() as stack:
        origin = HeadgateOrigin(
            stack.enter_context(handler_server(Repeating)), 1.0, (), request.param
        )
        stack.callback(origin.close)
        origin.start()
        ports = {it: free_port() for it in CANDIDATES}
        for it, port in ports.items():
            stack.enter_context(started(it.engine, it.files(port, origin), port))
        yield ports


def lines_of(told: Answer, name: str) -> list[str]:
    return [value for field, value in told.fields if field == name.lower()]


def faults_of_lines(told: Answer, row: Row, values: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the lines of an answer."""
    for name in (row.name, "Vary", "Cache-Control"):
        # A hop that compresses has a line of its own.
        repeated = [it for it in lines_of(told, name) if it.lower() != "accept-encoding"]
        if name.lower() in JOINED | FIRST and len(repeated) > 1:
            yield f"{name}: {repeated}"
    if row.name == "Set-Cookie" and lines_of(told, "Set-Cookie") != list(values):
        yield f"cookies {lines_of(told, 'Set-Cookie')}"


def faults_of(port: int, row: Row, values: Sequence[str], *, sites: bool) -> Iterator[str]:
    """Yield what is wrong with the answers to some readers."""
    target = path_of(
        [*(f"{row.name}: {it}" for it in values), *row.others]
        + ([] if row.name == "Content-Type" else [f"Content-Type: {TEXT}"])
    )
    readers: list[dict[str, str]] = [{"Accept_Language": it} for it in ("de", "en", "de", "en")]
    if sites:
        readers[2]["Origin"], readers[3]["Origin"] = PAGE, OTHER_PAGE
    seen: list[bytes] = []
    for reader in readers:
        told = ask(port, "GET", target, None, **reader)
        yield from faults_of_lines(told, row, values)
        if told.status != 200:
            yield f"status {told.status}"
        language = told.body.split(b" ")[0].decode()
        # Some configurations pass no language on, and so have one response for all.
        if row.recipient != FOR_ALL and language not in {reader["Accept_Language"], "None"}:
            yield f"{reader['Accept_Language']} got {told.body!r}"
        if row.recipient == FOR_ONE and told.body in seen:
            yield f"{told.body!r} of another reader"
        seen.append(told.body)
        if "Origin" in reader and told.get("Access-Control-Allow-Origin") != reader["Origin"]:
            yield f"a page of {reader['Origin']} got {told.get('Access-Control-Allow-Origin')}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.name}: {', '.join(row.values)}")
def test_a_field_in_two_lines_counts_whole_at_every_configuration(
    edges: Mapping[Candidate, int], row: Row, request: pytest.FixtureRequest
) -> None:
    sites = "two sites" in request.node.name
    faults = [
        f"{candidate} {values}: {fault}"
        for candidate, port in edges.items()
        for values in itertools.permutations(row.values)
        for fault in faults_of(port, row, values, sites=sites)
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("row", NEVER_FRESH, ids=lambda row: f"{row.name}: {', '.join(row.values)}")
def test_a_lifetime_that_the_gateway_does_not_read_is_read_nowhere(
    edges: Mapping[Candidate, int], row: Row, request: pytest.FixtureRequest
) -> None:
    one_line = row._replace(values=(", ".join(row.values), ""))
    sites = "two sites" in request.node.name
    faults = [
        f"{candidate}: {fault}"
        for candidate, port in edges.items()
        for fault in faults_of(port, one_line, one_line.values[:1], sites=sites)
    ]
    assert not faults, "\n".join(faults)


def test_every_field_that_a_configuration_reads_is_sent_in_two_lines(
    origin: HeadgateOrigin,
) -> None:
    read = {
        next(filter(None, groups)).lower().replace("_", "-")
        for it in CANDIDATES
        for text in it.files(1, origin).values()
        for groups in _READ.findall(text)
    }
    assert {"cache-control", "surrogate-control", "vary", "etag", "set-cookie"} <= read
    sent = {row.name.lower() for row in ROWS}
    assert read - sent == NOT_OF_ORIGINS & read
    assert sent >= JOINED | (FIRST - {"stream-next-offset"})
    assert len(ENGINES) == len(CANDIDATES)
