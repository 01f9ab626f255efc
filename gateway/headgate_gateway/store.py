"""A cache in memory, bounded in bytes and entries: the least recently used are evicted first.

The cache of HTTP origins and the reads of logs share one store.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from headgate_gateway.telemetry.traffic import CacheShare

MAX_GROUP = 4096  # entries that one change invalidates: to drop them all takes 15 ms
ENTRY_OVERHEAD = 600  # bytes of an entry besides its response: objects, key, index
LARGEST_SHARE = 8  # a response over an eighth of the store would evict too many others
USED_SHARE = 0.8  # of the bytes, for entries that were used again
MAX_ENTRIES = 500_000  # so that an eviction or a drop searches little


class CacheEntry:
    """An entry of a store; a subclass adds the response.

    It is dropped with each of its `groups`, and not served from `expires_at` on (epoch seconds).
    `hits` counts the responses served from it. `owner` has the counts of its route.
    """

    __slots__ = ("expires_at", "groups", "hits", "key", "owner", "size")

    def __init__(
        self,
        key: Hashable,
        size: int,
        groups: tuple[Hashable, ...],
        *,
        owner: CacheShare,
        expires_at: float | None = None,
    ) -> None:
        self.key = key
        self.owner = owner
        self.size = size + ENTRY_OVERHEAD
        self.groups = groups
        self.expires_at = expires_at
        self.hits = 0

    def let_go(self) -> None:
        """Release references, because the entry was removed, or was not stored."""


K = TypeVar("K", bound=CacheEntry)


class Store(Generic[K]):
    """A segmented LRU: new entries, and entries that were used again.

    The least recently used new entry is evicted first, so that many entries which are read once do
    not evict the popular ones.  `bytes` is the size of all entries.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._new: OrderedDict[Hashable, K] = OrderedDict()
        self._used: OrderedDict[Hashable, K] = OrderedDict()
        self._used_bytes = 0
        self.by_group: defaultdict[Hashable, dict[Hashable, None]] = defaultdict(dict)
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._new) + len(self._used)

    @override
    def __repr__(self) -> str:
        return f"<Store {len(self)} entries, {self.bytes} of {self._max_bytes} bytes>"

    def get(self, key: Hashable, now: float) -> K | None:
        """Return the entry under `key`, or None if it has expired."""
        entry = self._used.get(key)
        was_used = entry is not None
        if entry is None:
            entry = self._new.get(key)
            if entry is None:
                return None
        if entry.expires_at is not None and now >= entry.expires_at:
            self._remove(entry)
            return None
        if was_used:
            self._used.move_to_end(key)
        else:
            self._use(entry)
        return entry

    def peek(self, key: Hashable, now: float) -> K | None:
        """Return the entry under `key` without marking it as used."""
        entry = self._used.get(key) or self._new.get(key)
        expired = entry is not None and entry.expires_at is not None and now >= entry.expires_at
        return None if expired else entry

    def _use(self, entry: K) -> None:
        """Move a new entry to those that were used again."""
        self._used_bytes += entry.size
        self._used[entry.key] = self._new.pop(entry.key)
        self._shrink_used()

    def _shrink_used(self) -> None:
        """Move the least recently used entries back to the new ones, down to USED_SHARE."""
        while self._used_bytes > self._max_bytes * USED_SHARE:
            _, oldest = self._used.popitem(last=False)
            self._used_bytes -= oldest.size
            self._new[oldest.key] = oldest

    def put(self, entry: K) -> bool:
        """Store an entry, and evict others until the bounds hold.

        Return False if it is too large.
        """
        key, owner, size = entry.key, entry.owner, entry.size
        was_used = key in self._used
        if was_used or key in self._new:
            self._remove(self._used[key] if was_used else self._new[key])
        if size > self._max_bytes // LARGEST_SHARE:
            entry.let_go()
            return False
        self.bytes += size
        owner.bytes += size
        owner.entries += 1
        self._new[key] = entry
        try:
            self._join(entry)
        except BaseException:
            self._remove(entry)  # without its groups it would not be dropped with them
            raise
        if was_used:
            self._use(entry)
        while self.bytes > self._max_bytes or len(self._new) + len(self._used) > MAX_ENTRIES:
            self._evict(next(iter((self._new or self._used).values())))
        return True

    def _join(self, entry: K) -> None:
        for group in entry.groups:
            keys = self.by_group[group]
            if len(keys) >= MAX_GROUP:
                # A dict searches for its first key past all gaps.
                if not isinstance(keys, OrderedDict):
                    keys = self.by_group[group] = OrderedDict(keys)
                oldest = next(iter(keys))
                self._evict(self._used.get(oldest) or self._new[oldest])
                keys = self.by_group[group]
            keys[entry.key] = None

    def resize(self, max_bytes: int) -> None:
        """Set the bound in bytes; evict the oldest entries that exceed it."""
        self._max_bytes = max_bytes
        while self.bytes > max_bytes:
            self._evict(next(iter((self._new or self._used).values())))
        self._shrink_used()

    def _evict(self, entry: K) -> None:
        """Remove an entry to make room, and count that."""
        entry.owner.evictions += 1
        self._remove(entry)

    def of_group(self, group: Hashable) -> list[K]:
        """Return every response of a group."""
        return [self._used.get(key) or self._new[key] for key in self.by_group.get(group) or ()]

    def groups(self) -> list[Hashable]:
        """Return the groups that have entries now."""
        return list(self.by_group)

    def drop(self, group: Hashable) -> None:
        """Remove every entry of a group."""
        if group in self.by_group:
            for entry in self.of_group(group):
                self._remove(entry)

    def discard(self, key: Hashable) -> None:
        """Remove the entry under `key`, if there is one."""
        entry = self._used.get(key) or self._new.get(key)
        if entry is not None:
            self._remove(entry)

    def clear(self, owner: CacheShare | None = None) -> None:
        """Drop everything, or all entries of an owner; half a million take about 0.1 s."""
        for entry in [*self._new.values(), *self._used.values()]:
            if owner is None or entry.owner is owner:
                self._remove(entry)

    def _remove(self, entry: K) -> None:
        """Remove an entry from the store, its groups and all counts."""
        if self._new.pop(entry.key, None) is None:
            del self._used[entry.key]
            self._used_bytes -= entry.size
        owner, size = entry.owner, entry.size
        self.bytes -= size
        owner.bytes -= size
        owner.entries -= 1
        for group in entry.groups:
            keys = self.by_group[group]
            keys.pop(entry.key, None)
            if not keys:
                del self.by_group[group]
        entry.let_go()


class Caches:
    """The caches of the responses and chunks of one log's streams.

    Each entry is in one of the groups of its stream: its id, or ("tail", id) if an append makes it
    stale.
    """

    def __init__(self, *stores: Store[Any]) -> None:
        self.stores = [*stores]
        # Each drops the data that a feature has derived from the stream with this id, which is gone
        # or whose beginning has changed; None means all streams.
        self.derived: list[Callable[[int | None], None]] = []

    def changed(self, stream_id: int, *, whole: bool) -> None:
        """Drop stale responses: those that reached the tail, or with `whole` everything."""
        group = stream_id if whole else ("tail", stream_id)
        for store in self.stores:
            if group in store.by_group:  # most appends find none
                store.drop(group)
        if whole:
            for drop in self.derived:
                drop(stream_id)

    def clear(self) -> None:
        """Drop all cached responses, also of other routes: a log seldom loses acknowledged data."""
        for store in self.stores:
            store.clear()
        for drop in self.derived:
            drop(None)
