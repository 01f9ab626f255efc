"""Paths and queries in one canonical form."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.http.paths import (
    MAX_PATH_BYTES,
    canonical_path,
    canonical_query,
    dropping,
    parse_query,
)

if TYPE_CHECKING:
    from random import Random

CANONICAL = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})+)+/?|/")
UNRESERVED = "ABCabc019-._~"


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/a/b.c", "/a/b.c"),
        ("/~a!$&'()*+,;=:@", "/~a!$&'()*+,;=:@"),
        ("/%61%7E", "/a~"),
        ("/", "/"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%3a", "/a%3A"),
        ("/é", "/%C3%A9"),
        ("/%c3%a9", "/%C3%A9"),
        pytest.param("/\udcc3\udca9", "/%C3%A9", id="raw-utf-8"),
        ("/a b", "/a%20b"),
        ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/%2525", "/%2525"),
        ("/...", "/..."),
        ("/..a", "/..a"),
    ],
)
def test_equivalent_paths_have_one_canonical_form(raw: str, path: str) -> None:
    assert canonical_path(raw) == path


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        ("", "the path must begin with /"),
        ("a", "the path must begin with /"),
        ("//", "the path has an empty segment"),
        ("/a//b", "the path has an empty segment"),
        ("/.", "the path has a dot segment"),
        ("/../a", "the path has a dot segment"),
        ("/%2e%2E/a", "the path has a dot segment"),
        ("/a#b", "the URL has a #, which is sent as %23"),
        ("/%", "the path has a malformed percent-encoding"),
        ("/%zz", "the path has a malformed percent-encoding"),
        ("/a%0d%0aX", "the path has a control character"),
        pytest.param("/\t", "the path has a control character", id="a-tab"),
        ("/%ff", "the path is not UTF-8"),
        pytest.param("/\udcff", "the path is not UTF-8", id="a-raw-byte-that-is-no-utf-8"),
        ("/%ed%a0%80", "the path is not UTF-8"),
        ("/%c0%af", "the path is not UTF-8"),
    ],
)
def test_an_ambiguous_or_malformed_path_is_refused(raw: str, detail: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        canonical_path(raw)
    assert refusal.value.detail == detail


@pytest.mark.parametrize("length", [MAX_PATH_BYTES - 1, MAX_PATH_BYTES])
@pytest.mark.parametrize("first", ["a", "."])
def test_a_path_up_to_the_limit_is_accepted(length: int, first: str) -> None:
    raw = "/" + first + "a" * (length - 2)
    assert canonical_path(raw) == raw


@pytest.mark.parametrize("first", ["a", ".", "é"])
def test_a_path_over_the_limit_is_refused(first: str) -> None:
    raw = "/" + first + "a" * (MAX_PATH_BYTES - len(first.encode()))
    assert len(raw.encode()) == MAX_PATH_BYTES + 1
    with pytest.raises(BadRequest) as refusal:
        canonical_path(raw)
    assert refusal.value.detail == f"the path is over {MAX_PATH_BYTES} bytes"


PIECES = st.sampled_from(
    ["/", ".", "..", "%2e", "%2F", "%00", "%", "%c3%a9", "é", "\udcff", "a", "?", "\x00", "\n"]
) | st.text(max_size=3)


@given(st.lists(PIECES, max_size=12).map("".join))
@example("/" + "é" * 1000)  # which is longer as it stands in Location
def test_an_accepted_path_becomes_canonical_and_has_no_dot_segments(text: str) -> None:
    raw = f"/{text}"
    try:
        path = canonical_path(raw)
    except (BadRequest, UnicodeEncodeError):  # a lone surrogate comes out of no HTTP parser
        return
    assert canonical_path(path) == path
    assert CANONICAL.fullmatch(path) is not None
    segments = path[1:].removesuffix("/").split("/")
    decoded = [unquote_to_bytes(segment) for segment in segments]
    assert path == "/" or not {b"", b".", b".."} & set(decoded)
    assert not any(byte < 0x20 or byte == 0x7F for segment in decoded for byte in segment)
    # Nothing but the spelling has changed.
    assert unquote_to_bytes(path) == unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))


@given(st.lists(st.text(UNRESERVED, min_size=1, max_size=5), min_size=1, max_size=4))
def test_percent_encoding_of_unreserved_characters_changes_no_path(segments: list[str]) -> None:
    if {".", ".."} & set(segments):
        return
    encoded = ["".join(f"%{ord(character):02x}" for character in one) for one in segments]
    assert canonical_path("/" + "/".join(encoded)) == canonical_path("/" + "/".join(segments))


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        ("", {}),
        ("&", {}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a+b=c+d", {"a b": "c d"}),
        ("%61=%C3%A9", {"a": "é"}),
        ("a=é", {"a": "é"}),
        pytest.param("a=\udcc3\udca9", {"a": "é"}, id="raw-utf-8"),
        ("a=%26", {"a": "&"}),
    ],
)
def test_a_query_is_decoded_into_its_parameters(raw: str, query: dict[str, str]) -> None:
    assert parse_query(raw) == query


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        ("a=1&a=1", "the query parameter 'a' is given more than once"),
        ("a=1&%61=2", "the query parameter 'a' is given more than once"),
        ("a=%", "the query has a malformed percent-encoding"),
        ("%4=1", "the query has a malformed percent-encoding"),
        ("a=%ff", "the query is not UTF-8"),
        pytest.param("a=\udcff", "the query is not UTF-8", id="a-raw-byte-that-is-no-utf-8"),
    ],
)
def test_an_ambiguous_or_malformed_query_is_refused(raw: str, detail: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_query(raw)
    assert refusal.value.detail == detail


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_an_encoded_query_is_decoded_back_to_its_parameters(query: dict[str, str]) -> None:
    try:
        raw = "&".join(f"{quote(key, safe='')}={quote(value)}" for key, value in query.items())
    except UnicodeEncodeError:  # a lone surrogate has no encoding
        return
    assert parse_query(raw) == query


# ---------------------------------------------------------------- queries of origins


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("", ""),
        ("b=2&a=1", "a=1&b=2"),
        ("&b=2&&a=1&", "a=1&b=2"),
        ("a=2&a=1", "a=2&a=1"),
        ("%2B+&%2B%2B", "%2B+&%2B%2B"),
        ("%61=%7e", "a=~"),
        ("a=%2f%2F/", "a=%2F%2F/"),
        ("a=1+2", "a=1+2"),
        ("a=1%2b2", "a=1%2B2"),
        ("a=%26b=1", "a=%26b=1"),
        ("a%3db=1", "a%3Db=1"),
        ("=1", "=1"),
        ("a=é", "a=%C3%A9"),
        pytest.param("a=\udcff", "a=%FF", id="a-raw-byte-that-is-no-utf-8"),
        ("a=?;/:@!$'()*,", "a=?;/:@!$'()*,"),
        ('a="<>[]{}|\\^`', "a=%22%3C%3E%5B%5D%7B%7D%7C%5C%5E%60"),
    ],
)
def test_equivalent_queries_have_one_canonical_form(raw: str, text: str) -> None:
    assert canonical_query(raw, ())[0] == text


@pytest.mark.parametrize("raw", ["%", "a=%", "a=%4", "a=%zz", "a%g0=1"])
def test_a_query_with_a_malformed_percent_encoding_is_refused(raw: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        canonical_query(raw, ())
    assert refusal.value.detail == "the query has a malformed percent-encoding"


@pytest.mark.parametrize(
    ("raw", "drop", "text"),
    [
        ("a=1&utm_x=2&utm_=3&utm=4", ["utm_*"], "a=1&utm=4"),
        ("a=1&b=2&ab=3&a", ["a"], "ab=3&b=2"),
        ("a=1&b=2", ["*"], ""),
        ("%75tm_x=1&A=2", ["utm_*", "a"], "A=2"),
        ("offset=1&offset2=1", ["offset2"], "offset=1"),
    ],
)
def test_dropped_query_keys_are_left_out(raw: str, drop: list[str], text: str) -> None:
    assert canonical_query(raw, drop)[0] == text


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ("", {}),
        pytest.param("b=2&a=1&a=3&c", {"a": "1", "b": "2", "c": ""}, id="a-key-twice"),
        ("%6fffset=%2d1", {"offset": "-1"}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_a_repeated_query_key_has_its_first_value(raw: str, values: dict[str, str]) -> None:
    assert canonical_query(raw, ())[1] == values


QUERY_PIECES = st.sampled_from(
    ["&", "=", "%3d", "%26", "%2B", "+", "%20", "%C3%A9", "é", "\udcff", "a", "b", "%61", "%"]
) | st.text(max_size=2)
QUERIES = st.lists(QUERY_PIECES, max_size=14).map("".join)


def spelled(raw: str) -> str | None:
    try:
        return canonical_query(raw, ())[0]
    except (BadRequest, UnicodeEncodeError):  # a lone surrogate comes out of no HTTP parser
        return None


def meaning(raw: str) -> dict[bytes, list[bytes]]:
    """Each key's parts in order, decoded as far as everybody decodes: `+` is left as it is."""
    parts: dict[bytes, list[bytes]] = {}
    for part in raw.encode("utf-8", "surrogateescape").split(b"&"):
        if part:
            key, separator, value = part.partition(b"=")
            spelling = separator + unquote_to_bytes(value)
            parts.setdefault(unquote_to_bytes(key), []).append(
                # An encoded `+` means a plus to everybody, a bare one a space to some.
                spelling + b"|" + re.sub(rb"[^+]", b"", key + value)
            )
    return parts


@given(QUERIES, st.randoms(use_true_random=False))
def test_queries_of_equal_meaning_have_one_canonical_text(raw: str, random: Random) -> None:
    text = spelled(raw)
    if text is None:
        return
    parts = [part for part in raw.split("&") if part]
    by_key: dict[bytes, list[str]] = {}
    for part in parts:
        key = unquote_to_bytes(part.partition("=")[0].encode("utf-8", "surrogateescape"))
        by_key.setdefault(key, []).append(part)
    order = [key for key, group in by_key.items() for _ in group]
    random.shuffle(order)  # equal keys stay in order among themselves
    again = "&".join(_respelled(by_key[key].pop(0), random) for key in order)
    assert spelled(again) == text


def _respelled(part: str, random: Random) -> str:
    """The same with some unreserved characters encoded, and hexadecimal digits in either case."""
    pieces = re.findall(r"%[0-9A-Fa-f]{2}|.", part, re.DOTALL)
    made = []
    for piece in pieces:
        if piece.startswith("%") and len(piece) == 3:
            made.append(random.choice([piece.upper(), piece.lower()]))
        elif piece.isascii() and (piece.isalnum() or piece in "-._~") and random.random() < 0.5:
            made.append(f"%{ord(piece):02x}")
        else:
            made.append(piece)
    return "".join(made)


@given(QUERIES)
def test_a_canonical_query_is_stable_and_keeps_its_meaning(raw: str) -> None:
    """Two queries of different meaning thus never have one text."""
    text = spelled(raw)
    if text is not None:
        assert spelled(text) == text
        assert meaning(text) == meaning(raw)
        assert re.fullmatch(r"[A-Za-z0-9._~!$'()*+,;=:@/?&%-]*", text)


KEYS = ("a", "utm_", "utm_x", "utm", "a.b", "axb", "")


@given(
    st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(["", "=", "=1", "=a", "=?a"]))),
    st.lists(st.sampled_from(["a", "utm_*", "a.b", "utm_x", "*"]), max_size=2),
)
@example([("utm_x", "")], ["utm_*"])
@example([("axb", "=1")], ["a.b"])
def test_a_query_without_a_dropped_key_keeps_all_its_keys(
    parts: list[tuple[str, str]], drop: list[str]
) -> None:
    query = "&".join(map("".join, parts))
    found = dropping(drop)
    if found is None or found.search(f"/v1/s?{query}") is None:
        assert canonical_query(query, drop) == canonical_query(query, ())
