"""The cached responses of one URL, which differ by request headers: an entry of the store.

`HttpCache` stores and selects them; the fast path sends a hit with the head from `fast_head`.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.protocol import http1
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.nginx_lifetimes import lines_for_nginx
from headgate_gateway.protocol.http.repeated_fields import VARY_ORIGIN, with_one_vary
from headgate_gateway.rules.directives import has_tag, normalised
from headgate_gateway.rules.served_lifetimes import EVERYBODY, Recipient
from headgate_gateway.store import CacheEntry
from headgate_gateway.telemetry import traffic as counted

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from multidict import MultiMapping

    from headgate_gateway.protocol.requests import CatchUp
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest
    from headgate_gateway.store import Store
    from headgate_gateway.telemetry.traffic import CacheShare, Hits, Traffic

MAX_VARIANTS = 16  # of one URL: a Vary on what all clients send differently must not fill the store
MAX_RECIPIENTS = 3  # of one variant: with the reader key, without it, and with one of before
VARIANT_OVERHEAD = 600  # bytes of a variant besides its head and body: objects and parsed facts
NO_NAMES: frozenset[str] = frozenset()

HIT_FOR_PASS_S = 60.0  # of what is known of a request: its answer may be one to keep after all
MOST_HIT_FOR_PASS = 10_000  # requests: about 2 MB


def _none() -> None:
    """Return None: no request has been served yet."""


_NEVER = (b"", b"", EVERYBODY, False)
_NOTHING = (b"", b"", b"", b"", b"")


class Variant:
    """A cached response, with its state in the store; `entry` has all variants of its URL.

    `is_validating` while a request to the origin is under way that will validate or replace it.
    After a failed validation the next one begins no sooner than `rests_until` (epoch seconds).
    `hit_counter` counts the hits of the route.
    """

    __slots__ = (
        "_around_hits",
        "_lines",
        "_moment",
        "cached",
        "entry",
        "fitted",
        "hit_counter",
        "is_validating",
        "rests_until",
        "stored",
    )

    entry: Variants

    def __init__(self, cached: CachedResponse, hit_counter: Hits) -> None:
        self.cached = cached
        self.hit_counter = hit_counter
        self.stored = cached.stored
        self.is_validating = False
        self.rests_until = 0.0
        # The headers of the last request it matched, unless they hold a credential.
        self.fitted: Callable[[], MultiMapping[str] | None] = _none
        # The rendered head: all but the number of hits and the request id. Most are never hit.
        self._moment = _NEVER
        self._around_hits = _NOTHING
        self._lines: dict[Recipient, bytes] | None = None

    @property
    def knows_tail(self) -> bool:
        """True if the tail that the response reached is still the stream's tail."""
        facts = self.cached.facts
        if facts is None:
            return False
        entry = self.entry
        return entry.responses.is_tail(entry.key[0], entry.read, facts.next_offset)

    @property
    def is_end(self) -> bool:
        """True if the response has no data, and reports that its stream is closed."""
        facts = self.cached.facts
        return facts is not None and facts.closed and facts.is_empty

    def has_tag(self, if_none_match: str) -> bool:
        """Return whether If-None-Match has this response's tag (RFC 9110, section 13.1.2)."""
        if self.cached.status != 200:
            return False
        return has_tag(if_none_match, self.cached.stored.etag)

    def fast_head(  # noqa: PLR0913 - all by which the heads of hits differ
        self,
        recipient: Recipient,
        date_and_cors: tuple[bytes, bytes],
        connection: bytes,
        now: float,
        id_line: bytes = b"",
        ends: tuple[bytes, bytes] | None = None,
        *,
        is_of_nginx: bool = False,
    ) -> bytes:
        """Return the head of a hit, which the caller has counted in the entry.

        The head is rendered again when `date` changes, every second. Only the number of hits and
        `id_line`, with the request's id, are inserted for each response. `ends` are the first line
        and the framing of an answer that has less than the whole response.
        """
        date, cors = date_and_cors
        moment = (date, connection, recipient, is_of_nginx)
        if moment != self._moment:
            self._around_hits = self._at_moment(moment, cors, now)
            self._moment = moment
        line, begin, before, after, framing = self._around_hits
        if ends is not None:
            line, framing = ends
        hits = self.entry.hits
        return b"%b%b%b%b%d%b%b" % (line, begin, id_line, before, hits, after, framing)

    def _at_moment(
        self, moment: tuple[bytes, bytes, Recipient, bool], cors: bytes, now: float
    ) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        date, connection, recipient, is_of_nginx = moment
        cached, stored, known = self.cached, self.stored, self._lines
        if known is None or (len(known) == MAX_RECIPIENTS and recipient not in known):
            known = self._lines = {}
        # On a public route all recipients get the same lines.
        lines = known.get(recipient)
        if lines is None:
            lines = known[recipient] = cached.lines_for(recipient, tells_of_tail=True)
        age = stored.age(now)
        if is_of_nginx:
            lines = lines_for_nginx(lines, age)
        before, after = cache_status.fresh_hit(age, int(stored.fresh_until - now))
        if not cached.own_cors:
            cors = b""
        elif VARY_ORIGIN in cors:
            cors, lines = with_one_vary(cors, lines)
        begin = b"".join(
            (
                lines,
                date if cached.own_date else b"",
                cors,
                connection,
            )
        )
        has_length = cached.status not in http1.BODYLESS
        framing = b"Content-Length: %d\r\n\r\n" % len(cached.body) if has_length else b"\r\n"
        return http1.STATUS_LINES[cached.status], begin, before, after, framing


class Variants(CacheEntry):
    """The variants of one URL, the newest first; `responses` are those of its route."""

    __slots__ = ("read", "responses", "variants", "varies")

    key: tuple[str, str]

    def __init__(
        self,
        key: tuple[str, str],
        read: CatchUp,
        variants: Sequence[Variant],
        responses: CachedVariants,
        owner: CacheShare,
    ) -> None:
        size, reaches_tail, varies = 0, False, NO_NAMES
        for variant in variants:
            cached = variant.cached
            size += (
                len(cached.lines) + len(cached.shared_lines) + len(cached.body) + VARIANT_OVERHEAD
            )
            # Also a closed stream's: if that grows, another stream was created at its path.
            if cached.is_tail or (cached.facts is not None and cached.facts.closed):
                reaches_tail = True
            if variant.stored.vary:
                varies |= {name for name, _ in variant.stored.vary}
            variant.entry = self
        of_path = ("path", read.path)
        groups = (of_path, ("tail", read.path)) if reaches_tail else (of_path,)
        super().__init__(key, size, groups, owner=owner)
        self.read = read
        self.variants = variants
        self.varies = varies
        self.responses = responses

    @override
    def let_go(self) -> None:
        """Release the variants, which still refer to this entry.

        Otherwise both would stay in memory until the garbage collector finds the cycle.
        """
        self.variants = ()

    def with_variant(self, new: CachedResponse, hit_counter: Hits) -> Variants:
        """Return the entry with a variant added, or replaced if it is for the same requests."""
        others = [
            variant
            for variant in self.variants
            if (variant.stored.vary, variant.cached.is_public) != (new.stored.vary, new.is_public)
        ]
        variants = [Variant(new, hit_counter), *others[: MAX_VARIANTS - 1]]
        return self._with(sorted(variants, key=attrgetter("stored.born"), reverse=True))

    def without(self, old: Variant) -> Variants:
        """Return the entry without a variant."""
        return self._with([variant for variant in self.variants if variant is not old])

    def _with(self, variants: list[Variant]) -> Variants:
        entry = Variants(self.key, self.read, variants, self.responses, self.owner)
        entry.hits = self.hits
        return entry


class CachedVariants:
    """The cached responses of a route, in the store that all routes share.

    `is_tail` returns whether the public stream of a read at a host is known to end at an offset,
    and `recipient_of` the recipient of a response, by path and the URL's reader key, if any.
    """

    def __init__(
        self,
        store: Store[CacheEntry],
        clock: Callable[[], float],
        traffic: Traffic,
        is_tail: Callable[[str, CatchUp, str], bool],
        recipient_of: Callable[[str, str | None], Recipient],
    ) -> None:
        self._store = store
        self._clock = clock
        self._traffic = traffic
        self.is_tail = is_tail
        self.recipient_of = recipient_of

    def variants(self, request: CacheRequest, *, only_looks: bool = False) -> Sequence[Variant]:
        """Return the cached responses of a URL, the newest first.

        A caller that `only_looks` does not mark them as used.
        """
        get = self._store.peek if only_looks else self._store.get
        entry = get(request.key, self._clock())
        return entry.variants if isinstance(entry, Variants) else ()

    def paths(self) -> Iterator[str]:
        """Yield the paths with cached responses; all routes share the store."""
        for group in self._store.groups():
            if isinstance(group, tuple) and group[0] == "path":
                yield group[1]

    def of_path(self, path: str) -> list[CachedResponse]:
        """Return the cached responses of a path."""
        entries = self._store.of_group(("path", path))
        return [
            one.cached for entry in entries if isinstance(entry, Variants) for one in entry.variants
        ]

    def reaches(self, path: str, offset: str) -> bool:
        """Return whether a cached response of a path ends at or after an offset."""
        facts = (cached.facts for cached in self.of_path(path))
        return any(it and it.next_offset >= offset for it in facts)

    def put(self, request: CacheRequest, cached: CachedResponse) -> bool:
        """Store a response; return whether there was room."""
        key, read, resume_kind, facts = request.key, request.read, counted.NOWHERE, cached.facts
        if facts is not None:
            is_end = facts.closed and facts.is_empty
            resume_kind = counted.TERMINAL if is_end else counted.resume_kind(read.offset)
        hit_counter = self._traffic.hits(counted.READ, resume_kind, cached.status)
        entry = self._store.get(key, self._clock())
        if isinstance(entry, Variants):
            return self._store.put(entry.with_variant(cached, hit_counter))
        variants = (Variant(cached, hit_counter),)
        return self._store.put(Variants(key, read, variants, self, self._traffic.cache_share))

    def remove(self, key: Hashable, variant: Variant | None) -> None:
        """Remove a variant, if there is one, unless its entry was replaced meanwhile."""
        if variant is not None and self._store.get(key, self._clock()) is variant.entry:
            self._store.put(variant.entry.without(variant))

    def discard(self, key: Hashable) -> None:
        """Drop the cached responses of a URL."""
        self._store.discard(key)

    def drop_path(self, path: str) -> None:
        """Drop every cached response of a path."""
        self._store.drop(("path", path))

    def drop_tail(self, path: str) -> None:
        """Drop the cached responses of a path that reached the stream's tail."""
        self._store.drop(("tail", path))


def key_of(request: CacheRequest, varies: frozenset[str]) -> Hashable:
    """Return the key that equal requests share."""
    if not varies:
        return request.fetch_key
    return request.fetch_key, tuple(
        (name, normalised(name, request.headers)) for name in sorted(varies)
    )


def varies_of(variants: Sequence[Variant]) -> frozenset[str]:
    """Return the fields, in lower case, that are known to select among the variants of a URL."""
    return frozenset([name for variant in variants for name, _ in variant.stored.vary])


class HitForPass:
    """The requests, by what equal ones are equal in. Beyond a bound the oldest is forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.until: OrderedDict[Hashable, float] = OrderedDict()  # nothing is in most of them

    def __len__(self) -> int:
        return len(self.until)

    def __contains__(self, key: Hashable) -> bool:
        return self.until.get(key, 0.0) > self._clock()

    def add(self, key: Hashable) -> None:
        """Note a request whose answer was not to be kept."""
        self.until[key] = self._clock() + HIT_FOR_PASS_S
        self.until.move_to_end(key)
        if len(self.until) > MOST_HIT_FOR_PASS:
            self.until.popitem(last=False)
