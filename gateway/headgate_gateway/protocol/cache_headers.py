"""Directives for caches: ETag, Cache-Control, validators (section 10, RFC 9110), and tags.

By a tag (surrogate key) a CDN purges all copies of a stream or route. It is short for a path of any
length, and safe in a header, a regular expression and a URL. `printf %s PATH | sha256sum | cut
-c1-16` prints the part after `s-` and `r-`.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache, partial
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from headgate_gateway.protocol.requests import LongPoll
from headgate_gateway.protocol.streams.offsets import (
    INTERVAL_S,
    NOW,
    Offset,
    current_cursor,
    format_offset,
)

if TYPE_CHECKING:
    from multidict import CIMultiDict

    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.streams.state import StreamState

NO_STORE = "Cache-Control: no-store\r\n"
NO_CACHE = "Cache-Control: no-cache\r\n"
PRIVATE = "Cache-Control: private, no-cache\r\n"
PRIVATE_NO_STORE = "Cache-Control: private, no-store\r\n"
EVENT_STREAM = "Cache-Control: no-cache, no-transform\r\n"
# Caches that hand an answer to others while it comes do not go by no-cache.
PRIVATE_EVENT_STREAM = "Cache-Control: private, no-cache, no-transform\r\n"
# Stored for longer, an empty answer hides appends; unstorable, it turns a CDN's request
# collapsing into a queue. One second at the edge is the middle way.
EDGE_SECOND = "CDN-Cache-Control: public, max-age=1\r\nSurrogate-Control: public, max-age=1\r\n"
# Varnish's built-in VCL stores what has Surrogate-Control, and takes the time from Cache-Control
# alone: without s-maxage or max-age two minutes, and without this ten seconds more, in which it
# serves the old response at once.
NO_GRACE = "stale-while-revalidate=0"
POLL_TIMEOUT = f"Cache-Control: no-store, s-maxage=1, {NO_GRACE}\r\n{EDGE_SECOND}"
# For caches that read Cache-Control alone, and take no-store and no-cache for "never".
POLL_TIMEOUT_FOR_ALL = f"Cache-Control: max-age=0, s-maxage=1, {NO_GRACE}\r\n{EDGE_SECOND}"
# Data for long-polls from `now`. A later request means another offset, so no cache stores it; an
# edge may share it among requests that wait at the same time.
NEWS_FROM_NOW = f"{NO_STORE}CDN-Cache-Control: no-cache\r\n"

TailDirective = Literal["no-cache", "max-age=0"]
# The fields for shared caches alone. No CDN reads both.
EDGE_FIELDS = ("CDN-Cache-Control", "Surrogate-Control")

_ETAG = re.compile(r'[\s,]*(?:(\*)|(?:W/)?("[\x21\x23-\x7e\x80-\xff]*"))\s*(?=,|$)')

# Among a million streams of a CDN, two have an equal tag with a probability of 1 in 37 million;
# they are then purged together.
TAG_DIGITS = 16
# The header of Fastly and most VCL, that of Cloudflare, and that of Bunny.
TAG_HEADERS = (("Surrogate-Key", " "), ("Cache-Tag", ","), ("CDN-Tag", ","))
_TAG_LINES = "".join(f"{name}: {{0}}{between}{{1}}\r\n" for name, between in TAG_HEADERS)

_LASTS = re.compile(r"\b(?:max-age|s-maxage|stale-while-revalidate)=0*[1-9]")


class PurgeTrust(NamedTuple):
    """The EDGE_FIELDS of which every cache that reads them is purged, and does purge.

    That is known for `for_s` more seconds.
    """

    fields: tuple[str, ...] = ()
    for_s: float = math.inf


class Freshness(msgspec.Struct):
    """A route's lifetimes in seconds: of whole chunks, and of responses that reach an open tail.

    `closed_max_age` is that of reads from the beginning of a closed stream, whose URLs the next
    stream at the path has, too. Caches that read one of the `purged_fields` may store these for as
    long as chunks. A route `trusts_purges` if its streams end by requests and by their expiry only,
    since nothing else causes a purge.

    With a `route_tag` caches in front can purge its responses early. Responses that are
    `is_private` may be stored only by browsers. `tail_directive` makes browsers validate responses
    that shared caches may store for a moment: both of its spellings do so, but some shared caches
    treat no-cache as no-store. Responses for paths that begin with one of the `private_folders`
    are private, too.
    """

    chunk_max_age: int = 86_400
    stale_while_revalidate: int = 300
    tail_max_age: int = 1
    route_tag: str = ""
    is_private: bool = False
    tail_directive: TailDirective = "no-cache"
    private_folders: tuple[str, ...] = ()
    closed_max_age: int = 60
    trusts_purges: bool = False
    purged_fields: tuple[str, ...] = ()

    def toward(self, by_key: bool | None, path: str = "") -> Freshness:
        """Return the freshness of a read: public if its URL has the current reader key."""
        is_private = (self.is_private or path.startswith(self.private_folders)) and not by_key
        if is_private == self.is_private:
            return self
        return msgspec.structs.replace(self, is_private=is_private)


def lifetime_of(chunk: Chunk, read: Read, freshness: Freshness, now: float) -> str:
    """Return the lines for caches, with tags, of a response that has a chunk of an own log."""
    state = chunk.state
    remaining: float | None = state.lifetime.ttl_s  # a read restarts a sliding window
    if remaining is None and state.deadline is not None:
        remaining = same_until(state, now) - now
    lifetime = read_lifetime(
        read,
        freshness,
        remaining,
        now,
        is_fixed=_is_fixed(chunk, read),
        is_whole=_is_whole(chunk),
        ends=state.closed and is_whole_beginning(chunk, read),
    )
    return tagged(lifetime, read.path, freshness)


def read_lifetime(  # noqa: PLR0913 - what a lifetime depends on
    read: Read,
    freshness: Freshness,
    remaining_s: float | None,
    now: float,
    *,
    is_fixed: bool,
    is_whole: bool,
    ends: bool,
) -> str:
    """Return the lines for caches of a response to a read, of an own log or from an origin.

    `freshness` is that of the read, and its stream lives for `remaining_s` more. Its URL `is_fixed`
    if the next stream at the path cannot share it. The response `is_whole` if no append changes
    it, and `ends` if it also has the end of a closed stream.
    """
    if freshness.is_private and read.by_key is not None:
        return PRIVATE_NO_STORE  # its URL has a key of before
    waits = isinstance(read, LongPoll)
    if read.offset == NOW:
        news = PRIVATE_NO_STORE if freshness.is_private else NEWS_FROM_NOW
        return news if waits else NO_STORE
    if waits and moves_on(read.cursor, now, is_fixed=is_fixed):
        return poll_lifetime(freshness, remaining_s)
    if not waits and is_fixed and is_whole:
        return chunk_lifetime(freshness, remaining_s)
    if not waits and ends:
        return closed_lifetime(freshness, remaining_s)
    return tail_lifetime(freshness, remaining_s)


def same_until(state: StreamState, now: float) -> float:
    """Return the moment up to which this response may be repeated, of a stream that expires.

    An answer lives for half of what is left to its stream at most, so for the other half a copy of
    it does not outlive the stream either.
    """
    assert state.deadline is not None, "the stream expires"
    return now + (state.deadline - now) / 2


def is_whole_beginning(chunk: Chunk, read: Read) -> bool:
    """Return whether a catch-up from the beginning has one response until its stream is removed.

    A stream whose TTL is renewed by reads has none: each read must come to this server.
    """
    if isinstance(read, LongPoll) or not _is_whole(chunk):
        return False
    is_from_beginning = chunk.start <= chunk.state.first and not _is_fixed(chunk, read)
    return is_from_beginning and chunk.state.lifetime.ttl_s is None


def _is_whole(chunk: Chunk) -> bool:
    """Return whether later reads of the same records have the same end."""
    return chunk.state.closed if chunk.at_tail else chunk.complete


def _is_fixed(chunk: Chunk, read: Read) -> bool:
    """Return whether the read's offset is of this stream alone.

    A URL without an offset, or with that of any stream's beginning, is also the next
    stream's at the path.
    """
    if not isinstance(read.offset, Offset):
        return False
    return chunk.state.offset(chunk.start) == format_offset(*read.offset)


def fields(lines: str) -> list[tuple[str, str]]:
    """Return header lines as names and values."""
    return [
        (name, value) for name, _, value in (line.partition(": ") for line in lines.splitlines())
    ]


def tail_lifetime(freshness: Freshness, remaining_s: float | None = None) -> str:
    """Return the Cache-Control of a response that the next append makes stale.

    The response says that there is no more, so browsers ask again each time. Shared caches hold
    it for a moment in which equal requests are one. Some of them, as Varnish, know no other field
    than s-maxage.
    """
    return _shared_lifetime(freshness, freshness.tail_max_age, remaining_s)


def closed_lifetime(freshness: Freshness, remaining_s: float | None) -> str:
    """Return the Cache-Control of a read from the beginning of a closed stream.

    It stays the same until another stream is at the URL. Browsers ask again each time, since no
    purge reaches what they have stored.
    """
    return _shared_lifetime(
        freshness, freshness.closed_max_age, remaining_s, freshness.purged_fields
    )


def _shared_lifetime(
    freshness: Freshness, age: int, remaining_s: float | None, purged: tuple[str, ...] = ()
) -> str:
    """Return a lifetime for shared caches alone: that of chunks for those that are purged."""
    if freshness.is_private:
        return PRIVATE
    longest = max(age, freshness.chunk_max_age)
    if remaining_s is not None:
        remaining = max(0, int(remaining_s))
        age, longest = min(age, remaining), min(longest, remaining)
    if not age:
        return NO_CACHE
    control = f"Cache-Control: {freshness.tail_directive}, s-maxage={age}, {NO_GRACE}\r\n"
    for name in EDGE_FIELDS:
        control += f"{name}: public, max-age={longest if name in purged else age}\r\n"
    return control


def chunk_lifetime(freshness: Freshness, remaining_s: float | None) -> str:
    """Return the Cache-Control of a whole chunk, which never changes but ends with its stream."""
    age, stale = freshness.chunk_max_age, freshness.stale_while_revalidate
    if remaining_s is not None:
        remaining = max(0, int(remaining_s))
        age, stale = min(age, remaining), min(stale, max(0, remaining - age))
    return _for_whom(freshness, f"max-age={age}, stale-while-revalidate={stale}")


def _for_whom(freshness: Freshness, age: str) -> str:
    """Return a lifetime for all, or on a private route for the browser of the reader.

    Another user of that browser has another token, and gets nothing of the response.
    """
    if freshness.is_private:
        return f"Cache-Control: private, {age}\r\nVary: Authorization, Cookie\r\n"
    return f"Cache-Control: public, {age}\r\n"


def tagged(lifetime: str, path: str, freshness: Freshness) -> str:
    """Return a lifetime, with the tags by which shared caches find responses of the stream."""
    if not freshness.route_tag or not _is_storable(lifetime):
        return lifetime
    return lifetime + tag_lines(path, freshness.route_tag)


def moves_on(cursor: int | None, now: float, *, is_fixed: bool) -> bool:
    """Return whether no reader requests the URL of a poll with this cursor a second time.

    Later readers request any other URL too, and so do readers of the next stream at the path unless
    the URL `is_fixed` to an offset of this one: a cached "no more" must not reach them.
    """
    return is_fixed and cursor is not None and cursor >= current_cursor(now)


def poll_lifetime(freshness: Freshness, remaining_s: float | None) -> str:
    """Return the Cache-Control of the data of a long-poll that moves on: one cursor interval."""
    age = INTERVAL_S if remaining_s is None else max(0, min(INTERVAL_S, int(remaining_s)))
    return _for_whom(freshness, f"max-age={age}, {NO_GRACE}")


def poll_timeout(freshness: Freshness, *, closed: bool) -> str:
    """Return the Cache-Control of a long-poll's 204."""
    if freshness.is_private:
        return PRIVATE_NO_STORE
    if closed:
        return NO_STORE
    return POLL_TIMEOUT if freshness.tail_directive == "no-cache" else POLL_TIMEOUT_FOR_ALL


def tag_mark(*, closed: bool, at_tail: bool) -> str:
    """Return the end of an ETag, which shows headers that a 304 could not change.

    Else a 304 would hide the end of a stream, or confirm that there is no more where there is.
    """
    return ":closed" if closed else ":tail" if at_tail else ""


def is_same_tag(one: str, other: str) -> bool:
    """Return whether two ETags are equal by weak comparison (RFC 9110 section 8.8.3.2)."""
    return one.removeprefix("W/") == other.removeprefix("W/")


def matches(if_none_match: str, tag: str) -> bool:
    """Return whether If-None-Match has the tag: a list, `*`, weak (RFC 9110 section 13.1.2)."""
    at = 0
    while match := _ETAG.match(if_none_match, at):
        if match[1] or is_same_tag(match[2], tag):
            return True
        at = match.end()
    return False


def _tag(kind: str, path: str) -> str:
    return f"{kind}-{sha256(path.encode()).hexdigest()[:TAG_DIGITS]}"


stream_tag = partial(_tag, "s")  # of the stream at a canonical path
route_tag = partial(_tag, "r")  # of a route with this prefix: all of its streams have it


@lru_cache(maxsize=4096)  # responses of the streams in use repeat them
def tag_lines(path: str, route: str) -> str:
    """Return the tag lines of a response about the stream at `path`, with its route's tag."""
    return _TAG_LINES.format(stream_tag(path), route)


@lru_cache(maxsize=256)  # most responses have one of a few values
def _is_storable(lifetimes: str) -> bool:
    """Return whether lines such as Cache-Control let shared caches store a response."""
    directives = lifetimes.lower()
    return (
        "private" not in directives
        and "no-store" not in directives
        and _LASTS.search(directives) is not None
    )


def retag(fields: CIMultiDict[str], path: str, route: str, *, is_tagged: bool) -> None:
    """Add these tags to an origin's response, or remove them; its own tags stay."""
    ours = [stream_tag(path), route]
    for name, between in TAG_HEADERS:
        listed = re.split(r"[\s,]+", ",".join(fields.popall(name, ())))
        others = [tag for tag in listed if tag and tag not in ours]
        if others or is_tagged:
            fields[name] = between.join([*others, *(ours if is_tagged else ())])
