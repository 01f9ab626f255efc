"""Content types, and what they make of a body."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.background import at_once
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import (
    check_content_type,
    is_json,
    is_text,
    json_messages,
    media_type,
    prefix_of,
    read_body,
    records_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

OCTETS = "application/octet-stream"
JSON = "application/json"


@pytest.mark.parametrize(
    "text",
    [
        "text/plain",
        "application/vnd.api+json",
        "text/plain;charset=utf-8",
        "text/plain ; charset=utf-8",
        'text/plain; charset="utf 8"',
        "text/plain;",
        "text/plain;;a=b",
        pytest.param("a/b \t", id="trailing-blanks"),
        pytest.param("a/" + "b" * 253, id="as-long-as-the-limit"),
    ],
)
def test_a_media_type_with_parameters_is_accepted_as_a_content_type(text: str) -> None:
    assert check_content_type(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "text/plain, text/html",
        "text /plain",
        "text/plain; charset",
        'text/plain; a="b',
        'text/plain; a="b"c"',
        pytest.param("text/plain\n", id="a-newline"),
        "text/pläin",
        pytest.param("text/plain\udcff", id="a-byte-that-is-no-utf-8"),
        pytest.param("a/" + "b" * 254, id="longer-than-the-limit"),
    ],
)
def test_a_malformed_content_type_is_refused(text: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        check_content_type(text)
    assert refusal.value.detail == (
        "Content-Type is malformed: it must look like type/subtype; name=value"
    )


@pytest.mark.parametrize(
    ("content_type", "media", "json_mode", "text_mode"),
    [
        ("application/json", "application/json", True, True),
        ("Application/JSON; charset=utf-8", "application/json", True, True),
        ("application/jsonl", "application/jsonl", False, False),
        ("text/plain", "text/plain", False, True),
        ("application/octet-stream", "application/octet-stream", False, False),
        ("texture/plain", "texture/plain", False, False),
        ('text/plain; charset="utf-8"', "text/plain", False, True),
        ("text/plain; charset=utf8 ; a=b", "text/plain", False, True),
        ("text/plain; charset=iso-8859-1", "text/plain", False, False),
        ('text/html;charset="Windows-1252"', "text/html", False, False),
        ("text/event-stream; charset=gb2312", "text/event-stream", False, False),
        ("text/plain; charset=utf-16; charset=utf-8", "text/plain", False, False),
        ("text/plain; xcharset=utf-16", "text/plain", False, True),
        ("application/json; charset=iso-8859-1", "application/json", True, True),
    ],
)
def test_the_media_type_decides_between_json_text_and_bytes(
    content_type: str, media: str, json_mode: bool, text_mode: bool
) -> None:
    found = (media_type(content_type), is_json(content_type), is_text(content_type))
    assert found == (media, json_mode, text_mode)


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b"1", [b"1"]),
        pytest.param(b" \r\n\t{} ", [b"{}"], id="blanks-around-an-object"),
        (b"[]", []),
        (b" [ ] ", []),
        (b"[1]", [b"1"]),
        (b'[ 1 , [2, 3] ,{"a" : [ ]} ]', [b"1", b"[2, 3]", b'{"a" : [ ]}']),
        (b"[[]]", [b"[]"]),
        (b"[1.10,2e400,-0.0]", [b"1.10", b"2e400", b"-0.0"]),
        (b"123456789012345678901234567890", [b"123456789012345678901234567890"]),
        pytest.param(
            b'["a\\u0000b",","]',
            [b'"a\\u0000b"', b'","'],
            id="an-escaped-nul-and-a-comma-in-strings",
        ),
        pytest.param(
            '"é\u2028"'.encode(), ['"é\u2028"'.encode()], id="a-line-separator-in-a-string"
        ),
        (b"null", [b"null"]),
    ],
)
def test_one_array_level_is_flattened_and_the_bytes_of_its_items_stay(
    body: bytes, messages: list[bytes]
) -> None:
    assert json_messages(body) == messages
    assert records_of(JSON, body) == ((b",".join(messages),) if messages else (), len(messages))


@pytest.mark.parametrize(
    ("content_type", "records", "body"),
    [
        (OCTETS, [], b""),
        (OCTETS, [b"a"], b"a"),
        (OCTETS, [b"a", b"b"], b"ab"),
        (JSON, [], b"[]"),
        (JSON, [b"1"], b"[1]"),
        (JSON, [b"1,2", b"3"], b"[1,2,3]"),
    ],
)
def test_a_read_body_is_the_joined_bytes_or_one_json_array(
    content_type: str, records: list[bytes], body: bytes
) -> None:
    assert read_body(content_type, records) == body


@pytest.mark.parametrize(
    ("content_type", "record", "count", "prefix"),
    [
        (OCTETS, b"abc", 0, b""),
        (OCTETS, b"abc", 1, b"a"),
        (OCTETS, b"abc", 3, b"abc"),
        (OCTETS, b"abc", 4, None),
        (JSON, b"1,[2,3],4", 0, b""),
        (JSON, b"1,[2,3],4", 2, b"1,[2,3]"),
        (JSON, b"1,[2,3],4", 3, b"1,[2,3],4"),
        (JSON, b"1,[2,3],4", 4, None),
    ],
)
def test_a_prefix_is_counted_in_bytes_or_in_json_messages(
    content_type: str, record: bytes, count: int, prefix: bytes | None
) -> None:
    assert at_once(prefix_of(content_type, record, count)) == prefix


NUMBERS = st.sampled_from(["1.10", "2e400", "-0", "0.1e-9", "9" * 400, "1E+2"]) | st.integers().map(
    str
)
STRINGS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).flatmap(
    lambda text: st.sampled_from(
        [json.dumps(text, ensure_ascii=True), json.dumps(text, ensure_ascii=False)]
    )
)
SPACE = st.text(" \t\r\n", max_size=3)


def array_of(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.lists(st.tuples(SPACE, items, SPACE).map("".join), max_size=4)
    return parts.map(lambda found: f"[{','.join(found)}]")


def object_of(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(STRINGS, SPACE, items).map(lambda parts: f"{parts[0]}:{parts[1]}{parts[2]}")
    return st.lists(pair, max_size=3).map(lambda found: f"{{{','.join(found)}}}")


SCALARS = NUMBERS | STRINGS | st.sampled_from(["true", "false", "null"])
VALUES = st.recursive(SCALARS, lambda inner: array_of(inner) | object_of(inner), max_leaves=6)


def as_texts(data: bytes) -> object:
    """JSON decoded with every number as the text it was."""
    keep: Callable[[str], str] = lambda text: f"number {text}"  # noqa: E731
    return json.loads(data, parse_int=keep, parse_float=keep)


@given(st.lists(st.tuples(SPACE, VALUES, SPACE), min_size=1, max_size=6))
def test_the_bytes_of_json_items_survive_flattening(items: list[tuple[str, str, str]]) -> None:
    body = f" [{','.join(''.join(item) for item in items)}]\n".encode()
    values = [value.encode() for _, value, _ in items]
    assert json_messages(body) == values
    (record,), _ = records_of(JSON, body)
    assert as_texts(read_body(JSON, [record])) == as_texts(body)
    for count in range(len(values) + 1):
        assert at_once(prefix_of(JSON, record, count)) == b",".join(values[:count])
    assert at_once(prefix_of(JSON, record, len(values) + 1)) is None
