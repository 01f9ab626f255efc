"""The content types of streams by path: a re-created stream may have another type."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.protocol.origins.followed import is_of_type

if TYPE_CHECKING:
    from collections.abc import Hashable

# Streams whose type is remembered, some 300 B each; what was read the longest ago goes first. Of
# what is forgotten, copies of another type may be given out until their lifetime is over.
MAX_STREAMS = 10_000


class LatestContentTypes:
    """The content type that the latest request to the origin found for each stream."""

    def __init__(self) -> None:
        # With the number of that request.
        self._content_types: OrderedDict[Hashable, tuple[str, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._content_types)

    def is_another(self, key: Hashable, content_type: str, number: int) -> bool | None:
        """Note what a request has found; whether it was another stream before.

        None where a later request, by its number, has found a stream of another type: then what
        this one has found is of the past.
        """
        seen = self._content_types.get(key)
        if seen is None:
            self._content_types[key] = content_type, number
            if len(self._content_types) > MAX_STREAMS:
                self._content_types.popitem(last=False)
            return False
        before, latest = seen
        is_another = before != content_type and not is_of_type(content_type, before)
        if is_another and number < latest:
            return None
        self._content_types[key] = content_type, max(number, latest)
        self._content_types.move_to_end(key)
        return is_another
