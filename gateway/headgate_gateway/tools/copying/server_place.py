"""The streams below a base URL of a Durable Streams server, which are copied by their content."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from headgate.following import catch_up
from headgate.names import without_secrets
from headgate_gateway.errors import BadRequest, HeadgateError
from headgate_gateway.protocol import lifecycle as rules
from headgate_gateway.protocol.bodies.content import is_json
from headgate_gateway.protocol.requests import CreateRequest, parse_lifetime
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import Change, records_after
from headgate_gateway.tools.copying.contract import (
    LONGER,
    OTHER,
    Description,
    StreamRefused,
    parts_of,
)
from headgate_gateway.tools.server.listing import NameSearch, streams_below
from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence

    from headgate.retries import Retries
    from headgate.stream_requests import Metadata, StreamRequests
    from headgate_gateway.logs.contract import LoadedStream
    from headgate_gateway.protocol.lifecycle import PathState
    from headgate_gateway.protocol.streams.state import Record, StreamState
    from headgate_gateway.tools.copying.log_place import LogPlace

APPEND_BYTES = 256 * 1024  # of one append; a longer message is stored by itself
LONGEST_CHARACTER = 4  # bytes of UTF-8


class ServerPlace:
    """A server, and its admin API where it is a Headgate whose streams are to be listed."""

    def __init__(
        self, base: StreamRequests, retries: Retries, admin: StreamRequests | None
    ) -> None:
        self.shown = without_secrets(base.url.rstrip("/"))
        self._base = base
        self._retries = retries
        self._admin = admin

    async def listed(self, prefix: str) -> AsyncIterator[str]:
        """Yield the paths of streams that begin with `prefix`; one page of them is in memory."""
        assert self._admin is not None, "names come from elsewhere without an admin API"
        base = self._base.url.rstrip("/")
        home = len(urlsplit(base).path) + 1
        try:
            async for found in streams_below(self._admin, base, NameSearch(prefix)):
                yield found.path[home:]
        except Failed as cause:  # such as a Headgate of another version
            by_names = "give its streams by --names FILE, as its own `headgate ls` prints them"
            raise Failed(f"{cause}; {by_names}") from cause

    async def stream(self, path: str) -> ServerStream | None:
        """Return the stream at a path to copy it; None if there is none."""
        stream = self._base.beside(f"{self._base.url.rstrip('/')}/{path}")
        found = await self._retries.run(stream.find)
        return None if found is None else ServerStream(stream, path, _description_of(found))


class ServerStream:
    """A stream of a server, which is copied by what it sends: content, type, lifetime, closure."""

    def __init__(self, stream: StreamRequests, path: str, description: Description) -> None:
        self.description = description
        self._stream = stream
        self._path = path

    async def changes(self, target: LogPlace, copy: LoadedStream) -> AsyncGenerator[Change]:
        """Yield the changes that make what `target` has at the path a copy, as of LogStream."""
        state = copy.path_state.state
        if not target.is_present(state):
            creation = self._creation(target, copy.path_state)
            yield creation
            state = creation.state
        async with aclosing(self._pages()) as pages:
            content = SourceContent(pages, is_json=is_json(self.description.content_type))
            async for pieces in target.pieces(state):
                await content.skip(pieces)
            while pieces := await content.take():
                if state.closed:
                    raise StreamRefused("the copy is closed, and lacks data of the source")
                records = tuple(records_after(state.tail, pieces))
                change = _changed(target, state, records, tail=records[-1].end)
                yield change
                state = change.state
        if self.description.is_closed and not state.closed:
            yield _changed(target, state, (), closed=True)

    def _creation(self, target: LogPlace, place: PathState) -> Change:
        """Return the creation of the copy, empty and open."""
        wanted = self.description
        # A generation that the source never had: its offsets are refused, and mean no other data.
        with contextlib.suppress(BadRequest):
            theirs = parse_offset(wanted.next_offset, "offset").generation
            place = msgspec.structs.replace(place, retired=max(place.retired or 0, theirs))
        request = CreateRequest(b"", wanted.content_type, wanted.lifetime, False, None)
        try:
            _, (creation,) = rules.decide_create(
                place, self._path, request, target.log.new_stream_id(), target.clock()
            )
        except HeadgateError as refusal:  # a deleted stream of which there are forks
            raise StreamRefused(refusal.detail) from refusal
        return creation

    async def _pages(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the content, a page at a time."""
        batches = catch_up(
            self._stream, "-1", in_parts=lambda content_type: not is_json(content_type)
        )
        async with aclosing(batches) as read_batches:
            async for content_type, batch in read_batches:
                yield [piece for body in batch.bodies for piece in parts_of(content_type, body)]


def _changed(
    target: LogPlace, state: StreamState, records: tuple[Record, ...], **fields: object
) -> Change:
    """Return a change of the copy as by an append, from which its idle time begins anew."""
    changed = {"version": state.version + 1, "deadline": state.lifetime.deadline(target.clock())}
    later = msgspec.structs.replace(state, **changed, **fields)
    return Change(later, state.version, records, appends=1 if records else 0)


def _description_of(found: Metadata) -> Description:
    if not found.content_type:
        raise StreamRefused("the server sends no content type for it")
    fields = {}
    if found.ttl is not None:
        fields["Stream-TTL"] = str(found.ttl)
    elif found.expires_at is not None:
        fields["Stream-Expires-At"] = found.expires_at
    try:
        lifetime = parse_lifetime(fields)
    except BadRequest as cause:
        raise StreamRefused(f"the server sends an invalid lifetime: {cause}") from cause
    return Description(found.content_type, lifetime, found.is_closed, found.next_offset)


class SourceContent:
    """The content of a source; one page and one append of it are in memory."""

    def __init__(self, pages: AsyncGenerator[Sequence[bytes]], *, is_json: bool) -> None:
        self._pages = pages
        self._is_json = is_json
        self._next: deque[bytes] = deque()

    async def skip(self, pieces: Sequence[bytes]) -> None:
        """Skip what the destination has. Raises StreamRefused if the source has other data."""
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                found = await self._first()
                if found is None:
                    raise StreamRefused(LONGER)
                self._next.popleft()
                # Appends of bytes may have been cut at other places; messages are not cut.
                size = len(rest) if self._is_json else min(len(rest), len(found))
                is_same = (
                    is_same_message(found, piece) if self._is_json else found[:size] == rest[:size]
                )
                if not is_same:
                    raise StreamRefused(OTHER)
                rest = rest[size:]
                if not self._is_json and size < len(found):
                    self._next.appendleft(found[size:])

    async def take(self) -> list[bytes]:
        """Return the next pieces, at least one, for an append; [] at the end.

        They have at most APPEND_BYTES; only a single JSON message may be longer.
        """
        pieces: list[bytes] = []
        size = 0
        while (piece := await self._first()) is not None:
            size += len(piece)
            if pieces and size > APPEND_BYTES:
                break
            pieces.append(self._next.popleft())
        return pieces

    async def _first(self) -> bytes | None:
        while not self._next:
            page = await anext(self._pages, None)
            if page is None:
                return None
            for part in page:
                self._next += [part] if self._is_json else _cut(part)
        return self._next[0]


def _cut(part: bytes) -> Iterator[bytes]:
    """Yield a part in pieces, none of which ends within a character of UTF-8."""
    begin = 0
    while len(part) - begin > APPEND_BYTES:
        end = begin + APPEND_BYTES
        while end > begin + APPEND_BYTES - LONGEST_CHARACTER and part[end] & 0xC0 == 0x80:
            end -= 1
        yield part[begin:end]
        begin = end
    yield part[begin:]


def is_same_message(one: bytes, other: bytes) -> bool:
    """Return whether two JSON messages mean the same to JavaScript.

    A server may write messages anew: without blanks, and with numbers as JavaScript rounds them.
    """
    return one == other or _rewritten(one) == _rewritten(other)


def _rewritten(message: bytes) -> str:
    """Return a message as text that is equal for equal values; there is no -0 in JavaScript's."""
    value = json.loads(message, parse_int=_number, parse_float=_number)
    return json.dumps(value, sort_keys=True)


def _number(text: str) -> float:
    return float(text) + 0.0
