"""What an origin is asked of a stream that is followed, and what its readers are told."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.cache_headers import Freshness, tag_mark
from headgate_gateway.protocol.requests import CatchUp, Events, LongPoll, Read
from headgate_gateway.protocol.streams.offsets import current_cursor
from headgate_gateway.rules.edge_target import catch_up, parse_edge_target, poll_target
from headgate_gateway.rules.followed import (
    Snapshot,
    Span,
    data,
    is_cut,
    is_whole,
    joined,
    poll_ended,
)
from headgate_gateway.rules.repair import data_tag

NOW = 1_800_000_000.0
CURSOR = current_cursor(NOW)
S = "/v1/stream/s"


def polling(query: str) -> LongPoll:
    read = parsed(f"{query}&live=long-poll")
    assert isinstance(read, LongPoll)
    return read


def parsed(query: str, *drop: str) -> Read:
    return parse_edge_target(f"{S}?{query}" if query else S, drop)


# ---------------------------------------------------------------- what is asked


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", S),
        ("offset=-1", f"{S}?offset=-1"),
        ("offset=%2D1", f"{S}?offset=-1"),
        ("%6Fffset=1_2&b=2&a=1", f"{S}?a=1&b=2&offset=1_2"),
        ("live=sse&offset=5&cursor=7", f"{S}?cursor=7&live=sse&offset=5"),
        ("z=1&offset=5&utm_source=x&a=%c3%a9", f"{S}?a=%C3%A9&offset=5&z=1"),
        ("a=2&a=1&offset=5", f"{S}?a=2&a=1&offset=5"),
    ],
)
def test_a_target_has_its_query_sorted_and_in_one_spelling(query: str, target: str) -> None:
    assert parsed(query, "utm_*").target == target


def test_the_path_of_a_target_has_one_spelling() -> None:
    read = parse_edge_target("/v1/stream/%73%2f%c3%a9?offset=1", ())
    assert (read.path, read.target) == ("/v1/stream/s%2F%C3%A9", "/v1/stream/s%2F%C3%A9?offset=1")


@pytest.mark.parametrize(
    ("query", "offset", "kind", "cursor", "others"),
    [
        ("", None, CatchUp, None, ()),
        ("offset=-1", None, CatchUp, None, ()),
        ("offset=now", "now", CatchUp, None, ()),
        ("offset=5&live=long-poll", "5", LongPoll, None, ()),
        ("offset=-1&live=sse", None, Events, None, ()),
        ("offset=5&live=sse&cursor=7", "5", Events, 7, ()),
        ("offset=5&cursor=7", "5", CatchUp, None, ()),
        ("b=2&offset=5&a=1&live=sse&Live=x", "5", Events, None, ("Live=x", "a=1", "b=2")),
    ],
)
def test_an_edge_target_is_parsed_into_its_offset_mode_and_cursor(
    query: str, offset: str | None, kind: type[Read], cursor: int | None, others: tuple[str, ...]
) -> None:
    read = parsed(query)
    assert (read.offset, type(read), read.others) == (offset, kind, others)
    assert read.cursor == cursor


@pytest.mark.parametrize(
    "query",
    [
        "live=long-poll",
        "offset=&live=long-poll",
        "offset=5&live=poll",
        "offset=5&live=Long-Poll",
        "offset=5&live=long-poll&live=long-poll",
        "offset=5&live=long-poll&live=sse",
        "offset=5&offset=6&live=sse",
        "offset=5&%6fffset=5&live=sse",
        "offset=5&live=sse&cursor=1&cursor=2",
    ],
)
def test_a_live_query_that_is_not_valid_is_parsed_as_a_catch_up(query: str) -> None:
    assert isinstance(parsed(query), CatchUp)


@pytest.mark.parametrize(
    ("query", "clear"),
    [
        ("", True),
        ("offset=5", True),
        ("offset=5&cursor=7&a=1", True),
        ("offset=5&live=sse", True),
        ("offset=5&live=long-poll&cursor=7", True),
        ("offset=", False),
        ("offset=5&offset=5", False),
        ("offset=5&offset=-1&live=sse", False),
        ("offset=5&live=", False),
        ("offset=5&live=poll", False),
        ("live=sse", False),
        ("offset=5&cursor=x", False),
        ("offset=5&cursor=1&cursor=2", False),
        ("offset=5+6", False),
        ("offset=5+6&live=sse", False),
    ],
)
def test_a_query_is_clear_only_if_its_protocol_keys_are_valid(query: str, clear: bool) -> None:
    """All of it then tells its feed and its stream from others."""
    read = parsed(query)
    assert (not isinstance(read, CatchUp) or read.is_clear) is clear
    own = {part for part in read.others if part.partition("=")[0] in {"offset", "live", "cursor"}}
    assert own == (set() if clear else set(query.split("&")))


@pytest.mark.parametrize(
    ("asked", "offset", "target"),
    [
        ("5%2B6", "5+6", "offset=5%2B6"),
        ("5%7C6", "5|6", "offset=5%7C6"),
        ("5%256", "5%6", "offset=5%256"),
        ("a:b*(c)'!~", "a:b*(c)'!~", "offset=a:b*(c)'!~"),
    ],
)
def test_a_decoded_offset_is_encoded_again_in_targets_to_the_origin(
    asked: str, offset: str, target: str
) -> None:
    read = parsed(f"offset={asked}&live=sse")
    assert read.offset == offset
    assert catch_up(read, offset).target == f"{S}?{target}"
    assert (
        poll_target(read, offset, "a&b=c d") == f"{S}?cursor=a%26b%3Dc%20d&live=long-poll&{target}"
    )


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b"", True),
        pytest.param(b" [1]\n", True, id="blanks-around-an-array"),
        (b"[]", True),
        (b"[1", False),
        (b"1]", False),
        (b"{}", False),
        (b"null", False),
    ],
)
def test_only_a_json_array_counts_as_whole_json(body: bytes, whole: bool) -> None:
    assert is_whole("application/json", body) is whole
    assert is_whole("text/plain", body)


@pytest.mark.parametrize("text", ["a", "é", "€", "😀", "a€", "é😀"])
def test_text_counts_as_cut_only_within_its_last_character(text: str) -> None:
    body = text.encode()
    last = len(body) - len(text[-1].encode())
    for length in range(len(body) + 1):
        within = last < length < len(body)
        if length >= last or within:
            assert is_cut("text/plain; charset=utf-8", body[:length]) is within
        assert not is_cut("application/json", body[:length])
        assert not is_cut("application/octet-stream", body[:length])


@given(st.binary(max_size=8))
def test_bytes_that_end_in_ascii_never_count_as_cut_text(body: bytes) -> None:
    """A character of up to four bytes is never missing more than three."""
    assert is_cut("text/plain", body) <= (bool(body) and body[-1] >= 0x80)


@given(
    st.sampled_from(["live=sse&", "live=long-poll&", "live=sse&cursor=5&", "cursor=5&", ""]),
    st.integers(min_value=0).map(str) | st.text("0123456789abc%2-&=", max_size=30),
)
def test_the_catch_up_target_of_a_feed_does_not_depend_on_the_cursor_of_its_reader(
    own: str, cursor: str
) -> None:
    try:
        read = parsed(f"{own}offset=5&cursor={cursor}")
    except BadRequest:
        assume(False)
    assume(not isinstance(read, CatchUp) and not read.others)
    assert catch_up(read, "5") == catch_up(parsed("offset=5"), "5")


def test_query_keys_outside_the_protocol_are_kept_in_targets_to_the_origin() -> None:
    read = parsed("z=1&offset=5&live=sse&cursor=7&a=2&utm_x=3", "utm_*")
    assert catch_up(read, "9").target == f"{S}?a=2&offset=9&z=1"
    assert poll_target(read, "9", None) == f"{S}?a=2&live=long-poll&offset=9&z=1"
    assert poll_target(read, "9", "8") == f"{S}?a=2&cursor=8&live=long-poll&offset=9&z=1"


@given(
    st.lists(
        st.sampled_from(["a=1", "b", "offsets=1", "z=%20", "live2=x", "n=1", "m=2&m=1"]), max_size=4
    ),
    st.sampled_from(["", "live=sse&", "live=long-poll&cursor=5&"]),
)
def test_a_target_for_the_origin_is_in_canonical_form(others: list[str], own: str) -> None:
    """Or else a catch-up by a viewer and one for its feed would not share an answer."""
    read = parsed("&".join([*others, f"{own}offset=5"]))
    for target in (
        catch_up(read, "9").target,
        poll_target(read, "9", "8"),
        poll_target(read, "9", None),
    ):
        assert parse_edge_target(target, ()).target == target


# ---------------------------------------------------------------- joining


def cut(pieces: list[bytes]) -> list[Span]:
    return [Span(str(at), str(at + 1), piece) for at, piece in enumerate(pieces)]


@pytest.mark.parametrize(
    ("content_type", "pieces", "body"),
    [
        ("text/plain", [b"a", b"b"], b"ab"),
        ("text/plain", [b"[1]", b"[2]"], b"[1][2]"),
        ("application/json", [b"[1]", b"[2, 3]"], b"[1,2, 3]"),
        ("application/json; charset=utf-8", [b"[1]", b"[]", b"[2]"], b"[1,2]"),
        pytest.param(
            "application/json",
            [b" [1]\n", b"[ ]", b"\t[2]"],
            b"[1,2]",
            id="json-with-blanks-around-arrays",
        ),
        ("application/json", [b"[]", b"[]"], b"[]"),
        ("application/json", [b"[[1]]", b'["]["]'], b'[[1],"]["]'),
        ("application/json", [b"", b"[1]"], b"[1]"),
    ],
)
def test_consecutive_spans_are_joined_by_content_type(
    content_type: str, pieces: list[bytes], body: bytes
) -> None:
    assert joined(content_type, cut(pieces)) == Span("0", str(len(pieces)), body)


def test_a_single_span_is_joined_without_a_change() -> None:
    span = Span("0", "1", b" [ 1 ] ")
    assert joined("application/json", [span]) is span


@given(
    st.lists(st.binary(), min_size=1, max_size=6),
    st.sampled_from(["text/plain", "text/plain; charset=utf-8", "a/b"]),
)
def test_joined_byte_spans_equal_one_read(pieces: list[bytes], content_type: str) -> None:
    assert joined(content_type, cut(pieces)).body == b"".join(pieces)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=2),
    max_leaves=5,
)


@given(st.lists(st.lists(JSON, max_size=3), min_size=1, max_size=5), st.sampled_from([None, 0, 2]))
def test_joined_json_spans_have_all_items(reads: list[list[object]], indent: int | None) -> None:
    pieces = [json.dumps(items, indent=indent, ensure_ascii=False).encode() for items in reads]
    body = joined("application/json", cut(pieces)).body
    assert msgspec.json.decode(body) == [item for items in reads for item in items]


@given(st.lists(st.lists(JSON, max_size=2), min_size=2, max_size=5), st.data())
def test_joining_spans_is_associative(reads: list[list[object]], drawn: st.DataObject) -> None:
    spans = cut([json.dumps(items).encode() for items in reads])
    at = drawn.draw(st.integers(1, len(spans) - 1))
    assume(at < len(spans))
    kind = "application/json"
    halves = [joined(kind, spans[:at]), joined(kind, spans[at:])]
    assert joined(kind, halves) == joined(kind, spans)


# ---------------------------------------------------------------- what readers are told


VIEW = Snapshot(S, "text/plain", "9", closed=False, caught_up=True)
ASKED_AGAIN = {
    "Cache-Control": "no-cache, s-maxage=1, stale-while-revalidate=0",
    "CDN-Cache-Control": "public, max-age=1",
    "Surrogate-Control": "public, max-age=1",
}
AT_TAIL = {"Stream-Up-To-Date": "true"}
CURSORED = {"Stream-Cursor": str(CURSOR)}
ASKED_ONCE = {"Cache-Control": "public, max-age=20, stale-while-revalidate=0"}
POLL = polling("offset=5")


def told(fields: str) -> dict[str, str]:
    """The field lines, each of which must come once."""
    pairs = [line.split(": ", 1) for line in fields.split("\r\n")[:-1]]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: value for name, value in pairs if not name.startswith(("X-", "Cross-"))}


CLOSED = VIEW._replace(closed=True)
ENDS: dict[str, tuple[Snapshot, str, dict[str, str]]] = {
    "data-up-to-the-tail": (VIEW, "9", {**AT_TAIL, **CURSORED}),
    "data-before-the-tail": (VIEW, "7", CURSORED),
    "a-view-that-has-not-caught-up": (VIEW._replace(caught_up=False), "9", CURSORED),
    "data-up-to-the-end-of-a-closed-stream": (CLOSED, "9", {**AT_TAIL, "Stream-Closed": "true"}),
    "data-before-the-end-of-a-closed-stream": (CLOSED, "7", CURSORED),
}


@pytest.mark.parametrize(("snapshot", "end", "more"), ENDS.values(), ids=ENDS)
def test_poll_data_name_their_end_and_whether_it_is_the_tail_or_the_closure(
    snapshot: Snapshot, end: str, more: dict[str, str]
) -> None:
    response = data(snapshot, POLL, Span("5", end, b"news"), NOW, Freshness())
    fields = told(response.fields)
    tag = fields.pop("ETag")
    assert (response.status, response.body) == (200, b"news")
    assert fields == {
        **ASKED_AGAIN,
        "Content-Type": "text/plain",
        "Stream-Next-Offset": end,
        **more,
    }
    mark = tag_mark(closed="Stream-Closed" in more, at_tail="Stream-Up-To-Date" in more)
    assert tag == f'"{data_tag(S, "5", end, b"news")}{mark}"'


@pytest.mark.parametrize(
    ("query", "lifetime"),
    [
        pytest.param(f"offset=5&cursor={CURSOR}", ASKED_ONCE, id="the-current-cursor"),
        pytest.param(f"offset=5&cursor={CURSOR + 1}", ASKED_ONCE, id="a-later-cursor"),
        pytest.param(f"offset=5&cursor={CURSOR - 1}", ASKED_AGAIN, id="an-older-cursor"),
        pytest.param("offset=5", ASKED_AGAIN, id="no-cursor"),
        pytest.param(f"offset=-1&cursor={CURSOR}", ASKED_AGAIN, id="from-the-beginning"),
        pytest.param(
            f"offset=now&cursor={CURSOR}",
            {"Cache-Control": "no-store", "CDN-Cache-Control": "no-cache"},
            id="from-now",
        ),
    ],
)
def test_only_polls_with_a_current_cursor_are_cached(query: str, lifetime: dict[str, str]) -> None:
    fields = told(data(VIEW, polling(query), Span("5", "9", b"x"), NOW, Freshness()).fields)
    assert {name: value for name, value in fields.items() if "-Control" in name} == lifetime


def test_a_poll_without_data_uses_the_tail_directive_of_the_route() -> None:
    response = poll_ended(VIEW, POLL, "9", NOW, Freshness(tail_directive="max-age=0"))
    assert (
        told(response.fields)["Cache-Control"] == "max-age=0, s-maxage=1, stale-while-revalidate=0"
    )


@pytest.mark.parametrize(
    ("content_type", "body"), [("text/plain", b""), ("application/json", b"[]")]
)
def test_an_empty_read_at_the_tail_has_the_tail_headers(content_type: str, body: bytes) -> None:
    snapshot = VIEW._replace(content_type=content_type)
    response = data(snapshot, catch_up(POLL, "9"), Span("9", "9", b""), NOW, Freshness())
    assert (response.status, response.body) == (200, body)
    assert told(response.fields) == {
        **ASKED_AGAIN,
        **AT_TAIL,
        **CURSORED,
        "Content-Type": content_type,
        "ETag": f'"{data_tag(VIEW.path, "9", "9", b"")}:tail"',
        "Stream-Next-Offset": "9",
    }


def test_a_poll_response_has_a_higher_cursor_than_its_request() -> None:
    read = polling(f"offset=5&cursor={CURSOR + 3}")
    for response in (
        data(VIEW, read, Span("5", "9", b"x"), NOW, Freshness()),
        poll_ended(VIEW, read, "9", NOW, Freshness()),
    ):
        assert int(told(response.fields)["Stream-Cursor"]) > CURSOR + 3


def test_equal_polls_get_equal_cursors_and_polls_at_other_offsets_differ() -> None:
    read = polling(f"offset=5&cursor={CURSOR + 3}")
    cursors = [
        told(data(VIEW, read, Span(start, "9", b"x"), NOW, Freshness()).fields)["Stream-Cursor"]
        for start in ("5", "5", "6", "7")
    ]
    assert cursors[0] == cursors[1]
    assert len(set(cursors)) > 1
