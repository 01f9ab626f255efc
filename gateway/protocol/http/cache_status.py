"""The cache's part in a response: Cache-Status (RFC 9211), X-Cache and Age."""

from __future__ import annotations

from functools import lru_cache

NAME = "Headgate"
# Ours on every answer that has them, whatever an origin said.
OF_THE_ANSWER = ("Age", "X-Cache", "X-Cache-Hits", "X-Request-Id")


def lines(x_cache: str, parameters: str, *, age: int = 0, hits: int = 0) -> bytes:
    """Return the header lines of a response that is not an ordinary hit."""
    return (
        f"Age: {age}\r\nX-Cache: {x_cache}\r\nX-Cache-Hits: {hits}\r\n"
        f"Cache-Status: {NAME}; {parameters}\r\n"
    ).encode()


@lru_cache(maxsize=1024)  # most are new, or a few seconds old; 0.4 MB
def forwarded(status: int, age: int, *, is_stale: bool, shared: bool, stored: bool) -> bytes:
    """Return the lines of a response that needed the origin; 304 confirms a copy."""
    name = "COLLAPSED" if shared else "REVALIDATED" if status == 304 else "MISS"
    reason = "stale" if is_stale else "uri-miss"
    ways = f"{'; collapsed' if shared else ''}{'; stored' if stored else ''}"
    return lines(name, f"fwd={reason}; fwd-status={status}{ways}", age=age)


@lru_cache(maxsize=1024)  # of most answers they are the same, or were a second ago
def x_cache(lines: bytes) -> str:
    """Return the value of X-Cache in Headgate's own lines."""
    return lines.partition(b"X-Cache: ")[2].partition(b"\r\n")[0].decode()


def hit(hits: int) -> bytes:
    """Return the lines of a hit on an own log, which is always current: no age, no end."""
    return b"Age: 0\r\nX-Cache: HIT\r\nX-Cache-Hits: %d\r\nCache-Status: Headgate; hit\r\n" % hits


def fresh_hit(age: int, ttl: int) -> tuple[bytes, bytes]:
    """Return the lines of a hit, in two parts around the number of hits.

    `age` and `ttl` are the seconds since the origin's response, and until it is stale.
    """
    return (
        b"Age: %d\r\nX-Cache: HIT\r\nX-Cache-Hits: " % age,
        b"\r\nCache-Status: Headgate; hit; ttl=%d\r\n" % ttl,
    )


MISS = lines("MISS", "fwd=uri-miss")
COLLAPSED = lines("COLLAPSED", "fwd=uri-miss; collapsed")
FAILED = lines("MISS", "fwd=miss")  # it was forwarded, and nothing came back
BYPASS = lines("BYPASS", "fwd=bypass")
OTHER_METHOD = lines("BYPASS", "fwd=method")
