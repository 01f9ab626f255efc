"""Whose request it is, behind proxies that are trusted and that are not."""

from __future__ import annotations

import random
from time import process_time

import pytest
from multidict import CIMultiDict

from headgate_gateway.protocol.http.client_address import TrustedProxies, counted_as
from tests.support.examples import IS_WHOLE

PEER = "10.0.0.1"
OURS = TrustedProxies(["10.0.0.0/8", "2001:db8:ffff::/48"])
X = "X-Forwarded-For"
F = "Forwarded"
Lines = list[tuple[str, str]]

TOLD: dict[str, tuple[Lines, str]] = {
    "no-header": ([], PEER),
    "one-address": ([(X, "192.0.2.7")], "192.0.2.7"),
    "an-address-with-a-port": ([(X, "192.0.2.7:4711")], "192.0.2.7"),
    "a-proxy-behind-the-address": ([(X, " 192.0.2.7 , 10.9.9.9")], "192.0.2.7"),
    # The first one may be made up.
    "an-address-claimed-by-the-client": ([(X, "203.0.113.66, 192.0.2.7, 10.9.9.9")], "192.0.2.7"),
    "two-lines": ([(X, "192.0.2.7"), (X, "10.9.9.9")], "192.0.2.7"),
    "proxies-alone": ([(X, "10.1.1.1, 10.9.9.9")], "10.1.1.1"),  # all are ours: who asked is
    "an-ipv6-address": ([(X, "2001:db8::7")], "2001:db8::7"),
    "an-ipv6-address-with-a-port": ([(X, "[2001:DB8:0::7]:80")], "2001:db8::7"),
    "an-ipv4-address-within-ipv6": ([(X, "::ffff:192.0.2.7")], "192.0.2.7"),
    "forwarded-with-all-parameters": (
        [(F, 'For="192.0.2.7:80";proto=https;by=10.9.9.9')],
        "192.0.2.7",
    ),
    "forwarded-with-an-address-claimed-by-the-client": (
        [(F, 'for=203.0.113.66, for="[2001:db8::7]:80"')],
        "2001:db8::7",
    ),
    "forwarded-with-escapes": ([(F, r'by="a\",b";for="192\.0.2.7"')], "192.0.2.7"),
    "forwarded-on-two-lines": ([(F, "for=192.0.2.7"), (F, "for=10.9.9.9")], "192.0.2.7"),
    "both-headers": ([(F, "for=192.0.2.7"), (X, "192.0.2.7, 10.9.9.9")], "192.0.2.7"),
}
GARBAGE: dict[str, Lines] = {
    "an-empty-header": [(X, "")],
    "the-word-unknown": [(X, "unknown")],
    "a-trailing-comma": [(X, "192.0.2.7,")],
    "a-parameter-behind-the-address": [(X, "192.0.2.7;80")],
    "a-port-that-is-no-number": [(X, "192.0.2.7:port")],
    "an-octal-octet": [(X, "0300.0.2.7")],
    "an-address-as-one-number": [(X, "3221225991")],
    "a-bracket-without-its-end": [(X, "[2001:db8::7")],
    "a-letter-outside-of-hexadecimal": [(X, "2001:db8::g")],
    "an-address-in-quotes": [(X, '"192.0.2.7"')],
    "a-nul-behind-the-address": [(X, "192.0.2.7\x00")],
    "forwarded-for-unknown": [(F, "for=unknown")],
    "forwarded-for-a-hidden-name": [(F, "for=_hidden")],
    "forwarded-for-ipv6-without-quotes": [(F, "for=[2001:db8::7]")],
    "forwarded-without-for": [(F, "proto=https")],
    "forwarded-with-an-open-quote": [(F, 'for="192.0.2.7')],
    "forwarded-with-text-behind-a-quote": [(F, 'for="192.0.2.7" x')],
    "forwarded-with-blanks-around-the-equals-sign": [(F, "for = 192.0.2.7")],
    "forwarded-with-for-twice": [(F, "for=192.0.2.7;for=192.0.2.8")],
    # To hide what a proxy adds.
    "a-quote-over-two-lines": [(F, 'for="x'), (F, 'for=192.0.2.7;by="10.9.9.9"')],
    # Made up, where the proxy only sets the other.
    "forwarded-before-another-address": [(F, "for=203.0.113.66"), (X, "192.0.2.7")],
}


@pytest.mark.parametrize(("lines", "client"), TOLD.values(), ids=TOLD)
def test_the_client_address_is_taken_from_a_trusted_proxy(lines: Lines, client: str) -> None:
    assert OURS.client(PEER, CIMultiDict(lines)) == client


@pytest.mark.parametrize("lines", GARBAGE.values(), ids=GARBAGE)
def test_an_unreadable_forwarding_header_leaves_the_peer_as_the_client(lines: Lines) -> None:
    assert OURS.client(PEER, CIMultiDict(lines)) == PEER


@pytest.mark.parametrize("lines", [lines for lines, _ in TOLD.values()], ids=TOLD)
@pytest.mark.parametrize(
    "proxies",
    [TrustedProxies(), TrustedProxies(["198.51.100.7/32"])],
    ids=["no-trusted-proxy", "another-trusted-proxy"],
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
