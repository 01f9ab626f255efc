"""Answers of origins as they are kept and given out, rendered once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from multidict import CIMultiDict, MultiMapping

from gateway.cache.policy import Stored
from gateway.cache.store import CacheEntry
from gateway.protocol import cache_headers, cache_status, edge_target, http1, repair
from gateway.protocol.edge_target import EdgeCatchUp
from gateway.protocol.header_names import UP_TO_DATE
from gateway.protocol.state import Lifetime

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.protocol.identity import IdentityHeaders
    from gateway.protocol.repair import StreamRead

MAX_VARIANTS = 16  # of one URL: a Vary on what all clients send differently must not fill the store
VARIANT_OVERHEAD = 600  # bytes of a variant besides its head and body: objects and parsed facts
_OF_THE_WAY = frozenset({"via", "x-forwarded-proto", "x-forwarded-host"})
_OF_THE_SENDER = frozenset({"forwarded", "x-forwarded-for"})  # its address among others


class CacheRequest(msgspec.Struct, frozen=True):
    """A GET as the cache sees it: one that catches up, so that its answer can be for everybody.

    `headers` are the client's, `fields` what the origin is sent. A `identified` request comes from
    somebody in particular.
    """

    host: str
    read: EdgeCatchUp
    headers: MultiMapping[str]
    fields: CIMultiDict[str]
    identity: str  # of whom, hashed; empty for everybody
    coding: str  # what compressions the client takes
    lifetime: Lifetime  # of the stream, as far as it is known here

    @property
    def path(self) -> str:
        """The canonical path."""
        return self.read.path

    @property
    def target(self) -> str:
        """The canonical path and query."""
        return self.read.target

    @property
    def start(self) -> str:
        """The offset that it reads from."""
        return edge_target.start_of(self.read)

    @property
    def key(self) -> tuple[str, str]:
        """What answers are kept under."""
        return self.host, self.target

    @property
    def identified(self) -> bool:
        """Whether somebody in particular asks."""
        return bool(self.identity)

    @property
    def fetch_key(self) -> Hashable:
        """What equal requests are equal in."""
        return self.key, self.identity, self.coding

    def plain(self, identity: IdentityHeaders) -> CacheRequest:
        """The same reader's request with nothing in it but who it is: live readers share it.

        Of nobody in particular not even the address: it is that of whoever happened to be first.
        """
        kept = _OF_THE_WAY | _OF_THE_SENDER if self.identified else _OF_THE_WAY
        fields = CIMultiDict(
            (name, value)
            for name, value in self.fields.items()
            if name.lower() in kept or identity.has(name)
        )
        fields["Accept-Encoding"] = "identity"
        return msgspec.structs.replace(self, fields=fields, coding="", headers=fields)

    def elsewhere(self, offset: str) -> CacheRequest:
        """The same reader's request to catch up from an offset."""
        return msgspec.structs.replace(self, read=edge_target.catch_up(self.read, offset))


class CachedResponse:
    """One answer. `keep` says whether it may be kept, `stored` decides about it then.

    It is `joinable` when those may have it who asked for the same while it came.

    `head` is its status line and header lines, but for Age and its like, and framing.
    """

    __slots__ = (
        "_around_hits",
        "_moment",
        "body",
        "entry",
        "facts",
        "fitting",
        "head",
        "identity",
        "is_asked_for",
        "is_ours",
        "is_public",
        "is_tail",
        "joinable",
        "keep",
        "length",
        "own_cors",
        "own_date",
        "rests_until",
        "said",
        "status",
        "stored",
        "tagged_as",
        "validators",
    )

    def __init__(self, status: int, head: bytes, identity: IdentityHeaders) -> None:
        self.status = status
        self.head = head
        self.identity = identity
        self.body = b""
        self.length: int | None = None  # of the body, where the origin says it
        self.keep = False
        self.joinable = False
        self.is_ours = False  # that it may be kept is our word, not the origin's
        self.said: list[tuple[str, str]] = []  # of caches by the origin, where that is shortened
        self.stored = Stored(status, 0, 0)
        self.facts: StreamRead | None = None
        self.is_tail = False
        self.validators: list[tuple[str, str]] = []  # as the origin knows them
        self.is_public = False  # the origin says that it is for everybody, and not only for anybody
        self.own_date = False
        self.own_cors = False
        self.is_asked_for = False  # a request is under way that will tell whether it still stands
        self.rests_until = 0.0  # the origin has just failed to say whether it still stands
        self.tagged_as: tuple[str, str] | None = None  # path and offset, where it has no ETag yet
        self.entry: Variants | None = None
        self.fitting: MultiMapping[str] | None = None  # of the last request it fitted
        self._moment = (b"", b"")
        self._around_hits = (b"", b"")

    @property
    def size(self) -> int:
        """Bytes that it takes in a store."""
        return len(self.head) + len(self.body) + VARIANT_OVERHEAD

    def complete(self, body: bytes) -> None:
        """All of the body is there: an ETag that was missing can be made."""
        self.body = body
        facts = self.facts
        if self.tagged_as is not None and facts is not None:
            path, start = self.tagged_as
            mark = cache_headers.tag_mark(closed=facts.closed, at_tail=facts.up_to_date)
            tag = repair.made_tag(path, start, facts.next_offset, body, mark, coded=facts.is_coded)
            self.head += http1.field_lines([("ETag", tag)])

    def is_for(self, headers: MultiMapping[str]) -> bool:
        """Whether it may be given to whoever sends these: to everybody, or to nobody special."""
        return self.is_public or not self.identity.tell(headers)

    def of_stream(self, facts: StreamRead | None, *, tails_are_told: bool) -> None:
        """Note what it says of a stream: its tail may have been reached, and move on."""
        self.facts = facts
        self.is_tail = (
            facts is not None
            and not facts.closed
            and (facts.up_to_date or facts.is_empty or not tails_are_told)
        )

    def told(self, *, known: bool) -> bytes:
        """Its head; a stale copy says that it reached the tail only where that is `known`.

        Its tag says the same, or else a 304 would confirm what is not known. An empty answer has to
        say so, or readers would ask again.
        """
        facts = self.facts
        if known or not self.is_tail or facts is None or facts.is_empty or not facts.up_to_date:
            return self.head
        fields = self.fields()
        del fields[UP_TO_DATE]
        if "ETag" in fields:
            fields["ETag"] = repair.untailed(fields["ETag"])
        return http1.status_line(self.status) + http1.field_lines(fields.items())

    def fields(self) -> CIMultiDict[str]:
        """Its header fields."""
        return fields_of(self.head)

    def fast_head(self, date: bytes, cors: bytes, connection: bytes, now: float) -> bytes:
        """The whole head of a hit that was counted, with the lines of the moment that it needs.

        `date` is rendered anew every second, and so is all but the number of hits.
        """
        entry = self.entry
        assert entry is not None, "it is kept"
        moment = (date, connection)
        if moment != self._moment:
            self._moment = moment
            self._around_hits = self._at_moment(moment, cors, now)
        before, after = self._around_hits
        return b"%b%d%b" % (before, entry.hits, after)

    def _at_moment(
        self, moment: tuple[bytes, bytes], cors: bytes, now: float
    ) -> tuple[bytes, bytes]:
        date, connection = moment
        stored = self.stored
        before, after = cache_status.fresh_hit(stored.age(now), int(stored.fresh_until - now))
        begin = b"".join(
            (
                self.head,
                date if self.own_date else b"",
                cors if self.own_cors else b"",
                connection,
                before,
            )
        )
        length = b"Content-Length: %d\r\n" % len(self.body) if http1.has_body(self.status) else b""
        return begin, b"%b%b\r\n" % (after, length)


class Variants(CacheEntry):
    """The variants kept under one key; `is_tail` tells whether a stream is known to end there."""

    __slots__ = ("_is_tail", "path", "variants")

    def __init__(
        self,
        key: Hashable,
        path: str,
        variants: list[CachedResponse],
        is_tail: Callable[[str], bool],
    ) -> None:
        groups: tuple[Hashable, ...] = (("path", path),)
        # One that says closed, too: where a stream grows all the same it is another one.
        if any(cached.is_tail or (cached.facts and cached.facts.closed) for cached in variants):
            groups = (*groups, ("tail", path))
        super().__init__(key, sum(cached.size for cached in variants), groups)
        self.path = path
        self.variants = variants
        self._is_tail = is_tail
        for cached in variants:
            cached.entry = self

    def knows_tail(self, cached: CachedResponse) -> bool:
        """Whether what a variant reached is still the tail of its stream."""
        return cached.facts is not None and self._is_tail(cached.facts.next_offset)

    def with_variant(self, new: CachedResponse) -> Variants:
        """The slot with one more variant, or another in place of one for the same requests."""
        others = [
            cached
            for cached in self.variants
            if (cached.stored.vary, cached.is_public) != (new.stored.vary, new.is_public)
        ]
        return self._with([*others[1 - MAX_VARIANTS :], new])

    def without(self, old: CachedResponse) -> Variants:
        """The slot without a variant that stands no more."""
        return self._with([cached for cached in self.variants if cached is not old])

    def _with(self, variants: list[CachedResponse]) -> Variants:
        entry = Variants(self.key, self.path, variants, self._is_tail)
        entry.hits = self.hits
        return entry


def fields_of(head: bytes) -> CIMultiDict[str]:
    """The header fields of an answer's head."""
    lines = head[head.index(b"\r\n") + 2 :]
    return CIMultiDict(http1.parse_field_lines(lines))


def no_store(fields: CIMultiDict[str]) -> CIMultiDict[str]:
    """An error of which its origin does not say that it may be kept is not."""
    if not any(name in fields for name in (*repair.LIFETIMES, "Last-Modified")):
        fields["Cache-Control"] = "no-store"
    return fields
