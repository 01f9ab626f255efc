"""What takes bytes of others apart, each with what must hold whatever the bytes are.

A parser refuses with one of our own errors, or what it gives means the same the next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from unittest.mock import patch
from urllib.parse import urlsplit

from multidict import CIMultiDict
from yarl import URL

from headgate.events import EventDecoder
from headgate_gateway.background import at_once
from headgate_gateway.errors import HeadgateError, RecordDamaged
from headgate_gateway.logs.sqlite.rows import ChunkBuilder, row_of
from headgate_gateway.origin import heads
from headgate_gateway.origin.heads import HeadPatterns
from headgate_gateway.protocol.bodies import json_text, multi_append
from headgate_gateway.protocol.bodies.content import (
    check_content_type,
    data_event,
    json_messages,
    long_records,
    records_of,
)
from headgate_gateway.protocol.bodies.multi_append import (
    long_multi_records,
    messages_of,
    multi_records,
)
from headgate_gateway.protocol.http import forwarding
from headgate_gateway.protocol.http.destinations import PORTS, destination_of
from headgate_gateway.protocol.http.forwarding import RequestSender
from headgate_gateway.protocol.http.header_names import parse_traceparent
from headgate_gateway.protocol.http.paths import canonical_query, canonical_target, parse_query
from headgate_gateway.protocol.requests import parse_append_head, parse_create, parse_target
from headgate_gateway.protocol.streams.offsets import format_offset, parse_offset
from headgate_gateway.protocol.streams.state import Record, Segment, StreamState
from headgate_gateway.rules.directives import (
    parse_date,
    parse_dictionary,
    parse_directives,
    requested_part,
)
from headgate_gateway.rules.edge_target import parse_edge_target
from tests.origin.feeding import fed
from tests.support.event_stream import parse_events
from tests.support.multi_append import framed
from tests.support.raw_origin import answer

if TYPE_CHECKING:
    from collections.abc import Callable


JSON = "application/json"
SENDER = RequestSender("192.0.2.1", "http", "a.example")
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: a\r\n\r\n"
_TARGETS = (b"/v1/stream/a?offset=-1&live=sse", b"http://a/%2e%2e/%00?x=1&x=%zz", b"/a%2Fb;c//d#e")


class Parser(NamedTuple):
    """`check` raises for bytes that break a promise; `seeds` show what there is to break."""

    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _text(data: bytes) -> str:
    """As aiohttp gives heads of requests to us."""
    return data.decode("utf-8", "surrogateescape")


def check_offset(data: bytes) -> None:
    """What is taken is what we would write."""
    with contextlib.suppress(HeadgateError):
        assert format_offset(*parse_offset(_text(data), "offset")) == _text(data)


def check_target(data: bytes) -> None:
    """What is taken stays as it is, for every reader of it."""
    host, _, raw = _text(data).rpartition(" ")
    try:
        target = canonical_target(raw, host)
    except HeadgateError:
        return
    assert canonical_target(target) == target
    assert target.partition("?")[0].isascii()
    read = parse_target(target)
    if not isinstance(read, HeadgateError):
        again = parse_target(read.target)
        assert not isinstance(again, HeadgateError)
        assert (again.path, again.target) == (read.path, read.target)
    with contextlib.suppress(HeadgateError):
        edge = parse_edge_target(target, ("utm_*",))
        assert parse_edge_target(edge.target, ("utm_*",)) == edge


def check_query(data: bytes) -> None:
    """One spelling for one meaning."""
    with contextlib.suppress(HeadgateError):
        query = canonical_query(_text(data), ("utm_*", "a"))
        assert canonical_query(query[0], ("utm_*", "a")) == query
        assert not any(key == "a" or key.startswith("utm_") for key in query[1])
    with contextlib.suppress(HeadgateError):
        parse_query(_text(data))


def check_headers(data: bytes) -> None:
    """Whatever the fields are, they are understood, refused by us, or not looked at."""
    headers: CIMultiDict[str] = CIMultiDict()
    for line in _text(data).split("\r\n")[:32]:
        name, _, value = line.partition(":")
        headers.add(name.strip(), value.strip())
    with contextlib.suppress(HeadgateError):
        parse_append_head(headers).append(b"x")
    with contextlib.suppress(HeadgateError):
        parse_create(headers, b"x")
    values = [value for _, value in headers.items()]
    parse_directives(values)
    parse_dictionary(values)
    for value in values:
        parse_date(value)
        parse_traceparent(value)
        with contextlib.suppress(HeadgateError):
            span = requested_part(value, 10)
            assert span is None or 0 <= span[0] < span[1] <= 10
        with contextlib.suppress(HeadgateError):
            assert check_content_type(value).isascii()
    fields = forwarding.request_fields(headers, SENDER, "1.1 headgate-test", keyed=())
    assert not forwarding.HOP_BY_HOP & {name.lower() for name in fields}


def check_events(data: bytes) -> None:
    """Text is data and nothing else, and events are the same wherever they are cut."""
    for kind in ("text/plain", "application/octet-stream"):
        events = parse_events(data_event(kind, data))
        assert [event.name for event in events] in (["data"], []), events
    at = len(data) // 2
    decoder, in_one_go = EventDecoder(), EventDecoder()
    cut = [*decoder.feed(data[:at]), *decoder.feed(data[at:])]
    assert cut == list(in_one_go.feed(data))


def _no_constant(text: str) -> NoReturn:
    raise AssertionError(f"{text} was taken for JSON")


def check_json(data: bytes) -> None:
    """What is kept any reader parses, in one go and in slices alike."""
    kept = None
    with contextlib.suppress(HeadgateError):
        kept = records_of(JSON, data)
    with patch.object(json_text, "SLICE_BYTES", 16):
        sliced = at_once(long_records(data)) if data else None
    if kept is None:
        assert isinstance(sliced, HeadgateError | None), data
        return
    assert sliced == kept
    datas, count = kept
    record = b",".join(datas)
    items = json.loads(b"[" + record + b"]", parse_constant=_no_constant)
    assert len(items) == count
    assert json_messages(data) == (json_messages(b"[" + record + b"]") if record else [])
    json.dumps(items, ensure_ascii=False).encode()  # which fails for half a pair of surrogates


def check_chunks(data: bytes) -> None:
    """What is taken is framed the same again; JSON is taken in one go and in slices alike."""
    with contextlib.suppress(HeadgateError):
        assert framed(messages_of(data)) == data
    kept = None
    with contextlib.suppress(HeadgateError):
        kept, count = multi_records(JSON, data)
        assert len(kept) == count
    with (
        patch.object(json_text, "SLICE_BYTES", 16),
        patch.object(multi_append, "SLICE_BYTES", 16),
    ):
        sliced = at_once(long_multi_records(data))
    if kept is None:
        assert isinstance(sliced, HeadgateError), data
        return
    assert sliced == (kept, len(kept))
    for value in kept:
        json.loads(value, parse_constant=_no_constant)


def check_destination(data: bytes) -> None:
    """Every parser takes a permitted URL for the same destination."""
    with contextlib.suppress(HeadgateError):
        found = destination_of(_text(data))
        requested, split = URL(found.url, encoded=True), urlsplit(found.url)
        assert requested.raw_host == split.hostname == found.host
        assert requested.port == (split.port or PORTS[found.scheme]) == found.port
        assert requested.raw_path_qs == found.target
        assert destination_of(found.url) == found


def check_rows(data: bytes) -> None:
    """A stored row gives the records that were written, or says that it is damaged."""
    head, body = data[:4].ljust(4, b"\0"), data[4:]
    count = head[0] % 4 + 1
    step = len(body) // count + 1
    records, end = [], 0
    for number in range(count):
        part = body[number * step : (number + 1) * step]
        end += len(part)
        records.append(Record(end, part))
    state = StreamState("s", 7, 0, "text/plain", tail=end)
    row = list(row_of(7, records))
    place = head[1] % 4  # of `end`, the checksum, the sizes and the bytes, what is damaged
    damaged = _damaged(row[1 + place], head[2])
    was_damaged = head[3] % 2 == 1 and damaged != row[1 + place]
    if was_damaged:
        row[1 + place] = damaged
    builder = ChunkBuilder(state, 0)
    try:
        builder.add_row(Segment(7, end, "s"), end, *row[1:])  # type: ignore[arg-type] # a row is untyped
    except RecordDamaged:
        assert was_damaged, "a row as it was written"
        return
    assert not was_damaged, "a damaged row was taken"
    assert b"".join(builder.records) == body[:end]


def _damaged(value: object, by: int) -> object:
    """Another value in its place."""
    if isinstance(value, int):
        return value ^ (1 << by % 31)
    if isinstance(value, bytes) and value:
        at = by % len(value)
        return value[:at] + bytes([value[at] ^ 1 << by % 8]) + value[at + 1 :]
    return value


_PATTERNS = HeadPatterns()  # of all answers: what came before must not matter


def check_answer(data: bytes) -> None:
    """An origin's answer is the same whether or not a head like its was known, and in pieces."""
    cut = len(data) - len(data) // 3
    loop = asyncio.new_event_loop()
    try:
        with patch.object(heads, "WORTH_A_PATTERN", 2):
            known = [fed([data], _PATTERNS, loop) for _ in range(3)]
        assert known == [fed([data], HeadPatterns(), loop)] * 3
        for parts in ([data[:cut], data[cut:]], [data[:1], data[1:]]):
            assert fed(parts, _PATTERNS, loop) == fed(parts, HeadPatterns(), loop)
    finally:
        loop.close()


PARSERS = {
    "destination": Parser(
        check_destination,
        (
            b"http://user@a.example:80/%2e%2e/?a=b#c@127.0.0.1",
            b"https://[::ffff:127.0.0.1]:443\\@a.example",
            b"HTTP://0x7f.1./ http://017700000001:65536/;//",
            b"http://\xef\xbc\x91.a.example%00.b:0/",
            b"http://xn--a.example:80/",
        ),
    ),
    "offset": Parser(
        check_offset, (b"-1", b"now", b"0000000000000000_0000000000000007", b"0" * 33, b"9_9")
    ),
    "target": Parser(
        check_target, (*_TARGETS, *(b"a " + one for one in _TARGETS), b"a http://a/s?offset=now")
    ),
    "query": Parser(
        check_query, (b"offset=-1&live=long-poll&cursor=7", b"a=%2b+&b;c=%C3%A9&a", b"%")
    ),
    "headers": Parser(
        check_headers,
        (
            b"Content-Type: text/plain; charset=utf-8\r\nStream-TTL: 60\r\nStream-Seq: a",
            b"Producer-Id: p\r\nProducer-Epoch: 0\r\nProducer-Seq: 1\r\nStream-Closed: true",
            b"Stream-Expires-At: 2030-01-31T12:00:00.5Z\r\nStream-Forked-From: /a",
            b"Range: bytes=1-2",
            b"Content-Type: text/plain\r\nX-Stream-Multi: true",
            b'Cache-Control: max-age=60, private="a\\"b"\r\nCDN-Cache-Control: a;b=?0, c=(1 2);q=1',
            b"Date: Fri, 15 Jan 2027 07:30:00 GMT\r\nConnection: keep-alive, X\r\nCookie: a=b; c=d",
        ),
    ),
    "events": Parser(
        check_events,
        (b"event: data\ndata: a\r\ndata:b\r\r", b"\xef\xbb\xbf:\n\ndata", b"id: 1\n\n"),
    ),
    "json": Parser(
        check_json,
        (
            b'[1, {"a": [true, null, -0.5e7]}, "\\ud83d\\ude00\\u0000"]',
            b'"\\ud800"',
            b"[" * 70 + b"]" * 70,
            b"[NaN, 1]",
            b'{"a":"' + b"\xc3\xa9" * 20 + b'","a":[[],{}]}',
        ),
    ),
    "chunks": Parser(
        check_chunks,
        (
            framed([b"1", b"[2, 3]", b' {"a": "b"} ']),
            framed([b'"\xc3', b'\xa9"']),
            framed([b"[1", b"2]"]),
            framed([b"a" * 300]) + b"\0",
            framed([b"1", b""]),
        ),
    ),
    "answer": Parser(
        check_answer,
        (
            answer(b"ab", "ETag: a", "Connection: close"),
            answer(b"", "Stream-Next-Offset: 7", status="204 No Content"),
            answer(b"", "Stream-Next-Offset: 7\r\n folded: 0", status="204 No Content"),
            answer(b"ab", "ETag: a", status="200 OK\n"),
            answer(b"ab", "Set-Cookie: a", "X: \u00e9 b\t"),
            _CHUNKED + b"2\r\nab\r\n0\r\n\r\n",
            _CHUNKED + b"a;b=c\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
            _CHUNKED.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n",
        ),
    ),
    "rows": Parser(
        check_rows, (b"\x02\x00\x00\x00abcdef", b"\x03\x02\x05\x01abcdef", b"\x00\x03\x01\x01a")
    ),
}
