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
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from gateway.origin.heads import HEAD, NO_CONTENT, NOT_MODIFIED, WHOLE, AnswerKind
from gateway.telemetry.rare_lines import RareLine

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from gateway.origin.requests import OriginMetrics

# A connection that is never idle for REST_S would never be known to be in step: it rests after so
# long, or so many cached responses, so that no more than these have to be dropped: 100 KB.
LONGEST_UNKNOWN_S = 2.0
MOST_COPIES = 512

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
# What servers and proxies say before they close an idle connection (RFC 9110, section 15.5.9).
TIMED_OUT = (b"HTTP/1.1 408 ", b"HTTP/1.0 408 ")


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


class ReuseDecision(Enum):
    """The fate of a connection behind an answer."""

    KEEP = "keep"
    REST = "rest"
    CLOSE = "close"


KEEP, REST, CLOSE = ReuseDecision


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

    def judge(self, history: ConnectionHistory, now: float) -> ReuseDecision:
        """Return the fate of a connection whose answer has been read."""
        kind = history.last
        if kind is None:
            return KEEP
        is_over = now > history.over_at
        if self.is_plain and kind is WHOLE and not is_over:
            return KEEP
        if not history.is_doubted:
            if self.may_spill_after(history):
                return CLOSE
            if not (self.needs_rest(kind, now) or is_over):
                return KEEP
        return REST if self.resting < MOST_RESTING else CLOSE

    def begin_rest(self, history: ConnectionHistory, now: float) -> None:
        """Note that a connection begins to rest."""
        self.resting += 1
        if history.last is not None:
            self.rested_at[history.last] = now

    def end_rest(self, history: ConnectionHistory, *, is_silent: bool) -> bool:
        """Note the end of a rest; return whether the connection is kept, with a new history."""
        self.resting -= 1
        if not is_silent or self.may_spill_after(history):
            return False
        if history.last is not None:
            self.clean[history.last] += 1
            self.is_plain = not self.closes and self.clean[WHOLE] >= PROOFS
        return True

    def note_surplus(self, history: ConnectionHistory) -> AnswerKind:
        """Note a surplus on a connection; return what it came behind."""
        kind = history.last or WHOLE
        self.is_plain = False
        self.closes = True
        if kind is WHOLE and history.has_bodyless:
            # It may be from behind either: whole answers have to show anew what is behind them.
            self.clean[WHOLE] = 0
        elif kind is WHOLE:
            self.closes_all = True
        return kind


class Surpluses:
    """The counts and log lines of surpluses, and what is dropped because of them."""

    def __init__(self, figures: OriginMetrics) -> None:
        self._figures = figures
        self._lines = RareLine("origin.surplus")

    def note(
        self,
        server: ServerBehaviour,
        history: ConnectionHistory,
        others: Iterable[ConnectionHistory],
    ) -> None:
        """Mark a server that sent a surplus, and drop what was made of the connection's answers.

        `others` are the histories of its other connections.
        """
        kind = server.note_surplus(history)
        dropped = history.spoil()
        for other in others:
            if other.last and server.may_spill_after(other):
                other.is_doubted = True
        self._figures.surpluses[kind.value] += 1
        self._figures.distrusted += dropped
        self._lines.note(server=server.name, behind=kind.value, dropped=str(dropped))

    def close(self) -> None:
        """Write the last log line, if one is due."""
        self._lines.close()
