"""What an exchange consists of: a stage, requests that prepare it, and its steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.web.corpus.player import Player


class Reply(NamedTuple):
    """What an origin answers: each packet at once, or when `Go` says so; then it may end.

    Without a packet it says nothing until the gateway gives up, unless it ends.
    """

    packets: tuple[bytes, ...] = ()
    is_held: bool = False
    end: Literal["", "close", "reset"] = ""


class Step(Protocol):
    """One thing that happens, on some connection or to the gateway.

    With a true `is_once` it can happen once: nobody waits at an offset that is past.
    """

    async def play(self, player: Player) -> None:
        """Let it happen, and note what comes of it."""


@dataclass(frozen=True)
class Stage:
    """The gateway of an exchange: `route` has the settings of its HTTP origin's route, if any."""

    name: str
    route: Mapping[str, object] | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    is_guarded: bool = False
    admitted_as: tuple[str, ...] = ()  # lines of whoever prepares a connection to the origin
    pieces: tuple[bytes, ...] = ()  # of the one stream of an origin that answers long-polls

    def but(self, *, route: Mapping[str, object] | None = None, **options: object) -> Stage:
        """Return the stage with other settings."""
        joined = self.route if route is None else {**(self.route or {}), **route}
        return replace(self, route=joined, options={**self.options, **options})


@dataclass(frozen=True)
class Given:
    """A request that prepares a stage and is not recorded, and what the origin does about it.

    The last ETag of their answers replaces `{etag}` in the requests of the steps.
    """

    request: bytes
    origin: bytes | Reply | None = None
    forgets: bool = False  # whether the cache is emptied then


@dataclass(frozen=True)
class Exchange:
    """Steps on a stage that nobody else uses. A step given as bytes is `Ask`."""

    name: str
    stage: Stage
    steps: Sequence[Step]
    given: Sequence[Given] = ()
    # Whether the connection is asked once more at the end, to see whether it goes on.
    asks_on: bool = True
    is_once: bool = False  # what the steps wait for would not come a second time

    @property
    def plays_again(self) -> bool:
        """Whether the steps can be played twice on one gateway."""
        return not self.is_once and not any(getattr(one, "is_once", False) for one in self.steps)
