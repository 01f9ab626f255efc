"""Which stream is at a path: one that is made anew there may be of another type."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from gateway.protocol.followed import is_of_type

if TYPE_CHECKING:
    from collections.abc import Hashable

# Streams whose type is remembered, some 300 B each; what was read the longest ago goes first. Of
# what is forgotten, copies of another type may be given out until their lifetime is over.
MAX_STREAMS = 10_000


class _Seen(NamedTuple):
    content_type: str
    number: int


class Incarnations:
    """By stream: the type that the latest request to the origin has found there."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def is_past(self, key: Hashable, content_type: str, number: int) -> bool:
        """Whether a later request, by its number, has found a stream of another type."""
        seen = self._seen.get(key)
        return (
            seen is not None
            and number < seen.number
            and not is_of_type(content_type, seen.content_type)
        )

    def is_another(self, key: Hashable, content_type: str, number: int) -> bool:
        """Note what a request has found; whether it was another stream before."""
        seen = self._seen.pop(key, None)
        latest = number if seen is None else max(number, seen.number)
        self._seen[key] = _Seen(content_type, latest)
        if len(self._seen) > MAX_STREAMS:
            self._seen.popitem(last=False)
        return seen is not None and not is_of_type(content_type, seen.content_type)
