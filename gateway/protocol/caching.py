"""What caches may do with each answer: ETag, Cache-Control, validators (section 10, RFC 9110)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from gateway.protocol.cursors import INTERVAL_S

if TYPE_CHECKING:
    from gateway.protocol.state import StreamState

NO_STORE = "Cache-Control: no-store\r\n"
PRIVATE = "Cache-Control: private, no-cache\r\n"
EVENT_STREAM = "Cache-Control: no-cache, no-transform\r\n"
# Stored for longer, an empty answer hides appends; unstorable, it turns a CDN's request
# collapsing into a queue. One second at the edge is the middle way.
EDGE_SECOND = "CDN-Cache-Control: public, max-age=1\r\nSurrogate-Control: public, max-age=1\r\n"
EMPTY_TAIL = f"Cache-Control: no-cache\r\n{EDGE_SECOND}"
POLL_TIMEOUT = f"{NO_STORE}{EDGE_SECOND}"

_ETAG = re.compile(r'[\s,]*(?:(\*)|(?:W/)?("[\x21\x23-\x7e\x80-\xff]*"))\s*(?=,|$)')


class Freshness(msgspec.Struct, frozen=True):
    """A route's lifetimes, in seconds, for answers that carry data."""

    max_age: int = 60
    stale_while_revalidate: int = 300
    tail_max_age: int = 60


def unshortened_until(freshness: Freshness, expires_at: float) -> float:
    """Until when an answer's lifetime does not depend on when its stream ends (epoch seconds)."""
    longest = max(freshness.max_age, freshness.tail_max_age, INTERVAL_S)
    return expires_at - longest - freshness.stale_while_revalidate


def fields(lines: str) -> list[tuple[str, str]]:
    """Header lines as names and values."""
    return [
        (name, value) for name, _, value in (line.partition(": ") for line in lines.splitlines())
    ]


def data_lifetime(freshness: Freshness, remaining_s: float | None, *, at_tail: bool) -> str:
    """Cache-Control for data: what is there never changes, but must not outlive the stream."""
    age = freshness.tail_max_age if at_tail else freshness.max_age
    stale = freshness.stale_while_revalidate
    if remaining_s is not None:
        left = max(0, int(remaining_s))
        age, stale = min(age, left), min(stale, max(0, left - age))
    return f"Cache-Control: public, max-age={age}, stale-while-revalidate={stale}\r\n"


def poll_lifetime(remaining_s: float | None) -> str:
    """Cache-Control for a long-poll's data: one cursor interval, after which the key differs."""
    age = INTERVAL_S if remaining_s is None else max(0, min(INTERVAL_S, int(remaining_s)))
    return f"Cache-Control: public, max-age={age}\r\n"


def etag(state: StreamState, start: int, end: int, *, closed: bool) -> str:
    """A strong validator of one range; closure changes it, or 304 would hide the end."""
    ends = f"{state.offset(start)}:{state.offset(end)}"
    return f'"{state.stream_id:x}:{ends}{":closed" if closed else ""}"'


def matches(if_none_match: str, tag: str) -> bool:
    """If-None-Match as RFC 9110 section 13.1.2 has it: a list, `*`, weak comparison."""
    at = 0
    while match := _ETAG.match(if_none_match, at):
        if match[1] or match[2] == tag:
            return True
        at = match.end()
    return False
