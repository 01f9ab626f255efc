"""Appends and creations whose whole body is here, taken without a request object or a task.

Each method says False when it has nothing to do with a request; it then goes the ordinary way,
which gives the same answers. So do all writes where requests are logged or traced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.errors import HeadgateError
from gateway.live.contract import Answerable
from gateway.protocol.forwarding import SCHEME
from gateway.protocol.requests import is_closing
from gateway.telemetry import traffic as counted
from gateway.web.request_head import base_of

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp.http_parser import RawRequestMessage
    from multidict import MultiMapping

    from gateway.live.contract import Client
    from gateway.runtime.context import Context
    from gateway.runtime.request_fields import RequestFields
    from gateway.runtime.route import StreamRoute
    from gateway.web.request_block import KnownRequest
    from gateway.web.short_admission import ShortAdmission


class OneOfSeveral(Answerable, Protocol):
    """The connection of a write that was sent ahead."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The client's, while it is there."""

    def write(self, wire: bytes) -> None:
        """An answer that was ready at once."""


class ShortWrites:
    """To own logs, and appends that are passed on; `find` tells a target's route and a name."""

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

    def take(
        self,
        client: Client,
        message: RawRequestMessage | KnownRequest,
        fields: RequestFields,
        body: bytes,
        seq: str | None = None,
    ) -> bool:
        """A write, with its fields; those of one that is known are shared with others.

        It may have another Producer-Seq than they.
        """
        writer = self._writer(message, fields, body)
        if writer is None:
            return False
        if message.method == "PUT":
            return self._create(client, message, body, writer)
        passed_on_for = client if seq is None else None
        return self._append(client, passed_on_for, message, fields, (body, seq), writer)

    def take_ahead(self, client: OneOfSeveral, request: KnownRequest, body: bytes) -> bool:
        """A write to an own log, before the one ahead of it is answered."""
        fields = request.fields
        writer = self._writer(request, fields, body)
        if writer is None:
            return False
        if request.method == "PUT":
            return self._create(client, request, body, writer)
        return self._append(client, None, request, fields, (body, request.seq), writer)

    def _writer(
        self, message: RawRequestMessage | KnownRequest, fields: RequestFields, body: bytes
    ) -> str | None:
        """On whose account it is, empty for anybody's; None for what is not taken here."""
        target = message.path
        if (
            not self._is_open
            or "?" in target
            or not target.startswith("/")
            or target == "/"
            or len(body) > self._limits.max_append
        ):
            return None
        if fields.is_plain_write is None:
            fields.is_plain_write = self._is_plain(fields.headers)
        if not fields.is_plain_write:
            return None
        return "" if self._admission is None else self._admission.writer(message)

    def _is_plain(self, headers: MultiMapping[str]) -> bool:
        """Whether nothing in the fields of a write takes a closer look, whoever sends them."""
        return not (
            "Expect" in headers
            or "Content-Encoding" in headers
            or self._needs_its_own_answer(headers)
            or not self._is_let_write(headers)
        )

    def _is_let_write(self, headers: MultiMapping[str]) -> bool:
        """Whether no page asks, or one that needs no closer look."""
        pages = headers.getall("Origin", ())
        return len(pages) < 2 and all(map(self._shared.lines.lets_write, pages))

    def _append(
        self,
        client: Client | OneOfSeveral,
        passed_on_for: Client | None,
        message: RawRequestMessage | KnownRequest,
        fields: RequestFields,
        sent: tuple[bytes, str | None],
        writer: str,
    ) -> bool:
        body, seq = sent
        route: StreamRoute | None = None
        who: str | None = None
        try:
            route, name = self._find(message.path)
            who = self._quotas.may_append(client.transport, fields.headers, writer)
            is_taken = route.append(client, name, fields, body, seq)
            if not is_taken and passed_on_for is not None:
                is_taken = route.pass_on(passed_on_for, name, fields, body)
        except HeadgateError as error:
            self._quotas.appended(who, len(body))
            operation = counted.CLOSE if is_closing(fields.headers) else counted.APPEND
            self._refuse(client, error, route, operation, len(body))
            return True
        if is_taken:
            self._quotas.appended(who, len(body))
            self._count_admission(route)
        return is_taken

    def _create(
        self,
        client: Client | OneOfSeveral,
        message: RawRequestMessage | KnownRequest,
        body: bytes,
        writer: str,
    ) -> bool:
        headers = message.headers
        route: StreamRoute | None = None
        try:
            route, name = self._find(message.path)
            if not route.creates(headers, body):
                return False
            who = self._quotas.create(client.transport, headers, writer)
            if who is not None:
                self._quotas.received(who, len(body))
            route.create(client, name, headers, body, base_of(headers, SCHEME))
        except HeadgateError as error:
            self._refuse(client, error, route, counted.CREATE, len(body))
        else:
            self._count_admission(route)
        return True

    def _refuse(
        self,
        client: Client | OneOfSeveral,
        error: HeadgateError,
        route: StreamRoute | None,
        operation: int,
        size: int,
    ) -> None:
        """Answer a write, with so many bytes, to which nothing was done."""
        refusal = self._shared.problem(error)
        client.write(self._shared.refusal(refusal))
        traffic = self._shared.unrouted if route is None else route.traffic
        traffic.answered(operation, refusal.status, len(refusal.body), 0.0)  # at once
        traffic.request_bytes += size
        if route is not None:
            self._count_admission(route)

    def _count_admission(self, route: StreamRoute) -> None:
        if route.access.guard is not None:
            route.traffic.decisions[counted.ADMITTED] += 1
