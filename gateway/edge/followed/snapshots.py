"""A stream as the answer to a read shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict

from gateway.cache.order import BEFORE_ALL
from gateway.cache.rules.directives import normalised
from gateway.cache.rules.private_fields import private_lines
from gateway.protocol import cache_headers
from gateway.protocol.origins import repair
from gateway.protocol.origins.followed import Snapshot, is_of_type
from gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from gateway.cache.cache_result import CacheResult
    from gateway.cache.rules.cached_response import CachedResponse, CacheRequest
    from gateway.protocol.cache_headers import Freshness
    from gateway.protocol.origins.repair import StreamRead
    from gateway.protocol.requests import Read

LONGEST_READ = 64 << 20  # bytes of one answer that is taken apart for live readers
# Of a stream that some share: whoever asks again gets what the origin has for him.
ONES_OWN = "the origin says that this is for one reader alone: ask again"
ANYBODY: CIMultiDict[str] = CIMultiDict()  # who sends no header that an answer could vary by
OF_NO_STREAM = frozenset({"accept-encoding", "origin"})  # what they select is not its data


def snapshot_of(
    request: CacheRequest, offset: str, result: CacheResult, facts: StreamRead
) -> Snapshot:
    """The stream as an answer shows it; a copy knows that nothing has followed only of an end."""
    closed = facts.closed and facts.up_to_date
    fields = result.cached.fields()
    said = repair.said(fields, ignore_no_store=offset == NOW)
    has_tail = facts.up_to_date and not facts.is_empty
    tells_of_tail = has_tail and is_of_followed(result.cached, request)
    return Snapshot(
        request.path,
        facts.content_type,
        facts.next_offset,
        closed,
        closed or (facts.up_to_date and result.current),
        request.identified or repair.is_private(said),
        request.lifetime,
        # Of older parts an origin may say something else than of the tail.
        said_of_data(result.cached) if tells_of_tail else None,
        cors=repair.cors(fields),
        number=result.number if result.current else BEFORE_ALL,
    )


def as_read(snapshot: Snapshot, result: CacheResult, facts: StreamRead) -> Snapshot:
    """The stream as a long-poll is told of it that a read has answered.

    It is told that it is up to date wherever a copy of that answer may say so.
    """
    told = snapshot.caught_up or facts.is_empty or (facts.up_to_date and result.tail_is_known)
    return snapshot._replace(caught_up=told)


def as_told(snapshot: Snapshot, read: Read, freshness: Freshness) -> Snapshot:
    """The stream as he is told of it who sent this read: on a private route as his own.

    By the current reader key he is told what all would be, unless the origin says it is his own.
    """
    if not freshness.is_private or (read.by_key and not snapshot.private):
        return snapshot
    if read.by_key is False:  # his URL has a key of before
        never = cache_headers.PRIVATE_NO_STORE
        return snapshot._replace(private=True, reads_say=never, polls_say=never)
    reads_say, polls_say = snapshot.reads_say, private_lines(snapshot.polls_say)
    if reads_say is not None:
        reads_say = private_lines(reads_say)
    return snapshot._replace(private=True, reads_say=reads_say, polls_say=polls_say)


def with_directives(
    snapshot: Snapshot, request: CacheRequest, reads_say: str | None, polls_say: str
) -> Snapshot:
    """The stream with what the origin tells caches of reads and of polls now."""
    reads_are = snapshot.private if reads_say is None else repair.is_private(reads_say)
    private = request.identified or reads_are or repair.is_private(polls_say)
    return snapshot._replace(private=private, reads_say=reads_say, polls_say=polls_say)


def said_of_data(cached: CachedResponse) -> str:
    """What the origin tells caches of a stream's data; nothing where it leaves that to us."""
    if cached.is_ours:
        return ""
    fields = cached.fields()
    if cached.said:  # a reader is told less
        fields = CIMultiDict(
            [*cached.said, *(("Vary", value) for value in fields.getall("Vary", ()))]
        )
    return repair.said(fields, ignore_no_store=False)


def is_of_followed(cached: CachedResponse, request: CacheRequest) -> bool:
    """Whether it is what the request gets with which a stream is followed, and no other variant."""
    return not any(
        name not in OF_NO_STREAM and normalised(name, request.headers) != value
        for name, value in cached.stored.vary
    )


def is_variant(cached: CachedResponse) -> bool:
    """Whether it is what somebody has negotiated, and others are told otherwise of the stream."""
    return bool(cached.stored.vary) and any(
        name not in OF_NO_STREAM
        and not cached.identity.has(name)
        and normalised(name, ANYBODY) != value
        for name, value in cached.stored.vary
    )


def is_coded(cached: CachedResponse) -> bool:
    """Whether the bytes are compressed ones."""
    return cached.facts is not None and cached.facts.is_coded


def contradicts(known: Snapshot, read: Snapshot, *, ends: bool) -> bool:
    """Return whether a read, which perhaps `ends`, shows that another stream is at the path.

    One of another type, for example. Where a closed one is seen to go on, or to end elsewhere,
    nobody follows it any more, and who waits here would wait for ever. What was asked for before
    the end was known had perhaps not come to it.
    """
    if not is_of_type(read.content_type, known.content_type):
        return True
    if not known.closed or (read.closed and read.tail == known.tail):
        return False
    return (ends and read.number > known.number) or read.closed or read.tail > known.tail
