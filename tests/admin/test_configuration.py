from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_admin.about import about
from headgate_admin.configuration.in_force import configuration
from headgate_admin.record import policy
from headgate_gateway.monitoring.quantities import spell
from headgate_gateway.settings import Route, Settings, load
from tests.support.given_settings import variables

if TYPE_CHECKING:
    from pathlib import Path

HASH = "$argon2id$v=19$m=65536,t=3,p=4$" + "c" * 21 + "g$" + "k" * 43
FILE = f"""\
limits.max_append = "4MiB"
log.level = "info"

[[routes]]
prefix = "/a"
storage = "redis://app:s3cret@h"
retention_age = 86400

[[admin.users]]
name = "ann"
role = "viewer"
password_hash = "{HASH}"
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Settings:
    config = tmp_path / "h.toml"
    config.write_text(FILE)
    tokens = [{"name": "p", "role": "operator", "token": "tttttttttttttttttttttttt"}]
    return load(
        config,
        variables({"admin_tokens": tokens, "body_timeout": 30}),
        {"listen": "127.0.0.1:80", "log__level": None},
    )


def test_each_setting_is_shown_with_its_source_and_default(
    loaded: Settings, tmp_path: Path
) -> None:
    views = {view.key: view for view in configuration(loaded).settings}
    told = {
        key: (views[key].value, views[key].source, views[key].differs)
        for key in (
            *("limits.max_append", "log.level", "listen", "http.body_timeout", "workers"),
            *("routes[0].prefix", "routes[0].retention_age", "routes[0].tail_max_age"),
            *("admin.users[0].role", "admin.tokens[0].name"),
        )
    }
    file = f"{tmp_path}/h.toml"
    assert told == {
        "limits.max_append": ("4MiB", f"{file}:1", True),
        "log.level": ("info", f"{file}:2", False),
        "listen": ("127.0.0.1:80", "--listen", True),
        "http.body_timeout": ("30", "HEADGATE_HTTP__BODY_TIMEOUT", False),
        "workers": ("1", "default", False),
        "routes[0].prefix": ("/a", f"{file}:5", True),
        "routes[0].retention_age": ("86400", f"{file}:7", True),
        "routes[0].tail_max_age": ("1", "default", False),
        "admin.users[0].role": ("viewer", f"{file}:11", True),
        "admin.tokens[0].name": ("p", "HEADGATE_ADMIN__TOKENS__0__NAME", True),
    }
    assert views["limits.max_append"].default == "16MiB"


def test_settings_that_differ_from_their_defaults_are_listed_first(loaded: Settings) -> None:
    differs = [view.differs for view in configuration(loaded).settings]
    assert differs == sorted(differs, reverse=True)
    assert True in differs
    assert False in differs


def test_the_configuration_page_masks_every_secret(loaded: Settings) -> None:
    views = {view.key: view.value for view in configuration(loaded).settings}
    assert views["admin.users[0].password_hash"] == "***"
    assert views["admin.tokens[0].token"] == "***"
    assert views["routes[0].storage"] == "redis://app:***@h:6379"
    everything = f"{configuration(loaded)} {loaded!r} {loaded} {loaded.plain()}"
    for secret in (HASH, "tttttt", "k" * 43):
        assert secret not in everything


def test_default_settings_are_all_shown_as_default() -> None:
    views = configuration(Settings()).settings
    assert {(view.source, view.differs) for view in views} == {("default", False)}


def test_the_about_page_has_versions_formats_and_limits() -> None:
    told = about(Settings(workers=1, limits={"max_connections": 1234}), {"data file": "1"})
    assert {
        "headgate",
        "aiohttp",
        "redis",
        "apsw",
        "uvloop",
        "python",
        "sqlite",
    } <= told.versions.keys()
    assert told.formats == {"data file": "1"}
    assert told.limits["connections"] == "1,234"
    assert "open files" in told.limits


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [(0, "0 seconds"), (1, "1 second"), (90, "90 seconds"), (120, "2 minutes"), (86400, "1 day")],
)
def test_durations_are_spelled_in_their_largest_exact_unit(seconds: int, spelled: str) -> None:
    assert spell(seconds) == spelled


@pytest.mark.parametrize(
    ("settings", "kind", "sentence"),
    [
        ({"storage": "memory:"}, "memory", "Streams last as long as the process."),
        ({"storage": "file:x"}, "file", "Whole chunks may be cached for 1 day"),
        ({"storage": "memory:"}, "memory", "Whole chunks may be cached for 1 minute"),
        pytest.param(
            {"storage": "redis://h", "wait_replicas": 1},
            "redis",
            "An append is acknowledged when a replica has it.",
            id="a-redis-log-that-waits-for-a-replica",
        ),
        pytest.param(
            {"origin": "http://h"},
            "http",
            "While the origin is unreachable, stale copies are served for 5 minutes.",
            id="an-origin-with-stale-copies",
        ),
    ],
)
def test_the_policy_of_a_route_is_described_in_sentences(
    settings: dict[str, object], kind: str, sentence: str
) -> None:
    route = Route.of({"prefix": "/r", **settings})
    assert policy.kind(route) == kind
    assert sentence in " ".join(policy.sentences(route))


@pytest.mark.parametrize(
    ("settings", "auth", "sentence"),
    [
        pytest.param(
            {},
            (),
            "Everybody may read and write. Responses are public: shared caches may store them.",
            id="no-auth",
        ),
        pytest.param(
            {},
            ("tokens",),
            "one of: a token of the tokens file. Responses are private: no shared",
            id="tokens",
        ),
        ({}, ("jwt", "read-tokens"), "one of: a JWT of an issuer, a read token."),
        ({"anonymous": ["read"]}, ("tokens",), "Everybody may read. Responses are public:"),
        ({"visibility": "public"}, ("tokens",), "Responses are public:"),
        ({"visibility": "private"}, (), "Responses are private:"),
        ({"conceal": "on"}, ("tokens",), "Others get 404, as if there were no stream."),
        pytest.param(
            {},
            ("origin",),
            "The origin decides who may read and write. Responses are private:",
            id="auth-of-the-origin",
        ),
        pytest.param(
            {"origin": "", "storage": "memory:", "listing": "on"},
            ("tokens",),
            "A client with a token that may read all of them may list the streams.",
            id="a-list",
        ),
    ],
)
def test_the_policy_of_a_route_states_who_is_admitted_and_who_may_cache(
    settings: dict[str, object], auth: tuple[str, ...], sentence: str
) -> None:
    route = Route.of({"prefix": "/r", "origin": "http://h", **settings})
    assert sentence in " ".join(policy.sentences(route, auth))
