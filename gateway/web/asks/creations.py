"""Creations by plans: what equal creations on one route have in common is decided once."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from msgspec.structs import replace
from typing_extensions import override

from gateway.protocol import http1
from gateway.protocol.bodies.content import is_long
from gateway.protocol.bodies.json_slices import SLICE_BYTES
from gateway.protocol.http.cache_status import OTHER_METHOD
from gateway.protocol.requests import CreateRequest
from gateway.protocol.responses import created
from gateway.runtime.answer import RouteAnswer
from gateway.telemetry import traffic as counted
from gateway.web.asks.ask import Ask, Plan
from gateway.web.requests.request_head import base_of, scheme_by

if TYPE_CHECKING:
    from gateway.access.principal import Principal
    from gateway.protocol.lifecycle import CreationOutcome
    from gateway.protocol.responses import Response
    from gateway.runtime.request_fields import RequestFields
    from gateway.streams.route import HostedRoute
    from gateway.web.asks.ask import AskingConnection
    from gateway.web.requests.blocks import KnownRequest


class CreationPlan(Plan, frozen=True, gc=False, eq=False):
    """The way of a creation with these fields on one route."""

    head: CreateRequest  # without a body

    @override
    def ask(self, name: str, connection: AskingConnection, known: KnownRequest) -> Ask | None:
        body, head = known.body, self.head
        if len(body) > SLICE_BYTES and is_long(head.content_type, body):
            return None
        create = CreateRequest(body, head.content_type, head.lifetime, head.close, None)
        return CreationAsk(self, name, connection, known, perf_counter(), None, False, create, body)


def creation_plan(
    route: HostedRoute, fields: RequestFields, create: CreateRequest, principal: Principal | None
) -> CreationPlan:
    """Return the plan of creations like `create`, which was admitted."""
    key, head = (route, fields), replace(create, body=b"")
    return CreationPlan(key, route, fields, principal, route.creations.submit, head)


class CreationAsk(Ask, gc=False, eq=False):
    """A creation under way."""

    operation = counted.CREATE
    request: CreateRequest
    body: bytes

    @override
    def response(self, outcome: CreationOutcome) -> RouteAnswer:
        return RouteAnswer.of(self._created(outcome), OTHER_METHOD)

    @override
    def answer(self, outcome: CreationOutcome, common: bytes) -> tuple[int, int]:
        response = self._created(outcome)
        self.wire = http1.serialize(response, common + OTHER_METHOD.lines)
        seconds = perf_counter() - self.came
        self.plan.route.traffic.answered(counted.CREATE, response.status, 0, seconds)
        return response.status, len(response.body)

    def _created(self, outcome: CreationOutcome) -> Response:
        plan, scheme = self.plan, scheme_by(self.connection.transport)
        base = base_of(plan.fields.headers, scheme)
        return created(outcome, f"{base}{plan.route.prefix}/{self.name}")
