"""The cache's part in a response: Cache-Status (RFC 9211), X-Cache and Age."""

from __future__ import annotations

from functools import lru_cache

import msgspec

NAME = "Headgate"
# The lines of a hit on an own log, for the number of hits: it is always current, without an end.
HIT = b"Age: 0\r\nX-Cache: HIT\r\nX-Cache-Hits: %d\r\nCache-Status: Headgate; hit\r\n"
# Ours on every answer that has them, whatever an origin said.
OF_THE_ANSWER = ("Age", "X-Cache", "X-Cache-Hits", "X-Request-Id")


class CacheUse(msgspec.Struct, frozen=True, gc=False):
    """The cache's part in a response: its result, as X-Cache has it, its header lines, its Age."""

    result: str
    lines: bytes
    age: int = 0


def cache_use(result: str, parameters: str, *, age: int = 0, hits: int = 0) -> CacheUse:
    """Return the cache's part in a response that is not an ordinary hit."""
    lines = (
        f"Age: {age}\r\nX-Cache: {result}\r\nX-Cache-Hits: {hits}\r\n"
        f"Cache-Status: {NAME}; {parameters}\r\n"
    )
    return CacheUse(result, lines.encode(), age)


@lru_cache(maxsize=1024)  # most are new, or a few seconds old; 0.4 MB
def forwarded(status: int, age: int, *, is_stale: bool, shared: bool, stored: bool) -> CacheUse:
    """Return the cache's part in a response that needed the origin; 304 confirms a copy."""
    name = "COLLAPSED" if shared else "REVALIDATED" if status == 304 else "MISS"
    reason = "stale" if is_stale else "uri-miss"
    ways = f"{'; collapsed' if shared else ''}{'; stored' if stored else ''}"
    return cache_use(name, f"fwd={reason}; fwd-status={status}{ways}", age=age)


def fresh_hit(age: int, ttl: int) -> tuple[bytes, bytes]:
    """Return the lines of a hit, in two parts around the number of hits.

    `age` and `ttl` are the seconds since the origin's response, and until it is stale.
    """
    return (
        b"Age: %d\r\nX-Cache: HIT\r\nX-Cache-Hits: " % age,
        b"\r\nCache-Status: Headgate; hit; ttl=%d\r\n" % ttl,
    )


MISS = cache_use("MISS", "fwd=uri-miss")
COLLAPSED = cache_use("COLLAPSED", "fwd=uri-miss; collapsed")
FAILED = cache_use("MISS", "fwd=miss")  # it was forwarded, and nothing came back
BYPASS = cache_use("BYPASS", "fwd=bypass")
OTHER_METHOD = cache_use("BYPASS", "fwd=method")
UNUSED = CacheUse("none", b"")  # of a request that was not answered
