from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

from headgate.redis_url import parse_redis
from headgate_gateway.origin.servers import OriginSettings
from headgate_gateway.process.in_thread import serving
from headgate_gateway.settings import (
    Address,
    Route,
    Settings,
    SettingsError,
    describe_settings,
    load,
    redacted_origin,
)
from headgate_gateway.settings.log_kinds.redis import KIND
from headgate_gateway.settings.mistakes import shown
from headgate_gateway.settings.reading.kinds import parse_address, show_size
from headgate_gateway.settings.reading.values import Mistaken
from tests import settings_document
from tests.support.given_settings import variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.settings.reading.tables import Table

GIB = 1 << 30


def problems(
    toml: str | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    *,
    folder: Path | None = None,
) -> list[str]:
    """What `load` complains about; the file is called h.toml."""
    config = None
    if toml is not None:
        assert folder is not None
        config = folder / "h.toml"
        config.write_text(toml)
    with pytest.raises(SettingsError) as refusal:
        load(config, environment or {}, flags or {})
    return [problem.replace(f"{folder}/", "") for problem in refusal.value.problems]


def variable_of(path: str) -> str:
    """Return the environment variable of the setting at a path such as limits.max_append."""
    return f"HEADGATE_{path.upper().replace('.', '__')}"


# ---------------------------------------------------------------- values and their order


def test_settings_without_any_input_have_the_defaults() -> None:
    assert load(None, {}, {}) == Settings()
    assert Settings().listen == Address("127.0.0.1", 4437)
    assert Settings().admin.listen == Address("127.0.0.1", 4439)
    assert Settings().route_table == (Route(prefix="/v1/stream", storage="file:./headgate-data"),)


def test_a_flag_overrides_the_environment_which_overrides_the_file(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text("live.sse_heartbeat = 1\nlive.sse_max_age = 2\nhttp.body_timeout = 3\n")
    environment = {"HEADGATE_LIVE__SSE_MAX_AGE": "20", "HEADGATE_HTTP__BODY_TIMEOUT": "30"}

    settings = load(config, environment, {"http__body_timeout": "300", "listen": None})

    given = (settings.live.sse_heartbeat, settings.live.sse_max_age, settings.http.body_timeout)
    assert given == (1.0, 20.0, 300.0)
    assert settings.listen == Address("127.0.0.1", 4437)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().log.level = "debug"


def test_load_does_not_read_the_process_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADGATE_LOG__LEVEL", "error")
    assert load(None, {}, {}).log.level == "info"
    assert Settings().log.level == "info"


def test_routes_of_a_file_are_a_table_with_the_longest_prefix_first(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(
        """
        [[routes]]
        prefix = "/a"
        storage = "memory:"
        [[routes]]
        prefix = "/a/deep"
        storage = "file:./deep"
        chunk_max_age = 0
        stale_while_revalidate = 1
        tail_max_age = 2
        """
    )
    deep = Route(
        prefix="/a/deep",
        storage="file:./deep",
        chunk_max_age=0,
        stale_while_revalidate=1,
        tail_max_age=2,
    )
    assert load(config, {}, {}).route_table == (deep, Route(prefix="/a", storage="memory:"))


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", ("*",)),
        ("", ()),
        ("https://a.example, http://b:8080", ("https://a.example", "http://b:8080")),
    ],
)
def test_lists_in_the_environment_are_comma_separated(text: str, origins: tuple[str, ...]) -> None:
    assert load(None, {"HEADGATE_HTTP__CORS_ORIGINS": text}, {}).http.cors_origins == origins


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("https://App.example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
    ],
)
def test_a_web_origin_not_written_as_browsers_send_it_is_refused_with_the_right_form(
    given: str, sent: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(None, {"HEADGATE_HTTP__CORS_ORIGINS": given}, {})
    assert f"must be as browsers send it: {sent}" in str(refusal.value.problems)


def test_a_section_may_be_given_by_its_short_form_or_as_a_table(tmp_path: Path) -> None:
    forms = (
        'admin = "127.0.0.1:1"\nfront = ["a.example"]\n',
        '[admin]\nlisten = "127.0.0.1:1"\n[front]\nhosts = "a.example"\n',
    )
    config = tmp_path / "h.toml"
    found = []
    for form in forms:
        config.write_text(f'origin = "http://a"\nauth = "none"\n{form}')
        found.append(load(config, {}, {}))
    variables_of_both = {"HEADGATE_ORIGIN": "http://a", "HEADGATE_AUTH": "none"}
    for short in ("", "S"):
        names = ("ADMIN", "FRONT")
        keys = ("__LISTEN", "__HOSTS") if short else ("", "")
        values = ("127.0.0.1:1", "a.example")
        given = {f"HEADGATE_{a}{b}": c for a, b, c in zip(names, keys, values, strict=True)}
        found.append(load(None, {**variables_of_both, **given}, {}))
    assert found[0].admin.listen == Address("127.0.0.1", 1)
    assert all(one == found[0] for one in found)


def test_a_short_form_overrides_only_the_setting_that_it_stands_for(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text('[admin]\nlisten = "127.0.0.1:1"\ntls.client_ca = ""\n')
    for environment, flags in (({"HEADGATE_ADMIN": "[::1]:2"}, {}), ({}, {"admin": "[::1]:2"})):
        admin = load(config, environment, flags).admin
        assert (admin.listen, "tls" in admin.explicit_keys) == (Address("::1", 2), True)


def test_arrays_of_tables_in_variables_have_a_number_for_each_table(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text('[[routes]]\nprefix = "/of-the-file"\nstorage = "memory:"\n')
    issuer = "HEADGATE_CREDENTIALS__JWT_ISSUERS__0"
    environment = {
        "HEADGATE_AUTH": "jwt",
        "HEADGATE_ROUTES__0__PREFIX": "/a",
        "HEADGATE_ROUTES__0__STORAGE": "memory:",
        "HEADGATE_ROUTES__0__RUNS": "true",
        "HEADGATE_ROUTES__0__RETENTION_AGE": "60",
        "HEADGATE_ROUTES__1__PREFIX": "/b",
        "HEADGATE_ROUTES__1__ORIGIN": "http://b,http://c",
        "HEADGATE_ROUTES__1__DROP_QUERY": "a, b*",
        f"{issuer}__ISSUER": "i",
        f"{issuer}__AUDIENCE": "a",
        f"{issuer}__JWKS": "keys.json",
        f"{issuer}__ALGORITHMS": "ES256, EdDSA",
        f"{issuer}__GRANTS__0__STREAMS": "/a/*",
        f"{issuer}__GRANTS__0__OPERATIONS": "read,append",
    }
    settings = load(config, environment, {})
    assert settings.routes == (
        Route(prefix="/a", storage="memory:", runs=True, retention_age=60),
        Route(prefix="/b", origin="http://b,http://c", drop_query=("a", "b*")),
    )
    (found,) = settings.credentials.jwt_issuers
    assert (found.algorithms, found.grants[0].operations) == (
        ("ES256", "EdDSA"),
        ("read", "append"),
    )
    assert settings.sources["routes[1].origin"] == "HEADGATE_ROUTES__1__ORIGIN"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("127.0.0.1:4437", Address("127.0.0.1", 4437), id="ipv4"),
        pytest.param("0.0.0.0:0", Address("0.0.0.0", 0), id="all-interfaces-and-any-port"),
        pytest.param(
            "stream.example:65535",
            Address("stream.example", 65535),
            id="a-name-and-the-highest-port",
        ),
        pytest.param("[::1]:80", Address("::1", 80), id="ipv6"),
    ],
)
def test_an_address_is_parsed_and_printed_in_one_spelling(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("host", "reached_at"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("0:0::0", "::1"),
        ("::1", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("stream.example", "stream.example"),
    ],
)
def test_a_listener_on_all_addresses_is_addressed_on_loopback(host: str, reached_at: str) -> None:
    assert Address(host, 80).reached_at == reached_at


@pytest.mark.parametrize("text", ["host", "host:", "::1:80", "[x]:1", "h:-1", ":0", "65536"])
def test_an_invalid_listen_address_is_refused(text: str) -> None:
    assert problems(flags={"listen": text}) == [
        f'--listen is "{text}", but must be HOST:PORT, such as 127.0.0.1:4437 or [::1]:4437.'
    ]


@pytest.mark.parametrize("text", ["host:65536", "127.0.0.1:70000", "[::]:99999"])
def test_a_port_beyond_65535_is_refused_with_the_allowed_range(text: str) -> None:
    assert problems(environment={"HEADGATE_ADMIN": text}) == [
        f'HEADGATE_ADMIN is "{text}", but must have a port from 0, which is any that is free, '
        "to 65535."
    ]


@pytest.mark.parametrize(
    ("key", "text", "hint"),
    [
        ("listen", "80", "; write 127.0.0.1:80."),
        ("listen", ":80", "; write 127.0.0.1:80."),
        ("listen", "", "; leave it out for the default."),
        ("limits.max_append", "", "; leave it out for the default."),
        ("live.long_poll_timeout", "", "; leave it out for the default."),
        ("live.long_poll_timeout", "500 ms", "; write 0.5."),
        ("live.long_poll_timeout", "1.5min", "; write 90."),
        ("live.long_poll_timeout", "1w", ", from 0.1 to 300."),
        ("live.long_poll_timeout", "5M", "; write 300."),
        ("live.long_poll_timeout", "6m", ", from 0.1 to 300."),
        ("live.long_poll_timeout", "301 s", ", from 0.1 to 300."),
        ("live.long_poll_timeout", "99ms", ", from 0.1 to 300."),
        ("live.long_poll_timeout", "nan", ", from 0.1 to 300."),
        ("live.long_poll_timeout", "1e400", ", from 0.1 to 300."),
        ("credentials.read_token_max_age", "1D", "; write 86400."),
        ("credentials.read_token_max_age", "2d", ", from 1 to 86,400."),
        ("credentials.read_token_max_age", "2 H", "; write 7200."),
        ("credentials.read_token_max_age", "1.5s", ", from 1 to 86,400."),
        ("credentials.read_token_max_age", "500ms", ", from 1 to 86,400."),
        ("credentials.read_token_max_age", "1.5", ", from 1 to 86,400."),
        ("workers", "two", ", from 1 to 1,024."),
        ("storage", "/var/lib/x", "; write file: before it."),
        ("storage", "./data", "; write file: before it."),
        ("storage", "redis:6379", "; write redis:// before it."),
        ("storage", "10.0.0.5:6379/2", "; write redis:// before it."),
        ("storage", "localhost:8080/a", "; give it as origin, after http://."),
        ("storage", "http://a", "; give servers as origin."),
        ("storage", "https://a,https://b", "; give servers as origin."),
        ("storage", "data", " or another redis URL."),
        ("storage", "", "; leave it out for the default."),
        ("origin", "localhost:8080/a", "; write http:// before it."),
        ("log.level", "INFO", '; write "info".'),
        ("origin", "redis:6379", "; give what this gateway stores itself as storage."),
        ("origin", "redis://a", "; give what this gateway stores itself as storage."),
        ("origin", "memory:", "; give what this gateway stores itself as storage."),
        ("origin", "file:a", "; give what this gateway stores itself as storage."),
        ("origin", "./data", "; give what this gateway stores itself as storage."),
        ("origin", "data", " or a list of such URLs."),
        ("log.level", "", "must be one of debug, info, warning, error."),
    ],
)
def test_an_invalid_value_is_refused_with_a_hint_at_the_probable_meaning(
    key: str, text: str, hint: str
) -> None:
    for given in (
        problems(flags={key.replace(".", "__"): text}),
        problems(environment={variable_of(key): text}),
    ):
        assert len(given) == 1
        assert given[0].endswith(hint)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("tls.minimum_version = 1.3", '1.3, but must be one of 1.2, 1.3; write "1.3".'),
        ("tls.minimum_version = 1.1", "1.1, but must be one of 1.2, 1.3."),
    ],
)
def test_a_number_in_place_of_a_quoted_choice_is_refused_with_the_quoted_one(
    tmp_path: Path, line: str, hint: str
) -> None:
    (said,) = problems(line, folder=tmp_path)
    assert said.endswith(hint)


@pytest.mark.parametrize(
    ("line", "has_hint"),
    [
        ('workers = "2"', True),
        ('workers = "1024"', True),
        ('workers = "1025"', False),
        ('live.sse_max_age = "2.5"', True),
        ('live.sse_max_age = "0"', False),
        ('log.level = "2"', False),
    ],
)
def test_a_quoted_number_gets_a_hint_only_if_it_is_valid_without_quotes(
    line: str, has_hint: bool, tmp_path: Path
) -> None:
    (problem,) = problems(line, folder=tmp_path)
    assert problem.endswith("; write it without quotes.") is has_hint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1.5 m", 90), ("2h", 7200), ("1d", 86_400), ("0.25h", 900), ("007s", 7)],
)
def test_a_duration_may_have_a_unit_in_the_file_the_environment_and_flags(
    text: str, seconds: int, tmp_path: Path
) -> None:
    config = tmp_path / "h.toml"
    config.write_text(f'[live]\nsse_max_age = "{text}"\n')
    for given in (
        load(config, {}, {}),
        load(None, {"HEADGATE_LIVE__SSE_MAX_AGE": text}, {}),
        load(None, {}, {"live__sse_max_age": text}),
    ):
        assert given.live.sse_max_age == seconds
    whole = load(None, {"HEADGATE_CREDENTIALS__READ_TOKEN_MAX_AGE": text}, {})
    assert repr(whole.credentials.read_token_max_age) == repr(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("1B", 1), ("2KiB", 2048), ("3 MiB", 3 << 20), ("1GiB", GIB), (17, 17)],
)
def test_a_size_without_a_unit_is_in_bytes(text: object, size: int) -> None:
    assert load(None, {}, {"limits__cache_size": text}).limits.cache_size == size


@pytest.mark.parametrize("text", ["MiB", "1 TiB", "1.5", "1.5MB", "10 MBs", "1e9"])
def test_an_invalid_size_is_refused(text: str) -> None:
    assert problems(flags={"limits__max_append": text}) == [
        f'--limits-max-append is "{text}", but must be a size such as 16MiB, in B, KiB, MiB or '
        "GiB, from 1B to 512MiB."
    ]


@pytest.mark.parametrize(
    ("text", "must"),
    [
        ("16MB", "must be in B, KiB, MiB or GiB: write 16MiB"),
        ("1 kb", "must be in B, KiB, MiB or GiB: write 1KiB"),
        ("2g", "must be in B, KiB, MiB or GiB: write 2GiB"),
        ("3 mib", "must be in B, KiB, MiB or GiB: write 3MiB"),
        ("1.5GiB", "must have no fraction: write it in a smaller unit"),
    ],
)
def test_a_size_in_another_notation_is_refused_with_the_right_spelling(
    text: str, must: str
) -> None:
    assert problems(flags={"limits__cache_size": text}) == [
        f'--limits-cache-size is "{text}", but {must}.'
    ]


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0"), (1, "1B"), (1024, "1KiB"), (1025, "1025B"), (GIB, "1GiB")]
)
def test_a_size_is_shown_in_its_largest_whole_unit(size: int, shown: str) -> None:
    assert show_size(size) == shown


STORAGE_KIND = "one of file:PATH, memory:, redis://HOST[:PORT][/DB] or another redis URL"
ORIGIN_KIND = "http(s)://HOST[:PORT][/PATH] or a list of such URLs"


@pytest.mark.parametrize(
    "storage",
    [
        "memory:",
        "file:./data",
        "file:/var/lib/headgate",
        "file:/a,b",
        "file:///tmp/x",
        "redis://127.0.0.1:6379/0",
        "rediss+cluster://user:pass@a,b:6380?prefix=chat",
    ],
)
def test_a_storage_of_a_known_kind_is_accepted(storage: str) -> None:
    (route,) = load(None, {}, {"storage": storage}).route_table
    assert (route.location, route.is_http, route.origins) == (storage, False, ())


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1:4437",
        "https://streams.example",
        "http://[::1]:65535/",
        "http://my_host.local./",
        "https://streams.example/v1/%7Ebase/",
    ],
)
def test_an_origin_is_an_http_url(origin: str) -> None:
    (route,) = load(None, {}, {"origin": origin}).route_table
    assert (route.location, route.is_http, route.log_kind) == (origin, True, None)


@pytest.mark.parametrize(
    "storage",
    [
        "rediss+unix:/socket",
        "redis+tcp://host",
        "valkey://host",
        "file:",
        "memory:x",
        "http:",
        "HTTP://host",
        "memory:,http://a",
    ],
)
def test_an_invalid_storage_is_refused_with_the_list_of_kinds(storage: str) -> None:
    assert problems(flags={"storage": storage}) == [
        f'--storage is "{storage}", but must be {STORAGE_KIND}.'
    ]


@pytest.mark.parametrize(
    "origin",
    [
        "valkey://host",
        "http:",
        "http://",
        "http:///path",
        "http://host:0",
        "http://a..b",
        pytest.param(f"http://{'a' * 64}", id="a-host-label-over-the-limit"),
        "http://host:65536",
        "http://ho st",
        "http://host/a b",
        "http://host/é",
        "HTTP://host",
        "http://a,memory:",
    ],
)
def test_an_invalid_origin_is_refused_with_its_form(origin: str) -> None:
    assert problems(flags={"origin": origin}) == [
        f"--origin is {shown(None, ('origin',), origin)}, but must be {ORIGIN_KIND}."
    ]


URLS = {
    "http://user:pass@host/": (
        "must have no user and password in it: the origin gets those of readers"
    ),
    "http://host/?a=b": "must end with its path: what follows a ? or # comes with each request",
    "http://host#a": "must end with its path: what follows a ? or # comes with each request",
    "http://[1::2::3]": (
        "must have an IPv6 address in its brackets: At most one '::' permitted in '1::2::3'"
    ),
    "http://host/a/../b": "must have no . and .. in its path",
    "http://host,http://host": "must not name a server twice",
}


@pytest.mark.parametrize(("url", "must"), URLS.items(), ids=URLS)
def test_an_origin_url_with_user_query_or_fragment_is_refused_with_that_reason(
    url: str, must: str
) -> None:
    is_shown = len(url) < 22 and not {"@", "?"} & {*url}
    text = f'"{url}"' if is_shown else f"not shown here ({len(url)} characters)"
    assert problems(flags={"origin": url}) == [f"--origin is {text}, but {must}."]


@pytest.mark.parametrize("text", ["http://a:1,https://b/c", "http://a:1 , https://b/c, "])
def test_several_origins_in_the_environment_are_comma_separated(text: str) -> None:
    (route,) = load(None, {"HEADGATE_ORIGIN": text}, {}).route_table
    assert route.origins == ("http://a:1", "https://b/c")
    assert route.is_http


def test_several_origins_in_a_file_are_a_list(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text('[[routes]]\nprefix = "/a"\norigin = ["http://a:1", "https://b/c"]\n')
    (route,) = load(config, {}, {}).route_table
    assert route.origins == ("http://a:1", "https://b/c")


@pytest.mark.parametrize(
    "origins",
    [
        '["file:a", "memory:"]',
        '["http://a", "file:b"]',
        '["http://a", "redis://b"]',
        '["redis://a", "redis://b"]',
        "[]",
        "[1]",
        '["memory:", 2]',
    ],
)
def test_a_list_of_origins_accepts_only_http_urls(origins: str, tmp_path: Path) -> None:
    (problem,) = problems(f'[[routes]]\nprefix = "/a"\norigin = {origins}\n', folder=tmp_path)
    assert problem == f"h.toml:3: routes[0].origin is {origins}, but must be {ORIGIN_KIND}."


@pytest.mark.parametrize(
    ("key", "places"),
    [("origin", ("http://a/a", "http://a/b")), ("storage", ("memory:", "memory:"))],
)
def test_two_routes_may_share_an_http_server_or_both_be_in_memory(
    key: str, places: tuple[str, str]
) -> None:
    routes = [{"prefix": f"/{name}", key: at} for name, at in zip("ab", places, strict=True)]
    assert len(load(None, {}, {"routes": routes}).routes) == 2


def http_route(lines: str) -> str:
    return f'[[routes]]\nprefix = "/a"\norigin = "http://b"\n{lines}\n'


def test_a_route_to_an_http_origin_is_loaded_with_all_its_settings(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(
        http_route(
            """
            stale_if_error = 0
            drop_query = ["fbclid", "utm_*", "ref"]
            identity_headers = ["X-Colour", "x-shade"]
            drop_headers = ["Cookie"]
            response_timeout = 2.5
            max_origin_requests = 5
            health_path = "/health?deep=1"
            health_interval = 6
            tls_ca = "/etc/ca.pem"
            """
        )
    )
    (route,) = load(config, {}, {}).route_table
    assert route.drop_query == ("fbclid", "utm_*", "ref")
    assert (route.identity_headers, route.drop_headers) == (("X-Colour", "x-shade"), ("Cookie",))
    assert route.stale_if_error == 0
    assert OriginSettings.of(route) == OriginSettings(
        urls=("http://b",),
        prefix="/a",
        response_timeout=2.5,
        read_timeout=2.5,
        poll_timeout=47.5,
        max_requests=5,
        health_path="/health?deep=1",
        health_interval=6,
        tls_ca="/etc/ca.pem",
    )


def test_origin_settings_of_a_route_with_defaults_are_the_defaults() -> None:
    route = Route(prefix="/a", origin="http://b")
    assert OriginSettings.of(route) == OriginSettings(urls=("http://b",), prefix="/a")


LOCATIONS = {
    "memory": ("storage", "memory:"),
    "file": ("storage", "file:/x"),
    "redis": ("storage", "redis://:s3cret@h"),
    "http": ("origin", "http://b"),
}
OF_LOGS = {
    *("retention_age", "retention_size", "retention_messages", "runs"),
    *("mcp_events", "mcp_events_file", "listing"),
    *("default_ttl", "max_ttl"),
}
OF_ALL = {
    *("prefix", "auth", "anonymous", "visibility", "conceal"),
    *(
        "chunk_max_age",
        "stale_while_revalidate",
        "tail_max_age",
        "closed_max_age",
        "tail_directive",
    ),
    "reader_keys",
}
# The kinds of place that a setting of a route is for; those that are not named are for http.
OF_KINDS = {
    key: kinds
    for keys, kinds in (
        (OF_ALL, set(LOCATIONS)),
        (OF_LOGS, {"memory", "file", "redis"}),
        ({"max_storage_size"}, {"memory", "file"}),
        ({"tls_ca"}, {"redis", "http"}),
        ({"wait_replicas"}, {"redis"}),
    )
    for key in keys
}


@pytest.mark.parametrize("key", sorted(Route.settings.keys() - {"prefix", "storage", "origin"}))
def test_a_setting_of_a_route_is_refused_for_the_kinds_of_place_that_it_is_not_for(
    key: str,
) -> None:
    kinds = OF_KINDS.get(key, {"http"})
    for kind, (where, place) in LOCATIONS.items():
        values = {"prefix": "/a", where: place, key: Route.settings[key].default}
        if kind in kinds:
            Route.of(values)
            continue
        with pytest.raises(Mistaken) as refusal:
            Route.of(values)
        (mistake,) = refusal.value.mistakes
        assert mistake.must.startswith(f"must be left out: {redacted_origin(place)} is not ")


def test_a_route_to_redis_is_loaded_with_its_retention_and_replica_settings(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text(
        """
        [[routes]]
        prefix = "/a"
        storage = "rediss://u:p%40ss@h/2?prefix=x"
        retention_age = 60
        retention_size = "1MiB"
        wait_replicas = 1
        tls_ca = "/etc/ca.pem"
        """
    )
    (route,) = load(config, {}, {}).route_table
    assert route.log_kind is KIND
    assert not route.is_http
    redis = parse_redis(route.storage)
    assert (redis.nodes, redis.password) == (
        (("h", 6379),),
        "p@ss",
    )
    assert (route.retention_age, route.retention_size, route.wait_replicas) == (60, 1 << 20, 1)
    assert route.tls_ca == "/etc/ca.pem"


def test_a_longest_lifetime_shorter_than_the_default_is_refused() -> None:
    log = {"prefix": "/a", "storage": "memory:"}
    with pytest.raises(Mistaken, match="max_ttl must not be shorter than default_ttl, which is 8"):
        Route.of({**log, "default_ttl": 8, "max_ttl": 7})
    assert Route.of({**log, "default_ttl": 8, "max_ttl": 8}).max_ttl == 8
    assert Route.of({**log, "default_ttl": 8, "max_ttl": 0}).max_ttl == 0


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param(
            'drop_query = ["a b"]',
            '[0] is "a b", but must be a query key, which may end with a *',
            id="a-blank-in-a-query-key",
        ),
        *(
            pytest.param(
                f'drop_query = ["{dropped}"]',
                f'[0] is "{dropped}", but must not fit {needed}, which the protocol needs',
                id=f"a-query-key-that-fits-{needed}",
            )
            for dropped, needed in (("*", "offset"), ("li*", "live"))
        ),
        pytest.param(
            'drop_query = ["a", "cursor"]',
            '[1] is "cursor", but must not fit cursor, which the protocol needs',
            id="a-query-key-that-is-cursor",
        ),
        pytest.param(
            "drop_query = 3",
            " is 3, but must be a list of query keys, such as utm_*",
            id="a-number-for-query-keys",
        ),
        pytest.param(
            "identity_headers = 3",
            " is 3, but must be a list of header names",
            id="a-number-for-header-names",
        ),
        pytest.param(
            'drop_headers = ["a:b"]',
            '[0] is "a:b", but must be the name of a header',
            id="a-colon-in-a-header-name",
        ),
        *(
            pytest.param(
                f'{key} = ["X-A", "{name}"]',
                f'[1] is "{name}", but must be a header that the origin gets as readers send it',
                id=f"{key}-with-{name}",
            )
            for key in ("identity_headers", "drop_headers")
            for name in ("Host", "via", "Content-Length", "Connection", "TE", "Transfer-Encoding")
        ),
        pytest.param(
            'health_path = "health"',
            ' is "health", but must be a path such as /health',
            id="a-relative-health-path",
        ),
        pytest.param(
            'health_path = "/a#b"',
            ' is "/a#b", but must be a path such as /health',
            id="a-fragment-in-the-health-path",
        ),
        pytest.param(
            "tls_ca = 3", " is 3, but must be the path of a file", id="a-number-for-a-file"
        ),
        pytest.param("conceal = true", " is true, but must be one of on, off", id="true-for-on"),
    ],
)
def test_an_invalid_setting_of_an_http_route_is_refused_with_its_line(
    line: str, problem: str, tmp_path: Path
) -> None:
    key = line.partition(" = ")[0]
    assert problems(http_route(line), folder=tmp_path) == [f"h.toml:4: routes[0].{key}{problem}."]


@pytest.mark.parametrize("prefix", ["/a", "/a/b", "/v1/stream", "/-._~"])
def test_a_prefix_in_canonical_spelling_is_accepted(prefix: str) -> None:
    assert Route(prefix=prefix, storage="memory:").prefix == prefix


@pytest.mark.parametrize(
    "prefix", ["", "/", "a", "/a/", "//a", "/a//b", "/.", "/a/..", "/%61", "/a b"]
)
def test_a_prefix_not_in_canonical_spelling_is_refused(prefix: str) -> None:
    with pytest.raises(Mistaken):
        Route(prefix=prefix, storage="memory:")


def bounded(model: type[Table]) -> list[Any]:
    """Return the path of each setting with bounds, those of sections too, and the bounds."""
    return [
        pytest.param(it.path, *field.bounds, id=it.path)
        for it, field in describe_settings(model)
        if field.bounds is not None
    ]


@pytest.mark.parametrize(("key", "least", "most"), bounded(Route))
def test_each_numeric_route_setting_accepts_exactly_its_documented_range(
    key: str, least: float, most: float
) -> None:
    where, place = LOCATIONS[sorted(OF_KINDS.get(key, {"http"}))[0]]
    values: dict[str, object] = {"prefix": "/a", where: place}
    whole = isinstance(Route.settings[key].default, int)
    for value in (least, most):
        values[key] = int(value) if whole else value
        assert getattr(Route.of(values), key) == value
    step = 1 if whole else 0.01
    for value in (least - step, most + step):
        values[key] = int(value) if whole else value
        with pytest.raises(Mistaken):
            Route.of(values)


# What other settings have to be for the bounds of one: the waiting appends are never less than the
# largest, and only a Redis has several workers.
WITH_BOUNDS: dict[str, dict[str, object]] = {
    "limits.max_append": {"limits__max_pending_appends": 1024 * GIB},
    "limits.max_pending_appends": {"limits__max_append": 1},
    "workers": {"storage": "redis://h"},
}


@pytest.mark.parametrize(("path", "least", "most"), bounded(Settings))
def test_each_numeric_setting_accepts_exactly_its_documented_range(
    path: str, least: float, most: float
) -> None:
    flag, others = path.replace(".", "__"), WITH_BOUNDS.get(path, {})
    step = 0.01 if isinstance(Settings().value_at(path), float) else 1
    for value in (least, most):
        assert load(None, {}, {**others, flag: value}).value_at(path) == value
    for value in (least - step, most + step):
        (problem,) = problems(flags={**others, flag: value})
        allowed = next(item.allowed for item, _ in describe_settings() if item.path == path)
        name = path.replace(".", "-").replace("_", "-")
        assert problem == f"--{name} is {value}, but must be {allowed}."


@pytest.mark.parametrize(
    ("limit", "open_files", "connections"),
    [(0, 1000, 842), (0, 100_000, 90_000), (5, 1000, 5), (999, 1000, 842)],
)
def test_the_limit_of_connections_leaves_open_files_to_all_else(
    limit: int, open_files: int, connections: int
) -> None:
    limits = Settings(limits={"max_connections": limit}).limits
    assert limits.connection_limit(open_files) == connections


def test_trusted_proxies_are_stored_as_networks_in_canonical_spelling() -> None:
    settings = load(None, {"HEADGATE_HTTP__TRUSTED_PROXIES": "10.0.0.0/8, 2001:DB8::1"}, {})
    assert settings.http.trusted_proxies == ("10.0.0.0/8", "2001:db8::1/128")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10.0.0.1/8", ": its host bits must be 0"),
        ("proxy.test", ""),
        ("10.0.0.0/33", ""),
        ("1", ""),
    ],
)
def test_a_trusted_proxy_that_is_not_a_network_is_refused(text: str, hint: str) -> None:
    (problem,) = problems(environment={"HEADGATE_HTTP__TRUSTED_PROXIES": text})
    must = "must be an address or a network such as 10.0.0.0/8"
    assert problem.endswith(f'{text}", but {must}{hint}.')


# ---------------------------------------------------------------- mistakes


A_ROUTE = '[[routes]]\nprefix = "/a"\nstorage = "memory:"\n'
AGAIN = "is given again, first in line"
KINDS_OF_AUTH = "must be none, or a list of tokens, jwt, read-tokens"
CLASH = "must not share the port of listen, which is 127.0.0.1:4439."
FIRST_ROUTE = {"HEADGATE_ROUTES__0__PREFIX": "/a", "HEADGATE_ROUTES__0__STORAGE": "memory:"}
ROUTES_KIND = (
    "an array of tables, each with prefix, and storage or origin; HEADGATE_ROUTES__0__ and a key "
    "are in the first."
)
PREFIX_KIND = (
    "a path such as /v1/stream: it starts with a slash, does not end with one, and holds letters, "
    "digits, '-', '.', '_' and '~'"
)
# A file, or variables of the environment and flags; and all that is said of it.
MISTAKES: dict[str, tuple[str | dict[str, str], list[str]]] = {
    "a misspelt key of a route, which lacks the right one": (
        '[[routes]]\nprefix = "/a"\norign = "http://a"\n',
        ["h.toml:3: routes[0].orign is not a setting; the nearest is routes[0].origin."],
    ),
    "a route without a place of its streams": (
        '[[routes]]\nprefix = "/a"\n',
        [
            f"h.toml:1: routes[0].storage is missing; it must be {STORAGE_KIND}, unless the route "
            "has an origin."
        ],
    ),
    "a route with two places of its streams": (
        f'{A_ROUTE}origin = "http://a"',
        ['h.toml:4: routes[0].origin is "http://a", but must be left out beside storage, memory:.'],
    ),
    "routes with an origin as storage, and with a storage as origin": (
        '[[routes]]\nprefix = "/a"\nstorage = "http://a"\n'
        '[[routes]]\nprefix = "/b"\norigin = "redis://:p@h"\n',
        [
            f'h.toml:3: routes[0].storage is "http://a", but must be {STORAGE_KIND}; give servers '
            "as origin.",
            "h.toml:6: routes[1].origin is not shown here (12 characters), but must be "
            f"{ORIGIN_KIND}; give what this gateway stores itself as storage.",
        ],
    ),
    "the misspelt auth that a listener needs": (
        'listen = "0.0.0.0:4437"\nauht = "none"\n',
        ["h.toml:2: auht is not a setting; the nearest is auth."],
    ),
    "a misspelt key beside the right one, which is wrong, too": (
        '[[routes]]\nprefix = "/a"\norign = "http://a"\norigin = "x:"\n',
        [
            "h.toml:3: routes[0].orign is not a setting; the nearest is routes[0].origin.",
            f'h.toml:4: routes[0].origin is "x:", but must be {ORIGIN_KIND}.',
        ],
    ),
    "misspelt and wrong keys within a table of a table": (
        '[[credentials.jwt_issuers]]\nissuer = "i"\naudience = "a"\njwks = "/k"\n'
        'algorithms = ["ES256"]\n'
        '[[credentials.jwt_issuers.grants]]\nstream = "/a/*"\noperations = ["read"]\n'
        '[[credentials.jwt_issuers.grants]]\npaths = "/v1/*"\noperations = ["reed"]\n',
        [
            "h.toml:7: credentials.jwt_issuers[0].grants[0].stream is not a setting; the nearest "
            "is credentials.jwt_issuers[0].grants[0].streams.",
            "h.toml:9: credentials.jwt_issuers[0].grants[1].streams is missing; it must be a "
            "canonical path such as /v1/stream/chat, or one with /* at its end for all below; a "
            "whole segment may be a {claim}.",
            "h.toml:10: credentials.jwt_issuers[0].grants[1].paths is not a setting.",
            'h.toml:11: credentials.jwt_issuers[0].grants[1].operations is ["reed"], but must be a '
            "list of some of read, append, create, close, delete.",
        ],
    ),
    "a subtable of a route": (
        f"{A_ROUTE}\n[routes.headers]\na = 1\n",
        ["h.toml:5: routes[0].headers is not a setting; the nearest is routes[0].drop_headers."],
    ),
    "settings inside of a table": (
        "[server]\nworkers = 1\nhost = 'h'\nport = 1\ncolour = 1",
        ["h.toml:1: server is not a setting; write workers, listen instead."],
    ),
    "sections and keys by the names that other servers have for them": (
        "port = 80\n[cors]\n[cache]\nsize = 1\n[logging]\n[retention]\n[admin]\nport = 80\n"
        "password = 1\n",
        [
            "h.toml:1: port is not a setting; it is listen.",
            "h.toml:2: cors is not a setting; it is http.cors_origins.",
            "h.toml:3: cache is not a setting; it is limits.cache_size.",
            "h.toml:5: logging is not a setting; it is log.",
            "h.toml:6: retention is not a setting; it is routes[0].retention_age or "
            "routes[0].retention_size or routes[0].retention_messages.",
            "h.toml:8: admin.port is not a setting; it is admin.listen.",
            "h.toml:9: admin.password is not a setting; it is admin.users[0].password_hash, what "
            "headgate config hash-password prints, which begins with $argon2id$.",
        ],
    ),
    "a setting of the server in a route": (
        f"{A_ROUTE}max_append = 1\nworkers = 1\nlog_level = 'info'\nlive.sse_heartbeat = 1\n",
        [
            "h.toml:4: routes[0].max_append is not a setting; it is limits.max_append.",
            "h.toml:5: routes[0].workers is not a setting; it is workers.",
            "h.toml:6: routes[0].log_level is not a setting; it is log.level.",
            "h.toml:7: routes[0].live is not a setting; it is live.",
        ],
    ),
    "settings in the wrong section": (
        "[limits]\nlevel = 'debug'\nlisten = 'h:1'\nmax_apend = 1\nmax_origin_requests = 4\n",
        [
            "h.toml:2: limits.level is not a setting; it is log.level.",
            "h.toml:3: limits.listen is not a setting; it is listen.",
            "h.toml:4: limits.max_apend is not a setting; the nearest is limits.max_append.",
            "h.toml:5: limits.max_origin_requests is not a setting; it is "
            "routes[0].max_origin_requests.",
        ],
    ),
    "settings of sections outside of them": (
        "max_append = 1\ntls_certificate = 'x'\nadmin_tls_key = 'k'\nlog_level = 'debug'\n"
        "jwt_issuers = []\nadmin_users = []\nfront_listen = 'h:1'\nhosts = []\n",
        [
            "h.toml:1: max_append is not a setting; it is limits.max_append.",
            "h.toml:2: tls_certificate is not a setting; it is tls.certificate.",
            "h.toml:3: admin_tls_key is not a setting; it is admin.tls.key.",
            "h.toml:4: log_level is not a setting; it is log.level.",
            "h.toml:5: jwt_issuers is not a setting; it is credentials.jwt_issuers.",
            "h.toml:6: admin_users is not a setting; it is admin.users.",
            "h.toml:7: front_listen is not a setting; it is front.listen.",
            "h.toml:8: hosts is not a setting; it is front.hosts or http.hosts.",
        ],
    ),
    "sections that are no tables": (
        "limits = 3\nlog = 'debug'\ntls = []\nadmin = 4\nfront = 5\nsubscriptions = true\n"
        "[[live]]\nsse_heartbeat = 1\n",
        [
            "h.toml:1: limits is 3, but must be a table.",
            'h.toml:2: log is "debug", but must be a table.',
            "h.toml:3: tls is [], but must be a table.",
            "h.toml:4: admin.listen is 4, but must be HOST:PORT, such as 127.0.0.1:4437 or "
            "[::1]:4437.",
            "h.toml:5: front.hosts is 5, but must be a list, each item a host without a port, such "
            "as streams.example.com.",
            "h.toml:6: subscriptions is true, but must be a table.",
            "h.toml:7: live is a list of tables, but must be a table.",
        ],
    ),
    "a short form of a section, and the section": (
        "admin = '127.0.0.1:1'\n[admin]\nlisten = '127.0.0.1:1'\n",
        [
            "h.toml:2: admin = … in line 1 is short for [admin] with listen, and cannot stand "
            "beside [admin]: remove line 1, and write listen = … below [admin]."
        ],
    ),
    **{
        f"a short form of a section, and {more}": (
            f"admin = '127.0.0.1:1'\nworkers = 1\n{more}\n",
            [
                "h.toml:3: admin = … in line 1 is short for [admin] with listen, and cannot stand "
                f"beside {named}: write admin.listen = … in line 1."
            ],
        )
        for more, named in (
            ("[[admin.users]]\nname = 'ann'", "admin.users"),
            ("[[admin.tokens]]\nname = 'p'", "admin.tokens"),
            ("[admin.tls]\nkey = 'k'", "admin.tls"),
            ("admin.users = []", "admin.users"),
        )
    },
    "a short form of a section that is a text, and the section": (
        "front = 'a.example'\n\n[front]\ndata = 'x'\n",
        [
            "h.toml:3: front = … in line 1 is short for [front] with hosts, and cannot stand "
            "beside [front]: remove line 1, and write hosts = … below [front]."
        ],
    ),
    "a dotted key, and its section": (
        "limits.max_append = 1\n[limits]\nmax_feeds = 1\n",
        [f"h.toml:2: limits {AGAIN} 1."],
    ),
    "a section twice": (
        "[limits]\nmax_append = 1\n[limits]\nmax_feeds = 1\n",
        [f"h.toml:3: limits {AGAIN} 1."],
    ),
    "tables with secrets in the place of a section": (
        "[[admin]]\n[[admin.tokens]]\ntoken = 's3cret'\n",
        [
            "h.toml:1: admin.listen is a list of tables, but must be HOST:PORT, such as "
            "127.0.0.1:4437 or [::1]:4437.",
        ],
    ),
    "credentials of the console that are no texts": (
        "[[admin.users]]\nname = 'ann'\nrole = true\npassword_hash = 1\n"
        "[[admin.tokens]]\nname = 'p'\nrole = 'viewer'\ntoken = true\n",
        [
            "h.toml:3: admin.users[0].role is true, but must be one of viewer, operator.",
            "h.toml:4: admin.users[0].password_hash is not shown here, but must be what headgate "
            "config hash-password prints, which begins with $argon2id$.",
            "h.toml:8: admin.tokens[0].token is not shown here, but must be at least 22 characters "
            "without blanks, or sha256: and the 64 hexadecimal digits of their hash.",
        ],
    ),
    "a setting twice": ("workers = 1\n\nworkers = 2", [f"h.toml:3: workers {AGAIN} 1."]),
    **{
        f"a setting twice, behind a text of lines in {quotes}": (
            f"http.public_url = {quotes}\nworkers = 2\n{quotes}\nworkers = 1 # {quotes}\n"
            "workers = 2\n",
            [f"h.toml:5: workers {AGAIN} 4."],
        )
        for quotes in ('"""', "'''")
    },
    "a setting of a route twice": (
        '[[routes]]\nprefix = "/a"\n"prefix" = "/b"\n',
        [f"h.toml:3: routes[0].prefix {AGAIN} 2."],
    ),
    **{
        f"{first} and {second}": (
            f'{first}\nprefix = "/a"\n{second}\nprefix = "/b"\n',
            [f"h.toml:3: routes {AGAIN} 1: each of several tables begins with [[routes]]."],
        )
        for first, second in (
            ("[routes]", "[routes]"),
            ("[routes]", "[[routes]]"),
            ("[[routes]]", "[routes]"),
        )
    },
    **{
        f"the heading {heading} alone": (
            f'{heading}\nprefix = "/a"\n',
            [
                "h.toml:1: routes is a table, but must be an array of tables, each with prefix, "
                "and storage or origin; each begins with [[routes]]."
            ],
        )
        for heading in ("[routes]", "[routes.a]")
    },
    "a header that is kept and dropped": (
        http_route('identity_headers = ["X-Who"]\ndrop_headers = ["Cookie", "x-who"]'),
        [
            'h.toml:5: routes[0].drop_headers is ["Cookie", "x-who"], but must not have x-who, '
            "which identity_headers has: choose one."
        ],
    ),
    "runs at an HTTP origin": (
        http_route("runs = true"),
        [
            "h.toml:4: routes[0].runs is true, but must be left out: http://b is not a storage; "
            "set it in the Headgate that has the streams.",
        ],
    ),
    "a text for true": (
        f'{A_ROUTE}runs = "on"\n',
        ['h.toml:4: routes[0].runs is "on", but must be true or false.'],
    ),
    "an origin that decides, and is a log": (
        f'{A_ROUTE}auth = "origin"\n',
        [
            'h.toml:4: routes[0].auth is "origin", but must not have origin: memory: is not an '
            "http origin that decides."
        ],
    ),
    **{
        f"auth of {said}": (f"auth = {said}", [f"h.toml:1: auth is {said}, but {must}."])
        for said, must in {
            '"token"': KINDS_OF_AUTH,
            "3": KINDS_OF_AUTH,
            "[3]": KINDS_OF_AUTH,
            '"origin"': f"{KINDS_OF_AUTH}; origin is for a route with an http origin",
            '["jwt", "jwt"]': "must not name a kind of credential twice",
            '["none", "jwt"]': "must be none by itself, or name what is asked for",
        }.items()
    },
    "a default that clashes with an address in a file": (
        '\nlisten = "127.0.0.1:4439"',
        [f"h.toml:2: admin.listen is 127.0.0.1:4439 unless it is given, but {CLASH}"],
    ),
    "a default that clashes with an address": (
        {"HEADGATE_LISTEN": "127.0.0.1:4439"},
        [f"HEADGATE_LISTEN: admin.listen is 127.0.0.1:4439 unless it is given, but {CLASH}"],
    ),
    "a storage, an origin and routes": (
        {**FIRST_ROUTE, "HEADGATE_STORAGE": "memory:", "origin": "http://a"},
        [
            "HEADGATE_STORAGE and --origin and HEADGATE_ROUTES exclude each other: give one of "
            "them; routes have their own."
        ],
    ),
    "a storage and routes in a file": (
        f'storage = "memory:"\n{A_ROUTE}',
        [
            "h.toml:1: storage and h.toml:2: routes exclude each other: give one of them; routes "
            "have their own."
        ],
    ),
    "routes that are a text": (
        {"HEADGATE_ROUTES": "[]"},
        [f'HEADGATE_ROUTES is "[]", but must be {ROUTES_KIND}'],
    ),
    "routes that are a text beside a route": (
        {**FIRST_ROUTE, "HEADGATE_ROUTES": "3"},
        [f'HEADGATE_ROUTES is "3", but must be {ROUTES_KIND}'],
    ),
    "a route that is a text": (
        {"HEADGATE_ROUTES__0": "x"},
        ['HEADGATE_ROUTES__0 is "x", but must be a table with prefix, and storage or origin.'],
    ),
    "a key of routes without a number": (
        {"HEADGATE_ROUTES__PREFIX": "/a", "HEADGATE_ROUTES__01__PREFIX": "/a"},
        [
            f"HEADGATE_ROUTES__{name} is not a setting; it is HEADGATE_ROUTES__0__PREFIX."
            for name in ("01__PREFIX", "PREFIX")
        ],
    ),
    "words in place of the number of a table, and another server's section": (
        {
            "HEADGATE_ADMIN__TOKENS__X__TOKEM": "a",
            "HEADGATE_ADMIN__TOKENS__X__TOKEN": "a",
            "HEADGATE_CACHE__SIZE": "1",
        },
        [
            "HEADGATE_ADMIN__TOKENS__X__TOKEM is not a setting; the nearest is "
            "HEADGATE_ADMIN__TOKENS__0__TOKEN.",
            "HEADGATE_ADMIN__TOKENS__X__TOKEN is not a setting; it is "
            "HEADGATE_ADMIN__TOKENS__0__TOKEN.",
            "HEADGATE_CACHE__SIZE is not a setting; it is HEADGATE_LIMITS__CACHE_SIZE.",
        ],
    ),
    "a route whose number is not the next": (
        {
            **FIRST_ROUTE,
            "HEADGATE_ROUTES__2__PREFIX": "/c",
            "HEADGATE_ROUTES__2__STORAGE": "memory:",
        },
        [f"HEADGATE_ROUTES__1__PREFIX is missing; it must be {PREFIX_KIND}."],
    ),
    "routes whose numbers begin at 1": (
        {"HEADGATE_ROUTES__1__PREFIX": "/a", "HEADGATE_ROUTES__1__STORAGE": "memory:"},
        [f"HEADGATE_ROUTES__0__PREFIX is missing; it must be {PREFIX_KIND}."],
    ),
    "mistakes in a route of variables": (
        {
            **FIRST_ROUTE,
            "HEADGATE_ROUTES__0__RUNS": "on",
            "HEADGATE_ROUTES__0__TAIL_MAX_AGE": "1.5",
            "HEADGATE_ROUTES__0__CHUNK_MAX_AG": "1",
            "HEADGATE_ROUTES__0__MAX_APPEND": "1",
        },
        [
            'HEADGATE_ROUTES__0__RUNS is "on", but must be true or false.',
            'HEADGATE_ROUTES__0__TAIL_MAX_AGE is "1.5", but must be a whole number of seconds '
            "(or 90s, 5m, 1h or 2d), from 0 to 3,600.",
            "HEADGATE_ROUTES__0__CHUNK_MAX_AG is not a setting; the nearest is "
            "HEADGATE_ROUTES__0__CHUNK_MAX_AGE.",
            "HEADGATE_ROUTES__0__MAX_APPEND is not a setting; it is HEADGATE_LIMITS__MAX_APPEND.",
        ],
    ),
    "parts of values that have none": (
        {"HEADGATE_LISTEN__X": "1", "HEADGATE_LIMITS__MAX_APPEND__0": "1", "HEADGATE_LOG__0": "x"},
        [
            f"HEADGATE_{name} is not a setting."
            for name in ("LIMITS__MAX_APPEND__0", "LISTEN__X", "LOG__0")
        ],
    ),
    "variables with single underscores, and a key that other servers have": (
        {"HEADGATE_ROUTES_0_PREFIX": "/a", "HEADGATE_DATA": "x", "HEADGATE_ROUTES_0_X": "1"},
        [
            "HEADGATE_DATA is not a setting; it is HEADGATE_STORAGE.",
            "HEADGATE_ROUTES_0_PREFIX is not a setting; it is HEADGATE_ROUTES__0__PREFIX.",
            "HEADGATE_ROUTES_0_X is not a setting; the nearest is HEADGATE_ROUTES.",
        ],
    ),
    "variables without the section, or with another one": (
        {
            "HEADGATE_MAX_APPEND": "1",
            "HEADGATE_TLS_CERTIFICATE": "x",
            "HEADGATE_ADMIN_TLS_KEY": "x",
            "HEADGATE_LIMITS__LEVEL": "x",
            "HEADGATE_SERVER__WORKERS": "2",
            "HEADGATE_LOG__LEVL": "debug",
            "HEADGATE_HOSTS": "a.example",
        },
        [
            "HEADGATE_ADMIN_TLS_KEY is not a setting; it is HEADGATE_ADMIN__TLS__KEY.",
            "HEADGATE_HOSTS is not a setting; it is HEADGATE_FRONT__HOSTS or HEADGATE_HTTP__HOSTS.",
            "HEADGATE_LIMITS__LEVEL is not a setting; it is HEADGATE_LOG__LEVEL.",
            "HEADGATE_LOG__LEVL is not a setting; the nearest is HEADGATE_LOG__LEVEL.",
            "HEADGATE_MAX_APPEND is not a setting; it is HEADGATE_LIMITS__MAX_APPEND.",
            "HEADGATE_SERVER__WORKERS is not a setting; it is HEADGATE_WORKERS.",
            "HEADGATE_TLS_CERTIFICATE is not a setting; it is HEADGATE_TLS__CERTIFICATE.",
        ],
    ),
    "sections that are a text": (
        {
            "HEADGATE_LIMITS": "1",
            "HEADGATE_ADMIN__TLS": "x",
            "HEADGATE_ADMIN__TLS__CERTIFICATE": "y",
        },
        [
            'HEADGATE_ADMIN__TLS is "x", but must be a table.',
            'HEADGATE_LIMITS is "1", but must be a table.',
        ],
    ),
    "a certificate without its key": (
        {"HEADGATE_ADMIN__TLS__CERTIFICATE": "c.pem"},
        [
            'HEADGATE_ADMIN__TLS__CERTIFICATE: admin.tls.key is "" unless it is given, but must be '
            "given with certificate: the file of its private key."
        ],
    ),
    "both forms of a section": (
        {"HEADGATE_ADMIN": "127.0.0.1:1", "HEADGATE_ADMIN__LISTEN": "127.0.0.1:2"},
        ["HEADGATE_ADMIN and HEADGATE_ADMIN__LISTEN are the same setting: give one of them."],
    ),
    "a web origin with a slash at its end": (
        {"HEADGATE_HTTP__CORS_ORIGINS": "*,https://app.example/"},
        [
            'HEADGATE_HTTP__CORS_ORIGINS[1] is "https://app.example/", but must not end with a '
            "slash, as browsers send it without one."
        ],
    ),
    "a negative size": (
        {"limits__max_append": "-1"},
        [
            "--limits-max-append is -1, but must be a size such as 16MiB, in B, KiB, MiB or GiB, "
            "from 1B to 512MiB."
        ],
    ),
    "a tilde in a storage": (
        {"storage": "file:~/data"},
        [
            '--storage is "file:~/data", but must have its folder written out: ~ is not expanded '
            "here."
        ],
    ),
    "a file storage with a host": (
        {"storage": "file://tmp/x"},
        [
            '--storage is "file://tmp/x", but must be file:PATH without a host, such as '
            "file:/var/lib/headgate."
        ],
    ),
}


@pytest.mark.parametrize(("given", "told"), MISTAKES.values(), ids=MISTAKES)
def test_each_mistake_is_reported_in_words_with_its_place(
    given: str | dict[str, str], told: list[str], tmp_path: Path
) -> None:
    if isinstance(given, str):
        assert problems(given, folder=tmp_path) == told
        return
    environment = {key: it for key, it in given.items() if key.isupper()}
    flags = {key: it for key, it in given.items() if not key.isupper()}
    assert problems(None, environment, flags) == told


def test_mistakes_in_file_environment_and_flags_are_reported_together(tmp_path: Path) -> None:
    toml = """\
listn = "127.0.0.1:80"
live.long_poll_timeout = 301
limits.cache_size = true
[[routes]]
prefix = "/a"
storage = "memory:"
[[routes]]
prefix = "/b/"
storage = "x"
tail_max_agee = 3
"""
    environment = {"HEADGATE_LOGLEVEL": "info", "HEADGATE_LOG__FORMAT": "JSON"}

    assert problems(toml, environment, {"http__body_timeout": "soon"}, folder=tmp_path) == [
        "h.toml:1: listn is not a setting; the nearest is listen.",
        "h.toml:2: live.long_poll_timeout is 301, but must be a number of seconds "
        "(or 90s, 5m, 1h or 2d), from 0.1 to 300.",
        "h.toml:3: limits.cache_size is true, but must be a size such as 16MiB, in B, KiB, MiB or "
        "GiB, from 0 to 1024GiB.",
        f'h.toml:8: routes[1].prefix is "/b/", but must be {PREFIX_KIND}.',
        f'h.toml:9: routes[1].storage is "x", but must be {STORAGE_KIND}.',
        "h.toml:10: routes[1].tail_max_agee is not a setting; the nearest is "
        "routes[1].tail_max_age.",
        "HEADGATE_LOGLEVEL is not a setting; the nearest is HEADGATE_LOG__LEVEL.",
        '--http-body-timeout is "soon", but must be a number of seconds (or 90s, 5m, 1h or 2d), '
        "from 0.1 to 3,600.",
        'HEADGATE_LOG__FORMAT is "JSON", but must be one of auto, json, console; write "json".',
    ]


def test_routes_that_share_a_prefix_or_a_folder_are_each_reported_with_their_line(
    tmp_path: Path,
) -> None:
    routes = [("/a", "file:./x"), ("/a", "memory:"), ("/b", "file:x/"), ("/a", "memory:")]
    toml = "".join(
        f'[[routes]]\nprefix = "{prefix}"\nstorage = "{storage}"\n' for prefix, storage in routes
    )
    assert problems(toml, folder=tmp_path) == [
        'h.toml:5: routes[1].prefix is "/a", but must not be the prefix of routes[0] too.',
        'h.toml:9: routes[2].storage is "file:x/", but must not be the storage of routes[0] too: '
        f"both are {Path('x').absolute()}.",
        'h.toml:11: routes[3].prefix is "/a", but must not be the prefix of routes[0] too.',
    ]


def test_two_routes_to_one_folder_under_two_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to("x")
    (problem,) = problems(
        two_routes(f"file:{tmp_path}/x", f"file:{tmp_path}/link/../link/y/.."), folder=tmp_path
    )
    assert problem.startswith("h.toml:6: routes[1].storage is ")
    assert problem.endswith(" must not be the storage of routes[0] too: both are x.")


def test_a_file_at_the_path_of_the_default_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headgate-data").write_text("")
    with pytest.raises(SettingsError) as refusal:
        load(None, {}, {}, look_at_files=True)
    assert refusal.value.problems == (
        "storage is file:./headgate-data unless it is given, "
        "but must be a folder, or nothing yet: this is a file.",
    )
    assert load(None, FIRST_ROUTE, {}, look_at_files=True).routes
    assert load(None, {"HEADGATE_ORIGIN": "http://a"}, {}, look_at_files=True).origin


def two_routes(first: str, second: str) -> str:
    return "".join(
        f'[[routes]]\nprefix = "/{name}"\nstorage = "{storage}"\n'
        for name, storage in (("a", first), ("b", second))
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("redis://h", "redis://u:secret@H:6379/0?prefix=headgate"),
        ("redis+unix:///s", "redis+unix:///s"),
        ("redis+sentinel://a,b/s", "redis+sentinel://c,b/s"),
        ("redis+cluster://a,b", "redis://b"),
    ],
)
def test_two_routes_to_one_redis_database_and_prefix_are_refused(
    first: str, second: str, tmp_path: Path
) -> None:
    (problem,) = problems(two_routes(first, second), folder=tmp_path)
    assert problem.startswith("h.toml:6: routes[1].storage is ")
    assert problem.endswith(
        " must not be the storage of routes[0] too: they need different databases or prefixes."
    )
    assert "secret" not in problem


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("redis://h", "redis://h/1"),
        ("redis://h", "redis://h?prefix=other"),
        ("redis://h", "redis://h:6380"),
        ("redis+unix:///s", "redis+unix:///s?db=1"),
        ("redis+sentinel://a,b/s", "redis+sentinel://a,b/t"),
    ],
)
def test_two_routes_to_one_redis_with_separate_keys_are_accepted(
    first: str, second: str, tmp_path: Path
) -> None:
    config = tmp_path / "h.toml"
    config.write_text(two_routes(first, second))
    assert len(load(config, {}, {}).routes) == 2


@pytest.mark.parametrize(
    ("storage", "why"),
    [
        ("memory:", "each process would have streams of its own"),
        ("file:./data", "one process alone can keep its data in a folder"),
    ],
)
def test_several_workers_are_refused_for_memory_and_file_storage(storage: str, why: str) -> None:
    assert load(None, {}, {"storage": storage, "workers": "1"}).workers == 1
    assert problems(flags={"storage": storage, "workers": "2"}) == [
        f"--workers is 2, but must be 1 while streams live in {redacted_origin(storage)}, as "
        f"{why}; only streams in Redis or at http(s) origins may have more."
    ]


def test_several_workers_are_refused_if_one_of_the_routes_is_in_memory(tmp_path: Path) -> None:
    toml = "workers = 2\n" + two_routes("redis://h", "memory:")
    (problem,) = problems(toml, folder=tmp_path)
    assert problem.startswith(
        "h.toml:1: workers is 2, but must be 1 while streams live in memory:, as "
    )


@pytest.mark.parametrize(("key", "place"), [("storage", "redis://h"), ("origin", "http://h")])
def test_several_workers_are_accepted_for_redis_and_http_origins(key: str, place: str) -> None:
    assert load(None, {}, {key: place, "workers": "8"}).workers == 8


@pytest.mark.parametrize("key", ["storage", "origin"])
def test_several_workers_are_not_reported_beside_an_invalid_place(key: str) -> None:
    (problem,) = problems(flags={key: "nfs:", "workers": "2"})
    assert problem.startswith(f"--{key} is ")


def test_max_pending_appends_below_max_append_is_refused() -> None:
    assert problems(environment={"HEADGATE_LIMITS__MAX_APPEND": "257MiB"}) == [
        "HEADGATE_LIMITS__MAX_APPEND: limits.max_pending_appends is 256MiB unless it is given, but "
        "must not be less than max_append, 257MiB."
    ]
    fits = {
        "HEADGATE_LIMITS__MAX_APPEND": "256MiB",
        "HEADGATE_LIMITS__MAX_PENDING_APPENDS": "256MiB",
    }
    assert load(None, fits, {}).limits.max_append == 256 << 20


def test_a_password_in_an_invalid_storage_is_not_repeated() -> None:
    for url in ('redis://user:p@ss/w "ord@host/0', "nfs://user:pass@host/0"):
        (problem,) = problems(flags={"storage": url})
        assert problem.startswith(f"--storage is not shown here ({len(url)} characters), but must ")
    (problem,) = problems(flags={"storage": "redis+sentinel://h/s?sentinel_password=p%&db=1"})
    assert "password=p" not in problem


@pytest.mark.parametrize(("key", "secret"), [("role", "sk-" + "p" * 19), ("token", "s3cret")])
def test_a_secret_in_a_token_of_the_console_is_not_repeated(key: str, secret: str) -> None:
    values = {"name": "ann", "role": "viewer", "token": "t" * 22, key: secret}
    (problem,) = problems(environment=variables({"admin_tokens": [values]}))
    assert "not shown here" in problem
    assert secret not in problem


@pytest.mark.parametrize("key", ["workers", "listen", "log.level", "features"])
def test_a_secret_in_a_field_that_never_has_one_is_not_repeated(key: str) -> None:
    secret = "sk-" + "p" * 48
    (problem,) = problems(environment={variable_of(key): secret})
    assert "not shown here (51 characters)" in problem or "not shown here (1 items)" in problem
    assert secret not in problem


def test_a_long_value_is_shortened_in_its_mistake() -> None:
    (problem,) = problems(flags={"log__level": "x" * 5000})
    assert len(problem) < 360


def test_kubernetes_service_links_and_headgate_config_are_not_reported_as_unknown_settings() -> (
    None
):
    environment = {
        "HEADGATE_CONFIG": "h.toml",
        "HEADGATE_SERVICE_HOST": "10.0.0.1",
        "HEADGATE_SERVICE_PORT": "4437",
        "HEADGATE_SERVICE_PORT_STREAMS": "4437",
        "HEADGATE_PORT": "tcp://10.0.0.1:4437",
        "HEADGATE_PORT_4437_TCP": "tcp://10.0.0.1:4437",
        "HEADGATE_PORT_4437_TCP_PROTO": "tcp",
        "HEADGATE_PORT_4437_TCP_PORT": "4437",
        "HEADGATE_PORT_4437_TCP_ADDR": "10.0.0.1",
    }
    assert load(None, environment, {}) == Settings()


def test_a_missing_settings_file_is_reported_together_with_the_other_mistakes(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path / "none.toml", {}, {"log__level": "loud"})
    assert refusal.value.problems == (
        f"{tmp_path}/none.toml cannot be read: No such file or directory; it was named by --config "
        "or HEADGATE_CONFIG.",
        '--log-level is "loud", but must be one of debug, info, warning, error.',
    )


def test_a_settings_file_that_is_not_toml_is_reported_with_line_and_column(tmp_path: Path) -> None:
    (problem,) = problems("listen = \n", folder=tmp_path)
    assert re.fullmatch(r"h\.toml:1: this is not TOML: [\w ]+ at column 10\.", problem)
    for quote in "\"'":
        (problem,) = problems(f"listen = {quote}a\n#{quote}", folder=tmp_path)
        assert problem == "h.toml:1: this is not TOML: a quote is open at the line's end."


def test_a_settings_file_that_ends_too_early_is_reported_with_its_last_line(tmp_path: Path) -> None:
    (problem,) = problems('# one\nroutes = ["a",\n', folder=tmp_path)
    assert re.fullmatch(r"h\.toml:2: this is not TOML: .*\.", problem)


def test_a_settings_file_that_is_not_utf_8_is_reported_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_bytes(b"# one\n# two \xff\n")
    with pytest.raises(SettingsError) as refusal:
        load(config, {}, {})
    assert refusal.value.problems == (f"{config}:2: this is not UTF-8 text, hence not TOML.",)


def test_a_settings_file_may_have_a_byte_order_mark_and_windows_line_ends(
    tmp_path: Path,
) -> None:
    config = tmp_path / "h.toml"
    config.write_bytes(b'\xef\xbb\xbflog.level = "error"\r\nworkers = 1\r\n')
    assert load(config, {}, {}).log.level == "error"


PLACES = {
    "log.level = 1": "h.toml:1: log.level",
    "# log.level = 2\n\n  'log' . level = 1": "h.toml:3: log.level",
    'log.format = "json"\nlog."level"=1': "h.toml:2: log.level",
    "[log]\n\nlevel = 1": "h.toml:3: log.level",
    "[ admin . tls ]\n'key' = 1": "h.toml:2: admin.tls.key",
    "admin.tls = {key = 1}": "h.toml:1: admin.tls.key",
    "admin = 1": "h.toml:1: admin.listen",
    "routes = [\n  {prefix = 1, storage = 'memory:'},\n]": "h.toml:1: routes[0].prefix",
    "[cache]\nsize = 1": "h.toml:1: cache",
    "cache.size = 1": "h.toml:1: cache",
    r'log."le\u0076el" = 1': "h.toml:1: log.level",
    'workers = 1\n"a b" = 1': 'h.toml:2: "a b"',
    r"""workers = 1
"a\"=\n" = 1""": r'h.toml:2: "a\"=\n"',
    "workers = 1\n'a\"b' = 1 # '": r'h.toml:2: "a\"b"',
    f"{A_ROUTE}'a b'.c = 1": 'h.toml:4: routes[0]."a b"',
    f"{A_ROUTE}[ 'routes' . \"a b\" ] # 1\nc = 1": 'h.toml:4: routes[0]."a b"',
    f'{A_ROUTE}[["rout\\u0065s"]]\nprefix = 1\nstorage = "memory:"': "h.toml:5: routes[1].prefix",
    'workers = 1\n["a b"]\nlog_level = 1': 'h.toml:2: "a b"',
}


@pytest.mark.parametrize(("toml", "place"), PLACES.items(), ids=map(ascii, PLACES))
def test_a_mistake_in_a_file_is_reported_with_its_line(
    toml: str, place: str, tmp_path: Path
) -> None:
    (problem,) = problems(toml, folder=tmp_path)
    assert problem.startswith(f"{place} is ")


@pytest.mark.parametrize(
    ("listen", "admin"),
    [("h:1", "h:1"), ("0.0.0.0:1", "127.0.0.1:1"), ("127.0.0.1:1", "0.0.0.0:1")],
)
def test_a_shared_port_of_both_listeners_is_refused(listen: str, admin: str) -> None:
    flags = {"listen": listen, "admin": admin}
    environment = {**admitted(tokens=[DEPLOY]), "HEADGATE_AUTH": "none"}
    assert problems(environment=environment, flags=flags) == [
        f'--admin is "{admin}", but must not share the port of listen, which is {listen}.'
    ]


@pytest.mark.parametrize(
    ("listen", "admin"),
    [
        ("127.0.0.1:1", "127.0.0.2:1"),
        ("127.0.0.1:1", "[::]:1"),
        ("0.0.0.0:1", "0.0.0.0:2"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ],
)
def test_different_listen_and_admin_addresses_are_accepted(listen: str, admin: str) -> None:
    given = {**admitted(tokens=[DEPLOY]), "HEADGATE_AUTH": "none"}
    assert str(load(None, given, {"listen": listen, "admin": admin}).admin.listen) == admin


@pytest.mark.parametrize("key", ["live.long_poll_timeout", "limits.max_live_readers"])
def test_a_quoted_number_is_refused_in_a_file_and_accepted_in_the_environment(
    key: str, tmp_path: Path
) -> None:
    (problem,) = problems(f'{key} = "20"', folder=tmp_path)
    assert problem.startswith(f'h.toml:1: {key} is "20", but must be a ')
    assert load(None, {variable_of(key): "20"}, {}).value_at(key) == 20
    assert load(None, {}, {key.replace(".", "__"): "20"}).value_at(key) == 20


@pytest.mark.parametrize("key", sorted(Route.settings.keys() - Settings.settings.keys()))
def test_a_route_setting_outside_a_route_is_reported_as_a_route_setting(
    key: str, tmp_path: Path
) -> None:
    environment = {f"HEADGATE_{key.upper()}": "1"}
    assert problems(f"{key} = 1", environment, folder=tmp_path) == [
        f"h.toml:1: {key} is not a setting; it is routes[0].{key}.",
        f"HEADGATE_{key.upper()} is not a setting; it is HEADGATE_ROUTES__0__{key.upper()}.",
    ]


def test_an_invalid_value_is_shown_as_it_was_written(tmp_path: Path) -> None:
    toml = 'limits.max_append = "1GiB"\n[[routes]]\nprefix = "/a"\nstorage = "redis://h"\n'
    told = problems(f'{toml}retention_size = "1025GiB"\n', folder=tmp_path)
    assert [sentence.partition(",")[0] for sentence in told] == [
        'h.toml:1: limits.max_append is "1GiB"',
        'h.toml:5: routes[0].retention_size is "1025GiB"',
    ]


@pytest.mark.parametrize("name", ["HEADGATE_URL", "HEADGATE_PASSWORD"])
def test_no_setting_is_suggested_for_a_name_unlike_all_settings(name: str, tmp_path: Path) -> None:
    assert problems("[server]\nsecret = 1", {name: "x"}, folder=tmp_path) == [
        "h.toml:1: server is not a setting.",
        f"{name} is not a setting.",
    ]


def test_a_file_origin_is_shown_with_its_absolute_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = [redacted_origin(origin) for origin in ("memory:", "file:./data", "file:/a/b/")]
    assert shown == ["memory:", f"file:{tmp_path}/data", "file:/a/b"]


def test_a_redis_origin_is_shown_without_its_password() -> None:
    assert redacted_origin("redis://app:s3cret@h/1") == "redis://app:***@h:6379/1"


# ---------------------------------------------------------------- who may use the admin listener

HASH = "$argon2id$v=19$m=65536,t=3,p=4$" + "c" * 21 + "g$" + "k" * 43
ANN = {"name": "ann", "role": "viewer", "password_hash": HASH}
DEPLOY = {"name": "deploy", "role": "operator", "token": "t" * 22}


def admitted(users: object = (), tokens: object = ()) -> dict[str, str]:
    """Return the environment that gives these users and tokens."""
    given = {"admin_users": users, "admin_tokens": tokens}
    return variables({key: value for key, value in given.items() if value != ()})


@pytest.mark.parametrize(
    "address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "host:1", "localhost.example:1", "128.0.0.1:1"]
)
def test_an_admin_address_beyond_loopback_is_refused_without_admin_users_and_tokens(
    address: str,
) -> None:
    assert problems(flags={"admin": address}) == [
        f'--admin is "{address}", but must be on loopback, such as 127.0.0.1:4439, while there are '
        "no admin.users and no admin.tokens: everybody who reaches it would be an operator."
    ]
    for environment in (admitted([ANN]), admitted(tokens=[DEPLOY])):
        assert str(load(None, environment, {"admin": address}).admin.listen) == address


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "127.255.0.3:1", "[::1]:1", "localhost:1", "LOCALHOST:1"]
)
def test_an_admin_address_on_loopback_needs_no_credentials(address: str) -> None:
    assert str(load(None, {}, {"admin": address}).admin.listen) == address


def test_an_admin_token_is_stored_as_its_hash_however_it_is_written() -> None:
    token = "a token of many characters".replace(" ", "-")
    digest = hashlib.sha256(token.encode()).digest()
    given = [{**DEPLOY, "token": token}, {**DEPLOY, "name": "b", "token": f"sha256:{digest.hex()}"}]
    loaded = load(None, admitted(tokens=given), {}).admin.tokens
    assert [one.digest for one in loaded] == [digest, digest]


@pytest.mark.parametrize(
    ("users", "tokens", "problem"),
    [
        pytest.param(
            [{**ANN, "password_hash": "hunter2"}],
            (),
            "HEADGATE_ADMIN__USERS__0__PASSWORD_HASH is not shown here, but must be what headgate "
            "config hash-password prints, which begins with $argon2id$.",
            id="a-password-instead-of-its-hash",
        ),
        pytest.param(
            [{**ANN, "password_hash": HASH.replace("m=65536", "m=31")}],
            (),
            "HEADGATE_ADMIN__USERS__0__PASSWORD_HASH is not shown here, but must have an m of at "
            "least 8 times its p.",
            id="a-hash-of-too-little-memory",
        ),
        pytest.param(
            [{**ANN, "password_hash": HASH.replace("t=3", "t=0")}],
            (),
            "HEADGATE_ADMIN__USERS__0__PASSWORD_HASH is not shown here, but must be what headgate "
            "config hash-password prints, which begins with $argon2id$.",
            id="a-hash-without-passes",
        ),
        pytest.param(
            [{**ANN, "password_hash": HASH[:-1] + "l"}],
            (),
            "HEADGATE_ADMIN__USERS__0__PASSWORD_HASH is not shown here, but must be what headgate "
            "config hash-password prints, which begins with $argon2id$.",
            id="a-hash-that-is-not-base64",
        ),
        pytest.param(
            (),
            [{**DEPLOY, "token": "hunter2"}],
            "HEADGATE_ADMIN__TOKENS__0__TOKEN is not shown here, but must be at least 22 "
            "characters without blanks, or sha256: and the 64 hexadecimal digits of their hash.",
            id="a-short-token",
        ),
        pytest.param(
            (),
            [{**DEPLOY, "token": "sha256:hunter2-hunter2-hunter2"}],
            "HEADGATE_ADMIN__TOKENS__0__TOKEN is not shown here, but must be at least 22 "
            "characters without blanks, or sha256: and the 64 hexadecimal digits of their hash.",
            id="a-malformed-hash-of-a-token",
        ),
        pytest.param(
            [{**ANN, "role": "admin"}],
            (),
            'HEADGATE_ADMIN__USERS__0__ROLE is "admin", but must be one of viewer, operator.',
            id="an-unknown-role",
        ),
        pytest.param(
            [{**ANN, "name": "a b"}],
            (),
            'HEADGATE_ADMIN__USERS__0__NAME is "a b", but must be a name of at most 64 letters, '
            "digits, '-', '_', '.' and '@'.",
            id="a-blank-in-a-name",
        ),
        pytest.param(
            [ANN, ANN],
            (),
            'HEADGATE_ADMIN__USERS__1__NAME is "ann", but must not be the name of admin.users[0] '
            "too.",
            id="one-name-twice",
        ),
        pytest.param(
            [{**ANN, "password": "hunter2"}],
            (),
            "HEADGATE_ADMIN__USERS__0__PASSWORD is not a setting; the nearest is "
            "HEADGATE_ADMIN__USERS__0__PASSWORD_HASH.",
            id="a-password-setting",
        ),
        pytest.param(
            [{"name": "ann", "role": "viewer"}],
            (),
            "HEADGATE_ADMIN__USERS__0__PASSWORD_HASH is missing; it must be what headgate "
            "config hash-password prints, which begins with $argon2id$.",
            id="no-password-hash",
        ),
        pytest.param(
            "hunter2",
            (),
            "HEADGATE_ADMIN__USERS is not shown here, but must be an array of tables, each with "
            "name, role and password_hash; HEADGATE_ADMIN__USERS__0__ and a key are in the first.",
            id="users-that-are-no-array",
        ),
        pytest.param(
            {0: "hunter2"},
            (),
            "HEADGATE_ADMIN__USERS__0 is not shown here, but must be a table with name, role and "
            "password_hash.",
            id="a-user-that-is-no-table",
        ),
    ],
)
def test_an_invalid_admin_user_or_token_is_reported_without_its_secret(
    users: object, tokens: object, problem: str
) -> None:
    assert problems(environment=admitted(users, tokens)) == [problem]


def test_the_source_of_each_given_setting_is_remembered(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text('admin = "[::1]:2"\n\n[[routes]]\nprefix = "/a"\nstorage = "memory:"\n')
    sources = load(config, {"HEADGATE_LOG__LEVEL": "info"}, {"listen": "[::1]:1"}).sources
    assert sources == {
        "admin.listen": f"{config}:1",
        "routes": f"{config}:3",
        "routes[0].prefix": f"{config}:4",
        "routes[0].storage": f"{config}:5",
        "log.level": "HEADGATE_LOG__LEVEL",
        "listen": "--listen",
    }


def test_the_settings_file_is_remembered_if_there_is_one(tmp_path: Path) -> None:
    config = tmp_path / "headgate.toml"
    config.write_text('log.level = "debug"\n')
    assert load(config, {"HEADGATE_LOG__FORMAT": "json"}, {}).file == str(config)
    assert load(None, {"HEADGATE_LOG__FORMAT": "json"}, {"listen": "[::1]:1"}).file is None


# ---------------------------------------------------------------- who may use the streams

BEYOND = ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "host:1", "localhost.example:1", "[2001:db8::1]:1"]


@pytest.mark.parametrize("address", BEYOND)
def test_a_listen_address_beyond_loopback_is_refused_without_auth(address: str) -> None:
    assert problems(flags={"listen": address}) == [
        "--listen: auth is not given, but must say who may use /v1/stream, since others than this "
        f'machine reach {address}: auth = ["tokens"] asks for tokens, auth = "none", '
        "HEADGATE_AUTH=none or --auth none lets everybody read, write and delete "
        "(docs/access.md has recipes)."
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.255.0.3:1", "[::1]:1", "LOCALHOST:1"])
def test_a_listen_address_on_loopback_needs_no_auth(address: str) -> None:
    settings = load(None, {}, {"listen": address})
    assert settings.auth_of(settings.route_table[0]) == ()


@pytest.mark.parametrize(
    ("said", "auth"),
    [
        ("none", ()),
        ("tokens", ("tokens",)),
        ("jwt, tokens", ("jwt", "tokens")),
        ("read-tokens", ("read-tokens",)),
    ],
)
@pytest.mark.parametrize("address", BEYOND)
def test_a_listen_address_beyond_loopback_is_accepted_with_auth(
    address: str, said: str, auth: tuple[str, ...]
) -> None:
    settings = load(None, {"HEADGATE_AUTH": said}, {"listen": address})
    assert settings.auth_of(settings.route_table[0]) == auth


ROUTES = """
listen = "0.0.0.0:1"
[[routes]]
prefix = "/a"
storage = "memory:"
[[routes]]
prefix = "/b"
origin = "http://b"
auth = "origin"
[[routes]]
prefix = "/c"
storage = "memory:"
"""


def test_every_route_without_auth_is_named(tmp_path: Path) -> None:
    (problem,) = problems(ROUTES, folder=tmp_path)
    assert problem.startswith(
        "h.toml:2: auth is not given, but must say who may use /a and /c, since "
    )


def test_auth_of_a_route_overrides_the_global_auth(tmp_path: Path) -> None:
    config = tmp_path / "h.toml"
    config.write_text('auth = ["tokens"]\n' + ROUTES + 'auth = "none"')
    settings = load(config, {}, {})
    assert {route.prefix: settings.auth_of(route) for route in settings.routes} == {
        "/a": ("tokens",),
        "/b": ("origin",),
        "/c": (),
    }


def test_a_write_origin_that_is_not_a_cors_origin_is_refused(tmp_path: Path) -> None:
    toml = '[http]\ncors_origins = ["https://a.test"]\nwrite_origins = ["https://b.test"]\n'
    assert problems(toml, folder=tmp_path) == [
        'h.toml:3: http.write_origins is ["https://b.test"], but must not name https://b.test, '
        "which cors_origins does not name."
    ]
    settings = load(None, {"HEADGATE_HTTP__WRITE_ORIGINS": "https://b.test"}, {})
    assert settings.http.write_origins == ("https://b.test",)


# ---------------------------------------------------------------- anything at all

PATHS = sorted({it.path for it, _ in describe_settings()} | {"routes[0].prefix", "tls", "admin"})
TEXTS = st.sampled_from(
    [
        *("", "x", "1", "-1", "1.5", "true", "none", "on", "info", "*", "read", "tokens, jwt"),
        *("memory:", "file:x", "http://a", "redis://:s3cret@h", "127.0.0.1:1", "0.0.0.0:1"),
        *("16MiB", "/a"),
    ]
) | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
SCALARS = TEXTS | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats() | st.dates()
KEYS = st.sampled_from(
    sorted({step for path in PATHS for step in re.findall(r"\w+", path)} | {*Route.settings})
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
FILES = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=4), max_size=4)
WORDS = KEYS.map(str.upper) | st.sampled_from(["0", "1", "2", "01", "99999", "", "X"])
ENVIRONMENTS = st.dictionaries(
    st.lists(WORDS, min_size=1, max_size=5).map(lambda words: f"HEADGATE_{'__'.join(words)}")
    | st.sampled_from([variable_of(path) for path in PATHS if "[" not in path]),
    TEXTS,
    max_size=4,
)


def in_toml(value: object) -> str:
    """Return a value as it is written in a file."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {in_toml(it)}' for key, it in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(in_toml, value))}]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return str(value)


@hypothesis.given(values=FILES, environment=ENVIRONMENTS)
def test_any_values_are_accepted_or_refused_with_their_sources(
    values: dict[str, object], environment: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "h.toml")
        config.write_text("".join(f"{key} = {in_toml(it)}\n" for key, it in values.items()))
        try:
            load(config, environment, {})
        except SettingsError as refusal:
            for problem in refusal.problems:
                source = rf"{re.escape(str(config))}:\d+: |HEADGATE_"
                assert re.match(source, problem), problem
                assert "s3cret" not in problem


# ---------------------------------------------------------------- the document


def test_the_tables_of_the_document_are_made_from_the_declarations() -> None:
    document = settings_document.DOCUMENT.read_text()
    assert settings_document.written_anew(document) == document


def test_each_setting_says_what_a_reload_does_with_it() -> None:
    declared = (*describe_settings(), *describe_settings(Route))
    assert [item.path for item, _ in declared if not item.reload] == []


def test_misspelt_keywords_of_a_served_thread_are_refused_with_the_nearest_setting() -> None:
    with pytest.raises(SettingsError) as refused, serving(max_apend=1000):
        pass
    assert refused.value.problems == (
        "max_apend is not a setting; the nearest is limits.max_append.",
    )


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"HEADGATE_STORAGE": "redis:/u:c4nary@h:1"}, id="one-slash"),
        pytest.param({"HEADGATE_STORAGE": "redis:u:c4nary@h:1"}, id="no-slash"),
        pytest.param({"HEADGATE_STORAGE": "u:c4nary@h:1"}, id="no-scheme"),
        pytest.param({"HEADGATE_STORAGE": "//u:c4nary@h:1"}, id="slashes-alone"),
        pytest.param({"HEADGATE_ALERTS": "https://hook.example/c4nary"}, id="a-webhook-alone"),
        pytest.param(
            {
                "HEADGATE_ALERTS__WEBHOOK": "https://hook.example",
                "HEADGATE_ALERTS__WEBHOOK_SECRET_FILE": "whsec_c4nary",
            },
            id="a-secret-in-place-of-its-file",
        ),
    ],
)
def test_a_secret_in_a_misspelt_setting_is_not_shown(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as refused:
        load(None, given, {}, look_at_files=True)
    assert "c4nary" not in str(refused.value)


def test_the_beginning_of_a_key_has_hint_the_key_of_its_section(tmp_path: Path) -> None:
    (problem,) = problems('[tls]\ncert = "c.pem"\n', folder=tmp_path)
    assert problem == "h.toml:2: tls.cert is not a setting; the nearest is tls.certificate."
