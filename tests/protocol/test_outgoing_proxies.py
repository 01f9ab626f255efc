"""Which proxy a request goes through: variables, exceptions, and URLs that are none of a proxy."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.protocol.http.destinations import AllowedHosts, allowed_host
from headgate_gateway.protocol.http.outgoing_proxies import (
    SETTING,
    DirectHosts,
    MalformedProxy,
    proxies_by_environment,
    proxies_by_setting,
    proxy_of,
    warnings_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SECURE, PLAIN = "http://secure.example:3128", "http://plain.example:3128"
BOTH = {"HTTPS_PROXY": SECURE, "HTTP_PROXY": PLAIN}


def way(environment: Mapping[str, str], scheme: str, host: str, port: int = 443) -> str | None:
    """Return the proxy of a request in words; None for a direct way."""
    proxy = proxies_by_environment(environment).of(scheme, host, port)
    return None if proxy is None else proxy.shown


@pytest.mark.parametrize(
    ("environment", "scheme", "shown"),
    [
        (BOTH, "https", f"{SECURE} (HTTPS_PROXY)"),
        (BOTH, "http", f"{PLAIN} (HTTP_PROXY)"),
        ({"HTTPS_PROXY": SECURE}, "http", None),
        ({"HTTP_PROXY": PLAIN}, "https", None),
        ({**BOTH, "https_proxy": "http://lower:1"}, "https", "http://lower:1 (https_proxy)"),
        ({**BOTH, "https_proxy": ""}, "https", f"{SECURE} (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "  "}, "https", None),
        ({"ALL_PROXY": SECURE, "all_proxy": SECURE}, "https", None),
    ],
    ids=[
        *("https", "plain", "no plain one", "no https one", "lower case first"),
        *("an empty one in lower case", "blanks", "one for all schemes"),
    ],
)
def test_the_scheme_of_a_url_decides_on_its_variable(
    environment: Mapping[str, str], scheme: str, shown: str | None
) -> None:
    assert way(environment, scheme, "provider.example") == shown


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST", "localhost.", "app.localhost", "127.0.0.1", "127.8.8.8", "::1"),
        *("::ffff:127.0.0.1", "127.1", "2130706433", "0x7f.1", "printer", "printer.", "10.1.2.3"),
        *("172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "169.254.169.254", "fe80::1"),
        "0.0.0.0",
    ],
)
def test_nothing_near_goes_through_a_proxy(host: str) -> None:
    assert way(BOTH, "https", host) is None


@pytest.mark.parametrize("host", ["provider.example", "8.8.8.8", "2606:4700::1111", "a.b.c."])
def test_what_is_on_the_internet_goes_through_the_proxy(host: str) -> None:
    assert way(BOTH, "https", host) == f"{SECURE} (HTTPS_PROXY)"


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "is_direct"),
    [
        ("*", "a.example", 443, True),
        ("a.example", "a.example", 443, True),
        ("a.example", "A.EXAMPLE.", 443, True),
        ("A.Example.", "a.example", 443, True),
        ("a.example", "b.a.example", 443, True),
        ("a.example", "ba.example", 443, False),
        ("b.a.example", "a.example", 443, False),
        (".a.example", "b.a.example", 443, True),
        (".a.example", "a.example", 443, True),
        ("*.a.example", "b.a.example", 443, True),
        ("*.a.example", "a.example", 443, True),
        ("*a.example", "a.example", 443, False),
        ("a.*", "a.example", 443, False),
        ("a.example:443", "a.example", 443, True),
        ("a.example:443", "b.a.example", 443, True),
        ("a.example:443", "a.example", 8443, False),
        ("8.8.8.8", "8.8.8.8", 443, True),
        ("8.8.8.8:443", "8.8.8.8", 443, True),
        ("8.8.8.8:443", "8.8.8.8", 80, False),
        ("8.8.8.0/24", "8.8.8.9", 443, True),
        ("8.8.8.8/24", "8.8.8.9", 443, True),
        ("8.8.8.0/24", "8.8.9.9", 443, False),
        ("2606:4700::/32", "2606:4700::1111", 443, True),
        ("2606:4700::1111", "2606:4700::1111", 443, True),
        ("[2606:4700::1111]", "2606:4700::1111", 443, True),
        ("[2606:4700::1111]:443", "2606:4700::1111", 80, False),
        ("[2606:4700::1111]:443", "2606:4700::1111", 443, True),
        ("8.8.8.0/24", "dns.example", 443, False),
        ("x.example, a.example", "a.example", 443, True),
        ("x.example a.example", "a.example", 443, True),
        (",, a.example ,", "a.example", 443, True),
        ("a.example,http://x", "a.example", 443, True),
        ("", "a.example", 443, False),
    ],
)
def test_no_proxy_has_the_forms_of_curl_and_go(
    no_proxy: str, host: str, port: int, is_direct: bool
) -> None:
    found = way({**BOTH, "NO_PROXY": no_proxy}, "https", host, port)
    assert (found is None) == is_direct


def test_no_proxy_in_lower_case_comes_first() -> None:
    environment = {**BOTH, "NO_PROXY": "*", "no_proxy": "a.example"}
    assert way(environment, "https", "b.example") is not None


@pytest.mark.parametrize(
    ("url", "shown", "user"),
    [
        ("http://a:3128", "http://a:3128", ""),
        ("http://a", "http://a:80", ""),
        ("https://a/", "https://a:443", ""),
        ("HTTP://A.Example:1", "http://a.example:1", ""),
        ("http://[::1]:3128", "http://[::1]:3128", ""),
        ("http://10.0.0.1:3128/", "http://10.0.0.1:3128", ""),
        ("http://me@a:1", "http://a:1", "me:"),
        ("http://me:secret@a:1", "http://a:1", "me:secret"),
        ("http://me:a%40b%3Ac%25@a:1", "http://a:1", "me:a@b:c%"),
        ("http://me:a@b@a:1", "http://a:1", "me:a@b"),
        ("http://me:%C3%B6@a:1", "http://a:1", "me:ö"),
        ("http://@a:1", "http://a:1", ""),
    ],
)
def test_a_url_of_a_proxy_is_shown_without_its_user(url: str, shown: str, user: str) -> None:
    proxy = proxy_of(url, SETTING)
    assert proxy.url == shown
    expected = f"Basic {base64.b64encode(user.encode()).decode()}" if user else ""
    assert proxy.authorization == expected
    assert "Basic" not in repr(proxy)


@pytest.mark.parametrize("variable", ["proxy.example:3128", "me:secret@proxy.example:3128"])
def test_a_variable_without_a_scheme_is_http(variable: str) -> None:
    assert way({"HTTPS_PROXY": variable}, "https", "a.example") == (
        "http://proxy.example:3128 (HTTPS_PROXY)"
    )


@pytest.mark.parametrize(
    "text",
    [
        *("socks5://a:1080", "ftp://a", "http://", "http://a:0", "http://a:99999", "http://a b"),
        *("http://a/path", "http://a?query", "http://me:se/cret@a:1", "http://me:se#cret@a:1"),
        *("http://[::g]:1", "http://bücher.example", "http://a:port", "me:secret", "//a:1"),
    ],
)
def test_a_malformed_variable_is_told_without_its_value_only_where_it_is_needed(text: str) -> None:
    proxies = proxies_by_environment({"HTTPS_PROXY": text})
    assert proxies.of("http", "a.example", 80) is None
    assert proxies.of("https", "127.0.0.1", 443) is None
    with pytest.raises(MalformedProxy) as refusal:
        proxies.of("https", "a.example", 443)
    sentence = str(refusal.value)
    assert sentence.startswith("HTTPS_PROXY ")
    assert " but must " in sentence
    assert "unset it to use no proxy" in sentence
    assert "cret" not in sentence


def test_another_kind_of_proxy_is_named() -> None:
    with pytest.raises(MalformedProxy, match=r"^HTTPS_PROXY begins with socks5://, but must be "):
        way({"HTTPS_PROXY": "socks5://me:secret@a:1080"}, "https", "a.example")


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a.example,http://b.example", "entry 2 has"),
        ("10.0.0.0/99 a.example *x [::g]", "entries 1, 3, 4 have"),
    ],
)
def test_an_entry_that_covers_nothing_is_counted_in_a_warning(text: str, entries: str) -> None:
    (warning,) = warnings_of({**BOTH, "no_proxy": text})
    assert warning.startswith(f"no_proxy: {entries} no effect, as ")


@pytest.mark.parametrize(
    "environment",
    [{}, {"NO_PROXY": "http://x"}, {**BOTH, "NO_PROXY": "a.example"}, BOTH],
    ids=["nothing", "no proxy", "a fine one", "none"],
)
def test_nothing_else_is_warned_of(environment: Mapping[str, str]) -> None:
    assert not [*warnings_of(environment)]


@given(st.text(max_size=60), st.text(max_size=30))
def test_no_text_of_a_variable_is_an_error(text: str, host: str) -> None:
    environment = {"HTTPS_PROXY": text, "NO_PROXY": text}
    try:
        proxies_by_environment(environment).of("https", host, 443)
    except MalformedProxy as refusal:
        assert str(refusal).startswith("HTTPS_PROXY ")  # noqa: PT017 - it may not be raised
    DirectHosts(text).cover(host, 443)


def test_the_setting_is_for_both_schemes_but_not_for_what_may_be_inside() -> None:
    allowed = AllowedHosts([allowed_host("a.example")], [allowed_host("*.inside.example:*")])
    proxies = proxies_by_setting(SECURE, {"NO_PROXY": "b.example"}, allowed)
    assert proxies is not None
    hosts = ("a.example", "x.inside.example", "b.example", "printer", "10.0.0.1")
    for scheme in ("http", "https"):
        found = [host for host in hosts if proxies.of(scheme, host, 443) is not None]
        assert found == ["a.example"]


def test_an_empty_setting_names_no_proxy_whatever_the_environment_says() -> None:
    assert proxies_by_setting("", BOTH) is None
