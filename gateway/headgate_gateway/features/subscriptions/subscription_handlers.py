"""Handle control paths: here, or by the gateway that has the subscriptions of a shared log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from multidict import CIMultiDict
from typing_extensions import override

from headgate_gateway.errors import HeadgateError
from headgate_gateway.features.subscriptions import control_requests, operators
from headgate_gateway.features.subscriptions.control_requests import (
    ControlRequest,
    RemoteClient,
    refusal_response,
    with_refusals,
)
from headgate_gateway.features.subscriptions.engine import SubscriptionRules
from headgate_gateway.features.subscriptions.errors import SubscriptionRefused
from headgate_gateway.features.subscriptions.shared import mail
from headgate_gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.paths import RESERVED, split
from headgate_gateway.protocol.responses import Response
from headgate_gateway.routes.answers import RouteAnswer
from headgate_gateway.routes.feature import RouteFeature
from headgate_gateway.routes.router import RoutedTarget
from headgate_gateway.runtime.request_fields import RequestFields
from headgate_gateway.stepped import in_task
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.web.admission import admit_control
from headgate_gateway.web.requests import request_body
from headgate_gateway.web.requests.blocks import KnownRequest
from headgate_gateway.web.requests.exchange import Exchange
from headgate_gateway.web.requests.request import Request

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from headgate_gateway.features.questions.contract import AnswerFailure
    from headgate_gateway.features.questions.subscriptions import (
        SubscriptionAnswer,
        SubscriptionQuestion,
    )
    from headgate_gateway.features.subscriptions.engine import RouteSubscriptions
    from headgate_gateway.features.subscriptions.shared.owned import OwnedSubscriptions
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.services import Services
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.telemetry.metrics import Sample
    from headgate_gateway.web.requests.request import ClientConnection

NAME = "subscriptions"


class SubscriptionsOfRoute(RouteFeature):
    """The subscriptions of one route, and the operations on its control paths."""

    control = RESERVED

    def __init__(
        self,
        route: StreamRoute,
        subscriptions: RouteSubscriptions | SharedSubscriptions,
        services: Services,
    ) -> None:
        self.subscriptions = subscriptions
        self._route = route
        self._services = services
        if isinstance(subscriptions, SharedSubscriptions):
            subscriptions.relay.carry_out = partial(self._carry_out, subscriptions)

    @override
    def renew(self, made: RouteSetup) -> None:
        self.subscriptions.renew(SubscriptionRules.of(made.settings))

    @override
    def notes(self) -> dict[str, str | None]:
        return {NAME: self.subscriptions.stuck()}

    @override
    def samples(self) -> Iterable[Sample]:
        return self.subscriptions.samples()

    @override
    async def open(self) -> None:
        try:
            await self.subscriptions.open()
        except BaseException:
            await self.close()
            raise

    @override
    async def close(self) -> None:
        await self.subscriptions.close()

    @override
    def operate(
        self, request: Request, target: str, route: StreamRoute, name: str
    ) -> Coroutine[Any, Any, RouteAnswer]:
        place = RoutedTarget(target, f"{route.prefix}/{name}", route, name)
        subscriptions = self.subscriptions
        if isinstance(subscriptions, SharedSubscriptions):
            return _answered(self._response(request, place, subscriptions))
        return _answered(self._response_when_open(request, place, subscriptions))

    async def _response_when_open(
        self, request: Request, place: RoutedTarget, subscriptions: RouteSubscriptions
    ) -> Response:
        """Return the response of this gateway alone. Raises SubscriptionRefused, HeadgateError."""
        await subscriptions.wait_until_open()
        control = ControlRequest(request, place, subscriptions, self._services)
        return await control.response(place.name)

    async def _response(
        self, request: Request, place: RoutedTarget, subscriptions: SharedSubscriptions
    ) -> Response:
        """Return the response of the gateway that delivers. Raises HeadgateError."""
        name = place.name
        control_requests.check_control(name, request.method)
        engine = await subscriptions.confirm_ownership()
        while True:
            if engine is None:
                needs_client = not control_requests.is_for_anybody(name)
                handed = await _handed_on(request, place, self._services, needs_client=needs_client)
                back = await subscriptions.hand_on(handed)
                if isinstance(back, mail.HandedOnResponse):
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
            return await ControlRequest(request, place, engine, self._services).response(place.name)
        except SubscriptionRefused:
            if await subscriptions.confirm_ownership(reads_lease=True) is engine:
                raise
        return None

    # For other gateways

    async def _carry_out(
        self, subscriptions: SharedSubscriptions, handed: mail.HandedOnRequest
    ) -> mail.HandedOnResponse:
        """Return the response to a request that another gateway has handed on."""
        engine = await subscriptions.confirm_ownership()
        if engine is None:
            return mail.NOT_CARRIED_OUT
        if handed.method == operators.METHOD:
            return await operators.carry_out(engine, handed)
        return await self._answer_handed(subscriptions, engine, handed)

    async def _answer_handed(
        self,
        subscriptions: SharedSubscriptions,
        engine: OwnedSubscriptions,
        handed: mail.HandedOnRequest,
    ) -> mail.HandedOnResponse:
        """Return the response to a request that a client has sent to another gateway."""
        route = self._route
        path = f"{route.prefix}/{handed.name}"
        target = f"{path}?{handed.query}" if handed.query else path
        headers = CIMultiDict(handed.headers)
        message = KnownRequest(handed.method, target, headers, RequestFields(headers))
        request = Request(message, handed.body, cast("ClientConnection", RemoteClient()))
        new_id = self._services.lines.new_request_id
        request.exchange = Exchange(route.traffic, counted.OTHER, None, new_id)
        place = RoutedTarget(target, path, route, handed.name)
        try:
            response = await self._own_response(request, place, subscriptions, engine)
        except SubscriptionRefused as refusal:
            response = refusal_response(refusal)
        except HeadgateError as error:
            response = self._services.problem(error)
        if response is None:
            return mail.NOT_CARRIED_OUT
        return mail.HandedOnResponse(response.status, response.fields, response.body)


def subscriptions_of(route: StreamRoute) -> RouteSubscriptions | SharedSubscriptions | None:
    """Return the subscriptions of a route, where a log stores some."""
    feature = route.features.get(NAME)
    return feature.subscriptions if isinstance(feature, SubscriptionsOfRoute) else None


async def answer_operator(
    routes: Iterable[StreamRoute], question: SubscriptionQuestion
) -> SubscriptionAnswer | AnswerFailure:
    """Return the answer for the subscriptions of these routes. Raises HeadgateError."""
    found = (subscriptions_of(route) for route in routes)
    return await operators.answer_operator_question(
        [it for it in found if it is not None], question
    )


async def _handed_on(
    request: Request, place: RoutedTarget, services: Services, *, needs_client: bool
) -> mail.HandedOnRequest:
    """Return a request as the other gateway gets it, which judges it by its own guard.

    Where the request `needs_client`, its body is read only for a client that the guard here knows.
    """
    if needs_client:
        await admit_control(request, place, (), services)
    body = request.whole = await request_body.whole(request, services)
    headers = [(str(name), value) for name, value in request.headers.items()]
    query = split(place.target)[1]
    return mail.HandedOnRequest(request.method, place.name, query, headers, body)


async def _answered(response: Coroutine[Any, Any, Response]) -> RouteAnswer:
    await in_task()
    return RouteAnswer.of(await with_refusals(response), cache_status.BYPASS)
