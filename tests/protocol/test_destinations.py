"""Where requests may go whose URL a client names: URLs, allowed hosts, and addresses."""

from __future__ import annotations

import ipaddress

import pytest

from gateway.errors import DestinationRefused
from gateway.protocol.http.destinations import (
    AllowedHost,
    AllowedHosts,
    allowed_host,
    destination_of,
    refused_kind,
)

NAME = "api.example.com"

# URLs that lead inside, or that two parsers could take for two hosts. Their hosts are allowed by
# name, so nothing but the judgement of the URL and its address refuses them.
URLS = {
    "loopback": "http://127.0.0.1/",
    "loopback, not its first address": "http://127.8.9.10/",
    "loopback with a port": "http://127.0.0.1:8080/admin",
    "loopback with a dot at its end": "http://127.0.0.1./",
    "loopback in IPv6": "http://[::1]/",
    "loopback in long IPv6": "http://[0:0:0:0:0:0:0:1]/",
    "loopback mapped into IPv6": "http://[::ffff:127.0.0.1]/",
    "loopback mapped in hexadecimal": "http://[::ffff:7f00:1]/",
    "loopback as a decimal number": "http://2130706433/",
    "loopback as a hexadecimal number": "http://0x7f000001/",
    "loopback as an octal number": "http://017700000001/",
    "loopback with an octal part": "http://0177.0.0.1/",
    "loopback with a hexadecimal part": "http://0x7f.0.0.1/",
    "loopback in two parts": "http://127.1/",
    "loopback in three parts": "http://127.0.1/",
    "loopback with zeros before it": "http://127.000.000.001/",
    "loopback as an overflowing number": "http://4294967296/",
    "a name and a hexadecimal part": "http://example.0x7f/",
    "loopback in full-width digits": "http://１２７.０.０.１/",
    "loopback in circled digits": "http://①②⑦.⓪.⓪.①/",
    "loopback with an ideographic full stop": "http://127。0。0。1/",
    "loopback percent-encoded": "http://%31%32%37.0.0.1/",
    "unspecified": "http://0.0.0.0/",
    "unspecified as a number": "http://0/",
    "this network": "http://0.1.2.3/",
    "unspecified in IPv6": "http://[::]/",
    "metadata": "http://169.254.169.254/latest/meta-data/",
    "metadata as a decimal number": "http://2852039166/",
    "metadata mapped into IPv6": "http://[::ffff:169.254.169.254]/",
    "metadata in IPv6": "http://[fd00:ec2::254]/",
    "metadata in a shared network": "http://100.100.100.200/",
    "metadata at a public address": "http://168.63.129.16/",
    "metadata in reserved addresses": "http://192.0.0.192/",
    "link-local": "http://169.254.1.1/",
    "link-local in IPv6": "http://[fe80::1]/",
    "a zone id": "http://[fe80::1%25eth0]/",
    "a zone id that is not encoded": "http://[fe80::1%eth0]/",
    "private of 10": "http://10.0.0.1/",
    "private of 172.16": "http://172.31.255.254/",
    "private of 192.168": "http://192.168.0.1/",
    "private in IPv6": "http://[fc00::1]/",
    "private inside NAT64": "http://[64:ff9b::10.0.0.1]/",
    "loopback inside NAT64": "http://[64:ff9b::7f00:1]/",
    "local NAT64": "http://[64:ff9b:1::8.8.8.8]/",
    "6to4 of a private address": "http://[2002:a00:1::]/",
    "6to4 of a public address": "http://[2002:808:808::1]/",
    "Teredo": "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "IPv4-compatible": "http://[::10.0.0.1]/",
    "translated": "http://[::ffff:0:10.0.0.1]/",
    "ISATAP of a private address": "http://[2a00:1450::5efe:10.0.0.1]/",
    "shared (CGNAT)": "http://100.64.0.1/",
    "benchmarking": "http://198.18.0.1/",
    "benchmarking in IPv6": "http://[2001:2::1]/",
    "documentation": "http://192.0.2.1/",
    "documentation in IPv6": "http://[2001:db8::1]/",
    "new documentation in IPv6": "http://[3fff::1]/",
    "reserved": "http://240.0.0.1/",
    "broadcast": "http://255.255.255.255/",
    "multicast": "http://224.0.0.1/",
    "multicast in IPv6": "http://[ff02::1]/",
    "site-local": "http://[fec0::1]/",
    "discarding": "http://[100::1]/",
    "segment routing": "http://[5f00::1]/",
    "outside of global IPv6": "http://[4000::1]/",
    "a future form of address": "http://[v1.fe80::1]/",
    "user information before a host": f"http://{NAME}@127.0.0.1/",
    "a password": f"http://user:password@{NAME}/",
    "empty user information": f"http://@{NAME}/",
    "a backslash before another host": f"http://{NAME}\\@127.0.0.1/",
    "a backslash for a slash": f"http:\\\\{NAME}/",
    "a line end in the host": f"http://{NAME}\r\nHost: evil/",
    "a tab in the host": "http://exa\tmple.com/",
    "a blank before the URL": f" http://{NAME}/",
    "a null byte": f"http://{NAME}\0.evil.com/",
    "an international host": "http://münchen.example/",
    "no host": "http:///etc/passwd",
    "no host but a port": "http://:80/",
    "one slash": f"http:/{NAME}/",
    "no scheme": f"//{NAME}/",
    "another scheme": f"ftp://{NAME}/",
    "a file": "file:///etc/passwd",
    "gopher": f"gopher://{NAME}:6379/_FLUSHALL",
    "a scheme before another": "http:http://127.0.0.1/",
    "port 0": f"http://{NAME}:0/",
    "a port over 65535": f"http://{NAME}:65536/",
    "a port that overflows to 80": f"http://{NAME}:65616/",
    "an empty port": f"http://{NAME}:/",
    "a port with a sign": f"http://{NAME}:+80/",
    "two ports": f"http://{NAME}:80:22/",
    "two dots at the end": f"http://{NAME}../",
    "an empty label": "http://api..example.com/",
    "a label over 63 characters": f"http://{'a' * 64}.example.com/",
    "a name over 253 characters": f"http://{'a.' * 127}com/",
    "a URL over 8 KiB": f"http://{NAME}/{'a' * 8192}",
    "brackets around a name": f"http://[{NAME}]/",
    "text behind brackets": "http://[::1].example.com/",
}
# Addresses that the lookup of an allowed name returns.
ADDRESSES = {
    "loopback": "127.0.0.1",
    "loopback in IPv6": "::1",
    "metadata": "169.254.169.254",
    "private": "192.168.1.1",
    "private mapped into IPv6": "::ffff:10.0.0.1",
    "private inside NAT64": "64:ff9b::a00:1",
    "unique local": "fd12:3456::1",
    "link-local with a zone": "fe80::1%eth0",
    "global with a zone": "2a00:1450:4001::1%eth0",
    "multicast": "239.255.255.250",
}


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
