"""Writes to an own log without a task: handed to its queues, and answered when they are told.

Answers to appends are alike but for a few values, so the lines of those that are is rendered once.
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
            if isinstance(outcome, HeadgateError):
                response, wire = self._refused(outcome)
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
        elif response.status == 204:
            traffic.appended(operation, self._appender.answered_at - began)
        else:
            took_s = self._appender.answered_at - began
            traffic.answered(operation, response.status, len(response.body), took_s)

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
