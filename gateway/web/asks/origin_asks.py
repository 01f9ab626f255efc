"""Asks whose answer an origin gives: it is relayed, and their clients may leave before it comes."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.errors import OF_THE_ORIGIN
from gateway.telemetry.logs import log
from gateway.web.asks.ask import Ask
from gateway.web.requests.responses import render

if TYPE_CHECKING:
    from gateway.runtime.answer import RouteAnswer


class OriginAsk(Ask, gc=False, eq=False):
    """A request under way at an origin, which goes by a plan."""

    outlives_client = False

    @override
    def response(self, outcome: RouteAnswer) -> RouteAnswer:
        return outcome

    @override
    def answer(self, outcome: RouteAnswer, common: bytes) -> tuple[int, int]:
        own, lines, has_cors = self.known.own, self.connection.shared.lines, outcome.facts.has_cors
        if outcome.has_date or has_cors:
            origin, date = self.plan.fields.origin, not outcome.has_date
            common = lines.own(
                request_id=own.id, origin=origin, connection=None, date=date, cors=not has_cors
            )
        head, body = render(self.known, outcome, common)
        assert isinstance(body, bytes), "a body in parts has a handler"
        self.wire = b"".join((*head, body))
        self.count(outcome, len(body), perf_counter() - self.came)
        return outcome.status, len(body)

    def count(self, outcome: RouteAnswer, size: int, seconds: float) -> None:
        """Count a response with a body of `size` bytes that came after so many seconds."""
        raise NotImplementedError

    def end(self, outcome: RouteAnswer | BaseException) -> None:
        """Answer the client; end its connection if that fails, as it would wait for ever."""
        try:
            if isinstance(outcome, OF_THE_ORIGIN):
                self.plan.route.log_failure(outcome, self.path)
            self.answered(outcome)
        except Exception:  # noqa: BLE001 - no error of the origin's connection
            log.exception("request.unanswered")
            self.abandon()

    @property
    def path(self) -> str:
        """The canonical path of the stream."""
        raise NotImplementedError
