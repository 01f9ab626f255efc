"""What the store holds under a URL: its cached responses, and what is known of their use."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.cache.private_fields import EVERYBODY, Recipient
from gateway.cache.store import CacheEntry
from gateway.protocol import cache_status, http1

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from multidict import MultiMapping

    from gateway.cache.cached_response import CachedResponse
    from gateway.telemetry.traffic import Hits, Kept

MAX_VARIANTS = 16  # of one URL: a Vary on what all clients send differently must not fill the store
MAX_RECIPIENTS = 3  # of one variant: with the reader key, without it, and with one of before
VARIANT_OVERHEAD = 600  # bytes of a variant besides its head and body: objects and parsed facts


def _none() -> None:
    """Nobody has asked yet."""


class Variant:
    """A cached response in its place in the store, its `entry`.

    `is_asked_for` while a request is under way that will tell whether it still stands; the origin
    is not asked again before `rests_until` (epoch seconds), since it has just failed to say so.
    `given` counts who got it at once.
    """

    __slots__ = (
        "_around_hits",
        "_heads",
        "_moment",
        "cached",
        "entry",
        "fitted",
        "given",
        "is_asked_for",
        "rests_until",
        "stored",
    )

    entry: Variants

    def __init__(self, cached: CachedResponse, given: Hits) -> None:
        self.cached = cached
        self.given = given
        self.stored = cached.stored
        self.is_asked_for = False
        self.rests_until = 0.0
        # The headers of the last plain request it fitted: what holds a credential is not kept here.
        self.fitted: Callable[[], MultiMapping[str] | None] = _none
        self._heads: dict[Recipient, bytes] = {}
        self._moment = (b"", b"", EVERYBODY)
        self._around_hits = (b"", b"")

    @property
    def knows_tail(self) -> bool:
        """Whether what it reached is still the tail of its stream."""
        facts = self.cached.facts
        return facts is not None and self.entry.is_tail(facts.next_offset)

    def fast_head(
        self, recipient: Recipient, date: bytes, cors: bytes, connection: bytes, now: float
    ) -> bytes:
        """The whole head of a hit that was counted, with the lines of the moment that it needs.

        `date` is rendered anew every second, and so is all but the number of hits.
        """
        moment = (date, connection, recipient)
        if moment != self._moment:
            self._moment = moment
            self._around_hits = self._at_moment(moment, cors, now)
        before, after = self._around_hits
        return b"%b%d%b" % (before, self.entry.hits, after)

    def _at_moment(
        self, moment: tuple[bytes, bytes, Recipient], cors: bytes, now: float
    ) -> tuple[bytes, bytes]:
        date, connection, recipient = moment
        cached, stored = self.cached, self.stored
        before, after = cache_status.fresh_hit(stored.age(now), int(stored.fresh_until - now))
        begin = b"".join(
            (
                self._head(recipient),
                date if cached.own_date else b"",
                cors if cached.own_cors else b"",
                connection,
                before,
            )
        )
        has_length = http1.has_body(cached.status)
        length = b"Content-Length: %d\r\n" % len(cached.body) if has_length else b""
        return begin, b"%b%b\r\n" % (after, length)

    def _head(self, recipient: Recipient) -> bytes:
        """The head as its origin's lines make it for somebody; on a public route it is one."""
        if not recipient.is_private:
            return self.cached.head
        head = self._heads.get(recipient)
        if head is None:
            if len(self._heads) == MAX_RECIPIENTS:
                self._heads.clear()
            head = self._heads[recipient] = self.cached.told(recipient, known=True)
        return head


class Variants(CacheEntry):
    """The variants under one key, the newest first.

    `is_tail` tells whether their stream is known to end at an offset, and `recipient_of` for whom
    an answer is whose URL has this reader key, or none.
    """

    __slots__ = ("is_tail", "path", "recipient_of", "variants")

    def __init__(
        self,
        key: Hashable,
        path: str,
        variants: list[Variant],
        is_tail: Callable[[str], bool],
        recipient_of: Callable[[str | None], Recipient],
        owner: Kept,
    ) -> None:
        size, reaches_tail = 0, False
        for variant in variants:
            cached = variant.cached
            size += len(cached.head) + len(cached.body) + VARIANT_OVERHEAD
            # One that says closed, too: where a stream grows all the same it is another one.
            if cached.is_tail or (cached.facts is not None and cached.facts.closed):
                reaches_tail = True
            variant.entry = self
        of_path = ("path", path)
        groups = (of_path, ("tail", path)) if reaches_tail else (of_path,)
        super().__init__(key, size, groups, owner=owner)
        self.path = path
        self.variants = variants
        self.is_tail = is_tail
        self.recipient_of = recipient_of

    def with_variant(self, new: CachedResponse, given: Hits) -> Variants:
        """The entry with one more variant, or another in place of one for the same requests."""
        others = [
            variant
            for variant in self.variants
            if (variant.stored.vary, variant.cached.is_public) != (new.stored.vary, new.is_public)
        ]
        variants = [Variant(new, given), *others[: MAX_VARIANTS - 1]]
        return self._with(sorted(variants, key=attrgetter("stored.born"), reverse=True))

    def without(self, old: Variant) -> Variants:
        """The entry without a variant that stands no more."""
        return self._with([variant for variant in self.variants if variant is not old])

    def _with(self, variants: list[Variant]) -> Variants:
        entry = Variants(self.key, self.path, variants, self.is_tail, self.recipient_of, self.owner)
        entry.hits = self.hits
        return entry
