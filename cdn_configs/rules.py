"""Rules for an edge, by the mode of a request: the same facts for every vendor."""

from __future__ import annotations

from typing import Literal

import msgspec

from gateway.protocol.cache_headers import Freshness
from gateway.protocol.cursors import INTERVAL_S

Mode = Literal["write", "head", "now", "sse", "poll", "catch-up"]
# Of an answer without news: long enough that a crowd is answered by one, and no longer.
MOMENT_S = Freshness().tail_max_age
# Of data by long-poll: the cursor of whoever got it has moved on by then.
POLL_DATA_S = INTERVAL_S
# Of SSE at edges that give one answer to many: how much later than the first others may join.
SSE_JOIN_S = 2

# While the gateway is away: when to come back, and how long a request for events is held where an
# edge can hold it. A restart takes some seconds, a deployment half a minute.
AGAIN_S = 2
HOLD_S = 30


class Rule(msgspec.Struct, frozen=True):
    """The rule of a mode: its requests, what is cached of their answers, and why: sentences."""

    mode: Mode
    requests: str
    kept: str
    why: str


TABLE = (
    Rule(
        "write",
        "PUT, POST, PATCH, DELETE, OPTIONS.",
        "Nothing: the request goes through with its body as it is.",
        "An edge that reads a body and sends another request loses appends without a word.",
    ),
    Rule(
        "head",
        "HEAD.",
        "Nothing, and it stays a HEAD.",
        "Made into a GET and kept, it would tell where the tail was, not where it is.",
    ),
    Rule(
        "now",
        "GET with offset=now, but for live=sse.",
        "Nothing. An edge that can hand an answer to those alone who wait for it does so.",
        "The same URL means another place in the stream each time, also to one who waits there and "
        "is given what was appended before.",
    ),
    Rule(
        "sse",
        "GET with live=sse.",
        "Nothing, and no buffer holds it up. An edge that can hand one answer to many while it "
        f"comes lets others join for {SSE_JOIN_S} s.",
        "A buffered event arrives when the connection ends, which is too late.",
    ),
    Rule(
        "poll",
        "GET with live=long-poll, but for offset=now.",
        "Equal requests wait for one. Data is kept for as long as the gateway says, at most "
        f"{POLL_DATA_S} s; a 204 or an error, which has none, for {MOMENT_S} s. Nothing is "
        "served stale.",
        "Where an answer may not be kept, those who wait for it go to the gateway one after the "
        "other, each for a whole long-poll. Where a 204 is kept longer, a client that ignores "
        "cursors is answered by it again and again.",
    ),
    Rule(
        "catch-up",
        "Every other GET.",
        "As the gateway says in CDN-Cache-Control, Surrogate-Control or s-maxage: whole chunks "
        "for long, stale ones while a new one is fetched, closed streams for a minute, what "
        f"reached the tail for {MOMENT_S} s.",
        "An answer that says that there is no more hides appends for as long as it is kept.",
    ),
)


class Rules(msgspec.Struct, frozen=True):
    """The table and its lifetimes in seconds, as templates see them."""

    table: tuple[Rule, ...] = TABLE
    moment_s: int = MOMENT_S
    poll_data_s: int = POLL_DATA_S
    sse_join_s: int = SSE_JOIN_S
    again_s: int = AGAIN_S
    hold_s: int = HOLD_S


RULES = Rules()
