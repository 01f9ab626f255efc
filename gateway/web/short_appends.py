"""Appends whose whole body is here, taken without a request object or a task.

Each method says False when it has nothing to do with a request; it then goes the ordinary way,
which gives the same answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.edge.route import EdgeRoute
from gateway.errors import HeadgateError
from gateway.live.contract import Answerable
from gateway.protocol.requests import is_closing
from gateway.telemetry import traffic as counted
from gateway.web.edge_appends import Client, EdgeAppends

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from gateway.runtime.context import Context
    from gateway.runtime.route import StreamRoute
    from gateway.web.request_block import KnownRequest
    from gateway.web.short_admission import ShortAdmission


class OneOfSeveral(Answerable, Protocol):
    """The connection of an append that was sent ahead."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's, while it is there."""

    def write(self, wire: bytes) -> None:
        """An answer that was ready at once."""


class ShortAppends:
    """To own logs, and those that are passed on; `find` tells the route of a target and a name."""

    def __init__(
        self,
        shared: Context,
        admission: ShortAdmission | None,
        find: Callable[[str], tuple[StreamRoute, str]],
        needs_its_own_answer: Callable[[MultiMapping[str]], bool],
    ) -> None:
        self._shared = shared
        self._admission = admission
        self._find = find
        self._needs_its_own_answer = needs_its_own_answer
        # The ordinary way writes a line, and a span, of each.
        self._is_open = not shared.log.enabled and shared.tracer is None
        self._quotas = shared.quotas
        self._limits = shared.limits
        self._passed_on = EdgeAppends(shared)

    def take(
        self,
        client: Client,
        message: RawRequestMessage | KnownRequest,
        body: bytes,
        *,
        is_known: bool = False,
    ) -> bool:
        """An append; the headers of one that is known are shared with others."""
        return self._take(client, message, body, passed_on_for=client, is_known=is_known)

    def take_ahead(self, client: OneOfSeveral, request: KnownRequest, body: bytes) -> bool:
        """An append to an own log, before the one ahead of it is answered."""
        return self._take(client, request, body, passed_on_for=None, is_known=True)

    def _take(
        self,
        client: Client | OneOfSeveral,
        message: RawRequestMessage | KnownRequest,
        body: bytes,
        *,
        passed_on_for: Client | None,
        is_known: bool,
    ) -> bool:
        headers = message.headers
        target = message.path
        if (
            not self._is_open
            or "?" in target
            or not target.startswith("/")
            or target == "/"
            or "Expect" in headers
            or "Content-Encoding" in headers
            or self._needs_its_own_answer(headers)
            or not self._is_let_write(headers)
            or len(body) > self._limits.max_append
        ):
            return False
        writer = "" if self._admission is None else self._admission.writer(message)
        if writer is None:
            return False
        route: StreamRoute | None = None
        try:
            route, name = self._find(target)
            who = self._quotas.may_append(client.transport, headers, writer)
            if isinstance(route, EdgeRoute):
                is_taken = passed_on_for is not None and self._passed_on.take(
                    passed_on_for, route, name, headers, body, is_shared=is_known
                )
            else:
                is_taken = route.append(client, name, headers, body)
        except HeadgateError as error:
            refusal = self._shared.problem(error)
            client.write(self._shared.refusal(refusal))
            operation = counted.CLOSE if is_closing(headers) else counted.APPEND
            traffic = self._shared.unrouted if route is None else route.traffic
            traffic.answered(operation, refusal.status, len(refusal.body), 0.0)  # at once
            traffic.request_bytes += len(body)
            return True
        if is_taken:
            self._quotas.appended(who, len(body))
            if route.access.guard is not None:
                route.traffic.decisions[counted.ADMITTED] += 1
        return is_taken

    def _is_let_write(self, headers: MultiMapping[str]) -> bool:
        """Whether no page asks, or one that needs no closer look."""
        pages = headers.getall("Origin", ())
        return len(pages) < 2 and all(map(self._shared.lines.lets_write, pages))
