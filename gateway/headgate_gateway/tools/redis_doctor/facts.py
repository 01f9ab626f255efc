"""Facts about a Redis, and findings: the input and output of the rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from headgate.redis_url import parse_redis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.settings import Route

Level = Literal["ok", "note", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class RedisFinding:
    """A finding: what something in a Redis means for the streams, and what to do about it."""

    level: Level
    about: str
    says: str
    advice: str = ""


class Topic(str):
    """A subject of findings; its methods return a finding of each level about it."""

    __slots__ = ()

    def ok(self, says: str) -> RedisFinding:
        """Return the finding that all is well."""
        return RedisFinding("ok", self, says)

    def note(self, says: str, advice: str = "") -> RedisFinding:
        """Return a fact to know."""
        return RedisFinding("note", self, says, advice)

    def warning(self, says: str, advice: str = "") -> RedisFinding:
        """Return the finding that some fault can lose appends or stop them."""
        return RedisFinding("warning", self, says, advice)

    def error(self, says: str, advice: str = "") -> RedisFinding:
        """Return the finding that streams cannot be served, or are lost without a fault."""
        return RedisFinding("error", self, says, advice)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The facts about a server that stores streams."""

    address: str
    route: Route
    info: Mapping[str, Any]
    # What CONFIG GET told; nothing where the user may not ask or the server does not know it.
    config: Mapping[str, str]

    @property
    def name(self) -> str:
        """The product, which Redis's own name for its version hides."""
        return "Valkey" if "valkey_version" in self.info else "Redis"

    @property
    def shown_version(self) -> str:
        """The version that the product calls its own."""
        return str(self.info.get("valkey_version", self.info["redis_version"]))

    @property
    def version(self) -> tuple[int, ...]:
        """The version of Redis that it is compatible with."""
        return tuple(map(int, re.findall(r"\d+", str(self.info["redis_version"]))[:2]))

    @property
    def replicas(self) -> int:
        """The number of replicas that are online."""
        count = int(self.info.get("connected_slaves", 0))
        lines = (self.info.get(f"slave{number}") for number in range(count))
        return sum(isinstance(it, dict) and it.get("state") == "online" for it in lines)

    @property
    def fails_over(self) -> bool:
        """True if sentinels or the cluster replace the server by a replica when it dies."""
        return parse_redis(self.route.storage).kind in {"sentinel", "cluster"}


@dataclass(frozen=True, slots=True)
class SentinelFacts:
    """The word of a sentinel about the service."""

    address: str
    # Why it cannot be asked, or does not know the service.
    why_unhealthy: str | None
    fields: Mapping[str, Any]
    why_no_quorum: str | None


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The word of a node about its cluster."""

    info: Mapping[str, str]
    # The primaries that hold slots, and how many replicas each has.
    replicas: Mapping[str, int]
