"""A read as the cache sees it, and an origin's answer as the cache stores it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec
from msgspec.structs import force_setattr
from multidict import CIMultiDict, MultiMapping

from headgate_gateway.protocol import cache_headers, http1
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.protocol.http.header_names import READER_KEY, UP_TO_DATE
from headgate_gateway.protocol.requests import CatchUp
from headgate_gateway.protocol.responses import NO_FACTS, Facts
from headgate_gateway.protocol.streams.offsets import BEGINNING
from headgate_gateway.protocol.streams.state import Lifetime
from headgate_gateway.rules import edge_target, repair
from headgate_gateway.rules.directives import Marks, parse_date
from headgate_gateway.rules.policy import ResponseMetadata
from headgate_gateway.rules.repair import StreamRead
from headgate_gateway.rules.served_lifetimes import CachingLines, caching_lines

if TYPE_CHECKING:
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.rules.served_lifetimes import Recipient

# Host, path, query parts unknown to the protocol, and identity.
StreamKey: TypeAlias = tuple[str, str, tuple[str, ...], str]

NO_CACHING = caching_lines(())
_OF_THE_WAY = frozenset({"via", "x-forwarded-proto", "x-forwarded-host"})
_OF_THE_SENDER = frozenset({"forwarded", "x-forwarded-for"})  # its address among others


def stream_key(host: str, read: Read, identity: str) -> StreamKey:
    """Return the key that readers of one feed have in common. Other readers may see other data."""
    return host, read.path, read.others, identity


class CacheRequest(msgspec.Struct, frozen=True, gc=False):
    """A catch-up GET as the cache handles it.

    `headers` are the client's, `fields` those that the origin is sent. The headers of an
    `identified` request identify its reader. A request that is `admitted_as` a reader is not
    identified: the origin has admitted that reader, and sends the same to all that it admits.
    """

    host: str
    read: CatchUp
    headers: MultiMapping[str]
    fields: CIMultiDict[str]
    identity: str  # of its sender, hashed; empty for everybody
    coding: str  # what compressions the client takes
    lifetime: Lifetime  # of the stream, as far as it is known here
    admitted_as: str = ""  # the reader, hashed, where the origin decides who may read
    block: bytes | None = None  # the cached bytes of `fields`, if there are any

    # Computed once from the fields above: a read that is not cached needs them a dozen times.
    path: str = ""  # canonical
    start: str = ""  # the offset that it reads from
    key: tuple[str, str] = ("", "")  # of cached responses
    stream_key: StreamKey = ("", "", (), "")  # of the stream that it reads
    fetch_key: tuple[str, str, str, str] = ("", "", "", "")  # that equal requests share

    def __post_init__(self) -> None:
        """Compute the rest; msgspec calls this for a changed copy, too."""
        host, read = self.host, self.read
        offset = read.offset  # as `edge_target.start_of`
        force_setattr(self, "path", read.path)
        force_setattr(self, "start", offset if isinstance(offset, str) else BEGINNING)
        force_setattr(self, "key", (host, read.target))
        force_setattr(self, "stream_key", (host, read.path, read.others, self.identity))
        force_setattr(self, "fetch_key", (host, read.target, self.identity, self.coding))

    @property
    def target(self) -> str:
        """The canonical path and query."""
        return self.read.target

    @property
    def identified(self) -> bool:
        """True if the request identifies its sender."""
        return bool(self.identity)

    def plain(self, identity: IdentityHeaders) -> CacheRequest:
        """Return this reader's request with only its identity in it: live readers share it.

        An anonymous reader's address is left out too: the first reader's would stand for all.
        """
        allowed = _OF_THE_WAY | _OF_THE_SENDER if self.identified else _OF_THE_WAY
        fields = CIMultiDict(
            (name, value)
            for name, value in self.fields.items()
            if name.lower() in allowed or identity.has(name)
        )
        fields["Accept-Encoding"] = "identity"
        headers = fields
        if self.admitted_as:
            headers = CIMultiDict(
                (name, value) for name, value in fields.items() if not identity.has(name)
            )
        return msgspec.structs.replace(self, fields=fields, block=None, coding="", headers=headers)

    def as_identified(self) -> CacheRequest:
        """Return the request as that of an identified reader, with its own response."""
        return msgspec.structs.replace(
            self, identity=self.admitted_as, admitted_as="", headers=self.fields
        )

    def elsewhere(self, offset: str) -> CacheRequest:
        """Return this reader's request to catch up from an offset."""
        return msgspec.structs.replace(self, read=edge_target.catch_up(self.read, offset))


class CachedResponse(msgspec.Struct, frozen=True, gc=False, eq=False, kw_only=True):
    """An origin's response as the cache stores it, if it `is_storable`.

    A `joinable` one may be shared by equal requests that came while it arrived. `lines` are its
    header lines, without Age and the like, and without framing.
    """

    status: int
    lines: bytes  # without the following three
    shared_lines: bytes = b""  # for shared caches; private recipients do not get them
    caching_lines: CachingLines = NO_CACHING
    # ETag lines if it says that it reached a tail: with Stream-Up-To-Date, and without.
    tail_lines: tuple[bytes, bytes] | None = None
    body: bytes = b""
    stored: ResponseMetadata  # metadata for decisions about its use
    facts: StreamRead | None  # its facts about a stream
    identity: IdentityHeaders
    is_storable: bool
    joinable: bool
    is_for_one_client: (
        bool  # only for the client that requested it, although others may read the stream
    )
    is_public: bool  # the origin says that all readers may get it, identified ones too
    is_ours: bool  # its lifetime is the route's: the origin has sent none
    is_tail: bool  # its stream's tail may have been reached, and move on
    origin_directives: list[tuple[str, str]]  # the origin's cache directives, if ours are shorter
    own_date: bool = False  # its head lacks a Date line: each response gets the current one
    own_cors: bool = False  # its head has no CORS lines of the origin
    tagged_as: tuple[str, str] | None  # path and offset, where it has no ETag yet
    validators: list[tuple[str, str]] = []  # the origin's, for conditional requests
    length: int | None = None  # of the body, where the origin says it
    cors: str = ""  # the origin's CORS lines, if they are the same for all pages
    is_marked_private: bool = False  # the origin forbids shared caches to store it
    data_directives: str = ""  # cache directives of a response with the newest data
    said: Facts = (
        NO_FACTS  # for counts and refusals; of other responses than those to reads of streams
    )

    @property
    def may_be_cut(self) -> bool:
        """True if a client may be sent the byte range that it asks for."""
        return self.status == 200 and self.joinable

    def with_body(self, body: bytes) -> CachedResponse:
        """Return the response with its whole body, and an ETag made from that if it has none."""
        if self.tagged_as is None and self.body is body:
            return self
        facts = self.facts
        if self.tagged_as is None or facts is None:
            return msgspec.structs.replace(self, body=body, tagged_as=None)
        path, start = self.tagged_as
        mark = cache_headers.tag_mark(closed=facts.closed, at_tail=facts.up_to_date)
        data_tag = repair.data_tag(path, start, facts.next_offset, body)
        tag = f'{"W/" if facts.is_coded else ""}"{data_tag}{mark}"'
        lines, tail = self.lines, self.tail_lines
        if tail is None:
            lines += http1.field_lines([("ETag", tag)])
        else:
            tail = tail_lines(tag)
        stored = msgspec.structs.replace(self.stored, etag=tag)
        return msgspec.structs.replace(
            self, lines=lines, tail_lines=tail, stored=stored, body=body, tagged_as=None
        )

    def lines_for(self, recipient: Recipient, *, tells_of_tail: bool) -> bytes:
        """Return the header lines for one client, which may say that the tail was reached."""
        caching, tail = self.caching_lines, self.tail_lines
        if not recipient.is_private or (recipient.by_key and self.is_storable):
            lines = self.lines + self.shared_lines + caching.for_all
        else:
            is_old = recipient.by_key is False
            lines = self.lines + (caching.never if is_old else caching.private)
        if tail is not None:
            lines += tail[0] if tells_of_tail else tail[1]
        if recipient.is_private and recipient.reader_key and self.status < 400:
            lines += http1.field_lines([(READER_KEY, recipient.reader_key)])
        return lines

    def marks(self, *, tells_of_tail: bool) -> Marks:
        """Return the marks that conditions are compared with."""
        stored = self.stored
        tag, modified = stored.etag, stored.last_modified
        if tag is not None and self.tail_lines is not None and not tells_of_tail:
            tag = repair.untailed(tag)
        changed_at = None if modified is None else parse_date(modified)
        return Marks(tag, changed_at, stored.date, self.facts is not None)

    def fields(self) -> CIMultiDict[str]:
        """Return the header fields, which a 304 of the origin updates."""
        tail = b"" if self.tail_lines is None else self.tail_lines[0]
        lines = (self.lines, self.shared_lines, self.caching_lines.for_all, tail)
        return CIMultiDict(http1.parse_field_lines(b"".join(lines)))


def tail_lines(tag: str | None) -> tuple[bytes, bytes]:
    """Return the last lines of a response with this ETag: at its stream's tail, and elsewhere."""
    at_tail = [(UP_TO_DATE, "true")]
    if tag is None:
        return http1.field_lines(at_tail), b""
    elsewhere = http1.field_lines([("ETag", repair.untailed(tag))])
    return http1.field_lines([("ETag", tag), *at_tail]), elsewhere
