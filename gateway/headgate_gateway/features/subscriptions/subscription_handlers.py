"""Handle control paths: here, or by the gateway that has the subscriptions of a shared log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from multidict import CIMultiDict
from typing_extensions import override

from headgate_gateway.errors import HeadgateError
from headgate_gateway.features.questions.subscriptions import FEATURE
from headgate_gateway.features.subscriptions import control_requests, operators
from headgate_gateway.features.subscriptions.control_requests import (
    ControlRequest,
    RemoteClient,
    refusal_response,
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
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.web.requests.blocks import KnownRequest
from headgate_gateway.web.requests.exchange import Exchange
from headgate_gateway.web.requests.request import Request
from headgate_gateway.web.routed_request import RoutedRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.features.questions.contract import AnswerFailure
    from headgate_gateway.features.questions.subscriptions import (
        SubscriptionAnswer,
        SubscriptionQuestion,
    )
    from headgate_gateway.features.subscriptions.engine import RouteSubscriptions
    from headgate_gateway.features.subscriptions.shared.owned import OwnedSubscriptions
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.feature import FeatureRequest
    from headgate_gateway.routes.services import Services
    from headgate_gateway.routes.setup import RouteSetup
    from headgate_gateway.telemetry.health import Cause
    from headgate_gateway.telemetry.metrics import Sample
    from headgate_gateway.web.requests.request import ClientConnection


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
    def notes(self) -> dict[str, Cause | None]:
        return {FEATURE: self.subscriptions.stuck()}

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
    async def operate(self, request: FeatureRequest) -> RouteAnswer:
        try:
            response = await self._response(request, self.subscriptions)
        except SubscriptionRefused as refusal:
            response = refusal_response(refusal)
        return RouteAnswer.of(response, cache_status.BYPASS)

    async def _response(
        self,
        request: FeatureRequest,
        subscriptions: RouteSubscriptions | SharedSubscriptions,
    ) -> Response:
        """Return the response of the gateway that delivers.

        Raises SubscriptionRefused, HeadgateError.
        """
        if not isinstance(subscriptions, SharedSubscriptions):
            await subscriptions.wait_until_open()
            return await self._request(request, subscriptions).response()
        control_requests.check_control(request.name, request.method)
        engine = await subscriptions.confirm_ownership()
        while True:
            if engine is None:
                back = await subscriptions.hand_on(await _handed_on(request))
                if isinstance(back, mail.HandedOnResponse):
                    return Response(back.status, back.fields, back.body)
                engine = back
            response = await self._own_response(request, subscriptions, engine)
            if response is not None:
                return response
            engine = None

    def _request(self, request: FeatureRequest, engine: RouteSubscriptions) -> ControlRequest:
        return ControlRequest(request, engine, conceals=self._route.access.conceals)

    async def _own_response(
        self,
        request: FeatureRequest,
        subscriptions: SharedSubscriptions,
        engine: OwnedSubscriptions,
    ) -> Response | None:
        """Return the response of this gateway, or None if another one delivers by now.

        A refusal counts only if it still delivers: after it stood still, it may lack what happened
        under another owner. Raises SubscriptionRefused, HeadgateError.
        """
        try:
            return await self._request(request, engine).response()
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
        routed = RoutedRequest(
            request, RoutedTarget(target, path, route, handed.name), self._services
        )
        try:
            response = await self._own_response(routed, subscriptions, engine)
        except SubscriptionRefused as refusal:
            response = refusal_response(refusal)
        except HeadgateError as error:
            response = self._services.problem(error)
        if response is None:
            return mail.NOT_CARRIED_OUT
        return mail.HandedOnResponse(response.status, response.fields, response.body)


def subscriptions_of(route: StreamRoute) -> RouteSubscriptions | SharedSubscriptions | None:
    """Return the subscriptions of a route, where a log stores some."""
    feature = route.features.get(FEATURE)
    return feature.subscriptions if isinstance(feature, SubscriptionsOfRoute) else None


async def answer_operator(
    routes: Iterable[StreamRoute], question: SubscriptionQuestion
) -> SubscriptionAnswer | AnswerFailure:
    """Return the answer for the subscriptions of these routes. Raises HeadgateError."""
    found = (subscriptions_of(route) for route in routes)
    return await operators.answer_operator_question(
        [it for it in found if it is not None], question
    )


async def _handed_on(request: FeatureRequest) -> mail.HandedOnRequest:
    """Return a request as the other gateway gets it, which judges it by its own guard.

    Unless it is for anybody, its body is read only for a client that the guard here knows.
    """
    if not control_requests.is_for_anybody(request.name):
        await request.admit()
    body = await request.body()
    headers = [(str(name), value) for name, value in request.headers.items()]
    query = split(request.target)[1]
    return mail.HandedOnRequest(request.method, request.name, query, headers, body)
