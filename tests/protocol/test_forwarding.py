"""What a gateway changes in the heads that it passes on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from headgate_gateway.errors import LoopDetected
from headgate_gateway.protocol.http.forwarding import (
    CONDITIONS,
    HOP_BY_HOP,
    MAX_HOPS,
    RequestSender,
    check_loop,
    request_fields,
    response_fields,
)

VIA = "1.1 headgate-1"
SENDER = RequestSender("192.0.2.7", "https", "streams.example")
OURS = [
    ("Via", VIA),
    ("X-Forwarded-For", "192.0.2.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "streams.example"),
    ("Forwarded", "for=192.0.2.7;proto=https;host=streams.example"),
]


def asked(
    *fields: tuple[str, str],
    sender: RequestSender = SENDER,
    drop: frozenset[str] = frozenset(),
    keyed: tuple[str, ...] | None = None,
) -> list[tuple[str, str]]:
    made = request_fields(CIMultiDict(fields), sender, VIA, drop=drop, keyed=keyed)
    return list(made.items())


def forwarded(sender: RequestSender) -> str:
    return dict(asked(sender=sender))["Forwarded"]


# ---------------------------------------------------------------- of the connection


@pytest.mark.parametrize("keyed", [(), None])
@pytest.mark.parametrize(
    ("cookies", "passed"),
    [
        (["headgate_session=s3cret"], None),
        (["a=1; headgate_session=s3cret; b=2"], "a=1; b=2"),
        (["a=1;headgate_session = s3cret;b=2"], "a=1; b=2"),
        pytest.param(
            ["headgate_session=one", "a=1", "headgate_session=two"],
            "a=1",
            id="two-session-cookies-around-another",
        ),
        (
            ["my_headgate_session=1; headgate_sessions=2"],
            "my_headgate_session=1; headgate_sessions=2",
        ),
        (["a=headgate_session"], "a=headgate_session"),
        (["a=1;b=2"], "a=1;b=2"),
    ],
)
def test_the_session_cookie_of_the_console_is_not_sent_to_an_origin(
    cookies: list[str], passed: str | None, keyed: tuple[str, ...] | None
) -> None:
    made = asked(*(("Cookie", line) for line in cookies), keyed=keyed)
    assert [value for name, value in made if name == "Cookie"] == ([passed] if passed else [])


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | {"host", "content-length", "expect"}))
@pytest.mark.parametrize("keyed", [(), None])
def test_hop_by_hop_request_fields_are_dropped(name: str, keyed: tuple[str, ...] | None) -> None:
    assert asked((name.title(), "x"), ("Accept", "text/plain"), keyed=keyed) == [
        ("Accept", "text/plain"),
        *OURS,
    ]


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | {"content-length", "alt-svc"}))
def test_hop_by_hop_fields_of_a_response_are_not_passed_on(name: str) -> None:
    fields = CIMultiDict([(name.title(), "x"), ("ETag", '"a"')])
    assert list(response_fields(fields, VIA).items()) == [("ETag", '"a"'), ("Via", VIA)]


@pytest.mark.parametrize(
    "connection",
    [["X-One"], ["close, x-one"], ["close", "X-ONE"], [" x-one , keep-alive"], [",X-One,"]],
)
def test_fields_named_by_connection_are_not_passed_on(connection: list[str]) -> None:
    lines = [("Connection", value) for value in connection]
    assert asked(("X-One", "1"), ("X-Two", "2"), *lines) == [("X-Two", "2"), *OURS]
    answered = response_fields(CIMultiDict([("X-One", "1"), ("X-Two", "2"), *lines]), VIA)
    assert list(answered.items()) == [("X-Two", "2"), ("Via", VIA)]


# ---------------------------------------------------------------- where it came from


@pytest.mark.parametrize(
    ("sender", "line"),
    [
        pytest.param(
            RequestSender("192.0.2.7", "http", "a.example"),
            "for=192.0.2.7;proto=http;host=a.example",
            id="an-ipv4-address",
        ),
        pytest.param(
            RequestSender("192.0.2.7", "http", "a.example:8080"),
            'for=192.0.2.7;proto=http;host="a.example:8080"',
            id="a-host-with-a-port",
        ),
        pytest.param(
            RequestSender("2001:db8::7", "https", "[2001:db8::1]:8443"),
            'for="[2001:db8::7]";proto=https;host="[2001:db8::1]:8443"',
            id="an-ipv6-address",
        ),
        pytest.param(
            RequestSender("fe80::1%eth0", "http", "a"),
            'for="[fe80::1%eth0]";proto=http;host=a',
            id="an-ipv6-address-with-a-zone",
        ),
        (RequestSender("", "http", "a"), "for=unknown;proto=http;host=a"),
        pytest.param(
            RequestSender("192.0.2.7", "http", ""), "for=192.0.2.7;proto=http", id="no-host"
        ),
    ],
)
def test_forwarded_names_the_client_scheme_and_host(sender: RequestSender, line: str) -> None:
    assert forwarded(sender) == line


TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
QUOTED = r'"(?:[^"\\]|\\.)*"'


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30))
def test_a_hostile_host_cannot_break_out_of_the_forwarded_field(host: str) -> None:
    line = forwarded(RequestSender("192.0.2.7", "http", host))
    said = rf"for=192\.0\.2\.7;proto=http(?:;host=(?:{TOKEN}|{QUOTED}))?"
    assert re.fullmatch(said, line) is not None, line


# ---------------------------------------------------------------- requests for everybody


UNKEYED = [
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Prefix",
    "X-Forwarded-Anything",
    "X-Original-URL",
    "X-Rewrite-Url",
    "X-HTTP-Method-Override",
    "X-Real-IP",
    "True-Client-IP",
]
REPLACED = {"X-Forwarded-Host", "X-Forwarded-Proto"}
RENAMES = {"X-Original-URL", "X-Rewrite-Url", "X-HTTP-Method-Override"}


@pytest.mark.parametrize("name", UNKEYED)
def test_a_shared_request_drops_client_fields_that_are_not_in_its_key(name: str) -> None:
    assert asked((name, "evil.example"), keyed=()) == OURS


@pytest.mark.parametrize("name", UNKEYED)
def test_an_unshared_request_keeps_fields_not_replaced_nor_renaming(name: str) -> None:
    said = ", ".join(value for field, value in asked((name, "evil.example")) if field == name)
    assert ("evil.example" in said) is (name not in REPLACED | RENAMES)


@pytest.mark.parametrize("name", ["X-Forwarded-User", "X-User", "X-Remote-User"])
def test_a_shared_request_passes_on_the_fields_in_its_key(name: str) -> None:
    assert asked((name, "ann"), keyed=(name.lower(),)) == [(name, "ann"), *OURS]
    assert asked((name, "ann"), keyed=()) == OURS


@pytest.mark.parametrize("name", ["X-Real-IPv6", "X-Shipping", "User-Agent", "Accept"])
def test_a_field_whose_name_resembles_a_dropped_one_is_passed_on(name: str) -> None:
    assert asked((name, "x"), keyed=()) == [(name, "x"), *OURS]


@pytest.mark.parametrize("name", sorted(CONDITIONS))
def test_fields_listed_to_drop_are_not_passed_on(name: str) -> None:
    assert asked((name.title(), "x"), ("X-A", "1"), drop=CONDITIONS, keyed=()) == [
        ("X-A", "1"),
        *OURS,
    ]


# ---------------------------------------------------------------- loops


def via(*lines: str) -> CIMultiDict[str]:
    return CIMultiDict([("Via", line) for line in lines])


@pytest.mark.parametrize("hops", [0, 1, MAX_HOPS - 1, MAX_HOPS])
@pytest.mark.parametrize("separator", [", ", ","])
def test_a_request_that_passed_max_hops_gateways_is_accepted(hops: int, separator: str) -> None:
    lines = [separator.join(f"1.1 gateway-{at}" for at in range(hops))] if hops else []
    check_loop(via(*lines), VIA)


@pytest.mark.parametrize("lines", [1, MAX_HOPS + 1])
def test_a_request_that_passed_more_than_max_hops_gateways_is_a_loop(lines: int) -> None:
    hops = [f"1.1 gateway-{at}" for at in range(MAX_HOPS + 1)]
    with pytest.raises(LoopDetected) as refusal:
        check_loop(via(*([", ".join(hops)] if lines == 1 else hops)), VIA)
    assert refusal.value.detail == "the request has passed 21 gateways: an origin leads back"


@pytest.mark.parametrize(
    "lines", [[VIA], [f"1.0 a, {VIA}"], ["1.0 a", f"{VIA},1.1 b"], [f"  {VIA}  "]]
)
def test_a_via_field_with_this_gateways_name_is_a_loop(lines: list[str]) -> None:
    with pytest.raises(LoopDetected) as refusal:
        check_loop(via(*lines), VIA)
    assert "leads to this gateway itself" in refusal.value.detail


@pytest.mark.parametrize("line", ["1.1 headgate-2", "1.1 headgate-11", "1.1 x-headgate-1"])
def test_a_via_field_with_a_similar_gateway_name_is_no_loop(line: str) -> None:
    check_loop(via(line), VIA)
