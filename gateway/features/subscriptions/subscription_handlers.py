"""Handle control paths: here, or by the gateway that has the subscriptions of a shared log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from gateway.errors import HeadgateError, LogUnavailable
from gateway.features.subscriptions import control_requests
from gateway.features.subscriptions.control_requests import (
    ControlRequest,
    RemoteClient,
    refusal_response,
    with_refusals,
)
from gateway.features.subscriptions.engine import RouteSubscriptions
from gateway.features.subscriptions.errors import SubscriptionRefused
from gateway.features.subscriptions.operators import questions
from gateway.features.subscriptions.shared import mail
from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions, deadline_of
from gateway.features.subscriptions.shared.unwanted_claims import is_claim
from gateway.protocol.http import cache_status
from gateway.protocol.http.target import split
from gateway.protocol.responses import Response
from gateway.runtime.answer import RouteAnswer
from gateway.runtime.exchange import Exchange
from gateway.runtime.request_fields import RequestFields
from gateway.stepped import in_task
from gateway.telemetry import traffic as counted
from gateway.web.admission import RoutedTarget, admit_control
from gateway.web.requests import request_body
from gateway.web.requests.blocks import KnownRequest
from gateway.web.requests.request import Request

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from gateway.features.subscriptions.shared.owned import OwnedSubscriptions
    from gateway.runtime.context import Context
    from gateway.runtime.route import StreamRoute

    AnswerElsewhere = Callable[[Request, RoutedTarget], Awaitable[Response]]


class SubscriptionHandlers:
    """The operations on control paths of all routes, which `operate` starts."""

    def __init__(self, shared: Context, others: Mapping[str, AnswerElsewhere]) -> None:
        """`others` answer what is handed on to control paths of other features, by name."""
        self._shared = shared
        self._others = others

    def operate(
        self, request: Request, target: str, route: StreamRoute, name: str
    ) -> Coroutine[Any, Any, RouteAnswer]:
        """Return a coroutine of the response."""
        place = RoutedTarget(target, f"{route.prefix}/{name}", route, name)
        if is_claim(name):
            request.end_with_fin()  # else the events of a worker that left wait for its lease
        subscriptions = route.subscriptions
        if isinstance(subscriptions, SharedSubscriptions):
            return _answered(self._response(request, place, subscriptions))
        assert isinstance(subscriptions, RouteSubscriptions), "a route with control paths has them"
        return _answered(self._response_when_open(request, place, subscriptions))

    async def _response_when_open(
        self, request: Request, place: RoutedTarget, subscriptions: RouteSubscriptions
    ) -> Response:
        """Return the response of this gateway alone. Raises SubscriptionRefused, HeadgateError."""
        await subscriptions.wait_until_open()
        control = ControlRequest(request, place, subscriptions, self._shared)
        return await control.response(place.name)

    async def _response(
        self, request: Request, place: RoutedTarget, subscriptions: SharedSubscriptions
    ) -> Response:
        """Return the response of the gateway that delivers. Raises HeadgateError."""
        name = place.name
        control_requests.check_control(name, request.method)
        is_elsewhere = subscriptions.engine is None
        if is_elsewhere and name == control_requests.KEYS and await subscriptions.keys.reload():
            return control_requests.keys_response(subscriptions.keys.jwks())
        deadline = deadline_of(is_claim=is_claim(name))
        engine = await subscriptions.confirm_ownership()
        while True:
            if engine is None:
                needs_client = not control_requests.is_for_anybody(name)
                handed = await handed_on(request, place, self._shared, needs_client=needs_client)
                back = await subscriptions.hand_on(handed, deadline)
                if isinstance(back, mail.HandedOnResponse):
                    if request.transport is None:
                        await subscriptions.relay.release_unwanted(handed, back)
                    return Response(back.status, back.fields, back.body)
                engine = back
            response = await self._own_response(request, place, subscriptions, engine)
            if response is not None:
                return response
            engine = None

    async def _own_response(
        self,
        request: Request,
        place: RoutedTarget,
        subscriptions: SharedSubscriptions,
        engine: OwnedSubscriptions,
    ) -> Response | None:
        """Return the response of this gateway, or None if another one delivers by now.

        A refusal counts only if it still delivers: after it stood still, it may lack what happened
        under another owner. Raises SubscriptionRefused, HeadgateError.
        """
        try:
            return await ControlRequest(request, place, engine, self._shared).response(place.name)
        except (SubscriptionRefused, LogUnavailable) as error:  # a claim was not stored then
            may_go_on = isinstance(error, SubscriptionRefused) or is_claim(place.name)
            if not may_go_on or await subscriptions.confirm_ownership(reads_lease=True) is engine:
                raise
        return None

    # For other gateways

    def serve_others(self, routes: Iterable[StreamRoute]) -> None:
        """Carry out what other gateways hand on to the routes whose subscriptions they share."""
        for route in routes:
            subscriptions = route.subscriptions
            if isinstance(subscriptions, SharedSubscriptions):
                subscriptions.relay.carry_out = partial(self._carry_out, route, subscriptions)

    async def _carry_out(
        self, route: StreamRoute, subscriptions: SharedSubscriptions, handed: mail.HandedOnRequest
    ) -> mail.HandedOnResponse:
        """Return the response to a request that another gateway has handed on."""
        engine = await subscriptions.confirm_ownership()
        if engine is None:
            return mail.NOT_CARRIED_OUT
        if handed.method == mail.FIRST_WRITES:
            return await engine.carry_out_first_writes(handed.body)
        if handed.method == questions.METHOD:
            return await questions.carry_out(engine, handed)
        path = f"{route.prefix}/{handed.name}"
        target = f"{path}?{handed.query}" if handed.query else path
        headers = CIMultiDict(handed.headers)
        message = KnownRequest(handed.method, target, headers, RequestFields(headers))
        request = Request(message, handed.body, RemoteClient())
        new_id = self._shared.lines.new_request_id
        request.exchange = Exchange(route.traffic, counted.OTHER, None, new_id)
        place = RoutedTarget(target, path, route, handed.name)
        try:
            if (answer := self._others.get(handed.name)) is not None:
                response = await answer(request, place)
            else:
                found = await self._own_response(request, place, subscriptions, engine)
                if found is None:
                    return mail.NOT_CARRIED_OUT
                response = found
        except SubscriptionRefused as refusal:
            response = refusal_response(refusal)
        except HeadgateError as error:
            response = self._shared.problem(error)
        return mail.HandedOnResponse(response.status, response.fields, response.body)


async def handed_on(
    request: Request, place: RoutedTarget, shared: Context, *, needs_client: bool
) -> mail.HandedOnRequest:
    """Return a request as the other gateway gets it, which judges it by its own guard.

    Where the request `needs_client`, its body is read only for a client that the guard here knows.
    """
    if needs_client:
        await admit_control(request, place, (), shared)
    body = request.whole = await request_body.whole(request, shared)
    headers = [(str(name), value) for name, value in request.headers.items()]
    query = split(place.target)[1]
    return mail.HandedOnRequest(request.method, place.name, query, headers, body)


async def _answered(response: Coroutine[Any, Any, Response]) -> RouteAnswer:
    await in_task()
    return RouteAnswer(await with_refusals(response), cache_status.BYPASS)
