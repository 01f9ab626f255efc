"""Writes to an own log without a task: handed to its queues, and answered when they are told.

Most answers to appends differ in their offset only: what is before it is rendered once a second.
"""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.errors import HeadgateError
from gateway.protocol import cache_status, http1, responses
from gateway.telemetry import traffic as counted

if TYPE_CHECKING:
    from gateway.live.contract import Answerable
    from gateway.protocol.appends import Appended
    from gateway.protocol.lifecycle import Created
    from gateway.protocol.requests import Append, Create
    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context
    from gateway.streams.appender import Appender
    from gateway.streams.creations import Creations
    from gateway.telemetry.traffic import Traffic


class ShortWrites:
    """Those of one route. What raises while it is answered ends the connection."""

    def __init__(
        self, shared: Context, traffic: Traffic, appender: Appender, creations: Creations
    ) -> None:
        self._shared = shared
        self._traffic = traffic
        self._appender = appender
        self._creations = creations
        self._common = b""  # the lines with which `_before` was rendered
        self._before = b""  # the offset, in the answer to most appends

    def append(self, connection: Answerable, name: str, append: Append, began: float) -> None:
        """Append; it `began` just now (perf_counter)."""
        connection.take()
        self._appender.submit(
            name, append, partial(self._appended, connection, append, began), began
        )

    def _appended(
        self,
        connection: Answerable,
        append: Append,
        began: float,
        outcome: Appended | HeadgateError,
    ) -> None:
        try:
            response: Response | None = None
            if isinstance(outcome, HeadgateError):
                response, wire = self._refused(outcome)
            elif outcome.producer is None and not outcome.closed:
                wire = self._plainly_appended(outcome)
            else:
                response = responses.appended(outcome)
                wire = self._wire(response)
            is_there = connection.reply(wire)
        except BaseException:
            connection.abandon()
            raise
        traffic = self._traffic
        traffic.request_bytes += len(append.body)
        operation = counted.CLOSE if append.close else counted.APPEND
        if not is_there:
            traffic.answered(operation, counted.CUT, 0)
        elif response is None or response.status == 204:
            traffic.appended(operation, self._appender.answered_at - began)
        else:
            took_s = self._appender.answered_at - began
            traffic.answered(operation, response.status, len(response.body), took_s)

    def _plainly_appended(self, outcome: Appended) -> bytes:
        common = self._shared.lines.shared()
        if common is not self._common:
            whole = self._wire(responses.appended(outcome))
            self._before, _, after = whole.partition(outcome.next_offset.encode())
            assert after == b"\r\n\r\n", "nothing else differs"
            self._common = common
        return b"%b%b\r\n\r\n" % (self._before, outcome.next_offset.encode())

    def create(self, connection: Answerable, name: str, create: Create, location: str) -> None:
        """Create a stream, of which its client is told the `location`.

        Its body counts as one that is being received: raises LimitReached when these are too many.
        """
        size, began = len(create.body), perf_counter()
        limits = self._shared.limits
        limits.receive(size)
        try:
            connection.take()
            done = partial(self._created, connection, location, size, began)
            self._creations.submit(name, create, done)
        except BaseException:
            limits.receiving_bytes -= size
            raise

    def _created(
        self,
        connection: Answerable,
        location: str,
        size: int,
        began: float,
        outcome: Created | HeadgateError,
    ) -> None:
        self._shared.limits.receiving_bytes -= size
        try:
            if isinstance(outcome, HeadgateError):
                response, wire = self._refused(outcome)
            else:
                response = responses.created(outcome, location)
                wire = self._wire(response)
            is_there = connection.reply(wire)
        except BaseException:
            connection.abandon()
            raise
        traffic = self._traffic
        traffic.request_bytes += size
        if is_there:
            took_s = perf_counter() - began
            traffic.answered(counted.CREATE, response.status, len(response.body), took_s)
        else:
            traffic.answered(counted.CREATE, counted.CUT, 0)

    def _refused(self, refusal: HeadgateError) -> tuple[Response, bytes]:
        response = self._shared.problem(refusal)
        return response, self._shared.refusal(response)

    def _wire(self, response: Response) -> bytes:
        return http1.serialize(response, self._shared.lines.shared() + cache_status.OTHER_METHOD)
