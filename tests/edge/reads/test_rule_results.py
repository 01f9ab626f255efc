"""What is remembered of heads is what judging each of them would give."""

from __future__ import annotations

from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from headgate_gateway.edge.reads import rule_results
from headgate_gateway.edge.reads.rule_results import RuleResults
from headgate_gateway.errors import HeadgateError
from headgate_gateway.origin.answer import OriginAnswer
from headgate_gateway.origin.heads import VOLATILE
from headgate_gateway.origin.reuse import ConnectionHistory
from headgate_gateway.protocol.cache_headers import Freshness, route_tag, stream_tag
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest
from headgate_gateway.rules.edge_target import parse_edge_target
from headgate_gateway.rules.followed import FOREVER
from headgate_gateway.rules.policy import Times
from headgate_gateway.rules.repair import EMPTY_BYTES
from headgate_gateway.rules.response_rules import ResponseRules
from tests.edge.reads.responses import DATE, HOUR_AGO, IN_AN_HOUR, MINUTE_AGO, NOW

IDENTITY = IdentityHeaders()
PREFIX = "/v1/stream"


def rules(*, stale_if_error: int = 0) -> ResponseRules:
    return ResponseRules(
        freshness=Freshness(60, 300, 10, route_tag(PREFIX)),
        stale_if_error=stale_if_error,
        via="1.1 test",
        identity=IDENTITY,
        located=lambda url: url.removeprefix("http://origin.test") if "origin" in url else None,
    )


def request(
    query: str = "offset=a1",
    *fields: tuple[str, str],
    lifetime: Lifetime = FOREVER,
    identity: str = "",
    admitted_as: str = "",
    stream: str = "s",
) -> CacheRequest:
    read = parse_edge_target(f"{PREFIX}/{stream}?{query}", ())
    assert isinstance(read, CatchUp)
    headers = CIMultiDict([("Host", "headgate.test"), *fields])
    return CacheRequest(
        "headgate.test", read, headers, headers, identity, "", lifetime, admitted_as
    )


def whole(status: int, fields: list[tuple[str, str]], body: bytes) -> OriginAnswer:
    lines = [f"{name}: {value}".encode() for name, value in fields]
    volatile = [(name.lower(), value) for name, value in fields if name.lower() in VOLATILE]
    same = [
        name.encode() if name.lower() in VOLATILE else line
        for line, (name, _) in zip(lines, fields, strict=True)
    ]
    is_once = len({name for name, _ in volatile}) == len(volatile)
    stable = (status, *same) if is_once else None
    head = b"\r\n".join([b"HTTP/1.1 %d OK" % status, *lines, b"", b""])
    values = MappingProxyType(dict(volatile))
    return OriginAnswer(status, body, head, stable, values, ConnectionHistory())


def begin_of(answer: OriginAnswer) -> bytes:
    assert answer.body is not None
    return answer.body[: EMPTY_BYTES + 1]


def judge(by: RuleResults, answer: OriginAnswer, times: Times) -> CachedResponse:
    return by.apply(request(), answer, times, begin_of(answer))


def judged(
    by: RuleResults | ResponseRules, ask: CacheRequest, answer: OriginAnswer, times: Times
) -> object:
    """All that is known of an answer then, or what it is refused for."""
    try:
        if isinstance(by, RuleResults):
            cached = by.apply(ask, answer, times, begin_of(answer))
        else:
            cached, _ = by.apply(ask, answer.status, answer.headers, times, answer.body or b"")
    except HeadgateError as error:
        return type(error), error.detail
    return msgspec.structs.asdict(cached.with_body(answer.body or b""))


OFFSETS = st.sampled_from(["a0", "a1", "a2", "b", "0_7", "0_6", "-1", 'a"b', "a b"])
OF_THE_MOMENT = {
    "ETag": st.sampled_from(['"x"', '"y"', "bare", 'W/"w"', '"t:tail"', '"c:closed"', '"c:c"', ""]),
    "Stream-Next-Offset": OFFSETS,
    "Stream-Cursor": st.sampled_from(["1", "77", "x"]),
    "Date": st.sampled_from([DATE, MINUTE_AGO, "nonsense", HOUR_AGO]),
    "Age": st.sampled_from(["0", "30", "70", "500", "x", "3, 4"]),
    "Last-Modified": st.sampled_from([HOUR_AGO, "x"]),
    "Location": st.sampled_from(["http://origin.test/v1/stream/x", "/y"]),
    "X-Request-Id": st.sampled_from(["1", "2"]),
    "X-Cache-Hits": st.sampled_from(["1", "2"]),
}
OF_ALL = {
    "Content-Type": st.sampled_from(["text/plain", "application/json"]),
    "Cache-Control": st.sampled_from(
        [
            *("max-age=60", "no-store", "private", "no-cache", "public, max-age=60"),
            *("max-age=0", "s-maxage=5, stale-while-revalidate=9", "max-age=60, stale-if-error=90"),
            "must-understand, no-store, max-age=9",
        ]
    ),
    "CDN-Cache-Control": st.sampled_from(["max-age=30", "no-store", "x=("]),
    "Surrogate-Control": st.sampled_from(["max-age=30"]),
    "Expires": st.sampled_from([IN_AN_HOUR, "0"]),
    "Vary": st.sampled_from(["Accept-Encoding", "Accept-Language, Origin", "*"]),
    "Stream-Up-To-Date": st.sampled_from(["true", "false"]),
    "Stream-Closed": st.sampled_from(["true", "false"]),
    "Set-Cookie": st.just("a=b"),
    "Content-Encoding": st.sampled_from(["gzip", "identity"]),
    "Surrogate-Key": st.sampled_from(["k", f"k {stream_tag(PREFIX + '/t')}", route_tag(PREFIX)]),
    "Access-Control-Allow-Origin": st.just("*"),
    "Via": st.just("1.1 other"),
    "X-Cache": st.just("HIT"),
    "Connection": st.sampled_from(["keep-alive", "x-one", "X-Other, close"]),
    "X-One": st.just("1"),
}
BODIES = st.sampled_from([b"", b"[]", b"[1]", b"x", b"data"])
USUAL = ("ETag", "Stream-Next-Offset", "Date", "Content-Type")


@st.composite
def kinds(draw: st.DrawFn) -> tuple[int, list[tuple[str, str]], list[str], int]:
    """Answers of one kind: their status, the fields that stay, the names of those that do not."""
    stay = draw(st.lists(st.sampled_from(sorted(OF_ALL)), unique=True, max_size=6))
    differ = draw(st.lists(st.sampled_from(sorted(OF_THE_MOMENT)), unique=True, max_size=5))
    names = sorted({*differ, *USUAL}) if draw(st.booleans()) else differ
    differ = [name for name in names if name in OF_THE_MOMENT]
    fields = [
        (name, draw(OF_ALL[name])) for name in dict.fromkeys([*names, *stay]) if name in OF_ALL
    ]
    status = draw(st.sampled_from([200, 200, 200, 204, 302, 404, 410, 503]))
    return status, fields, differ, draw(st.integers(0, len(fields)))


READERS = st.sampled_from(
    [
        *(request(), request(), request("offset=-1"), request("offset=now"), request("")),
        *(request("offset=0_7"), request("x=1"), request("offset=a1&offset=a2")),
        request("offset=a1", ("Accept-Encoding", "gzip")),
        request("offset=a1", ("Accept-Language", "de")),
        request(stream="t"),
        request(lifetime=Lifetime(ttl_s=9)),
        request(lifetime=Lifetime(expires_at=NOW + 30)),
        request("offset=a1", ("Cookie", "a=b"), identity="me"),
        request("offset=a1", ("Authorization", "x"), admitted_as="me"),
    ]
)


@given(data=st.data(), stands_in=st.sampled_from([0, 60]))
def test_a_cached_head_is_judged_like_a_new_one(data: st.DataObject, *, stands_in: int) -> None:
    by_heart = rules(stale_if_error=stands_in)
    anew = rules(stale_if_error=stands_in)
    remembered = RuleResults(by_heart)
    now = NOW
    for status, stay, differ, place in data.draw(st.lists(kinds(), min_size=1, max_size=2)) * 5:
        now += data.draw(st.sampled_from([0.0, 0.4, 21.0]))
        times = Times(now - data.draw(st.sampled_from([0.0, 0.01, 5.0])), now)
        told = [(name, data.draw(OF_THE_MOMENT[name])) for name in differ]
        body = data.draw(BODIES)
        length = [("Content-Length", str(len(body)))] if data.draw(st.integers(0, 3)) else []
        answer = whole(status, [*stay[:place], *told, *stay[place:], *length], body)
        ask = data.draw(READERS)
        assert judged(remembered, ask, answer, times) == judged(anew, ask, answer, times)
        assert by_heart.repairs == anew.repairs
        assert by_heart.reports_tails == anew.reports_tails
        assert len(by_heart.lag) == len(anew.lag)


def a_chunk(number: int, *fields: tuple[str, str]) -> OriginAnswer:
    told = [("ETag", f'"{number}"'), ("Stream-Next-Offset", f"b{number:04}"), ("Date", DATE)]
    return whole(200, [("Content-Type", "text/plain"), *told, *fields], b"data")


def test_head_patterns_are_bounded_in_number() -> None:
    remembered = RuleResults(rules())
    for number in range(rule_results.MOST_PATTERNS):
        judge(remembered, a_chunk(0, ("X-Trace", str(number))), Times(NOW, NOW))
    assert len(remembered) == rule_results.MOST_PATTERNS
    judge(remembered, a_chunk(0, ("X-Trace", "one more")), Times(NOW, NOW))
    assert len(remembered) == 1


@pytest.mark.parametrize("size", [rule_results.LARGEST_PATTERN, 10])
def test_a_head_over_the_length_limit_becomes_no_pattern(size: int) -> None:
    remembered = RuleResults(rules())
    for _ in range(2):
        cached = judge(remembered, a_chunk(0, ("X-Long", "x" * size)), Times(NOW, NOW))
        assert b"x" * size in cached.lines
