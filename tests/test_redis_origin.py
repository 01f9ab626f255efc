from __future__ import annotations

import re

import pytest

from gateway.settings.log_kinds import kind_of
from gateway.settings.log_kinds.redis import KIND, RedisOrigin, parse_redis

SECRETS = ("s3cret", "hidden")


def origin(**fields: object) -> RedisOrigin:
    plain: dict[str, object] = {
        "kind": "single",
        "nodes": (("h", 6379),),
        "path": "",
        "service": "",
        "db": 0,
        "username": None,
        "password": None,
        "sentinel_username": None,
        "sentinel_password": None,
        "tls": False,
        "prefix": "headgate",
    }
    return RedisOrigin(**{**plain, **fields})  # type: ignore[arg-type] # what a test names


@pytest.mark.parametrize(
    ("url", "meant", "shown"),
    [
        pytest.param("redis://h", origin(), "redis://h:6379", id="a-host"),
        pytest.param("redis://h/", origin(), "redis://h:6379", id="a-host-and-a-slash"),
        pytest.param(
            "redis://h:7/3",
            origin(nodes=(("h", 7),), db=3),
            "redis://h:7/3",
            id="a-port-and-a-database",
        ),
        pytest.param(
            "rediss://h?prefix=a.b-c_d:e",
            origin(tls=True, prefix="a.b-c_d:e"),
            None,
            id="tls-and-a-prefix",
        ),
        pytest.param(
            "redis://[::1]:7", origin(nodes=(("::1", 7),)), "redis://[::1]:7", id="an-ipv6-address"
        ),
        pytest.param(
            "redis://:s3cret@h", origin(password="s3cret"), "redis://:***@h:6379", id="a-password"
        ),
        pytest.param(
            "redis://a%2Fb:s3cret%40%25@h",
            origin(username="a/b", password="s3cret@%"),
            "redis://a%2Fb:***@h:6379",
            id="a-percent-encoded-user-and-password",
        ),
        pytest.param(
            "redis://app:@h",
            origin(username="app", password=""),
            "redis://app:***@h:6379",
            id="an-empty-password",
        ),
        pytest.param(
            "redis+unix:///run/redis%20a.sock?db=2&prefix=p",
            origin(kind="unix", nodes=(), path="/run/redis a.sock", db=2, prefix="p"),
            "redis+unix:///run/redis%20a.sock?db=2&prefix=p",
            id="a-unix-socket",
        ),
        pytest.param(
            "redis+unix://app:s3cret@/s",
            origin(kind="unix", nodes=(), path="/s", username="app", password="s3cret"),
            "redis+unix://app:***@/s",
            id="a-unix-socket-with-a-password",
        ),
        pytest.param(
            "redis+sentinel://a,b:7/my.master/1",
            origin(kind="sentinel", nodes=(("a", 26379), ("b", 7)), service="my.master", db=1),
            "redis+sentinel://a:26379,b:7/my.master/1",
            id="sentinels",
        ),
        pytest.param(
            "rediss+sentinel://app:s3cret@a/m?sentinel_username=w&sentinel_password=hidden",
            origin(
                kind="sentinel",
                nodes=(("a", 26379),),
                service="m",
                username="app",
                password="s3cret",
                sentinel_username="w",
                sentinel_password="hidden",
                tls=True,
            ),
            "rediss+sentinel://app:***@a:26379/m?sentinel_username=w&sentinel_password=***",
            id="sentinels-with-passwords",
        ),
        pytest.param(
            "redis+cluster://a,[::1]:7000,c.example",
            origin(kind="cluster", nodes=(("a", 6379), ("::1", 7000), ("c.example", 6379))),
            "redis+cluster://a:6379,[::1]:7000,c.example:6379",
            id="a-cluster",
        ),
        pytest.param(
            "rediss+cluster://a/",
            origin(kind="cluster", nodes=(("a", 6379),), tls=True),
            None,
            id="a-cluster-with-tls",
        ),
    ],
)
def test_a_redis_url_is_parsed_and_shown_without_its_secrets(
    url: str, meant: RedisOrigin, shown: str | None
) -> None:
    assert kind_of(url) is KIND
    understood = parse_redis(url)
    assert understood == meant
    assert shown is None or str(understood) == shown
    for secret in SECRETS:
        assert secret not in str(understood)
        assert secret not in repr(understood)


@pytest.mark.parametrize("url", ["redis:host", "redis+tcp://h", "REDIS://h", "http://redis://h"])
def test_a_url_that_is_not_redis_is_refused_by_parse_redis(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a redis:// URL"):
        parse_redis(url)


PLAIN_SECRET = (
    "must have the characters @ : / ? # % of a user or password percent-encoded, such as %40 for @"
)
A_HOST = "must have HOST or HOST:PORT for each server, an IPv6 HOST in brackets"


@pytest.mark.parametrize(
    ("url", "must"),
    [
        ("redis://u:s3cret @h", "must be a redis:// URL of printable ASCII without spaces"),
        ("redis://u:s3cré@h", "must be a redis:// URL of printable ASCII without spaces"),
        pytest.param("redis://u:s3@cret@h", PLAIN_SECRET, id="an-at-sign-in-the-password"),
        pytest.param("redis://u:s3/cret@h", PLAIN_SECRET, id="a-slash-in-the-password"),
        pytest.param("redis://u:s3?cret@h", PLAIN_SECRET, id="a-question-mark-in-the-password"),
        ("redis://u:s3#cret@h", "must have no # in it: write %23 in a user or password"),
        ("redis://u:s3:cret@h", "must have a : of its password written as %3A"),
        pytest.param(
            "redis://u:s3%cret@h",
            "must have two hexadecimal digits after each %: write %25 for a % itself",
            id="a-percent-sign-in-the-password",
        ),
        ("redis://u:s3cret%ff@h", "must have nothing but UTF-8 percent-encoded in it"),
        ("redis://s3cret@h", "must have USER:PASSWORD or :PASSWORD in front of its @"),
        ("redis://:@h", "must have USER:PASSWORD or :PASSWORD in front of its @"),
        pytest.param("redis://", A_HOST, id="no-host"),
        pytest.param("redis://h:0", A_HOST, id="port-zero"),
        pytest.param("redis://h:65536", A_HOST, id="a-port-over-65535"),
        pytest.param("redis://a..b", A_HOST, id="an-empty-label-of-the-host"),
        pytest.param("redis://::1", A_HOST, id="ipv6-without-brackets"),
        pytest.param(
            "redis://[1::2::3]",
            "must have an IPv6 address in its brackets: At most one '::' permitted in '1::2::3'",
            id="a-malformed-ipv6-address",
        ),
        pytest.param(
            "redis://a,b",
            "must name one server: several are for redis+sentinel:// and redis+cluster://",
            id="two-servers-of-no-cluster",
        ),
        ("redis+cluster://a,A:6379", "must not name a server twice"),
        pytest.param("redis+cluster://a,", A_HOST, id="a-trailing-comma"),
        pytest.param(
            "redis://h/x",
            "must have the number of a database, such as 0, where it has a database",
            id="a-database-that-is-no-number",
        ),
        pytest.param(
            "redis+unix:///s?db=-1",
            "must have the number of a database, such as 0, where it has a database",
            id="a-negative-database",
        ),
        pytest.param(
            "redis+cluster://a/1",
            "must end with its servers: a cluster has no databases to choose from",
            id="a-database-of-a-cluster",
        ),
        pytest.param(
            "redis+sentinel://a",
            "must have the name of the service after its sentinels, such as /mymaster",
            id="sentinels-without-a-service",
        ),
        pytest.param(
            "redis+sentinel://a/m?sentinel_username=u",
            "must have a sentinel_password with its sentinel_username",
            id="a-sentinel-user-without-a-password",
        ),
        ("redis://h?db=1", "must have no db in its query, which knows prefix"),
        ("redis://h?password=s3cret", "must have no password in its query, which knows prefix"),
        ("redis://h?s3cret", "must have no anything else in its query, which knows prefix"),
        ("redis://h?prefix=a&prefix=b", "must have prefix once in its query"),
        (
            "redis://h?prefix={a}",
            "must have a prefix of letters, digits, '-', '_', '.' and ':'",
        ),
        ("redis://h?prefix=", "must have a prefix of letters, digits, '-', '_', '.' and ':'"),
        ("redis+unix://h/s", "must have three slashes before the path of its socket"),
        pytest.param(
            "redis+unix:///",
            "must have the absolute path of a socket after its three slashes",
            id="an-empty-socket-path",
        ),
        pytest.param(
            "redis+unix:///s/",
            "must have the absolute path of a socket after its three slashes",
            id="a-socket-path-that-ends-with-a-slash",
        ),
        ("rediss+unix:///s", "must be redis+unix:// for a socket, which knows no TLS"),
    ],
)
def test_an_invalid_redis_url_is_refused_without_repeating_a_secret(url: str, must: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(must)}$") as refusal:
        parse_redis(url)
    assert refusal.value.__cause__ is None or "s3cret" not in str(refusal.value.__cause__)
