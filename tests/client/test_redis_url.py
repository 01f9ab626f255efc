from __future__ import annotations

import re

import pytest

from headgate.redis_url import RedisUrl, parse_redis
from headgate_gateway.settings.log_kinds import kind_of
from headgate_gateway.settings.log_kinds.redis import KIND

SECRETS = ("s3cret", "hidden")


def origin(**fields: object) -> RedisUrl:
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
    return RedisUrl(**{**plain, **fields})  # type: ignore[arg-type] # what a test names


PARSED = {
    "redis://h": (origin(), "redis://h:6379"),
    "redis://h/": (origin(), "redis://h:6379"),
    "redis://h:7/3": (origin(nodes=(("h", 7),), db=3), "redis://h:7/3"),
    "rediss://h?prefix=a.b-c_d:e": (origin(tls=True, prefix="a.b-c_d:e"), None),
    "redis://[::1]:7": (origin(nodes=(("::1", 7),)), "redis://[::1]:7"),
    "redis://:s3cret@h": (origin(password="s3cret"), "redis://:***@h:6379"),
    "redis://a%2Fb:s3cret%40%25@h": (
        origin(username="a/b", password="s3cret@%"),
        "redis://a%2Fb:***@h:6379",
    ),
    "redis://app:@h": (origin(username="app", password=""), "redis://app:***@h:6379"),
    "redis+unix:///run/redis%20a.sock?db=2&prefix=p": (
        origin(kind="unix", nodes=(), path="/run/redis a.sock", db=2, prefix="p"),
        "redis+unix:///run/redis%20a.sock?db=2&prefix=p",
    ),
    "redis+unix://app:s3cret@/s": (
        origin(kind="unix", nodes=(), path="/s", username="app", password="s3cret"),
        "redis+unix://app:***@/s",
    ),
    "redis+sentinel://a,b:7/my.master/1": (
        origin(kind="sentinel", nodes=(("a", 26379), ("b", 7)), service="my.master", db=1),
        "redis+sentinel://a:26379,b:7/my.master/1",
    ),
    "rediss+sentinel://app:s3cret@a/m?sentinel_username=w&sentinel_password=hidden": (
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
    ),
    "redis+cluster://a,[::1]:7000,c.example": (
        origin(kind="cluster", nodes=(("a", 6379), ("::1", 7000), ("c.example", 6379))),
        "redis+cluster://a:6379,[::1]:7000,c.example:6379",
    ),
    "rediss+cluster://a/": (origin(kind="cluster", nodes=(("a", 6379),), tls=True), None),
}


@pytest.mark.parametrize(("url", "parsed"), PARSED.items(), ids=PARSED)
def test_a_redis_url_is_parsed_and_shown_without_its_secrets(
    url: str, parsed: tuple[RedisUrl, str | None]
) -> None:
    meant, shown = parsed
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


REFUSED = {
    "redis://u:s3cret @h": "must be a redis:// URL of printable ASCII without spaces",
    "redis://u:s3cré@h": "must be a redis:// URL of printable ASCII without spaces",
    "redis://u:s3@cret@h": PLAIN_SECRET,
    "redis://u:s3/cret@h": PLAIN_SECRET,
    "redis://u:s3?cret@h": PLAIN_SECRET,
    "redis://u:s3#cret@h": "must have no # in it: write %23 in a user or password",
    "redis://u:s3:cret@h": "must have a : of its password written as %3A",
    "redis://u:s3%cret@h": (
        "must have two hexadecimal digits after each %: write %25 for a % itself"
    ),
    "redis://u:s3cret%ff@h": "must have nothing but UTF-8 percent-encoded in it",
    "redis://s3cret@h": "must have USER:PASSWORD or :PASSWORD in front of its @",
    "redis://:@h": "must have USER:PASSWORD or :PASSWORD in front of its @",
    "redis://": A_HOST,
    "redis://h:0": A_HOST,
    "redis://h:65536": A_HOST,
    "redis://a..b": A_HOST,
    "redis://::1": A_HOST,
    "redis://[1::2::3]": (
        "must have an IPv6 address in its brackets: At most one '::' permitted in '1::2::3'"
    ),
    "redis://a,b": "must name one server: several are for redis+sentinel:// and redis+cluster://",
    "redis+cluster://a,A:6379": "must not name a server twice",
    "redis+cluster://a,": A_HOST,
    "redis://h/x": "must have the number of a database, such as 0, where it has a database",
    "redis+unix:///s?db=-1": (
        "must have the number of a database, such as 0, where it has a database"
    ),
    "redis+cluster://a/1": "must end with its servers: a cluster has no databases to choose from",
    "redis+sentinel://a": (
        "must have the name of the service after its sentinels, such as /mymaster"
    ),
    "redis+sentinel://a/m?sentinel_username=u": (
        "must have a sentinel_password with its sentinel_username"
    ),
    "redis://h?db=1": "must have nothing but prefix in its query, not db",
    "redis://h?password=s3cret": "must have nothing but prefix in its query, not password",
    "redis://h?s3cret": "must have nothing but prefix in its query",
    "redis://h?SeCretOfBase64==": "must have nothing but prefix in its query",
    "redis://h?prefix=a&prefix=b": "must have prefix once in its query",
    "redis://h?prefix={a}": "must have a prefix of letters, digits, '-', '_', '.' and ':'",
    "redis://h?prefix=": "must have a prefix of letters, digits, '-', '_', '.' and ':'",
    "redis+unix://h/s": "must have three slashes before the path of its socket",
    "redis+unix:///": "must have the absolute path of a socket after its three slashes",
    "redis+unix:///s/": "must have the absolute path of a socket after its three slashes",
    "rediss+unix:///s": "must be redis+unix:// for a socket, which knows no TLS",
}


@pytest.mark.parametrize(("url", "must"), REFUSED.items(), ids=REFUSED)
def test_an_invalid_redis_url_is_refused_without_repeating_a_secret(url: str, must: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(must)}$") as refusal:
        parse_redis(url)
    assert refusal.value.__cause__ is None or "s3cret" not in str(refusal.value.__cause__)
