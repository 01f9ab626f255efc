"""Requests: headers and queries as checked values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import canonical_target
from headgate_gateway.protocol.requests import (
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
from headgate_gateway.protocol.streams.offsets import NOW, Offset
from headgate_gateway.protocol.streams.state import Lifetime, Stamp

OFFSET = "0000000000000001_0000000000000002"
AT = Offset(1, 2)


WHOLE = CatchUp("/s", "/s?offset=-1", None)
EQUIVALENT_READ_TARGETS = {
    "no-query": ("/s", WHOLE),
    "an-empty-query": ("/s?", WHOLE),
    "from-the-beginning": ("/s?offset=-1", WHOLE),
    "from-now": ("/s?offset=now", CatchUp("/s", "/s?offset=now", NOW)),
    "from-an-offset": (f"/s?offset={OFFSET}", CatchUp("/s", f"/s?offset={OFFSET}", AT)),
    "unknown-parameters": ("/%73?utm=1&x=2", WHOLE),
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
    "a-cursor-without-live": ("/s?cursor=5", WHOLE),
    "a-malformed-cursor-without-live": ("/s?cursor=a", WHOLE),
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


MALFORMED_OFFSET = "offset is malformed: give back a Stream-Next-Offset value unchanged"
OTHER_LIVE = "live must be long-poll or sse"
NO_OFFSET = "offset is missing: a live read must say where to begin"


MALFORMED_TARGETS = {
    "an-empty-live": ("/s?live=", OTHER_LIVE),
    "live-in-capitals": ("/s?live=LONG-POLL&offset=-1", OTHER_LIVE),
    "an-event-stream-without-an-offset": ("/s?live=sse", NO_OFFSET),
    "a-long-poll-without-an-offset": ("/s?live=long-poll", NO_OFFSET),
    "an-empty-offset": ("/s?offset=", MALFORMED_OFFSET),
    "an-offset-that-no-server-issued": ("/s?offset=0", MALFORMED_OFFSET),
    "two-offsets": (
        "/s?offset=-1&offset=now",
        "the query parameter 'offset' is given more than once",
    ),
    "a-malformed-encoding": ("/s?x=%zz", "the query has a malformed percent-encoding"),
}


@pytest.mark.parametrize(("target", "detail"), MALFORMED_TARGETS.values(), ids=MALFORMED_TARGETS)
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


LONGEST_ID, LONGEST_SEQ = "p" * MAX_PRODUCER_ID, "s" * MAX_STREAM_SEQ
APPENDS: dict[str, tuple[dict[str, str], bytes, Append]] = {
    "a-close-in-capitals": (
        {"stream-closed": "TRUE"},
        b"",
        Append(b"", None, None, None, close=True),
    ),
    "a-producer-with-the-highest-sequence": (
        stamped("p", "3", str(MAX_INTEGER)),
        b"a",
        Append(b"a", TEXT, None, Stamp("p", 3, MAX_INTEGER), close=False),
    ),
    "a-producer-id-at-the-limit": (
        stamped(LONGEST_ID, "007"),
        b"a",
        Append(b"a", TEXT, None, Stamp(LONGEST_ID, 7, 0), close=False),
    ),
    "a-stream-seq-at-the-limit": (
        {"Content-Type": TEXT, "Stream-Seq": LONGEST_SEQ},
        b"a",
        Append(b"a", TEXT, LONGEST_SEQ, None, close=False),
    ),
}


@pytest.mark.parametrize(("headers", "body", "append"), APPENDS.values(), ids=APPENDS)
def test_a_post_is_parsed_as_an_append_or_a_close(
    headers: dict[str, str], body: bytes, append: Append
) -> None:
    assert parse_append_head(CIMultiDict(headers)).append(body) == append


EMPTY_BODY = "the body is empty: append at least one byte, or send Stream-Closed: true"
NO_TYPE = "Content-Type is missing: send the content type of the stream"
PRODUCER_ID = "Producer-Id must have 1 to 256 characters"
LONG_SEQ = "Stream-Seq is over 1024 characters"
MALFORMED_APPENDS = {
    "an-empty-body": ({"Content-Type": TEXT}, b"", EMPTY_BODY),
    "no-content-type": ({}, b"a", NO_TYPE),
    "a-producer-id-alone": ({"Content-Type": TEXT, "Producer-Id": "p"}, b"a", NO_PRODUCER),
    "a-producer-sequence-alone": ({"Content-Type": TEXT, "Producer-Seq": "0"}, b"a", NO_PRODUCER),
    "an-empty-producer-id": (stamped(""), b"a", PRODUCER_ID),
    "a-producer-id-over-the-limit": (stamped(f"{LONGEST_ID}p"), b"a", PRODUCER_ID),
    "a-stream-seq-over-the-limit": (
        {"Content-Type": TEXT, "Stream-Seq": f"{LONGEST_SEQ}s"},
        b"a",
        LONG_SEQ,
    ),
}


@pytest.mark.parametrize(
    ("headers", "body", "detail"), MALFORMED_APPENDS.values(), ids=MALFORMED_APPENDS
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


ZONED, LONG_FRACTION = "1970-01-01T01:00:00.5+01:00", f"1970-01-01T00:00:00.25{'0' * 98}Z"
IN_A_MESSAGE = {
    "Stream-Forked-From": "/s",
    "Stream-Fork-Offset": OFFSET,
    "Stream-Fork-Sub-Offset": "12",
    "Content-Type": TEXT,
}


def created(lifetime: Lifetime) -> CreateRequest:
    return CreateRequest(b"", OCTETS, lifetime, close=False, fork=None)


CREATIONS: dict[str, tuple[dict[str, str], CreateRequest]] = {
    "the-longest-ttl": ({"Stream-TTL": str(MAX_TTL_S)}, created(Lifetime(ttl_s=MAX_TTL_S))),
    "an-expiry-with-a-time-zone": (
        {"Stream-Expires-At": ZONED},
        created(Lifetime(expires_at=0.5, expires_text=ZONED)),
    ),
    "an-expiry-with-a-hundred-digits-of-a-fraction": (
        {"Stream-Expires-At": LONG_FRACTION},
        created(Lifetime(expires_at=0.25, expires_text="1970-01-01T00:00:00.250000000Z")),
    ),
    "a-fork-within-a-message": (
        IN_A_MESSAGE,
        CreateRequest(b"", TEXT, NONE, close=False, fork=ForkRequest("/s", AT, 12)),
    ),
}


@pytest.mark.parametrize(("headers", "create"), CREATIONS.values(), ids=CREATIONS)
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


MALFORMED_TYPE = "Content-Type is malformed: it must look like type/subtype; name=value"
TWO_LIFETIMES = "Stream-TTL and Stream-Expires-At exclude each other: send one"
NO_SOURCE = "{} needs Stream-Forked-From"
MALFORMED_PUTS = {
    "a-content-type-without-a-slash": ({"Content-Type": "x"}, MALFORMED_TYPE),
    "a-ttl-and-an-expiry": (
        {"Stream-TTL": "1", "Stream-Expires-At": "2030-01-31T12:00:00Z"},
        TWO_LIFETIMES,
    ),
    "a-ttl-over-its-bound": ({"Stream-TTL": str(MAX_TTL_S + 1)}, TOO_LONG),
    "a-ttl-of-5000-digits": ({"Stream-TTL": "9" * 5000}, TOO_LONG),
    "a-fork-offset-without-a-source": (
        {"Stream-Fork-Offset": OFFSET},
        NO_SOURCE.format("Stream-Fork-Offset"),
    ),
    "a-sub-offset-without-a-source": (
        {"Stream-Fork-Sub-Offset": "1"},
        NO_SOURCE.format("Stream-Fork-Sub-Offset"),
    ),
    "a-fork-offset-of-now": (
        {"Stream-Forked-From": "/s", "Stream-Fork-Offset": "now"},
        "Stream-Fork-Offset is malformed: give back a Stream-Next-Offset value unchanged",
    ),
}


@pytest.mark.parametrize(("headers", "detail"), MALFORMED_PUTS.values(), ids=MALFORMED_PUTS)
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
