"""What a configuration is made for: what settings ask for, and what has no place in a file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.errors import Refused
from headgate_cdn.options import (
    ALWAYS_IDENTITY,
    CREDENTIAL_MODES,
    LONGEST_HOST,
    LONGEST_ITEM,
    MIB,
    MOST_LISTED,
    ORIGINS_IDENTITY,
    TIB,
    Options,
    from_settings,
)
from headgate_cdn.read_keys import LONGEST_ID, MOST_KEYS, ReadKey, keys_of
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS, target
from headgate_gateway.features.issued_tokens import new_keys, written
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.settings import Address, Route, Settings
from headgate_gateway.settings.arrays.proxy_route import ProxySettings
from tests.support.given_settings import at

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC_KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # of RFC 8037, appendix A.2
HOSTILE = (
    "a;b", "a b", 'a"b', "a'b", "a\nb", "a\r\nb", "a\0b", "a{b", "a}b", "a$b", "a<b", "a\\b",
    "a#b", "a`b", "a/b", "a\u2028b", "\u0430", "a\u00e9",
)  # fmt: skip


def test_cdn_options_take_times_prefixes_and_upstream_from_the_settings() -> None:
    settings = Settings(
        listen=Address("0.0.0.0", 4000),
        auth=("none",),
        routes=(
            Route(prefix="/a", storage="memory:"),
            Route(prefix="/a/long", storage="file:./streams", tail_max_age=0),
        ),
        live={"long_poll_timeout": 29.5, "sse_heartbeat": 0.5},
    )
    assert from_settings(settings) == Options(
        upstream="127.0.0.1:4000",
        poll_s=30,
        heartbeat_s=1,
        tail_s=0,
        prefixes=("/a/long", "/a"),
        own_logs=("/a/long", "/a"),
    )


@pytest.mark.parametrize(
    ("path", "is_own"),
    [
        ("/a/s", True), ("/a/b/s", True), ("/a.b/s", True), ("/a/http-s/s", True),
        ("/a", False), ("/ab/s", False), ("/aXb/s", False), ("/a/http/s", False),
        ("/http/own/s", True), ("/http/s", False), ("/x/a/s", False),
        ("/a/__ds/streams", False), ("/a/b/__ds/s", True), ("/a/__dsx", True),
    ],
)  # fmt: skip
def test_the_pattern_of_own_logs_matches_only_their_paths_and_none_of_an_http_origin(
    path: str, is_own: bool
) -> None:
    own, http = ("/a", "/a.b", "/http/own"), ("/a/http", "/http")
    routes = [Route(prefix=one, storage="memory:") for one in own]
    routes += [Route(prefix=one, origin="http://127.0.0.1:1") for one in http]
    options = from_settings(Settings(routes=tuple(routes)))
    assert set(options.own_logs) == set(own)
    assert bool(re.search(options.own_paths, path)) is is_own


def test_no_path_is_of_an_own_log_without_one() -> None:
    options = from_settings(Settings(routes=(Route(prefix="/a", origin="http://127.0.0.1:1"),)))
    assert not re.search(options.own_paths, "/a/s")


def test_a_proxy_below_an_own_log_is_not_of_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a" * 32)
    secret.chmod(0o600)
    proxy = ProxySettings(
        prefix="/a/proxy", streams="/a/answers", allow=("example.com",), secret_file=str(secret)
    )
    routes = (Route(prefix="/a", storage="memory:"),)
    options = from_settings(Settings(routes=routes, proxies=(proxy,)))
    paths = ("/a/s", "/a/proxy/s", "/a/answers/s")
    assert [bool(re.search(options.own_paths, path)) for path in paths] == [True, False, True]


@pytest.mark.parametrize(
    "kid", ["", "a b", 'a"', pytest.param("a" * (LONGEST_ID + 1), id="over-the-limit")]
)
def test_an_invalid_key_id_is_refused(kid: str) -> None:
    assert ReadKey("2026-11", PUBLIC_KEY).kid == "2026-11"
    with pytest.raises(Refused, match="is no id of a key"):
        ReadKey(kid, PUBLIC_KEY)


@pytest.mark.parametrize("x", ["", PUBLIC_KEY[:-1], PUBLIC_KEY + "A", PUBLIC_KEY[:-1] + "="])
def test_an_invalid_public_key_is_refused(x: str) -> None:
    with pytest.raises(Refused, match="is no public key"):
        ReadKey("a", x)


def test_cdn_options_take_only_public_keys_from_the_keys_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    content = new_keys()
    keys = content["keys"]
    assert isinstance(keys, list)
    file.write_bytes(written(content))
    settings = Settings(credentials={"keys_file": str(file), "read_token_max_age": 60})
    options = from_settings(settings, credentials="verified")
    signing = [key for key in keys if key["kty"] == "OKP"]
    assert [key.kid for key in options.read_keys] == [key["kid"] for key in signing]
    assert options.token_age_s == 60
    verifying = Options(
        upstream="gw.example:80", credentials="verified", read_keys=options.read_keys
    )
    text = render(TARGETS["cloudflare-worker"], verifying)
    private = [key[name] for key in keys for name in ("d", "k") if name in key]
    assert len(private) == 3
    assert [secret for secret in private if secret in text] == []


def test_cdn_options_read_the_keys_file_only_with_credentials_verified(tmp_path: Path) -> None:
    """So that no other file is another after a rotation; nor is the file of keys looked at."""
    settings = Settings(
        credentials={"keys_file": str(tmp_path / "none.json"), "read_token_max_age": 60}
    )
    for credentials in CREDENTIAL_MODES:
        if credentials != "verified":
            assert from_settings(settings, credentials=credentials) == from_settings(
                Settings(), credentials=credentials
            )


def test_the_remember_option_is_refused_without_credentials_asked() -> None:
    for credentials in (None, *CREDENTIAL_MODES):
        if credentials != "asked":
            with pytest.raises(Refused, match="--remember is for --credentials asked"):
                from_settings(Settings(), credentials=credentials, remember_s=5)
    assert from_settings(Settings(), credentials="asked", remember_s=5).remember_s == 5


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"keys": 1}', '{"keys": [1]}'])
def test_a_keys_file_without_a_key_set_is_refused_for_cdn_options(
    content: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(Refused, match="cannot be read as a set of keys"):
        keys_of(str(file))


def test_default_cdn_options_equal_those_of_default_settings() -> None:
    assert from_settings(Settings()) == Options()


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        (Address("::", 1), "[::1]:1"),
        (Address("::1", 65535), "[::1]:65535"),
        (Address("gateway.example", 80), "gateway.example:80"),
    ],
    ids=str,
)
def test_the_default_upstream_is_the_listen_address(listen: Address, upstream: str) -> None:
    assert from_settings(Settings(listen=listen, auth=("none",))).upstream == upstream


def test_a_file_made_without_options_leads_to_port_4437_of_this_machine() -> None:
    text = render(target("nginx"), from_settings(Settings(), host="a.example"))
    assert re.findall(r"server (.+:4437);", text) == ["127.0.0.1:4437"]


@pytest.mark.parametrize(
    ("allowed", "sites"), [(("*",), False), (("https://a.example",), True), ((), False)]
)
def test_sites_is_set_only_if_cors_allows_some_origins(
    allowed: tuple[str, ...], sites: bool
) -> None:
    assert from_settings(Settings(http={"cors_origins": allowed})).sites is sites


def test_told_apart_is_set_if_an_http_origin_gets_identity_headers() -> None:
    known = (*ALWAYS_IDENTITY, *ORIGINS_IDENTITY)

    def told_apart(*dropped: str) -> bool:
        http = Route(prefix="/a", origin="http://127.0.0.1:1", drop_headers=dropped)
        return from_settings(
            Settings(routes=(http, Route(prefix="/b", storage="memory:")))
        ).told_apart

    assert not from_settings(Settings()).told_apart
    assert told_apart()
    assert told_apart(*known[1:])
    assert not told_apart(*known)


def test_explicit_cdn_options_override_the_settings_unless_none() -> None:
    options = from_settings(Settings(), upstream="b:1", host=None, listen=None, purge=True)
    assert options == Options(upstream="b:1", is_upstream_given=True, purge=True)


def test_identity_headers_of_an_origin_route_exclude_the_dropped_ones() -> None:
    route = Route(
        prefix="/v1",
        origin="https://streams.example.com",
        identity_headers=("X-Shop", "x-api-key"),
        drop_headers=("cookie",),
    )
    known = from_settings(Settings(routes=(route,))).identity_headers
    assert known == ("Authorization", *ORIGINS_IDENTITY, "X-Shop")


def test_an_identity_header_dropped_by_one_route_still_counts_for_another() -> None:
    routes = (
        Route(prefix="/a", origin="https://one.example", drop_headers=("Cookie",)),
        Route(prefix="/b", storage="memory:"),
    )
    known = from_settings(Settings(routes=routes)).identity_headers
    assert sorted(known) == sorted(("Authorization", "Cookie", *ORIGINS_IDENTITY))


def test_the_identity_headers_for_cdns_are_known_to_the_gateway() -> None:
    identity = IdentityHeaders()
    assert [name for name in ORIGINS_IDENTITY if not identity.has(name)] == []


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_cdn_option_is_refused_with_a_printable_error(text: str) -> None:
    for values in (
        {"host": text},
        {"upstream": f"{text}:80"},
        {"upstream": text},
        {"prefixes": (f"/{text}/..;",)},
        {"identity_headers": (text,)},
        {"credentials": text},
        {"upstream_ca": f"/{text}.;"},
        {"upstream_name": text},
    ):
        with pytest.raises(Refused) as refusal:
            Options(**values)
        assert refusal.value.detail.isascii()
        assert refusal.value.detail.isprintable()


LONG_LABEL = "a" * 63
LONG_HOST = ".".join([LONG_LABEL] * 3 + ["a" * 61])


@pytest.mark.parametrize(
    "host",
    [
        "a",
        "a.b",
        "1.example",
        "xn--bcher-kva.example",
        pytest.param(LONG_LABEL, id="the-longest-label"),
        pytest.param(LONG_HOST, id="the-longest-name"),
    ],
)
def test_valid_host_names_are_accepted(host: str) -> None:
    assert len(LONG_HOST) == LONGEST_HOST
    assert Options(host=host).host == host


@pytest.mark.parametrize(
    "host",
    [
     "A.example", "-a", "a-", "a..b", ".a", "a.", "10.0.0.1", "127.0.0", "127.0.0.01", "[::2]",
     "::1", "0.0.0.0", "a:80", "*.a", "a_b",
     pytest.param(LONG_LABEL + "a", id="a-label-over-the-limit"),
     pytest.param(f"a{LONG_HOST}", id="a-name-over-the-limit"),
    ],
)  # fmt: skip
def test_invalid_host_names_are_refused(host: str) -> None:
    with pytest.raises(Refused, match="is no host name in lower case"):
        Options(host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]"])
def test_a_loopback_host_is_accepted_only_for_standalone_files(host: str) -> None:
    assert Options(host=host, standalone=True).is_host_here
    with pytest.raises(Refused) as refusal:
        Options(host=host)
    assert refusal.value.detail == (
        f"--host {host} is of this machine alone: it is for --standalone"
    )


@pytest.mark.parametrize(
    "upstream",
    ["127.0.0.1:4437", "[::1]:1", "[2001:db8::1]:65535", "gateway:80", "a.b.example:8080"],
)
def test_valid_upstreams_are_accepted(upstream: str) -> None:
    assert Options(upstream=upstream).upstream == upstream


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_upstream_may_begin_with_its_scheme(scheme: str) -> None:
    options = from_settings(Settings(), upstream=f"{scheme}://gateway:80")
    assert (options.upstream, options.scheme) == ("gateway:80", scheme)
    with pytest.raises(Refused, match="--upstream may begin with http:// or https://"):
        from_settings(Settings(), upstream="ftp://gateway:80")
    several = Settings(storage="redis://127.0.0.1")
    for text in (f"{scheme}://a:1,b:2", f"{scheme}://a:1,{scheme}://b:2"):
        options = from_settings(several, upstream=text)
        assert (options.upstream, options.scheme) == ("a:1,b:2", scheme)
    for text in (f"{scheme}://a:1,ftp://b:2", f"a:1,{scheme}://b:2", "http://a:1,https://b:2"):
        with pytest.raises(Refused, match="--upstream must have one scheme for all gateways"):
            from_settings(several, upstream=text)


@pytest.mark.parametrize("file", ["ca.pem", "/a b", "/a;", "/", "/a/", "/é"])
def test_a_file_of_authorities_is_refused_if_it_is_no_usual_absolute_path(file: str) -> None:
    with pytest.raises(Refused, match="is not the absolute path of a file"):
        Options(upstream_ca=file)


@pytest.mark.parametrize(
    "upstream",
    ["", "gateway", "gateway:", "gateway:0", "gateway:65536", ":80", "[::1]", "[::g]:80", "[:]:1",
     "http://gateway:80", "gateway:80/", "user@gateway:80", "gateway:80:80", "gateway:٣",
     "-x:1", "127.1:80", "0x7f.1:80", "a.0X7F:80", "300.1.1.1:80", "127.0.0.1.:80"],
)  # fmt: skip
def test_invalid_upstreams_are_refused(upstream: str) -> None:
    with pytest.raises(Refused, match="--upstream"):
        Options(upstream=upstream)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("listen", 1, 65535),
        ("cache_size", MIB, TIB),
        ("poll_s", 1, 24 * 3600),
        ("heartbeat_s", 1, 3600),
        ("tail_s", 0, 3600),
        ("remember_s", 0, 900),
        ("stale_if_error_s", 0, 24 * 3600),
        ("token_age_s", 1, 24 * 3600),
    ],
)
def test_numeric_cdn_options_are_refused_beyond_their_bounds(
    name: str, least: int, most: int
) -> None:
    for number in (least, most):
        assert getattr(Options(**{name: number}), name) == number  # type: ignore[arg-type]
    for number in (least - 1, most + 1):
        with pytest.raises(Refused, match="must be from"):
            Options(**{name: number})  # type: ignore[arg-type]


def test_lists_in_cdn_options_are_refused_beyond_their_bounds() -> None:
    most = tuple(f"X-{number}" for number in range(MOST_LISTED))
    assert Options(identity_headers=most).identity_headers == most
    with pytest.raises(Refused, match="at most"):
        Options(identity_headers=(*most, "X-One-More"))
    longest = "/" + "a" * (LONGEST_ITEM - 1)
    assert Options(prefixes=(longest,)).prefixes == (longest,)
    keys = tuple(ReadKey(f"{number}", PUBLIC_KEY) for number in range(MOST_KEYS))
    assert Options(read_keys=keys).read_keys == keys
    with pytest.raises(Refused, match="at most"):
        Options(read_keys=(*keys, ReadKey("one-more", PUBLIC_KEY)))
    with pytest.raises(Refused, match="is no route prefix"):
        Options(prefixes=(longest + "a",))


@pytest.mark.parametrize(
    "shield",
    [
        "a b",
        "A-b",
        'a-b";',
        "a.b",
        "-a",
        pytest.param(f"a-{'b' * 64}", id="over-the-limit"),
        pytest.param("a-b\n", id="a-newline"),
    ],
)
def test_an_invalid_shield_name_is_refused(shield: str) -> None:
    with pytest.raises(Refused, match="is no name of a place"):
        Options(shield=shield)


@pytest.mark.parametrize(
    ("own", "origins", "trees"),
    [
        (("/a", "/b"), ("/c",), ("/a", "/b")),
        (("/a", "/b"), ("/a/c", "/bc"), ("/b",)),
        (("/c/a",), ("/c",), ("/c/a",)),
        ((), ("/c",), ()),
    ],
)
def test_one_cookie_counts_below_own_prefixes_without_an_http_origin_below_them(
    own: tuple[str, ...], origins: tuple[str, ...], trees: tuple[str, ...]
) -> None:
    routes = (
        *(Route(prefix=prefix, storage="memory:") for prefix in own),
        *(Route(prefix=prefix, origin="https://one.example") for prefix in origins),
    )
    options = from_settings(Settings(routes=routes))
    assert options.own_trees == trees
    matched = [
        one for one in (*own, *origins) if re.match(options.own_targets, f"{one}/s?live=sse")
    ]
    assert tuple(matched) == trees


@pytest.mark.parametrize(
    ("origin", "refusal"),
    [
        ("redis://127.0.0.1", None),
        ("http://127.0.0.1:1", None),
        ("memory:", "two cannot share the memory of /v1"),
        ("file:./streams", "two cannot share the folder of /v1"),
    ],
)
def test_several_gateways_are_refused_for_a_log_that_belongs_to_one(
    origin: str, refusal: str | None
) -> None:
    settings = Settings(routes=(Route(prefix="/v1", **at(origin)),))
    if refusal is None:
        options = from_settings(settings, upstream="a:1,[::1]:2")
        assert [(one.host, one.port) for one in options.upstreams] == [("a", 1), ("::1", 2)]
        return
    with pytest.raises(Refused, match=refusal):
        from_settings(settings, upstream="a:1,b:1")


@pytest.mark.parametrize("name", [name for name, one in TARGETS.items() if not one.balances])
def test_a_target_that_leads_to_one_address_refuses_several_gateways(name: str) -> None:
    options = Options(upstream="a:1,b:1", host="streams.example.com")
    with pytest.raises(Refused, match="give it that of a load balancer"):
        render(TARGETS[name], options)


@pytest.mark.parametrize("text", ["a:1,", ",a:1", "a:1,a:1", "a:1 b:1", "a:1,b:1;", "a:1,b"])
def test_a_list_of_gateways_with_a_mistake_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="--upstream"):
        Options(upstream=text)


@pytest.mark.parametrize(
    ("origin", "timeouts", "seconds"),
    [
        ("memory:", {}, 10),
        ("redis://127.0.0.1", {}, 11),
        ("http://127.0.0.1:1", {}, 37),
        ("http://127.0.0.1:1", {"response_timeout": 1.5}, 10),
        ("http://127.0.0.1:1", {"response_timeout": 60.5}, 68),
    ],
)
def test_an_edge_waits_for_an_answer_for_as_long_as_the_gateway_may_take(
    origin: str, timeouts: dict[str, float], seconds: int
) -> None:
    route = Route(prefix="/v1", **at(origin), **timeouts)
    assert from_settings(Settings(routes=(route,))).answer_s == seconds
