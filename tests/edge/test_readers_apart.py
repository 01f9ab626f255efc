"""Nobody gets what was for somebody else, from no cache, feed or shared request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.streams.offsets import MAX_JITTER_INTERVALS
from tests.edge.events import Events
from tests.edge.gateways import PlayedGateway, edge
from tests.support.blocking_origin import BlockingOrigin, Exchange
from tests.support.http1 import Answer, Wire, ask
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Iterator


ANONYMOUS = "nobody"
READERS: dict[str, tuple[str, ...]] = {
    "ann": ("Authorization: Bearer ann",),
    "bob": ("Authorization: Bearer bob",),
    "cat": ("Cookie: session=cat",),
    "dan": ("Cookie: session=dan",),
    "eve": ("Authorization: Bearer ann", "Cookie: session=eve"),
    "fay": ("X-Auth-Token: fay",),
    "gus": ("X-Auth-Token: gus",),
    "hal": ("x-tenant-id: hal",),
    ANONYMOUS: (),
}
ROUNDS = 10
KEPT = {"tail_max_age": 600}
UP_TO_DATE = "Stream-Up-To-Date: true"
IDENTIFYING = (
    *("X-Api-Key", "Api-Key", "Ocp-Apim-Subscription-Key", "X-Auth-Token", "X-Access-Token"),
    *("X-Amz-Security-Token", "X-Csrf-Token", "X-Session-Id", "X-Tenant-Id", "X-User-Id"),
    *("X-Forwarded-User", "X-Remote-User", "Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion"),
    "X-Ms-Client-Principal-Id",
)


def _name(exchange: Exchange) -> str:
    cookie = exchange.field("cookie")
    if cookie:
        return cookie.removeprefix("session=")
    authorization = exchange.field("authorization")
    if authorization:
        return authorization.removeprefix("Bearer ")
    return exchange.field("x-auth-token") or exchange.field("x-tenant-id") or ANONYMOUS


class Club(PlayedGateway):
    """A gateway before an origin whose answers are for one reader, whatever they say of it."""

    def __init__(self, port: int, origin: BlockingOrigin) -> None:
        super().__init__(port, origin)
        self.cache_control: str | None = None
        origin.play = self._play

    def _play(self, exchange: Exchange) -> None:
        fields = ["Content-Type: text/plain", "Stream-Next-Offset: 1_0", "Stream-Up-To-Date: true"]
        if "live=" in exchange.target:
            fields.append("Stream-Cursor: 1")
        if self.cache_control is not None:
            fields.append(f"Cache-Control: {self.cache_control}")
        exchange.answer(_name(exchange).encode(), *fields)

    def read(self, target: str, reader: str, *fields: str) -> Answer:
        with Wire(self.port) as wire:
            lines = [f"GET {target} HTTP/1.1", "Host: a", *READERS[reader], *fields, "", ""]
            wire.send("\r\n".join(lines).encode())
            return wire.answer()


@pytest.fixture(scope="module")
def club(processes: None) -> Iterator[Club]:
    # What the origin lets caches keep is kept for as long, though all of it has reached the tail.
    with BlockingOrigin() as origin, edge(origin.url, KEPT) as gateway:
        yield Club(gateway.port, origin)


@pytest.mark.parametrize(
    "cache_control",
    [
        None,
        "max-age=600",
        "max-age=600, must-revalidate",
        "max-age=600, must-revalidate, proxy-revalidate",
        "s-maxage=600",
        "private, max-age=600",
        "no-store",
        "no-cache",
        "max-age=0",
        "max-age=0, stale-while-revalidate=600",
        "max-age=0, stale-if-error=600",
    ],
)
@pytest.mark.parametrize("query", ["offset=-1", "offset=0_0&live=long-poll"])
def test_simultaneous_readers_get_only_their_own_responses(
    club: Club, cache_control: str | None, query: str
) -> None:
    path = club.path()
    club.cache_control = cache_control
    readers = [*READERS] * ROUNDS
    with ThreadPoolExecutor(len(READERS) * 4) as pool:
        answers = list(pool.map(lambda name: club.read(f"{path}?{query}", name), readers))
    assert {answer.status for answer in answers} == {200}
    assert [answer.body.decode() for answer in answers] == readers


@pytest.mark.parametrize("name", IDENTIFYING)
def test_readers_with_an_identity_header_share_only_public_responses(club: Club, name: str) -> None:
    path = club.path()
    club.cache_control = "max-age=600, must-revalidate"
    answers = [
        club.read(path, ANONYMOUS, *fields)
        for fields in ((f"{name}: one",), (f"{name}: two",), (), (f"{name}: three",), ())
    ]
    told = [one.field(name.lower()) for one in club.origin.seen if one.target == path]
    assert told == ["one", "two", None, "three"]
    cached = [answer.headers["x-cache"] for answer in answers]
    assert cached == ["MISS", "MISS", "MISS", "MISS", "HIT"]
    path = club.path()
    club.cache_control = "public, max-age=600"
    answers = [club.read(path, ANONYMOUS, f"{name}: {value}") for value in ("one", "two")]
    assert [answer.headers["x-cache"] for answer in answers] == ["MISS", "HIT"]


@pytest.mark.usefixtures("processes")
def test_a_header_named_in_identity_headers_separates_readers() -> None:
    with (
        BlockingOrigin() as origin,
        edge(origin.url, {"identity_headers": ["X-Colour"], **KEPT}) as gateway,
    ):
        club = Club(gateway.port, origin)
        club.cache_control = "max-age=600"
        cached = [
            club.read("/v1/stream/a", ANONYMOUS, *fields).headers["x-cache"]
            for fields in (("X-Colour: red",), ("X-Auth-Token: b",), (), ("X-Colour: blue",), ())
        ]
        assert cached == ["MISS", "MISS", "MISS", "MISS", "HIT"]
        told = [one.field("x-colour") for one in origin.seen]
        assert told == ["red", None, None, "blue"]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("dropped", "readers"), [("cookie", ("cat", "dan")), ("authorization", ("ann", "bob"))]
)
def test_a_dropped_header_does_not_separate_readers_or_reach_the_origin(
    dropped: str, readers: tuple[str, str]
) -> None:
    with (
        BlockingOrigin() as origin,
        edge(origin.url, {"drop_headers": [dropped], **KEPT}) as gateway,
    ):
        club = Club(gateway.port, origin)
        club.cache_control = "max-age=600"
        answers = [club.read("/v1/stream/a", reader) for reader in (*readers, ANONYMOUS)]
        assert {answer.body for answer in answers} == {ANONYMOUS.encode()}
        assert [answer.headers["x-cache"] for answer in answers] == ["MISS", "HIT", "HIT"]


@pytest.mark.parametrize(
    "other",
    [
        "Authorization: bearer ann",
        "Authorization: Bearer ann,",
        "Authorization: Bearer  ann",
        "Authorization: Bearer",
        "Authorization: Basic YW5u",
        "Cookie: session=ann",
        "Proxy-Authorization: Bearer ann",
    ],
)
def test_similar_credentials_share_no_response(club: Club, other: str) -> None:
    path = club.path()
    club.cache_control = "max-age=600"
    assert club.read(path, "ann").body == b"ann"
    answer = club.read(path, ANONYMOUS, other)
    assert answer.headers["x-cache"] in {"MISS", "BYPASS"}


@pytest.mark.usefixtures("processes")
def test_credentials_appear_in_no_log_response_or_admin_page() -> None:
    secret = "5ecret-t0ken"
    environment = {"HEADGATE_LOG__REQUESTS": "info", "HEADGATE_LOG__LEVEL": "debug"}
    with BlockingOrigin() as origin, headgate(origin.url, environment=environment) as gateway:
        origin.play = lambda exchange: exchange.answer(b"x", "Cache-Control: max-age=600")
        for field in (f"Authorization: Bearer {secret}", f"Cookie: session={secret}"):
            with Wire(gateway.port) as wire:
                head = f"GET /v1/stream/a HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"
                wire.send(head.encode())
                assert secret not in repr(wire.answer())
        assert "/v1/stream/a" in gateway.output()
        assert secret not in gateway.output()
        for path in ("/readyz", "/healthz", "/metrics"):
            assert secret not in repr(ask(gateway.admin_port, "GET", path))


FAR = ("999999999999999999", "999999999999999998", str(2**53 - 1), "9" * 15)


@pytest.mark.parametrize("cursor", FAR)
@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_cursor_of_one_reader_does_not_appear_in_responses_to_others(
    club: Club, cursor: str, live: str
) -> None:
    path = club.path()
    club.cache_control = None
    before = int(club.read(f"{club.path()}?offset=-1", ANONYMOUS).headers["stream-cursor"])
    with Wire(club.port) as wire:
        target = f"{path}?offset=-1&live={live}&cursor={cursor}"
        wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert wire.socket.recv(1).startswith(b"H")
        others = [
            club.read(f"{path}?offset=-1{more}", ANONYMOUS)
            for more in ("", "", "&live=long-poll", f"&live=long-poll&cursor={before}")
        ]
    result = [int(answer.headers["stream-cursor"]) for answer in others]
    assert all(before <= one <= before + 1 + MAX_JITTER_INTERVALS for one in result), result


@pytest.mark.parametrize("cursor", [*FAR, "9" * 17, "9" * 19, "x", "-1", "1.5", "a%20b", ""])
def test_a_poll_with_the_cursor_of_the_last_response_gets_200(club: Club, cursor: str) -> None:
    path = club.path()
    club.cache_control = None
    for _ in range(3):
        answer = club.read(f"{path}?offset=-1&live=long-poll&cursor={cursor}", ANONYMOUS)
        assert answer.status == 200
        cursor = answer.headers["stream-cursor"]


def test_simultaneous_viewers_get_only_their_own_events(club: Club) -> None:
    path = club.path()
    club.cache_control = None

    def first_event(reader: str) -> str:
        with Events(club.port, f"{path}?offset=-1&live=sse", *READERS[reader]) as events:
            return events.data().decode()

    with ThreadPoolExecutor(len(READERS)) as pool:
        seen = dict(zip(READERS, pool.map(first_event, READERS), strict=True))
    assert seen == {name: name for name in READERS}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_requests_for_anonymous_live_readers_have_no_headers_of_a_reader(live: str) -> None:
    said = ("User-Agent: me", "X-Forwarded-For: 192.0.2.1", "Referer: http://me/", "X-Custom: me")
    with BlockingOrigin() as origin, headgate(origin.url) as gateway, Wire(gateway.port) as wire:
        target = f"/v1/stream/a?offset=-1&live={live}&cursor=7"
        lines = [f"GET {target} HTTP/1.1", "Host: a.example", *said, "", ""]
        wire.send("\r\n".join(lines).encode())
        first = origin.next()
        first.answer(b"", "Content-Type: text/plain", "Stream-Next-Offset: 1_0", UP_TO_DATE)
        for asked, its_target in (
            (first, "offset=-1"),
            (origin.next(), "live=long-poll&offset=1_0"),
        ):
            assert asked.target == f"/v1/stream/a?{its_target}"
            assert {name for name, _ in asked.fields} <= {
                *("host", "accept", "accept-encoding", "user-agent", "via"),
                *("x-forwarded-host", "x-forwarded-proto"),
            }
            assert "me" not in {value for _, value in asked.fields}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
def test_a_404_to_an_anonymous_request_does_not_end_the_feed_of_another_reader(method: str) -> None:
    """Anybody can ask for a stream that is hidden from them, and be told that it is not there."""
    known = ("Content-Type: text/plain", "Stream-Next-Offset: 1_0", UP_TO_DATE)
    with BlockingOrigin() as origin, headgate(origin.url) as gateway, Wire(gateway.port) as ann:
        lines = ["GET /v1/stream/a?offset=1_0&live=long-poll HTTP/1.1", "Host: a", *READERS["ann"]]
        ann.send("\r\n".join([*lines, "", ""]).encode())
        origin.next().answer(b"", *known)
        poll = origin.next()
        with Wire(gateway.port) as somebody:
            head = f"{method} /v1/stream/a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
            somebody.send(head.encode())
            origin.next().answer(b"", status="404 Not Found")
            assert somebody.answer(method).status == 404
        poll.answer(b"ann", "Content-Type: text/plain", "Stream-Next-Offset: 1_3", UP_TO_DATE)
        got = ann.answer()
    assert (got.status, got.body) == (200, b"ann")


def test_events_for_a_reader_with_credentials_are_marked_private(club: Club) -> None:
    club.cache_control = None
    says = {}
    for reader in ("ann", ANONYMOUS):
        with Events(club.port, f"{club.path()}?offset=-1&live=sse", *READERS[reader]) as events:
            says[reader] = events.headers["cache-control"]
    assert says == {"ann": "private, no-cache, no-transform", ANONYMOUS: "no-cache, no-transform"}
