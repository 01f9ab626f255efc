"""Rendered answers, bounded by bytes; always as fresh as the log they came from."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.protocol.state import Change

ENTRY_OVERHEAD = 600  # bytes of an entry besides its answer: objects, key, index
LARGEST_SHARE = 8  # an answer over an eighth of the store would push out too many others


class Entry:
    """One answer: what follows its status line, as bytes that every reader shares."""

    __slots__ = ("end", "etag", "expires_at", "fields", "hits", "key", "rest", "size", "stream_id")

    def __init__(
        self,
        key: Hashable,
        stream_id: int,
        rest: bytes,
        *,
        fields: str = "",
        etag: str = "",
        expires_at: float | None = None,
    ) -> None:
        self.key = key
        self.stream_id = stream_id
        self.rest = rest
        self.fields = fields
        self.etag = etag
        self.expires_at = expires_at
        self.end = 0  # of an event chunk: where it ends
        self.size = len(rest) + len(fields) + ENTRY_OVERHEAD
        self.hits = 0


class Store:
    """Least recently used answers go first. `bytes` counts what the entries hold."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._of_stream: defaultdict[int, set[Hashable]] = defaultdict(set)
        self._at_tail: defaultdict[int, set[Hashable]] = defaultdict(set)
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, now: float) -> Entry | None:
        """The answer under `key`, when its stream has not expired."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        if entry.expires_at is not None and now >= entry.expires_at:
            self._remove(entry)
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        entry.hits += 1
        return entry

    def put(self, entry: Entry, *, at_tail: bool) -> None:
        """Keep an answer; `at_tail` says that the stream's next change makes it old."""
        if entry.size > self._max_bytes // LARGEST_SHARE:
            return
        standing = self._entries.get(entry.key)
        if standing is not None:
            self._remove(standing)
        self._entries[entry.key] = entry
        self._of_stream[entry.stream_id].add(entry.key)
        if at_tail:
            self._at_tail[entry.stream_id].add(entry.key)
        self.bytes += entry.size
        while self.bytes > self._max_bytes:
            self.evictions += 1
            self._remove(next(iter(self._entries.values())))

    def changed(self, change: Change) -> None:
        """Drop what a committed change made old."""
        gone = change.removes or change.state.soft_deleted
        keys = (self._of_stream if gone else self._at_tail).get(change.state.stream_id)
        for key in tuple(keys or ()):
            self._remove(self._entries[key])

    def _remove(self, entry: Entry) -> None:
        del self._entries[entry.key]
        self.bytes -= entry.size
        for index in (self._of_stream, self._at_tail):
            keys = index.get(entry.stream_id)
            if keys is not None:
                keys.discard(entry.key)
                if not keys:
                    del index[entry.stream_id]
