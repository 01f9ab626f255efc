"""Every answer as a whole: status, all header lines in their order, body."""

from __future__ import annotations

import json

import msgspec
import pytest

from headgate_gateway import errors
from headgate_gateway.errors import HeadgateError
from headgate_gateway.features import errors as of_features
from headgate_gateway.protocol import responses
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.protocol.requests import CatchUp, LongPoll, Read
from headgate_gateway.protocol.responses import Facts, Response
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES, Chunk
from headgate_gateway.protocol.streams.offsets import EPOCH_S, MAX_JITTER_INTERVALS, Offset
from headgate_gateway.protocol.streams.state import Lifetime, StreamState
from tests.protocol.error_kinds import answered_errors

NOW = EPOCH_S + 7 * 20.0 + 3  # in the cursor interval 7
OPEN = StreamState("chat", 0x2A, 3, "text/plain; charset=utf-8", tail=5)
CLOSED = msgspec.structs.replace(OPEN, closed=True)
TAIL = "0000000000000003_0000000000000005"
START = "0000000000000003_0000000000000000"
CATCH_UP = CatchUp("/v1/stream/chat", "/v1/stream/chat?offset=-1", None)
POLL = LongPoll("/v1/stream/chat", "/v1/stream/chat?live=long-poll", None, None)
FRESHNESS = Freshness(chunk_max_age=600, stale_while_revalidate=50, tail_max_age=40)
NO_STORE = "Cache-Control: no-store"
TYPE = "Content-Type: text/plain; charset=utf-8"
NEXT = f"Stream-Next-Offset: {TAIL}"
ENDED = "Stream-Closed: true"
replace = msgspec.structs.replace


def answer(status: int, *lines: str, body: bytes = b"") -> Response:
    """An answer with these lines after those that every answer has."""
    always = ("X-Content-Type-Options: nosniff", "Cross-Origin-Resource-Policy: cross-origin")
    fields = "".join(f"{line}\r\n" for line in (*always, *lines))
    named = dict(line.split(": ", 1) for line in lines)
    return Response(status, fields, body, named.get("ETag", ""), said(named, status, body))


def said(named: dict[str, str], status: int, body: bytes) -> Facts:
    """The facts of a response to a read, or a refusal, as its header lines say them."""
    closed, again = named.get("Stream-Closed") == "true", named.get("Retry-After")
    return Facts(
        named.get("Stream-Next-Offset", ""),
        closed,
        is_end=closed and status < 300 and body in {b"", b"[]"},
        again_s=None if again is None else int(again),
        has_cors="Access-Control-Allow-Origin" in named,
    )


# ---------------------------------------------------------------- HEAD


EXPIRY = "1970-01-01T01:00:01+01:00"


@pytest.mark.parametrize(
    ("lifetime", "line"),
    [
        (Lifetime(ttl_s=0), "Stream-TTL: 0"),
        (Lifetime(expires_at=1.0, expires_text=EXPIRY), f"Stream-Expires-At: {EXPIRY}"),
    ],
    ids=["no ttl at all", "expiry as it was written"],
)
def test_a_head_response_has_the_lifetime_of_the_stream(lifetime: Lifetime, line: str) -> None:
    state = replace(OPEN, lifetime=lifetime, deadline=NOW)
    assert line in responses.metadata(state).fields.split("\r\n")


# ---------------------------------------------------------------- reads


def data(state: StreamState, start: int, end: int, *records: bytes, read: Read) -> Response:
    return responses.data(Chunk(state, start, end, records), read, FRESHNESS, NOW)


def controls(got: Response) -> tuple[str, ...]:
    return tuple(line for line in got.fields.split("\r\n") if "-Control: " in line)


def fresh(age: int, stale: int) -> str:
    return f"Cache-Control: public, max-age={age}, stale-while-revalidate={stale}"


def asked_again(age: int = 40) -> tuple[str, ...]:
    """By browsers each time, by shared caches after so many seconds."""
    edge = f"public, max-age={age}"
    if not age:
        return ("Cache-Control: no-cache",)
    return (
        f"Cache-Control: no-cache, s-maxage={age}, stale-while-revalidate=0",
        f"CDN-Cache-Control: {edge}",
        f"Surrogate-Control: {edge}",
    )


NAMED = replace(CATCH_UP, offset=Offset(3, 0))
WHOLE = "0000000000000003_0000000000262144"
LONGER = replace(OPEN, tail=CHUNK_BYTES + 1)


@pytest.mark.parametrize("closed", [True, False])
def test_a_complete_chunk_is_fresh_for_long_and_has_no_end_headers(closed: bool) -> None:
    state = replace(LONGER, closed=closed)
    assert data(state, 0, CHUNK_BYTES, b"ab", b"c", read=NAMED) == answer(
        200,
        fresh(600, 50),
        TYPE,
        f'ETag: "2a:{START}:{WHOLE}"',
        f"Stream-Next-Offset: {WHOLE}",
        "Stream-Cursor: 7",
        body=b"abc",
    )


@pytest.mark.parametrize(
    ("state", "end", "offset", "lifetime"),
    [
        (LONGER, CHUNK_BYTES, Offset(3, 0), (fresh(600, 50),)),
        (LONGER, CHUNK_BYTES - 1, Offset(3, 0), asked_again()),
        (LONGER, CHUNK_BYTES, None, asked_again()),
        (replace(LONGER, history=1), CHUNK_BYTES, Offset(0, 0), asked_again()),
        (replace(LONGER, tail=CHUNK_BYTES), CHUNK_BYTES, Offset(3, 0), asked_again()),
        (CLOSED, 5, Offset(3, 0), (fresh(600, 50),)),
        (CLOSED, 5, None, asked_again(60)),
        (replace(LONGER, closed=True), CHUNK_BYTES, None, asked_again(60)),
        (replace(LONGER, closed=True), CHUNK_BYTES - 1, None, asked_again()),
        (replace(CLOSED, history=1), 5, Offset(0, 0), asked_again(60)),
        (replace(CLOSED, lifetime=Lifetime(ttl_s=50)), 5, None, asked_again()),
    ],
    ids=[
        "whole",
        "not whole",
        "from the beginning of whatever stream is there",
        "the same, by an offset that all streams begin with",
        "whole, at the tail",
        "the end",
        "the end of whatever stream is there",
        "the first whole chunk of whatever closed stream is there",
        "the first chunk, not whole",
        "the end, by an offset that all streams begin with",
        "the end, where reads renew the TTL",
    ],
)
def test_only_a_complete_chunk_at_a_permanent_offset_is_cached_by_browsers(
    state: StreamState, end: int, offset: Offset | None, lifetime: tuple[str, ...]
) -> None:
    got = data(state, 0, end, b"x", read=replace(CATCH_UP, offset=offset))
    assert controls(got) == lifetime


FROM_NOW = ("Cache-Control: no-store", "CDN-Cache-Control: no-cache")
FOLLOWING = replace(POLL, offset=Offset(3, 3), cursor=7)


@pytest.mark.parametrize(
    ("read", "lifetime"),
    [
        (FOLLOWING, (fresh(20, 0),)),
        (replace(FOLLOWING, cursor=8), (fresh(20, 0),)),
        (replace(FOLLOWING, cursor=6), asked_again()),
        (replace(FOLLOWING, cursor=None), asked_again()),
        (replace(FOLLOWING, offset=None), asked_again()),
        (replace(FOLLOWING, offset="now"), FROM_NOW),
        (replace(FOLLOWING, offset=Offset(2, 3)), asked_again()),
    ],
    ids=["now's", "a later one", "passed", "none", "beginning", "tail", "all streams' offset"],
)
@pytest.mark.parametrize("state", [OPEN, CLOSED], ids=["open", "closed"])
def test_only_a_poll_with_a_current_cursor_is_cached_for_one_cursor_interval(
    state: StreamState, read: LongPoll, lifetime: tuple[str, ...]
) -> None:
    assert controls(data(state, 3, 5, b"de", read=read)) == lifetime


@pytest.mark.parametrize("by_key", [None, False, True])
def test_news_from_now_are_not_cached_on_a_private_route(by_key: bool | None) -> None:
    chunk = Chunk(OPEN, 3, 5, (b"de",))
    read = replace(FOLLOWING, offset="now", by_key=by_key)
    got = responses.data(chunk, read, replace(FRESHNESS, is_private=True), NOW)
    assert controls(got) == (FROM_NOW if by_key else ("Cache-Control: private, no-store",))


def test_a_cursor_ahead_of_the_clock_is_advanced_in_the_response() -> None:
    ahead = replace(POLL, cursor=7)
    got = data(OPEN, 0, 5, b"abcde", read=ahead)
    before, _, cursor = got.fields.rpartition("Stream-Cursor: ")
    plain = data(OPEN, 0, 5, b"abcde", read=POLL)
    assert f"{before}Stream-Cursor: 7\r\n" == plain.fields
    assert 8 <= int(cursor) <= 7 + MAX_JITTER_INTERVALS
    assert data(OPEN, 0, 5, b"abcde", read=ahead) == got


TTL_9 = Lifetime(ttl_s=9)
EXPIRES = Lifetime(expires_at=NOW + 70.9, expires_text="2024-10-09T00:03:33.9Z")


@pytest.mark.parametrize(
    ("lifetime", "deadline", "whole", "tail", "poll_s"),
    [
        (TTL_9, NOW + 2.0, fresh(9, 0), asked_again(9), 9),
        (EXPIRES, NOW + 70.9, fresh(35, 0), asked_again(35), 20),
        (EXPIRES, NOW + 2.0, fresh(1, 0), asked_again(1), 1),
        (EXPIRES, NOW + 1.9, fresh(0, 0), asked_again(0), 0),
    ],
    ids=["a read restarts the window", "half of what is left", "two seconds", "as good as over"],
)
def test_no_response_is_cached_past_the_deadline_of_its_stream(
    lifetime: Lifetime, deadline: float, whole: str, tail: tuple[str, ...], poll_s: int
) -> None:
    state = replace(LONGER, lifetime=lifetime, deadline=deadline)
    poll = replace(FOLLOWING, offset=Offset(3, 0))
    closed = replace(state, tail=CHUNK_BYTES, closed=True)
    at_end = responses.data(Chunk(closed, 0, CHUNK_BYTES, ()), CATCH_UP, FRESHNESS, NOW)
    assert all(line in at_end.fields for line in tail)
    for read, end, lines in (
        (NAMED, CHUNK_BYTES, (whole,)),
        (NAMED, CHUNK_BYTES + 1, tail),
        (poll, CHUNK_BYTES, (fresh(poll_s, 0),)),
    ):
        at_tail = replace(state, tail=end) if lines is tail else state
        assert controls(data(at_tail, 0, end, b"x", read=read)) == lines


# ---------------------------------------------------------------- refusals


class Refusal(msgspec.Struct, frozen=True):
    """What an error is answered with."""

    error: HeadgateError
    status: int
    code: str
    detail: str = "why"
    lines: tuple[str, ...] = ()
    when: str = ""  # tells errors of one code apart in a list of failures


AGAIN_S = 2
LATER = (f"Retry-After: {AGAIN_S}",)
BEARER = "WWW-Authenticate: Bearer"
INVALID = f'{BEARER} error="invalid_token"'
ALLOW = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
REFUSALS = [
    Refusal(errors.OriginUnreachable("why"), 502, "origin_unreachable", lines=LATER),
    Refusal(
        of_features.AnswerTooLong(9),
        502,
        "answer_too_long",
        "the answer is over 9 bytes: see max_answer_size",
    ),
    Refusal(errors.OriginBroken("why"), 502, "origin_broken", lines=LATER),
    Refusal(errors.OriginBehind("why"), 503, "origin_behind", lines=LATER),
    Refusal(errors.OriginBusy("why"), 503, "origin_busy", lines=LATER),
    Refusal(errors.OriginTimeout("why"), 504, "origin_timeout", lines=LATER),
    Refusal(errors.NotCached("why"), 504, "not_cached"),
    Refusal(errors.LogFull("why"), 507, "log_full", lines=("Retry-After: 62",)),
    Refusal(errors.LoopDetected("why"), 508, "loop_detected"),
    Refusal(errors.BadRequest("why"), 400, "bad_request"),
    Refusal(errors.Unauthenticated("why"), 401, "unauthenticated", lines=(BEARER,)),
    Refusal(errors.KeysUnavailable("why"), 503, "keys_unavailable", lines=LATER),
    Refusal(
        errors.Unauthenticated("why", is_refused=True),
        401,
        "unauthenticated",
        lines=(INVALID,),
        when=" with refused credentials",
    ),
    Refusal(
        of_features.SignatureRefused("SIGNATURE_EXPIRED", "why"),
        401,
        "signature_refused",
        lines=(INVALID,),
    ),
    Refusal(errors.DestinationRefused("why"), 403, "destination_refused"),
    Refusal(errors.Forbidden("why"), 403, "forbidden"),
    Refusal(
        errors.ProducerFenced(4),
        403,
        "stale_epoch",
        "the producer was fenced: epoch 4 is in force",
        ("Producer-Epoch: 4",),
    ),
    Refusal(
        errors.WebOriginRefused("https://evil.test"),
        403,
        "origin_not_allowed",
        "pages of https://evil.test may not write here: http.write_origins names the web origins "
        "that may, and a token in Authorization lets others",
    ),
    Refusal(
        errors.WebOriginRefused("https://evil.test", is_guarded=False),
        403,
        "origin_not_allowed",
        "pages of https://evil.test may not write here: "
        "http.write_origins names the web origins that may",
        when=" on a route without auth",
    ),
    Refusal(
        errors.WebOriginRefused("https://evil.test", has_token=True),
        403,
        "origin_not_allowed",
        "pages of https://evil.test may not write here: "
        "with a token in Authorization, http.cors_origins names the web origins that may",
        when=" with a token",
    ),
    Refusal(errors.StreamNotFound("why"), 404, "stream_not_found"),
    Refusal(
        errors.WebSocketNotOffered(),
        404,
        "websocket_not_offered",
        "there is no WebSocket here: send the request over HTTP",
    ),
    Refusal(errors.MethodNotAllowed("why"), 405, "method_not_allowed", lines=(f"Allow: {ALLOW}",)),
    Refusal(errors.RequestTimeout("why"), 408, "request_timeout"),
    Refusal(errors.ConfigurationConflict("why"), 409, "configuration_conflict"),
    Refusal(errors.ContentTypeMismatch("why"), 409, "content_type_mismatch"),
    Refusal(
        errors.SequenceGap(5, 7),
        409,
        "sequence_gap",
        "Producer-Seq 7 came where 5 was expected",
        ("Producer-Expected-Seq: 5", "Producer-Received-Seq: 7"),
    ),
    Refusal(errors.SequenceRegression("why"), 409, "sequence_regression"),
    Refusal(
        errors.StreamClosed(TAIL),
        409,
        "stream_closed",
        "the stream is closed: it takes no further appends",
        (ENDED, NEXT),
    ),
    Refusal(errors.StreamGone("why"), 410, "gone"),
    Refusal(errors.StreamLimit("why", "fork_depth"), 409, "stream_limit"),
    Refusal(errors.BodyTooLarge(9), 413, "body_too_large", "the body is over max_append, 9 bytes"),
    Refusal(
        errors.CodingNotSupported("why"),
        415,
        "content_coding_not_supported",
        lines=("Accept-Encoding: identity",),
    ),
    Refusal(errors.HeadTooLarge("why"), 431, "header_too_large"),
    Refusal(errors.RecordDamaged("why"), 500, "record_damaged"),
    Refusal(
        errors.RangeNotSatisfiable(5),
        416,
        "range_not_satisfiable",
        "the answer has 5 bytes, and the range begins after them",
        ("Content-Range: bytes */5",),
    ),
    Refusal(of_features.IdempotencyKeyReused("why"), 422, "idempotency_key_reused"),
    Refusal(errors.StreamBusy("why"), 409, "stream_busy"),
    Refusal(errors.MisdirectedRequest("why"), 421, "misdirected_request"),
    Refusal(errors.NotOffered("why"), 501, "not_implemented"),
    Refusal(errors.LimitReached("why"), 503, "limit_reached", lines=LATER),
    Refusal(
        errors.ClientLimitReached("why", again_s=40),
        429,
        "client_limit_reached",
        lines=(f"Retry-After: {39 + AGAIN_S}",),
    ),
    Refusal(errors.LogUnavailable("why"), 503, "log_unavailable", lines=LATER),
    Refusal(errors.ServerStopping("why"), 503, "stopping", lines=LATER),
]


def problem(refusal: Refusal) -> Response:
    title = refusal.code.replace("_", " ").capitalize()
    body = (
        f'{{"type":"about:blank","title":"{title}","status":{refusal.status},'
        f'"code":"{refusal.code}","detail":"{refusal.detail}"}}'
    )
    return answer(
        refusal.status,
        NO_STORE,
        "Content-Type: application/problem+json",
        *refusal.lines,
        body=body.encode(),
    )


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code + refusal.when)
def test_every_error_becomes_a_problem_response_with_its_code(refusal: Refusal) -> None:
    assert responses.problem(refusal.error, AGAIN_S) == problem(refusal)


def test_every_error_class_has_one_status_and_one_row_in_the_table() -> None:
    known = answered_errors()
    assert known == {type(refusal.error) for refusal in REFUSALS}
    assert len({kind.code for kind in known}) == len(known)


@pytest.mark.parametrize(
    ("detail", "shown"),
    [('a "quoted"\r\n\0 part', 'a "quoted"\r\n\0 part'), ("é\udcff", "é?"), ("", "")],
    ids=["controls", "no text", "nothing"],
)
def test_a_problem_detail_may_quote_any_text_of_a_client(detail: str, shown: str) -> None:
    response = responses.problem(errors.BadRequest(detail), AGAIN_S)
    assert json.loads(response.body)["detail"] == shown
    assert response.fields == responses.problem(errors.BadRequest("why"), AGAIN_S).fields
