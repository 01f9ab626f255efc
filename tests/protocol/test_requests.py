"""Requests: headers and queries as checked values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.errors import BadRequest
from gateway.protocol.http.paths import canonical_target
from gateway.protocol.requests import (
    MAX_INTEGER,
    MAX_PRODUCER_ID,
    MAX_STREAM_SEQ,
    MAX_TTL_S,
    Append,
    CatchUp,
    CreateRequest,
    Events,
    ForkRequest,
    LongPoll,
    Read,
    parse_append_head,
    parse_create,
    parse_target,
)
from gateway.protocol.streams.offsets import NOW, Offset
from gateway.protocol.streams.state import Lifetime, Stamp

OFFSET = "0000000000000001_0000000000000002"
AT = Offset(1, 2)


EQUIVALENT_READ_TARGETS = {
    "no-query": ("/s", CatchUp("/s", "/s?offset=-1", None)),
    "an-empty-query": ("/s?", CatchUp("/s", "/s?offset=-1", None)),
    "from-the-beginning": ("/s?offset=-1", CatchUp("/s", "/s?offset=-1", None)),
    "from-now": ("/s?offset=now", CatchUp("/s", "/s?offset=now", NOW)),
    "from-an-offset": (f"/s?offset={OFFSET}", CatchUp("/s", f"/s?offset={OFFSET}", AT)),
    "unknown-parameters": ("/%73?utm=1&x=2", CatchUp("/s", "/s?offset=-1", None)),
    "a-long-poll": (
        "/s?offset=-1&live=long-poll",
        LongPoll("/s", "/s?live=long-poll&offset=-1", None, None),
    ),
    "a-long-poll-in-another-spelling": (
        f"/s?offset={OFFSET}&live=long%2Dpoll&x=&cursor=12",
        LongPoll("/s", f"/s?cursor=12&live=long-poll&offset={OFFSET}", AT, 12),
    ),
    "an-event-stream-from-now": (
        "/s?live=sse&offset=now",
        Events("/s", "/s?live=sse&offset=now", NOW, None),
    ),
    "a-cursor-without-live": ("/s?cursor=5", CatchUp("/s", "/s?offset=-1", None)),
    "a-malformed-cursor-without-live": ("/s?cursor=a", CatchUp("/s", "/s?offset=-1", None)),
    "an-event-stream-with-a-cursor": (
        "/s?live=sse&offset=-1&cursor=007",
        Events("/s", "/s?cursor=7&live=sse&offset=-1", None, 7),
    ),
    "an-event-stream-with-a-malformed-cursor": (
        "/s?live=sse&offset=-1&cursor=a%26live%3Dlong-poll",
        Events("/s", "/s?live=sse&offset=-1", None, None),
    ),
}


@pytest.mark.parametrize(
    ("target", "read"), EQUIVALENT_READ_TARGETS.values(), ids=EQUIVALENT_READ_TARGETS
)
def test_equivalent_read_targets_parse_to_one_canonical_target(target: str, read: Read) -> None:
    assert parse_target(canonical_target(target)) == read
    assert parse_target(read.target) == read


@pytest.mark.parametrize(
    ("target", "detail"),
    [
        pytest.param(
            "s",
            "the request target is not a path, nor a URL of the host in Host",
            id="neither-a-path-nor-a-url",
        ),
        ("/s?a=1#&offset=2", "the URL has a #, which is sent as %23"),
    ],
)
def test_a_target_that_is_no_path_and_query_is_refused(target: str, detail: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        canonical_target(target)
    assert refusal.value.detail == detail


@pytest.mark.parametrize(
    ("target", "detail"),
    [
        ("/s?live=", "live must be long-poll or sse"),
        ("/s?live=LONG-POLL&offset=-1", "live must be long-poll or sse"),
        ("/s?live=sse", "offset is missing: a live read must say where to begin"),
        ("/s?live=long-poll", "offset is missing: a live read must say where to begin"),
        pytest.param(
            "/s?offset=",
            "offset is malformed: give back a Stream-Next-Offset value unchanged",
            id="an-empty-offset",
        ),
        pytest.param(
            "/s?offset=0",
            "offset is malformed: give back a Stream-Next-Offset value unchanged",
            id="an-offset-that-no-server-issued",
        ),
        ("/s?offset=-1&offset=now", "the query parameter 'offset' is given more than once"),
        ("/s?x=%zz", "the query has a malformed percent-encoding"),
    ],
)
def test_a_malformed_target_is_refused_with_the_reason(target: str, detail: str) -> None:
    refusal = parse_target(target)
    assert isinstance(refusal, BadRequest)
    assert refusal.detail == detail


TEXT = "text/plain"
NO_PRODUCER = "Producer-Id, Producer-Epoch and Producer-Seq must be sent together"


def stamped(producer_id: str, epoch: str = "0", seq: str = "0") -> dict[str, str]:
    return {
        "Content-Type": TEXT,
        "Producer-Id": producer_id,
        "Producer-Epoch": epoch,
        "Producer-Seq": seq,
    }


@pytest.mark.parametrize(
    ("headers", "body", "append"),
    [
        pytest.param(
            {"stream-closed": "TRUE"},
            b"",
            Append(b"", None, None, None, close=True),
            id="a-close-in-capitals",
        ),
        pytest.param(
            stamped("p", "3", str(MAX_INTEGER)),
            b"a",
            Append(b"a", TEXT, None, Stamp("p", 3, MAX_INTEGER), close=False),
            id="a-producer-with-the-highest-sequence",
        ),
        pytest.param(
            stamped("p" * MAX_PRODUCER_ID, "007"),
            b"a",
            Append(b"a", TEXT, None, Stamp("p" * MAX_PRODUCER_ID, 7, 0), close=False),
            id="a-producer-id-at-the-limit",
        ),
        pytest.param(
            {"Content-Type": TEXT, "Stream-Seq": "s" * MAX_STREAM_SEQ},
            b"a",
            Append(b"a", TEXT, "s" * MAX_STREAM_SEQ, None, close=False),
            id="a-stream-seq-at-the-limit",
        ),
    ],
)
def test_a_post_is_parsed_as_an_append_or_a_close(
    headers: dict[str, str], body: bytes, append: Append
) -> None:
    assert parse_append_head(CIMultiDict(headers)).append(body) == append


@pytest.mark.parametrize(
    ("headers", "body", "detail"),
    [
        pytest.param(
            {"Content-Type": TEXT},
            b"",
            "the body is empty: append at least one byte, or send Stream-Closed: true",
            id="an-empty-body",
        ),
        ({}, b"a", "Content-Type is missing: send the content type of the stream"),
        pytest.param(
            {"Content-Type": TEXT, "Producer-Id": "p"}, b"a", NO_PRODUCER, id="a-producer-id-alone"
        ),
        pytest.param(
            {"Content-Type": TEXT, "Producer-Seq": "0"},
            b"a",
            NO_PRODUCER,
            id="a-producer-sequence-alone",
        ),
        pytest.param(
            stamped(""),
            b"a",
            "Producer-Id must have 1 to 256 characters",
            id="an-empty-producer-id",
        ),
        pytest.param(
            stamped("p" * (MAX_PRODUCER_ID + 1)),
            b"a",
            "Producer-Id must have 1 to 256 characters",
            id="a-producer-id-over-the-limit",
        ),
        pytest.param(
            {"Content-Type": TEXT, "Stream-Seq": "s" * (MAX_STREAM_SEQ + 1)},
            b"a",
            "Stream-Seq is over 1024 characters",
            id="a-stream-seq-over-the-limit",
        ),
    ],
)
def test_a_malformed_post_is_refused_with_the_reason(
    headers: dict[str, str], body: bytes, detail: str
) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_append_head(CIMultiDict(headers)).append(body)
    assert refusal.value.detail == detail


@pytest.mark.parametrize("number", ["", "-1", "1.0", "+1", " 1", "x", "٣", str(MAX_INTEGER + 1)])
def test_an_epoch_or_sequence_outside_0_to_2_53_is_refused(number: str) -> None:
    for name, headers in (
        ("Producer-Epoch", stamped("p", epoch=number)),
        ("Producer-Seq", stamped("p", seq=number)),
    ):
        with pytest.raises(BadRequest) as refusal:
            parse_append_head(CIMultiDict(headers)).append(b"a")
        assert refusal.value.detail == f"{name} must be a whole number from 0 to 2^53-1"


OCTETS = "application/octet-stream"
NONE = Lifetime()


@pytest.mark.parametrize(
    ("headers", "create"),
    [
        pytest.param(
            {"Stream-TTL": str(MAX_TTL_S)},
            CreateRequest(b"", OCTETS, Lifetime(ttl_s=MAX_TTL_S), close=False, fork=None),
            id="the-longest-ttl",
        ),
        pytest.param(
            {"Stream-Expires-At": "1970-01-01T01:00:00.5+01:00"},
            CreateRequest(
                b"",
                OCTETS,
                Lifetime(expires_at=0.5, expires_text="1970-01-01T01:00:00.5+01:00"),
                close=False,
                fork=None,
            ),
            id="an-expiry-with-a-time-zone",
        ),
        pytest.param(
            {"Stream-Expires-At": f"1970-01-01T00:00:00.25{'0' * 98}Z"},
            CreateRequest(
                b"",
                OCTETS,
                Lifetime(expires_at=0.25, expires_text="1970-01-01T00:00:00.250000000Z"),
                close=False,
                fork=None,
            ),
            id="an-expiry-with-a-hundred-digits-of-a-fraction",
        ),
        pytest.param(
            {
                "Stream-Forked-From": "/s",
                "Stream-Fork-Offset": OFFSET,
                "Stream-Fork-Sub-Offset": "12",
                "Content-Type": TEXT,
            },
            CreateRequest(b"", TEXT, NONE, close=False, fork=ForkRequest("/s", AT, 12)),
            id="a-fork-within-a-message",
        ),
    ],
)
def test_a_put_is_parsed_as_a_creation(headers: dict[str, str], create: CreateRequest) -> None:
    assert parse_create(CIMultiDict(headers), b"") == create


TOO_LONG = f"Stream-TTL is at most {MAX_TTL_S} seconds; leave it out for no end"
MUST_BE = {
    "Stream-TTL": "Stream-TTL must be a whole number of seconds, without leading zeros",
    "Stream-Expires-At": "Stream-Expires-At must be an RFC 3339 timestamp such as "
    "2030-01-31T12:00:00Z",
    "Stream-Fork-Sub-Offset": "Stream-Fork-Sub-Offset must be a whole number, "
    "without leading zeros",
}


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        pytest.param(
            {"Content-Type": "x"},
            "Content-Type is malformed: it must look like type/subtype; name=value",
            id="a-content-type-without-a-slash",
        ),
        pytest.param(
            {"Stream-TTL": "1", "Stream-Expires-At": "2030-01-31T12:00:00Z"},
            "Stream-TTL and Stream-Expires-At exclude each other: send one",
            id="a-ttl-and-an-expiry",
        ),
        pytest.param({"Stream-TTL": str(MAX_TTL_S + 1)}, TOO_LONG, id="a-ttl-over-its-bound"),
        pytest.param({"Stream-TTL": "9" * 5000}, TOO_LONG, id="a-ttl-of-5000-digits"),
        pytest.param(
            {"Stream-Fork-Offset": OFFSET},
            "Stream-Fork-Offset needs Stream-Forked-From",
            id="a-fork-offset-without-a-source",
        ),
        ({"Stream-Fork-Sub-Offset": "1"}, "Stream-Fork-Sub-Offset needs Stream-Forked-From"),
        pytest.param(
            {"Stream-Forked-From": "/s", "Stream-Fork-Offset": "now"},
            "Stream-Fork-Offset is malformed: give back a Stream-Next-Offset value unchanged",
            id="a-fork-offset-of-now",
        ),
    ],
)
def test_a_malformed_put_is_refused_with_the_reason(headers: dict[str, str], detail: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_create(CIMultiDict(headers), b"")
    assert refusal.value.detail == detail


MALFORMED_VALUES = {
    "Stream-TTL": ("", "01", "+1", "-1", "1.0", "1e3", "٣"),
    "Stream-Expires-At": (
        *("", "2030-01-31", "2030-01-31T12:00:00", "2030-01-31 12:00:00Z"),
        *("2030-02-30T12:00:00Z", "2030-01-31T12:00:00+99:00", "0001-01-01T00:00:00+23:59"),
    ),
    "Stream-Fork-Sub-Offset": ("01", "-1", "1" * 17),
}


@pytest.mark.parametrize("name", MALFORMED_VALUES)
def test_a_malformed_number_or_time_in_a_put_is_refused_with_the_reason(name: str) -> None:
    for value in MALFORMED_VALUES[name]:
        headers = CIMultiDict({"Stream-Forked-From": "/s", name: value})
        with pytest.raises(BadRequest) as refusal:
            parse_create(headers, b"")
        assert refusal.value.detail == MUST_BE[name], value


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9000, 1, 1)),  # noqa: DTZ001
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from("Tt"),
)
def test_a_time_in_any_zone_is_the_same_moment(moment: datetime, minutes: int, letter: str) -> None:
    seconds = moment.replace(tzinfo=UTC).timestamp()
    sign, ahead = ("+" if minutes >= 0 else "-"), abs(minutes)
    local = (moment + timedelta(minutes=minutes)).isoformat().replace("T", letter)
    text = f"{local}{sign}{ahead // 60:02d}:{ahead % 60:02d}"
    create = parse_create(CIMultiDict({"Stream-Expires-At": text}), b"")
    assert create.lifetime == Lifetime(expires_at=seconds, expires_text=text)
