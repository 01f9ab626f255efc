"""Reads that the origin answers as if the stream ended before them: a lag, or another stream."""

from __future__ import annotations

from collections import OrderedDict

ANOTHER_STREAM = "the stream was made anew, or has lost its end: read from the beginning"
PERSISTS_S = 5.0  # no replica that is to be read from lags for so long
MAX_SETBACKS = 1000  # reads remembered, some 100 B each; the longest ago go first


class ReplicaLag:
    """The time (epoch) since when replicas lag, by path and offset."""

    def __init__(self) -> None:
        self._since: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    def saw(self, path: str, offset: str, now: float) -> bool:
        """Note one more such answer; whether it has been so for too long to be a lag."""
        since = self._since.pop((path, offset), now)
        self._since[path, offset] = since
        if len(self._since) > MAX_SETBACKS:
            self._since.popitem(last=False)
        return now - since >= PERSISTS_S

    def reached(self, path: str, offset: str) -> None:
        """Note a response that reaches an offset."""
        self._since.pop((path, offset), None)
