"""Streams and subscriptions as the protocol and the page of subscriptions describe them.

Nothing here looks at the gateway: offsets are those that clients were told, in their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BEGINNING = "-1"


@dataclass
class ModelStream:
    """A stream; `offsets` are its beginning, and the end of each append since."""

    incarnation: int
    offsets: list[str]
    is_fork: bool = False
    is_closed: bool = False
    has_ttl: bool = False

    @property
    def tail(self) -> str:
        return self.offsets[-1]


@dataclass
class ModelLink:
    """A link; `acked` counts the offsets of the stream that are acknowledged."""

    explicit: bool = False
    glob: bool = False
    incarnation: int | None = None
    acked: int = 0
    is_closed: bool = False

    def begin(self, stream: ModelStream, *, at_tail: bool = False) -> None:
        """Begin a cursor in a stream; one of a stream before it is over."""
        if self.incarnation == stream.incarnation:
            return
        self.incarnation = stream.incarnation
        self.acked = len(stream.offsets) - 1 if at_tail else 0
        self.is_closed = at_tail and stream.is_closed

    def is_pending(self, stream: ModelStream | None) -> bool:
        return stream is not None and (
            self.acked < len(stream.offsets) - 1 or (stream.is_closed and not self.is_closed)
        )

    def acked_offset(self, stream: ModelStream | None) -> str:
        if stream is None or (self.acked == 0 and not stream.is_fork):
            return BEGINNING
        return stream.offsets[self.acked]


@dataclass
class Claim:
    """A claim as its worker got it, with the streams as they were then."""

    wake_id: str
    generation: int
    token: str
    ends: dict[str, tuple[int, int, bool]]  # incarnation, offsets, closed


@dataclass
class ModelSubscription:
    """A pull-wake subscription: `lease_s` is what is left of the lease in force."""

    pattern: str | None
    links: dict[str, ModelLink] = field(default_factory=dict)
    claim: Claim | None = None
    lease_s: float = 0.0
    generation: int = 0

    def matches(self, path: str) -> bool:
        if self.pattern is None:
            return False
        pattern, name = self.pattern.split("/"), path.split("/")
        return len(pattern) == len(name) and all(
            one in {"*", other} for one, other in zip(pattern, name, strict=True)
        )

    @property
    def is_leased(self) -> bool:
        return self.claim is not None and self.lease_s > 0


class Model:
    """What is there, and what a wake has to tell."""

    def __init__(self) -> None:
        self.streams: dict[str, ModelStream] = {}
        self.subscriptions: dict[str, ModelSubscription] = {}
        self._incarnations = 0

    def create(
        self,
        path: str,
        beginning: str,
        tail: str,
        *,
        is_fork: bool = False,
        is_closed: bool = False,
        has_ttl: bool = False,
    ) -> None:
        """A stream is created: it counts from its own beginning."""
        self._incarnations += 1
        offsets = [beginning] if tail == beginning else [beginning, tail]
        stream = ModelStream(self._incarnations, offsets, is_fork, is_closed, has_ttl)
        self.streams[path] = stream
        for subscription in self.subscriptions.values():
            self._link_new(subscription, path, stream)

    @staticmethod
    def _link_new(subscription: ModelSubscription, path: str, stream: ModelStream) -> None:
        if subscription.matches(path):
            link = subscription.links.get(path) or ModelLink()
            link.glob = True
            subscription.links[path] = link
        if path in subscription.links:
            subscription.links[path].begin(stream)

    def delete(self, path: str) -> None:
        """A stream is deleted or expires: links by name stay, those of patterns go."""
        del self.streams[path]
        for subscription in self.subscriptions.values():
            link = subscription.links.get(path)
            if link is not None:
                link.glob = False
                if not link.explicit:
                    del subscription.links[path]

    def subscribe(self, name: str, pattern: str | None, streams: list[str]) -> None:
        """Existing streams are linked at their tails, others from their beginning."""
        made = self.subscriptions[name] = ModelSubscription(pattern)
        for path in self.streams:
            if made.matches(path):
                made.links[path] = ModelLink(glob=True)
                made.links[path].begin(self.streams[path], at_tail=True)
        for path in streams:
            self.link(name, path)

    def link(self, name: str, path: str) -> None:
        """A link by name; of a stream that is linked already, the cursor stays."""
        links = self.subscriptions[name].links
        if path not in links:
            links[path] = ModelLink()
            if path in self.streams:
                links[path].begin(self.streams[path], at_tail=True)
        links[path].explicit = True

    def unlink(self, name: str, path: str) -> None:
        """A link by name is removed; one of the pattern stays."""
        links = self.subscriptions[name].links
        if path in links and links[path].explicit:
            links[path].explicit = False
            if not links[path].glob:
                del links[path]

    def pending(self, name: str) -> list[str]:
        """Return the streams with pending work."""
        links = self.subscriptions[name].links
        return sorted(it for it in links if links[it].is_pending(self.streams.get(it)))

    def told(self, name: str) -> dict[str, dict[str, Any]]:
        """Return what a wake has to tell of each stream."""
        found: dict[str, dict[str, Any]] = {}
        for path, link in self.subscriptions[name].links.items():
            stream = self.streams.get(path)
            info = {
                "path": path,
                "link_type": "explicit" if link.explicit else "glob",
                "acked_offset": link.acked_offset(stream),
                "tail_offset": BEGINNING if stream is None else stream.tail,
                "has_pending": link.is_pending(stream),
            }
            if stream is not None and stream.is_closed:
                info["closed"] = True
            found[path] = info
        return found

    def ends(self, name: str) -> dict[str, tuple[int, int, bool]]:
        """Return the ends that a wake tells now."""
        return {
            path: (it.incarnation, len(it.offsets), it.is_closed)
            for path in self.subscriptions[name].links
            if (it := self.streams.get(path)) is not None
        }

    def acknowledge(self, name: str, path: str, acked: int) -> None:
        """A valid ack: it covers a close only if its wake told of it."""
        subscription = self.subscriptions[name]
        link, stream = subscription.links[path], self.streams[path]
        assert subscription.claim is not None
        end = subscription.claim.ends.get(path)
        covers = end == (stream.incarnation, acked + 1, True)
        if acked > link.acked or (covers and not link.is_closed):
            link.acked = acked
            link.is_closed = link.is_closed or covers

    def pass_time(self, seconds: float, lease_s: float) -> None:
        """Time passes; a clock that is set back extends no lease beyond its own length."""
        for one in self.subscriptions.values():
            one.lease_s = min(one.lease_s - seconds, lease_s)
