"""Where requests may go whose URL a client names: URLs, allowed hosts, and addresses."""

from __future__ import annotations

import ipaddress

import pytest

from headgate_gateway.errors import DestinationRefused
from headgate_gateway.protocol.http.destinations import (
    AllowedHost,
    AllowedHosts,
    allowed_host,
    destination_of,
    refused_kind,
)
from tests.protocol.urls_inside import ADDRESSES, NAME, URLS


def check(url: str) -> None:
    """Judge a URL whose host is allowed by name."""
    found = destination_of(url)
    AllowedHosts([AllowedHost(found.scheme, found.host, None)]).check(found)


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_no_url_that_leads_inside_gets_through(url: str) -> None:
    with pytest.raises(DestinationRefused):
        check(url)


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_no_address_inside_is_connected_to_for_an_allowed_name(address: str) -> None:
    hosts = AllowedHosts([allowed_host(NAME)])
    with pytest.raises(DestinationRefused):
        hosts.check_address(NAME, 443, ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2a00:1450:4001:829::200e", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"],
    ids=["IPv4", "IPv6", "NAT64", "mapped"],
)
def test_a_public_address_is_permitted(address: str) -> None:
    assert refused_kind(ipaddress.ip_address(address)) is None


SPELLINGS = {
    "as it is": (f"https://{NAME}/v1?key=1", f"https://{NAME}/v1?key=1"),
    "capitals": ("HTTPS://API.Example.COM/V1", f"https://{NAME}/V1"),
    "the port of the scheme": (f"https://{NAME}:443/", f"https://{NAME}/"),
    "another port": (f"https://{NAME}:8443/", f"https://{NAME}:8443/"),
    "a dot at the end": (f"https://{NAME}./", f"https://{NAME}/"),
    "no path": (f"https://{NAME}?key=1", f"https://{NAME}/?key=1"),
    "a fragment": (f"https://{NAME}/#@127.0.0.1", f"https://{NAME}/"),
    "an IPv6 address": ("https://[2A00:1450:0::1]:8443/", "https://[2a00:1450::1]:8443/"),
    "an international host in ASCII": ("https://xn--mnchen-3ya.example/",) * 2,
}


@pytest.mark.parametrize(("url", "spelling"), SPELLINGS.values(), ids=SPELLINGS)
def test_a_url_has_one_spelling(url: str, spelling: str) -> None:
    assert destination_of(url).url == spelling


COVERED = {
    "a host": (NAME, f"https://{NAME}/", True),
    "a host in capitals": ("API.example.com", f"https://{NAME}/", True),
    "another host": (NAME, "https://other.example.com/", False),
    "a host that begins alike": (NAME, f"https://{NAME}.evil.com/", False),
    "a host that ends alike": (NAME, f"https://evil-{NAME}/", False),
    "http where https is allowed": (NAME, f"http://{NAME}/", False),
    "another port": (NAME, f"https://{NAME}:8443/", False),
    "a port": (f"{NAME}:8443", f"https://{NAME}:8443/", True),
    "the usual port where another is allowed": (f"{NAME}:8443", f"https://{NAME}/", False),
    "any port": (f"http://{NAME}:*", f"http://{NAME}:9/", True),
    "a name below a domain": ("*.example.com", f"https://{NAME}/", True),
    "a name far below a domain": ("*.example.com", "https://a.b.example.com/", True),
    "the domain itself": ("*.example.com", "https://example.com/", False),
    "a domain that ends alike": ("*.example.com", "https://evilexample.com/", False),
}


@pytest.mark.parametrize(("entry", "url", "is_allowed"), COVERED.values(), ids=COVERED)
def test_only_allowed_hosts_get_requests(entry: str, url: str, is_allowed: bool) -> None:
    hosts = AllowedHosts([allowed_host(entry)])
    if is_allowed:
        hosts.check(destination_of(url))
    else:
        with pytest.raises(DestinationRefused):
            hosts.check(destination_of(url))


def test_without_allowed_hosts_none_gets_requests() -> None:
    with pytest.raises(DestinationRefused):
        AllowedHosts([]).check(destination_of(f"https://{NAME}/"))


@pytest.mark.parametrize(
    "entry",
    [
        *("", "*", "*.com", "https://*", "ftp://a.example", "a.example/path", "user@a.example"),
        *("*.127.0.0.1", "a.*.example", "2130706433", "a.example:0", "*.*.example", "a b.example"),
    ],
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(DestinationRefused):
        allowed_host(entry)


INSIDE = {
    "loopback": ("127.0.0.1", True),
    "private": ("10.1.2.3", True),
    "private mapped into IPv6": ("::ffff:10.1.2.3", True),
    "unique local": ("fd12:3456::1", True),
    "shared (CGNAT)": ("100.64.0.1", True),
    "public": ("8.8.8.8", True),
    "metadata": ("169.254.169.254", False),
    "metadata in a unique local network": ("fd00:ec2::254", False),
    "metadata in a shared network": ("100.100.100.200", False),
    "link-local": ("169.254.1.1", False),
    "unspecified": ("0.0.0.0", False),
    "private inside NAT64": ("64:ff9b::10.1.2.3", False),
    "multicast": ("224.0.0.1", False),
}


@pytest.mark.parametrize(("address", "is_permitted"), INSIDE.values(), ids=INSIDE)
def test_a_host_inside_may_have_private_addresses_and_no_others(
    address: str, is_permitted: bool
) -> None:
    hosts = AllowedHosts([], [allowed_host("http://inside.example:*")])
    judged = ipaddress.ip_address(address)
    if is_permitted:
        hosts.check_address("inside.example", 8000, judged)
    else:
        with pytest.raises(DestinationRefused):
            hosts.check_address("inside.example", 8000, judged)


def test_the_permission_of_one_host_is_not_another_s() -> None:
    hosts = AllowedHosts([allowed_host(NAME)], [allowed_host("http://inside.example:8000")])
    for host, port in ((NAME, 443), ("inside.example", 9000)):
        with pytest.raises(DestinationRefused):
            hosts.check_address(host, port, ipaddress.ip_address("10.0.0.1"))


def test_a_refusal_shows_neither_path_nor_query() -> None:
    with pytest.raises(DestinationRefused) as refusal:
        AllowedHosts([]).check(destination_of(f"https://{NAME}/token-1?key=token-2"))
    assert "token" not in refusal.value.detail
