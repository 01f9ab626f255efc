"""What the answers of origins lack, and how readers get them: one kind of origin after the other.

The origins are those that exist: each speaks the protocol, and each leaves something out. The
last tests make responses private, so that no shared cache stores them.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from headgate_gateway.errors import OriginBehind
from headgate_gateway.protocol.cache_headers import Freshness
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.streams.offsets import current_cursor
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.rules.cached_response import CacheRequest
from headgate_gateway.rules.read_rules import RULES, ReadResponse
from headgate_gateway.rules.repair import (
    StreamRead,
    cors,
    data_tag,
    directive_lines,
    forbid_caching_tail,
    is_nothing,
    stream_read,
)
from headgate_gateway.rules.response_rules import ResponseRules
from headgate_gateway.rules.served_lifetimes import make_private, private_lines

NOW = 1_800_000_000.0
CURSOR = str(current_cursor(NOW))
FRESHNESS = Freshness(60, 300, 10)
FOREVER = Lifetime()
REPAIRS = [rule for rule in RULES if rule.repair not in {"cors", "tail"}]
PUBLIC = "public, max-age=60, stale-while-revalidate=300"
AT_TAIL = "no-cache, s-maxage=10, stale-while-revalidate=0"
TAIL, CLOSED = ("Stream-Up-To-Date", "true"), ("Stream-Closed", "true")
NO_STORE = ("Cache-Control", "no-store")
WELL_FORMED = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"')


def read(offset: str | None = "5") -> CatchUp:
    return CatchUp("/v1/stream/s", f"/v1/stream/s?offset={offset or -1}", offset)


def mended(
    *fields: tuple[str, str],
    body: bytes = b"data",
    of: CatchUp | None = None,
    lifetime: Lifetime = FOREVER,
    identified: bool = False,
) -> tuple[CIMultiDict[str], list[str]]:
    own = {"Content-Type": "text/plain", "Stream-Next-Offset": "9"}
    headers = CIMultiDict({**own, **dict(fields)})
    facts = stream_read(200, headers, body)
    assert facts is not None
    asked = CIMultiDict({"Host": "headgate.test"})
    identity = "somebody" if identified else ""
    request = CacheRequest("headgate.test", of or read(), asked, asked, identity, "", lifetime)
    route = ResponseRules(
        freshness=FRESHNESS,
        stale_if_error=0,
        via="1.1 test",
        identity=IdentityHeaders(),
        located=lambda _: None,
    )
    response = ReadResponse(route, request, facts, headers, NOW)
    applied = [rule.repair for rule in REPAIRS if rule.apply(response)]
    return response.fields, [name for name in applied if name != "cursor"]


@pytest.mark.parametrize(
    ("status", "fields", "is_read"),
    [
        (200, {"Stream-Next-Offset": "9"}, True),
        (200, {}, False),
        *((status, {"Stream-Next-Offset": "9"}, False) for status in (204, 206, 404)),
    ],
)
def test_only_a_200_with_an_offset_is_a_stream_read(
    status: int, fields: dict[str, str], is_read: bool
) -> None:
    assert (stream_read(status, CIMultiDict(fields), b"x") is not None) is is_read


def test_stream_facts_are_read_from_the_response_headers() -> None:
    headers = CIMultiDict(
        {
            "Content-Type": "application/json; charset=utf-8",
            "Stream-Next-Offset": "0001_9",
            "Stream-Up-To-Date": "True",
            "Stream-Closed": "TRUE",
            "Content-Encoding": "gzip",
        }
    )
    assert stream_read(200, headers, b"\x1f\x8b\x08") == StreamRead(
        "application/json; charset=utf-8",
        "0001_9",
        up_to_date=True,
        closed=True,
        is_empty=False,
        is_coded=True,
    )


@pytest.mark.parametrize("value", ["", "false", "1", "yes", "true, true"])
def test_a_flag_header_other_than_true_counts_as_false(value: str) -> None:
    headers = CIMultiDict(
        {"Stream-Next-Offset": "9", "Stream-Up-To-Date": value, "Stream-Closed": value}
    )
    facts = stream_read(200, headers, b"x")
    assert facts is not None
    assert (facts.up_to_date, facts.closed, facts.is_coded) == (False, False, False)


@pytest.mark.parametrize(
    ("content_type", "begin", "nothing"),
    [
        ("text/plain", b"", True),
        ("text/plain", b"[]", False),
        ("application/json", b"", True),
        ("application/json", b"[]", True),
        ("Application/JSON; x=y", b"[]", True),
        ("application/json", b"[1]", False),
        ("application/jsonl", b"[]", False),
    ],
)
def test_an_empty_array_counts_as_an_empty_body_for_json_only(
    content_type: str, begin: bytes, nothing: bool
) -> None:
    assert is_nothing(content_type, begin) is nothing


def lines(fields: CIMultiDict[str], *names: str) -> list[tuple[str, str]]:
    wanted = names or ("Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Expires")
    return [(name, value) for name in wanted for value in fields.getall(name, ())]


def test_data_before_the_tail_get_the_lifetime_of_the_route() -> None:
    fields, repairs = mended()
    assert lines(fields) == [("Cache-Control", PUBLIC)]
    assert repairs == ["cache_control", "etag"]
    assert "ETag" not in fields, "it is made of the whole body"


@pytest.mark.parametrize(
    ("is_tail", "is_closed", "body", "cache_control"),
    [
        (True, False, b"data", AT_TAIL),
        (True, True, b"data", PUBLIC),
        (True, True, b"", PUBLIC),
        (False, False, b"data", PUBLIC),
    ],
)
def test_only_a_read_up_to_the_open_tail_gets_the_tail_lifetime(
    is_tail: bool, is_closed: bool, body: bytes, cache_control: str
) -> None:
    told = [TAIL] * is_tail + [CLOSED] * is_closed
    assert lines(mended(*told, body=body)[0], "Cache-Control") == [("Cache-Control", cache_control)]


@pytest.mark.parametrize(
    ("content_type", "body"), [("text/plain", b""), ("application/json", b"[]")]
)
def test_an_empty_read_at_the_tail_is_cacheable_only_by_shared_caches(
    content_type: str, body: bytes
) -> None:
    fields, _ = mended(("Content-Type", content_type), TAIL, body=body)
    assert lines(fields) == [
        ("Cache-Control", AT_TAIL),
        ("CDN-Cache-Control", "public, max-age=10"),
        ("Surrogate-Control", "public, max-age=10"),
    ]


def test_a_read_of_now_is_no_store_and_has_no_tag() -> None:
    fields, repairs = mended(TAIL, body=b"", of=read("now"))
    assert lines(fields) == [NO_STORE]
    assert "ETag" not in fields
    assert repairs == ["cache_control"]


@pytest.mark.parametrize(
    ("ttl_s", "expires_in_s", "max_age", "stale_s"),
    [
        (None, None, 60, 300),
        (1000, None, 60, 300),
        (100, None, 60, 40),
        (60, None, 60, 0),
        (30, None, 30, 0),
        (None, 100, 60, 40),
        (None, 30, 30, 0),
        (None, 0, 0, 0),
        (None, -1, 0, 0),
    ],
)
def test_a_repaired_lifetime_does_not_outlast_its_stream(
    ttl_s: int | None, expires_in_s: float | None, max_age: int, stale_s: int
) -> None:
    expires_at = None if expires_in_s is None else NOW + expires_in_s
    fields, _ = mended(lifetime=Lifetime(ttl_s=ttl_s, expires_at=expires_at))
    told = f"public, max-age={max_age}, stale-while-revalidate={stale_s}"
    assert lines(fields) == [("Cache-Control", told)]


@pytest.mark.parametrize(
    "given_field",
    [
        ("Cache-Control", "max-age=5"),
        ("Cache-Control", "private"),
        NO_STORE,
        ("Expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("CDN-Cache-Control", "no-store"),
    ],
)
def test_cache_headers_of_the_origin_are_not_replaced(given_field: tuple[str, str]) -> None:
    fields, repairs = mended(given_field)
    assert lines(fields) == [given_field]
    assert "cache_control" not in repairs


def test_a_response_to_an_identified_reader_is_made_private() -> None:
    fields, _ = mended(identified=True)
    assert lines(fields) == [("Cache-Control", "private, no-cache")]


def test_a_response_with_a_cookie_is_not_made_public() -> None:
    fields, _ = mended(("Set-Cookie", "session=1"))
    assert not any("public" in value for _, value in lines(fields))


@pytest.mark.parametrize(
    "said",
    ["no-store", "private, no-store", "no-store, max-age=0", "max-age=5", "no-cache", "private"],
)
def test_cache_control_of_the_origin_stays(said: str) -> None:
    fields, _ = mended(("Cache-Control", said), of=read("5"))
    assert lines(fields) == [("Cache-Control", said)]


@pytest.mark.parametrize(
    ("tag", "made"),
    [
        ('"a"', '"a"'),
        ('W/"a"', 'W/"a"'),
        ('""', '""'),
        ("a", '"a"'),
        ('"a', '"a"'),
        ('a"', '"a"'),
        ("0000_1", '"0000_1"'),
    ],
)
def test_an_unquoted_etag_gets_quotes(tag: str, made: str) -> None:
    fields, repairs = mended(("ETag", tag))
    assert fields.getall("ETag") == [made]
    assert ("etag" in repairs) is (made != tag)


def tag_of(*fields: tuple[str, str], of: CatchUp | None = None) -> str:
    found: str = mended(*fields, of=of)[0]["ETag"]
    return found


def test_a_made_etag_differs_by_path_range_and_bytes() -> None:
    """A stream that was made anew at the path may have the same length, and then other bytes."""
    one = data_tag("/s", "5", "9", b"data")
    assert WELL_FORMED.fullmatch(f'"{one}"')
    assert data_tag("/s", "5", "9", b"data") == one
    others = {
        data_tag("/t", "5", "9", b"data"),
        data_tag("/s", "6", "9", b"data"),
        data_tag("/s", "5", "8", b"data"),
        data_tag("/s", "5", "9", b"atad"),
    }
    assert len(others | {one}) == 5


@pytest.mark.parametrize(
    ("tag", "made"),
    [
        ('"9"', '"9:closed"'),
        ('W/"9"', 'W/"9:closed"'),
        ("9", '"9:closed"'),
        ('"9:closed"', '"9:closed"'),
        ('"9:c"', '"9:c"'),
        ('"disclosed"', '"disclosed:closed"'),
    ],
)
def test_an_etag_of_a_closed_stream_gets_a_closed_mark(tag: str, made: str) -> None:
    assert tag_of(("ETag", tag), CLOSED) == made
    assert mended(("ETag", made), CLOSED)[1] == ["cache_control"]


@pytest.mark.parametrize(
    ("tag", "up_to_date", "made"),
    [
        ('"9"', True, '"9:tail"'),
        ('W/"9"', True, 'W/"9:tail"'),
        ('"9:tail"', True, '"9:tail"'),
        ('"9:tail"', False, '"9"'),
        ('"9"', False, '"9"'),
    ],
)
def test_only_an_etag_at_the_tail_gets_a_tail_mark(tag: str, up_to_date: bool, made: str) -> None:
    """Else a 304 would confirm that there is no more, when there is."""
    told = [TAIL] if up_to_date else []
    assert tag_of(("ETag", tag), *told) == made
    assert tag_of(("ETag", made), *told, CLOSED) == f'{tag.replace(":tail", "")[:-1]}:closed"'


@pytest.mark.parametrize("coding", ["gzip", "br"])
@pytest.mark.parametrize(("tag", "made"), [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"'), ("a", 'W/"a"')])
def test_an_etag_of_an_encoded_response_becomes_weak(coding: str, tag: str, made: str) -> None:
    assert tag_of(("ETag", tag), ("Content-Encoding", coding)) == made
    assert tag_of(("ETag", made), ("Content-Encoding", coding)) == made


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_any_etag_text_becomes_a_valid_etag(tag: str, closed: bool, coded: bool) -> None:
    fields = [("ETag", tag)]
    if closed:
        fields.append(CLOSED)
    if coded:
        fields.append(("Content-Encoding", "gzip"))
    made = tag_of(*fields)
    assert WELL_FORMED.fullmatch(made), made
    assert tag_of(("ETag", made), *fields[1:]) == made


@pytest.mark.parametrize("given_cursor", [None, "1", "99999999999", "abc"])
def test_the_cursor_of_the_origin_is_replaced_and_a_closed_stream_has_none(
    given_cursor: str | None,
) -> None:
    fields = [] if given_cursor is None else [("Stream-Cursor", given_cursor)]
    assert mended(*fields)[0].getall("Stream-Cursor") == [CURSOR]
    assert "Stream-Cursor" not in mended(*fields, CLOSED)[0]


def test_a_complete_response_is_not_changed() -> None:
    whole = [
        ("Cache-Control", "public, max-age=60"),
        ("ETag", '"s:5:9"'),
        ("X-Own", "1"),
        ("Stream-Cursor", CURSOR),
    ]
    fields, repairs = mended(*whole)
    assert list(fields.items()) == [
        ("Content-Type", "text/plain"),
        ("Stream-Next-Offset", "9"),
        *whole,
    ]
    assert repairs == []


@pytest.mark.parametrize("end", ["4", "39", "0"])
def test_a_read_that_ends_before_its_offset_is_an_error(end: str) -> None:
    with pytest.raises(OriginBehind):
        mended(("Stream-Next-Offset", end))


@pytest.mark.parametrize("offset", [None, "now", "5", "9"])
def test_a_read_that_ends_at_or_past_its_offset_is_accepted(offset: str | None) -> None:
    assert mended(of=read(offset))[0]["Stream-Next-Offset"] == "9"


@pytest.mark.parametrize("next_offset", [True, False])
@pytest.mark.parametrize("given_field", [None, ("Cache-Control", "max-age=1"), ("Expires", "0")])
def test_a_non_read_response_with_an_offset_is_made_no_store(
    next_offset: bool, given_field: tuple[str, str] | None
) -> None:
    fields = CIMultiDict([("Last-Modified", "x"), *([given_field] if given_field else [])])
    if next_offset:
        fields["Stream-Next-Offset"] = "9"
    forbid_caching_tail(fields)
    ours = "no-store" if next_offset and given_field is None else None
    assert fields.get("Cache-Control") == (dict([given_field]) if given_field else {}).get(
        "Cache-Control", ours
    )


@pytest.mark.parametrize(
    ("fields", "ignore", "lines"),
    [
        ([], False, ""),
        ([("Vary", "Cookie")], False, ""),
        pytest.param([NO_STORE], False, "Cache-Control: no-store\r\n", id="no-store"),
        ([NO_STORE], True, ""),
        pytest.param(
            [("Cache-Control", "private, no-store")],
            True,
            "Cache-Control: private, no-store\r\n",
            id="ignored-no-store-that-is-private",
        ),
        pytest.param(
            [("Expires", "0"), ("Cache-Control", "a"), ("Cache-Control", "b"), ("Vary", "c")],
            False,
            "Cache-Control: a\r\nCache-Control: b\r\nExpires: 0\r\nVary: c\r\n",
            id="all-directives",
        ),
    ],
)
def test_cache_directives_of_the_origin_become_lines_for_recent_data(
    fields: list[tuple[str, str]], ignore: bool, lines: str
) -> None:
    assert directive_lines(CIMultiDict(fields), at_tail=ignore) == lines


PAGE = ("Access-Control-Allow-Origin", "https://a.example")
EXPOSED = ("Access-Control-Expose-Headers", "ETag")


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ([], ""),
        ([EXPOSED], ""),
        pytest.param([PAGE], "Access-Control-Allow-Origin: https://a.example\r\n", id="a-page"),
        pytest.param(
            [EXPOSED, ("access-control-allow-credentials", "true"), PAGE, ("Vary", "Accept")],
            "Access-Control-Allow-Origin: https://a.example\r\n"
            "Access-Control-Allow-Credentials: true\r\n"
            "Access-Control-Expose-Headers: ETag\r\n",
            id="one-page-with-credentials",
        ),
        pytest.param([PAGE, ("Vary", "Accept"), ("Vary", "X-Other , ORIGIN")], "", id="by-origin"),
        pytest.param([PAGE, ("Vary", "*")], "", id="a-page-that-varies-by-anything"),
    ],
)
def test_cors_headers_of_the_origin_become_lines_if_they_apply_to_all_pages(
    fields: list[tuple[str, str]], lines: str
) -> None:
    assert cors(CIMultiDict(fields)) == lines


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ([], "private"),
        (["public"], "private"),
        (["max-age=60"], "private, max-age=60"),
        (["Public , S-MaxAge=1, max-age=60"], "private, max-age=60"),
        (["s-maxage = 1, max-age=60"], "private, max-age=60"),
        (["must-revalidate, proxy-revalidate, no-cache"], "private, no-cache"),
        (['private="X-A, X-B", max-age=1'], "private, max-age=1"),
        (["max-age=60", "public"], "private, max-age=60"),
        (["no-store"], "private, no-store"),
        (["max-age=1, stale-while-revalidate=9"], "private, max-age=1, stale-while-revalidate=9"),
        (['x="public, s-maxage=1", public'], 'private, x="public, s-maxage=1"'),
    ],
)
def test_private_responses_keep_browser_lifetimes_and_lose_shared_cache_directives(
    given: list[str], left: str
) -> None:
    fields = CIMultiDict([("cache-control", value) for value in given])
    make_private(fields)
    assert fields.getall("Cache-Control") == [left]


@pytest.mark.parametrize(
    "name",
    [
        "CDN-Cache-Control",
        "Cloudflare-CDN-Cache-Control",
        "Vercel-CDN-Cache-Control",
        "Surrogate-Control",
        "Surrogate-Key",
        "Cache-Tag",
        "CDN-Tag",
        "Edge-Cache-Tag",
        "Edge-Control",
        "X-Accel-Expires",
        "xkey",
        "X-Cache-Tags",
        "X-LiteSpeed-Cache-Control",
        "Akamai-Cache-Control",
        "Netlify-Cache-Tag",
        "Fastly-Surrogate-Key",
        "X-Surrogate-Control",
        "Expires",
    ],
)
def test_fields_for_shared_caches_are_removed_from_a_private_response(name: str) -> None:
    fields = CIMultiDict({name.lower(): "max-age=60", "ETag": '"a"'})
    make_private(fields)
    assert fields.keys() == {"ETag", "Cache-Control", "Vary"}
    assert fields["Cache-Control"] == "private"


def test_cache_lines_made_private_keep_their_form() -> None:
    said = "Cache-Control: public, max-age=60\r\nCDN-Cache-Control: max-age=600\r\nVary: Origin\r\n"
    lines = ("Cache-Control: private, max-age=60", "Vary: Origin, Authorization, Cookie", "")
    assert private_lines(said) == "\r\n".join(lines)
    assert private_lines("") == ""


@pytest.mark.parametrize("varies", ["*", "authorization, COOKIE"])
def test_a_vary_that_already_separates_readers_is_not_changed(varies: str) -> None:
    fields = CIMultiDict({"Vary": varies})
    make_private(fields)
    assert fields.getall("Vary") == [varies]
