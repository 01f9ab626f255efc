"""The rule that tells whether answers on a kept connection still belong to its requests.

Some servers send a body behind the head of an answer that has none, in a packet of its own. The
next request on that connection gets that body as its answer, and each later one the answer to the
request before it. Such a surplus is only recognized while no request is out. So a connection rests
behind an answer without a body, unless its server has shown often enough that it sends nothing
more. A surplus marks the server, and everything made of the answers on that connection since it
was last known to be in step is dropped. The server's other connections may be out of step, too:
they rest before they are closed, so that each of them shows its own surplus.
"""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum, StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from gateway.protocol import http1
from gateway.telemetry.rare_lines import RareLine

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import Any

    from aiohttp.client_reqrep import ConnectionKey

# A server writes head and body of an answer within this time, unless it is stopped in between: ten
# times what Python's http.server takes on a busy machine, and a round trip across an ocean.
REST_S = 0.1
# Rests without a surplus until a server is trusted: one that answers in two ways, such as two
# processes at one address, has shown the other by then, but in one case of 60,000.
PROOFS = 16
# A server that is trusted rests one connection so often, as it may be another one by now.
CHECK_EVERY_S = 1.0
# Connections of one server that rest at a time: more are closed, which costs a flood of HEADs to an
# untrusted server a connection each, and not the descriptors of all others.
MOST_RESTING = 64
# A connection that is never idle for REST_S would never be known to be in step: it rests after so
# long, or so many cached responses, so that no more than these have to be dropped: 100 KB.
LONGEST_UNKNOWN_S = 2.0
MOST_COPIES = 512
# What servers and proxies say before they close an idle connection (RFC 9110, section 15.5.9).
TIMED_OUT = (b"HTTP/1.1 408 ", b"HTTP/1.0 408 ")


class AnswerKind(StrEnum):
    """The reason why an answer ends where it does; the value is the metric's label."""

    HEAD = "head"  # an answer to HEAD, whatever its status
    NO_CONTENT = "204"
    NOT_MODIFIED = "304"
    WHOLE = "whole"  # an answer that may have a body, all of which came


# In Python 3.11 a member costs as much as a call when it is looked up in its class; one that is no
# string is hashed by a function in Python, too.
HEAD, NO_CONTENT, NOT_MODIFIED, WHOLE = AnswerKind
_BY_STATUS = {204: NO_CONTENT, 304: NOT_MODIFIED}


class ReuseDecision(Enum):
    """The fate of a connection behind an answer."""

    KEEP = "keep"
    REST = "rest"
    CLOSE = "close"


KEEP, REST, CLOSE = ReuseDecision


def end_of(
    status: int, length: str | None, *, is_head: bool, is_coded: bool
) -> tuple[AnswerKind, bool]:
    """Return the kind of an answer, and whether it is misframed.

    It is if a 204 announces a body, which it may not (RFC 9110, section 8.6).
    """
    kind = HEAD if is_head else _BY_STATUS.get(status, WHOLE)
    announces = kind is NO_CONTENT and (is_coded or http1.content_length(length or "0") != 0)
    return kind, announces


class ConnectionHistory:
    """The answers on a connection since it was last known to be in step.

    `note` is given what was made of an answer, and the function that drops it.
    """

    __slots__ = ("_drops", "has_bodyless", "is_doubted", "is_spoiled", "last", "over_at")

    def __init__(self) -> None:
        # Monotonic time after which the connection has to rest before its next request.
        self.over_at = monotonic() + LONGEST_UNKNOWN_S
        self.last: AnswerKind | None = None
        self.has_bodyless = False  # an answer among those that came
        self.is_doubted = False  # the server has sent a surplus on another connection meanwhile
        self.is_spoiled = False
        self._drops: dict[Hashable, Callable[[], object]] = {}

    def add(self, kind: AnswerKind) -> None:
        """Note an answer."""
        self.last = kind
        if kind is not WHOLE:
            self.has_bodyless = True

    def note(self, key: Hashable, drop: Callable[[], object]) -> bool:
        """Have `drop` called if the answer turns out to be another's; False if it has already."""
        if not self.is_spoiled:
            self._drops[key] = drop
            if len(self._drops) >= MOST_COPIES:
                self.over_at = 0.0
        return not self.is_spoiled

    def spoil(self) -> int:
        """Drop everything made of the answers; return how many drops there were."""
        self.is_spoiled = True
        drops, self._drops = self._drops, {}
        with ExitStack() as each:  # whatever one of them raises
            for drop in reversed(drops.values()):
                each.callback(drop)
        return len(drops)


class KeptConnection(Protocol):
    """A connection, as far as the rule needs it."""

    history: ConnectionHistory
    server: ServerBehaviour | None
    is_idle: bool


class SurplusCounters(Protocol):
    """The counters of surpluses."""

    surpluses: dict[str, int]
    distrusted: int


class ServerBehaviour:
    """The behaviour that one server has shown on its connections."""

    __slots__ = ("clean", "closes", "closes_all", "is_plain", "name", "rested_at", "resting")

    def __init__(self, name: str) -> None:
        self.name = name
        # Rests without a surplus, by what they were behind. Most servers send nothing behind a
        # whole answer, and to rest there would double the connections of each.
        self.clean = {HEAD: 0, NO_CONTENT: 0, NOT_MODIFIED: 0, WHOLE: PROOFS}
        self.rested_at = dict.fromkeys(AnswerKind, 0.0)
        self.resting = 0
        self.closes = False  # connections behind answers without a body
        self.closes_all = False  # and behind all others
        self.is_plain = True  # nothing is to be looked at behind a whole answer

    def may_spill_after(self, history: ConnectionHistory) -> bool:
        """Return whether the server has sent a surplus after such answers before."""
        return self.closes_all or (self.closes and history.has_bodyless)

    def needs_rest(self, kind: AnswerKind, now: float) -> bool:
        """Return whether a connection rests behind an answer of this kind."""
        if self.clean[kind] < PROOFS:
            return True
        return kind is not WHOLE and now - self.rested_at[kind] >= CHECK_EVERY_S


class InStep:
    """The rule for all connections to one origin, whichever client sends the requests."""

    def __init__(self, figures: SurplusCounters) -> None:
        self._figures = figures
        self._servers: dict[str, ServerBehaviour] = {}  # by host and port
        self._open: WeakSet[Any] = WeakSet()  # the KeptConnections
        self._lines = RareLine("origin.surplus")

    def server(self, key: ConnectionKey) -> ServerBehaviour:
        """Return the conduct of the server to which a pool's connections lead."""
        name = f"{key.host}:{key.port}"
        return self._servers.get(name) or self._servers.setdefault(name, ServerBehaviour(name))

    def on_opened(self, connection: KeptConnection) -> None:
        """Remember a connection while it is open."""
        self._open.add(connection)

    def close(self) -> None:
        """Write the last log line, if one is due."""
        self._lines.close()

    @staticmethod
    def judge(connection: KeptConnection, now: float) -> ReuseDecision:
        """Return the fate of a connection whose answer has been read."""
        history, server = connection.history, connection.server
        kind = history.last
        if server is None or kind is None:
            return KEEP
        is_over = now > history.over_at
        if server.is_plain and kind is WHOLE and not is_over:
            return KEEP
        if not history.is_doubted:
            if server.may_spill_after(history):
                return CLOSE
            if not (server.needs_rest(kind, now) or is_over):
                return KEEP
        return REST if server.resting < MOST_RESTING else CLOSE

    @staticmethod
    def begin_rest(connection: KeptConnection, now: float) -> None:
        """Note that a connection begins to rest."""
        server, kind = connection.server, connection.history.last
        assert server is not None, "connected"
        server.resting += 1
        if kind is not None:
            server.rested_at[kind] = now

    @staticmethod
    def end_rest(connection: KeptConnection, *, is_silent: bool) -> bool:
        """Note the end of a rest; return whether the connection is kept."""
        server, history = connection.server, connection.history
        assert server is not None, "connected"
        server.resting -= 1
        if not is_silent or server.may_spill_after(history):
            return False
        if history.last is not None:
            server.clean[history.last] += 1
            server.is_plain = not server.closes and server.clean[WHOLE] >= PROOFS
        connection.history = ConnectionHistory()
        return True

    def on_surplus(self, connection: KeptConnection, server: ServerBehaviour, data: bytes) -> None:
        """Mark a server that sent a surplus, and drop what was made of the connection's answers."""
        history = connection.history
        kind = history.last or WHOLE
        if kind is WHOLE and connection.is_idle and data.startswith(TIMED_OUT):
            return  # it closes the connection, as we do
        server.is_plain = False
        server.closes = True
        if kind is WHOLE and history.has_bodyless:
            # It may be from behind either: whole answers have to show anew what is behind them.
            server.clean[WHOLE] = 0
        elif kind is WHOLE:
            server.closes_all = True
        dropped = history.spoil()
        for other in list(self._open):
            doubted = other.history
            if other.server is server and doubted.last and server.may_spill_after(doubted):
                doubted.is_doubted = True
        self._figures.surpluses[kind.value] += 1
        self._figures.distrusted += dropped
        self._lines.note(server=server.name, behind=kind.value, dropped=str(dropped))
