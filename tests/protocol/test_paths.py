"""Paths and queries in one canonical form."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.protocol.paths import MAX_PATH_BYTES, canonical_path, parse_query

CANONICAL = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-F]{2})+)+")
UNRESERVED = "ABCabc019-._~"


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/a", "/a"),
        ("/a/b.c", "/a/b.c"),
        ("/~a!$&'()*+,;=:@", "/~a!$&'()*+,;=:@"),
        ("/%61%7E", "/a~"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%3Fb", "/a%3Fb"),
        ("/a%3a", "/a%3A"),
        ("/a:", "/a:"),
        ("/é", "/%C3%A9"),
        ("/%c3%a9", "/%C3%A9"),
        ("/\udcc3\udca9", "/%C3%A9"),
        ("/a b", "/a%20b"),
        ('/"<>\\^`{|}', "/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("/%25", "/%25"),
        ("/%2525", "/%2525"),
        ("/...", "/..."),
        ("/.a", "/.a"),
        ("/..a", "/..a"),
        ("/a..", "/a.."),
    ],
)
def test_a_path_has_one_spelling(raw: str, path: str) -> None:
    assert canonical_path(raw) == path


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        ("", "the path must begin with /"),
        ("a", "the path must begin with /"),
        ("*", "the path must begin with /"),
        ("/", "the path has an empty segment"),
        ("//a", "the path has an empty segment"),
        ("/a/", "the path has an empty segment"),
        ("/a//b", "the path has an empty segment"),
        ("/.", "the path has a dot segment"),
        ("/a/..", "the path has a dot segment"),
        ("/../a", "the path has a dot segment"),
        ("/%2e%2E/a", "the path has a dot segment"),
        ("/.%2e/a", "the path has a dot segment"),
        ("/%", "the path has a malformed percent-encoding"),
        ("/%4", "the path has a malformed percent-encoding"),
        ("/%zz", "the path has a malformed percent-encoding"),
        ("/%00", "the path has a control character"),
        ("/a%0d%0aX", "the path has a control character"),
        ("/\t", "the path has a control character"),
        ("/%7f", "the path has a control character"),
        ("/%ff", "the path is not UTF-8"),
        ("/\udcff", "the path is not UTF-8"),
        ("/%ed%a0%80", "the path is not UTF-8"),
        ("/%c0%af", "the path is not UTF-8"),
    ],
)
def test_a_path_that_could_mean_two_things_is_refused(raw: str, detail: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        canonical_path(raw)
    assert refusal.value.detail == detail


@pytest.mark.parametrize("length", [MAX_PATH_BYTES - 1, MAX_PATH_BYTES])
@pytest.mark.parametrize("first", ["a", "."])
def test_a_path_up_to_the_limit_is_taken(length: int, first: str) -> None:
    raw = "/" + first + "a" * (length - 2)
    assert canonical_path(raw) == raw


@pytest.mark.parametrize("first", ["a", ".", "é"])
def test_a_path_over_the_limit_is_refused(first: str) -> None:
    raw = "/" + first + "a" * (MAX_PATH_BYTES - len(first.encode()))
    assert len(raw.encode()) == MAX_PATH_BYTES + 1
    with pytest.raises(BadRequest) as refusal:
        canonical_path(raw)
    assert refusal.value.detail == f"the path is over {MAX_PATH_BYTES} bytes"


def test_the_url_that_a_taken_path_becomes_is_taken_too() -> None:
    """Location names a new stream by its canonical path, and clients read from there."""
    raw = "/" + "é" * 1000
    try:
        path = canonical_path(raw)
    except BadRequest:
        return
    assert canonical_path(path) == path


PIECES = st.sampled_from(
    ["/", ".", "..", "%2e", "%2F", "%00", "%", "%c3%a9", "é", "\udcff", "a", "?", "\x00", "\n"]
) | st.text(max_size=3)


@given(st.lists(PIECES, max_size=12).map("".join))
@example("/" + "é" * 500)
def test_what_is_accepted_is_canonical_and_safe(text: str) -> None:
    raw = f"/{text}"
    try:
        path = canonical_path(raw)
    except (BadRequest, UnicodeEncodeError):  # a lone surrogate comes out of no HTTP parser
        return
    assert canonical_path(path) == path
    assert CANONICAL.fullmatch(path) is not None
    decoded = [unquote_to_bytes(segment) for segment in path[1:].split("/")]
    assert not {b"", b".", b".."} & set(decoded)
    assert not any(byte < 0x20 or byte == 0x7F for segment in decoded for byte in segment)
    # Nothing but the spelling has changed.
    assert unquote_to_bytes(path) == unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))


@given(st.lists(st.text(UNRESERVED, min_size=1, max_size=5), min_size=1, max_size=4))
def test_encoding_what_needs_none_changes_nothing(segments: list[str]) -> None:
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
        ("a=\udcc3\udca9", {"a": "é"}),
        ("a=%26", {"a": "&"}),
    ],
)
def test_a_query_is_decoded(raw: str, query: dict[str, str]) -> None:
    assert parse_query(raw) == query


@pytest.mark.parametrize(
    ("raw", "detail"),
    [
        ("a=1&a=1", "the query parameter 'a' is given more than once"),
        ("a=1&%61=2", "the query parameter 'a' is given more than once"),
        ("a=%", "the query has a malformed percent-encoding"),
        ("%4=1", "the query has a malformed percent-encoding"),
        ("a=%ff", "the query is not UTF-8"),
        ("a=\udcff", "the query is not UTF-8"),
    ],
)
def test_a_query_that_could_mean_two_things_is_refused(raw: str, detail: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        parse_query(raw)
    assert refusal.value.detail == detail


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
def test_a_query_comes_back_as_it_was_encoded(query: dict[str, str]) -> None:
    try:
        raw = "&".join(f"{quote(key, safe='')}={quote(value)}" for key, value in query.items())
    except UnicodeEncodeError:  # a lone surrogate has no encoding
        return
    assert parse_query(raw) == query
