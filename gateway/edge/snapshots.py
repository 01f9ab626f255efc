"""A stream as the answer to a read shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict

from gateway.cache.directives import normalised
from gateway.protocol import repair
from gateway.protocol.followed import View
from gateway.protocol.offsets import NOW

if TYPE_CHECKING:
    from gateway.cache.cached_response import Ask, CachedResponse
    from gateway.cache.http_cache import Given
    from gateway.edge.place import Place
    from gateway.protocol.repair import StreamRead

ANYBODY: CIMultiDict[str] = CIMultiDict()  # who sends no header that an answer could vary by
OF_NO_STREAM = frozenset({"accept-encoding", "origin"})  # what they select is not its data


def view_of(place: Place, offset: str, given: Given, facts: StreamRead) -> View:
    """The stream as an answer shows it; a copy knows that nothing has followed only of an end."""
    closed = facts.closed and facts.up_to_date
    fields = given.held.fields()
    said = repair.said(fields, ignore_no_store=offset == NOW)
    return View(
        place.read.path,
        facts.content_type,
        facts.next_offset,
        closed,
        closed or (facts.up_to_date and given.current),
        place.ask.personal or repair.is_private(said),
        place.ask.lifetime,
        # Of older parts an origin may say something else than of the tail.
        said_of_data(given.held, place.ask) if facts.up_to_date else None,
        cors=repair.cors(fields),
    )


def said_of_data(held: CachedResponse, ask: Ask) -> str | None:
    """What the origin tells caches of a stream's data; None of another variant than is followed."""
    facts = held.facts
    varied = any(
        name not in OF_NO_STREAM and normalised(name, ask.headers) != value
        for name, value in held.stored.vary
    )
    if facts is None or facts.is_empty or varied:
        return None
    return "" if held.is_ours else repair.said(held.fields(), ignore_no_store=False)


def is_variant(held: CachedResponse) -> bool:
    """Whether it is what somebody has negotiated, and others are told otherwise of the stream."""
    return any(
        name not in OF_NO_STREAM
        and not held.identity.has(name)
        and normalised(name, ANYBODY) != value
        for name, value in held.stored.vary
    )


def is_coded(held: CachedResponse) -> bool:
    """Whether the bytes are compressed ones."""
    return held.facts is not None and held.facts.is_coded
