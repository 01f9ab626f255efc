"""The moment at which the newest data of each URL arrived, of whatever identity.

Readers with different identities have feeds and fetches of their own, though most of them read one
stream. One poll may hang while another brings new data. These may belong to a different stream, but
from then on only an answer requested later can prove that a reader is up to date.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.reads.order import next_number

if TYPE_CHECKING:
    from gateway.edge.rules.lost_offsets import StreamKey

# URLs that are remembered, some 300 B each; the one whose data came the longest ago goes first.
MAX_URLS = 10_000


class _NewestEntry(NamedTuple):
    """The newest data of one URL: where they end, their identity, and when they arrived."""

    end: str
    identity: str
    number: int


class NewestData:
    """The newest data that readers of a route were given, by URL."""

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[object, ...], _NewestEntry] = OrderedDict()

    def note(self, key: StreamKey, end: str) -> bool:
        """Note that data up to `end` have arrived; return whether they are the newest so far."""
        url, identity = key[:3], key[3]
        known = self._newest.get(url)
        if known is not None and end <= known.end:
            return False
        self._newest[url] = _NewestEntry(end, identity, next_number())
        self._newest.move_to_end(url)
        if len(self._newest) > MAX_URLS:
            self._newest.popitem(last=False)
        return True

    def drop(self, key: StreamKey) -> None:
        """Forget the data of a stream that is gone: those of the next one may end before them."""
        self._newest.pop(key[:3], None)

    def is_newest(self, key: StreamKey, end: str, number: int) -> bool:
        """Return whether an answer may show that its reader is up to date.

        It ends at `end`, and its request has the `number`. It may not if others were given data
        beyond that since the request.
        """
        known = self._newest.get(key[:3])
        return (
            known is None or known.number < number or end >= known.end or known.identity == key[3]
        )
