"""Snapshots of a stream, taken from the responses to its reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict

from gateway.edge.reads.order import BEFORE_ALL
from gateway.edge.rules.directives import normalised
from gateway.edge.rules.private_fields import private_lines
from gateway.protocol import cache_headers
from gateway.protocol.origins import repair
from gateway.protocol.origins.followed import Snapshot

if TYPE_CHECKING:
    from gateway.edge.reads.http_cache import CacheResult
    from gateway.edge.rules.cached_response import CachedResponse, CacheRequest
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.origins.repair import StreamRead
    from gateway.protocol.requests import Read

# The headers of a client that sends none by which a response could vary.
ANYBODY: CIMultiDict[str] = CIMultiDict()
OF_NO_STREAM = frozenset({"accept-encoding", "origin"})  # they select a form, not other data


def snapshot_of(request: CacheRequest, result: CacheResult, facts: StreamRead) -> Snapshot:
    """Return a stream as a read's result shows it.

    A cached response shows that a reader is up to date only if it has the end of a closed stream.
    """
    closed = facts.closed and facts.up_to_date
    has_tail = facts.up_to_date and not facts.is_empty
    tells_of_tail = has_tail and is_of_followed(result.cached, request)
    return Snapshot(
        request.path,
        facts.content_type,
        facts.next_offset,
        closed,
        closed or (facts.up_to_date and result.current),
        request.identified or result.cached.is_marked_private,
        request.lifetime,
        # For older parts an origin may send other directives than for the tail.
        result.cached.data_directives if tells_of_tail else None,
        cors=result.cached.cors,
        number=result.number if result.current else BEFORE_ALL,
    )


def as_read(snapshot: Snapshot, result: CacheResult, facts: StreamRead) -> Snapshot:
    """Return the snapshot for a long-poll that is answered with the result of a read.

    The long-poll is told that it is up to date wherever a cached copy of the result may say so.
    """
    caught_up = snapshot.caught_up or (facts.ends and result.tail_is_known)
    return snapshot._replace(caught_up=caught_up)


def as_sent(snapshot: Snapshot, read: Read, freshness: Freshness) -> Snapshot:
    """Return the snapshot for the response to a read: on a private route it is marked private.

    A read with the current reader key gets what all get, unless the origin marks it as private.
    """
    if not freshness.is_private or (read.by_key and not snapshot.private):
        return snapshot
    if read.by_key is False:  # the URL has a reader key that is outdated
        never = cache_headers.PRIVATE_NO_STORE
        return snapshot._replace(private=True, read_directives=never, poll_directives=never)
    read_directives = snapshot.read_directives
    poll_directives = private_lines(snapshot.poll_directives)
    if read_directives is not None:
        read_directives = private_lines(read_directives)
    return snapshot._replace(
        private=True, read_directives=read_directives, poll_directives=poll_directives
    )


def with_directives(
    snapshot: Snapshot, request: CacheRequest, read_directives: str | None, poll_directives: str
) -> Snapshot:
    """Return the snapshot with the origin's present cache directives for reads and for polls."""
    reads_are = snapshot.private if read_directives is None else repair.is_private(read_directives)
    private = request.identified or reads_are or repair.is_private(poll_directives)
    return snapshot._replace(
        private=private, read_directives=read_directives, poll_directives=poll_directives
    )


def is_of_followed(cached: CachedResponse, request: CacheRequest) -> bool:
    """Return whether a response is the variant that a followed stream's `request` selects."""
    return not any(
        name not in OF_NO_STREAM and normalised(name, request.headers) != value
        for name, value in cached.stored.vary
    )


def is_variant(cached: CachedResponse) -> bool:
    """Return whether a response is a variant that a client without extra headers does not get."""
    return bool(cached.stored.vary) and any(
        name not in OF_NO_STREAM
        and not cached.identity.has(name)
        and normalised(name, ANYBODY) != value
        for name, value in cached.stored.vary
    )


def is_coded(cached: CachedResponse) -> bool:
    """Return whether the body is compressed."""
    return cached.facts is not None and cached.facts.is_coded
