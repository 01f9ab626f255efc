"""Whose request it is, behind proxies that are trusted and that are not."""

from __future__ import annotations

import random
from time import process_time

import pytest
from multidict import CIMultiDict

from gateway.protocol.http.client_address import TrustedProxies, counted_as
from tests.support.examples import IS_WHOLE

PEER = "10.0.0.1"
OURS = TrustedProxies(["10.0.0.0/8", "2001:db8:ffff::/48"])
X = "X-Forwarded-For"
F = "Forwarded"
Lines = list[tuple[str, str]]

TOLD = [
    pytest.param([], PEER, id="no-header"),
    pytest.param([(X, "192.0.2.7")], "192.0.2.7", id="one-address"),
    pytest.param([(X, "192.0.2.7:4711")], "192.0.2.7", id="an-address-with-a-port"),
    pytest.param([(X, " 192.0.2.7 , 10.9.9.9")], "192.0.2.7", id="a-proxy-behind-the-address"),
    pytest.param(
        [(X, "203.0.113.66, 192.0.2.7, 10.9.9.9")],
        "192.0.2.7",
        id="an-address-claimed-by-the-client",
    ),  # the first one may be made up
    pytest.param([(X, "192.0.2.7"), (X, "10.9.9.9")], "192.0.2.7", id="two-lines"),
    pytest.param(
        [(X, "10.1.1.1, 10.9.9.9")], "10.1.1.1", id="proxies-alone"
    ),  # all are ours: who asked is
    pytest.param([(X, "2001:db8::7")], "2001:db8::7", id="an-ipv6-address"),
    pytest.param([(X, "[2001:DB8:0::7]:80")], "2001:db8::7", id="an-ipv6-address-with-a-port"),
    pytest.param([(X, "::ffff:192.0.2.7")], "192.0.2.7", id="an-ipv4-address-within-ipv6"),
    pytest.param(
        [(F, 'For="192.0.2.7:80";proto=https;by=10.9.9.9')],
        "192.0.2.7",
        id="forwarded-with-all-parameters",
    ),
    pytest.param(
        [(F, 'for=203.0.113.66, for="[2001:db8::7]:80"')],
        "2001:db8::7",
        id="forwarded-with-an-address-claimed-by-the-client",
    ),
    pytest.param([(F, r'by="a\",b";for="192\.0.2.7"')], "192.0.2.7", id="forwarded-with-escapes"),
    pytest.param(
        [(F, "for=192.0.2.7"), (F, "for=10.9.9.9")], "192.0.2.7", id="forwarded-on-two-lines"
    ),
    pytest.param(
        [(F, "for=192.0.2.7"), (X, "192.0.2.7, 10.9.9.9")], "192.0.2.7", id="both-headers"
    ),
]

GARBAGE = [
    pytest.param([(X, "")], id="an-empty-header"),
    pytest.param([(X, "unknown")], id="the-word-unknown"),
    pytest.param([(X, "192.0.2.7,")], id="a-trailing-comma"),
    pytest.param([(X, "192.0.2.7;80")], id="a-parameter-behind-the-address"),
    pytest.param([(X, "192.0.2.7:port")], id="a-port-that-is-no-number"),
    pytest.param([(X, "0300.0.2.7")], id="an-octal-octet"),
    pytest.param([(X, "3221225991")], id="an-address-as-one-number"),
    pytest.param([(X, "[2001:db8::7")], id="a-bracket-without-its-end"),
    pytest.param([(X, "2001:db8::g")], id="a-letter-outside-of-hexadecimal"),
    pytest.param([(X, '"192.0.2.7"')], id="an-address-in-quotes"),
    pytest.param([(X, "192.0.2.7\x00")], id="a-nul-behind-the-address"),
    pytest.param([(F, "for=unknown")], id="forwarded-for-unknown"),
    pytest.param([(F, "for=_hidden")], id="forwarded-for-a-hidden-name"),
    pytest.param([(F, "for=[2001:db8::7]")], id="forwarded-for-ipv6-without-quotes"),
    pytest.param([(F, "proto=https")], id="forwarded-without-for"),
    pytest.param([(F, 'for="192.0.2.7')], id="forwarded-with-an-open-quote"),
    pytest.param([(F, 'for="192.0.2.7" x')], id="forwarded-with-text-behind-a-quote"),
    pytest.param([(F, "for = 192.0.2.7")], id="forwarded-with-blanks-around-the-equals-sign"),
    pytest.param([(F, "for=192.0.2.7;for=192.0.2.8")], id="forwarded-with-for-twice"),
    pytest.param(
        [(F, 'for="x'), (F, 'for=192.0.2.7;by="10.9.9.9"')],
        id="forwarded-with-a-quote-over-two-lines",
    ),  # to hide what a proxy adds
    pytest.param(
        [(F, "for=203.0.113.66"), (X, "192.0.2.7")], id="forwarded-before-another-address"
    ),  # made up, where the proxy only sets the other
]


@pytest.mark.parametrize(("lines", "client"), TOLD)
def test_the_client_address_is_taken_from_a_trusted_proxy(lines: Lines, client: str) -> None:
    assert OURS.client(PEER, CIMultiDict(lines)) == client


@pytest.mark.parametrize("lines", GARBAGE)
def test_an_unreadable_forwarding_header_leaves_the_peer_as_the_client(lines: Lines) -> None:
    assert OURS.client(PEER, CIMultiDict(lines)) == PEER


@pytest.mark.parametrize("lines", [pytest.param(row.values[0], id=row.id) for row in TOLD])
@pytest.mark.parametrize(
    "proxies",
    [
        pytest.param(TrustedProxies(), id="no-trusted-proxy"),
        pytest.param(TrustedProxies(["198.51.100.7/32"]), id="another-trusted-proxy"),
    ],
)
def test_headers_of_an_untrusted_peer_are_ignored(lines: Lines, proxies: TrustedProxies) -> None:
    assert proxies.client(PEER, CIMultiDict(lines)) == PEER


def test_a_trusted_proxy_is_recognised_by_ipv4_mapped_and_ipv6_addresses() -> None:
    told = CIMultiDict([(X, "192.0.2.7")])
    assert OURS.client("::ffff:10.0.0.1", told) == "192.0.2.7"
    assert OURS.client("2001:db8:ffff::1", told) == "192.0.2.7"
    assert OURS.client("2001:db8:fffe::1", told) == "2001:db8:fffe::1"
    assert OURS.client("", told) == ""


def test_forwarding_values_that_a_client_sends_do_not_change_its_address() -> None:
    """Headers in which a client writes what it likes before what its proxy adds."""
    chance = random.Random(1)
    for number in range(20_000 if IS_WHOLE else 4_000):
        name, added = (X, "192.0.2.7") if number % 2 else (F, "for=192.0.2.7")
        made_up = "".join(chance.choices('for=,;:"\\[] 1029.ab_', k=chance.randrange(24)))
        as_one = CIMultiDict([(name, f"{made_up}, {added}")])
        apart = CIMultiDict([(name, made_up), (name, added)])
        assert OURS.client(PEER, as_one) in {"192.0.2.7", PEER}
        assert OURS.client(PEER, apart) in {"192.0.2.7", PEER}


def test_a_forwarded_header_with_a_long_run_of_blanks_is_parsed_in_linear_time() -> None:
    """It once took seconds, with the square of its length."""
    lines = CIMultiDict({"Forwarded": "for=192.0.2.7;" + " " * 100_000 + '"'})
    began = process_time()
    assert TrustedProxies(["127.0.0.1"]).client("127.0.0.1", lines) == "127.0.0.1"
    assert process_time() - began < 1.0


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_client_is_counted_by_its_64_bit_network(address: str, client: str) -> None:
    assert counted_as(address) == client
