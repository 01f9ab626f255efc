"""Handle requests to control paths: subscriptions, the keys of their webhooks, and MCP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from gateway.access.credentials import request_credential
from gateway.errors import Forbidden, MethodNotAllowed, StreamNotFound, Unauthenticated
from gateway.mcp_events.route_events import RouteEvents
from gateway.protocol import cache_headers, responses
from gateway.protocol.http import cache_status
from gateway.protocol.http.paths import MCP, RESERVED
from gateway.runtime.answer import RouteAnswer
from gateway.stepped import in_task
from gateway.subscriptions.configuration import (
    HOST_PREFIX,
    LONGEST_ID,
    invalid,
    json_object,
    names_in,
    parse_configuration,
)
from gateway.subscriptions.engine import RouteSubscriptions
from gateway.subscriptions.errors import SubscriptionRefused
from gateway.subscriptions.owners import SubscriptionOwner, needs_of
from gateway.subscriptions.requests import SubscriptionRequests
from gateway.web.admission import RoutedTarget, admit_control
from gateway.web.mcp_requests import answer_mcp
from gateway.web.requests import request_body

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from gateway.access.operations import Need
    from gateway.access.principal import Principal
    from gateway.hosted.route import HostedRoute
    from gateway.protocol.responses import Response
    from gateway.runtime.context import Context
    from gateway.subscriptions.subscription import DurableSubscription
    from gateway.web.requests.request import Request

_KEYS = f"{RESERVED}/jwks.json"
_SUBSCRIPTIONS = f"{RESERVED}/subscriptions/"
_ACTIONS = frozenset({"", "streams", "callback", "claim", "ack", "release"})
_FIELDS = f"{responses.SECURITY}{cache_headers.NO_STORE}Content-Type: application/json\r\n"
_KEY_FIELDS = (
    f"{responses.SECURITY}Cache-Control: public, max-age=300\r\n"
    "Content-Type: application/jwk-set+json\r\n"
)


class SubscriptionHandlers:
    """The operations below `__ds` on routes to logs, which `operate` starts."""

    def __init__(self, shared: Context) -> None:
        self._shared = shared

    def operate(
        self, request: Request, target: str, route: HostedRoute, name: str
    ) -> Coroutine[Any, Any, RouteAnswer]:
        """Return a coroutine of the response."""
        place = RoutedTarget(target, f"{route.prefix}/{name}", route, name)
        if name == MCP:
            assert isinstance(route.events, RouteEvents), "a route with this path has them"
            return answer_mcp(request, place, route.events, self._shared)
        engine = route.subscriptions
        assert isinstance(engine, RouteSubscriptions), "a route with control paths has them"
        control = ControlRequest(request, place, engine, self._shared)
        return _answered(control, name)


async def _answered(control: ControlRequest, name: str) -> RouteAnswer:
    await in_task()
    try:
        response = await control.response(name)
    except SubscriptionRefused as refusal:
        response = _json(refusal.status, refusal.document)
    return RouteAnswer(response, cache_status.BYPASS)


class ControlRequest:
    """A request to a control path."""

    def __init__(
        self, request: Request, place: RoutedTarget, engine: RouteSubscriptions, shared: Context
    ) -> None:
        self._request = request
        self._place = place
        self._engine = engine
        self._requests = SubscriptionRequests(engine)
        self._shared = shared

    async def response(self, name: str) -> Response:
        """Return the response. Raises SubscriptionRefused, HeadgateError."""
        if name == _KEYS:
            self._check_method("GET")
            return responses.Response(
                200, _KEY_FIELDS, msgspec.json.encode(await self._requests.jwks())
            )
        subscription_id, action, path = _parts(name)
        method = self._request.method
        if path is not None:
            self._check_method("DELETE")
            return await self._unlink(subscription_id, path)
        if not action:
            self._check_method("GET", "PUT", "DELETE")
            return await self._whole(subscription_id, method)
        self._check_method("POST")
        if action == "streams":
            return await self._link(subscription_id)
        if action == "claim":
            return await self._claim(subscription_id)
        return await self._acknowledge(subscription_id, action)

    def _check_method(self, *allowed: str) -> None:
        if self._request.method not in allowed:
            names = ", ".join(allowed)
            raise MethodNotAllowed(f"this takes {names}", names)

    async def _whole(self, subscription_id: str, method: str) -> Response:
        if method == "PUT":
            return await self._put(subscription_id)
        principal = await self._admit()
        if method == "DELETE":
            if (found := self._engine.by_id.get(subscription_id)) is not None:
                self._check_owner(found, principal)
            await self._requests.delete(subscription_id)
            return _no_content()
        found = self._requests.found(subscription_id)
        self._check_owner(found, principal)
        return responses.Response(200, _FIELDS, await self._requests.describe(found))

    async def _put(self, subscription_id: str) -> Response:
        await self._admit()
        if subscription_id.startswith(HOST_PREFIX):
            raise invalid(f"ids that begin with {HOST_PREFIX} are those of hosts of MCP")
        configuration = parse_configuration(await self._body())
        principal = await self._admit(needs_of(configuration, self._engine.prefix))
        if (found := self._engine.by_id.get(subscription_id)) is not None:
            self._check_owner(found, principal)
        made, is_new = await self._requests.put(
            subscription_id, configuration, SubscriptionOwner(principal)
        )
        text = await self._requests.describe(made)
        return responses.Response(201 if is_new else 200, _FIELDS, text)

    async def _link(self, subscription_id: str) -> Response:
        self._check_owner(self._requests.found(subscription_id), await self._admit())
        names = names_in(json_object(await self._body()))
        found = self._requests.found(subscription_id)
        needs = needs_of(msgspec.structs.replace(found.configuration, streams=names), self._prefix)
        self._check_owner(found, await self._admit(needs))
        await self._requests.link(subscription_id, names)
        return _no_content()

    async def _unlink(self, subscription_id: str, path: str) -> Response:
        principal = await self._admit()
        self._check_owner(self._requests.found(subscription_id), principal)
        await self._requests.unlink(subscription_id, path)
        return _no_content()

    async def _claim(self, subscription_id: str) -> Response:
        await self._admit()
        body = await self._body()
        configuration = self._requests.found(subscription_id).configuration
        await self._admit(needs_of(configuration, self._prefix))
        return _json(200, await self._requests.claim(subscription_id, body))

    async def _acknowledge(self, subscription_id: str, action: str) -> Response:
        token = request_credential("POST", self._place.path, self._request.headers).token
        body = await self._body()
        document = await self._requests.acknowledge(subscription_id, action, token, body)
        return _no_content() if document is None else _json(200, document)

    @property
    def _prefix(self) -> str:
        return self._engine.prefix

    async def _admit(self, needs: Sequence[Need] = ()) -> Principal | None:
        """Return the principal, if the route's guard admits it to what it needs."""
        return await admit_control(self._request, self._place, needs, self._shared.clock)

    @staticmethod
    def _check_owner(found: DurableSubscription, principal: Principal | None) -> None:
        """Raise Forbidden for the subscription of another principal, and Unauthenticated."""
        account = found.owner.account
        if account and principal is None:
            raise Unauthenticated("this needs a token of the client that subscribed")
        if account and account != SubscriptionOwner(principal).account:
            raise Forbidden("the subscription is another client's")

    async def _body(self) -> bytes:
        return await request_body.whole(self._request, self._shared)


def _parts(name: str) -> tuple[str, str, str | None]:
    """Return id, action and path of a link in a control path. Raises StreamNotFound."""
    segment, _, rest = name.removeprefix(_SUBSCRIPTIONS).partition("/")
    action, slash, path = rest.partition("/")
    is_known = action in _ACTIONS and not (slash and action != "streams")
    if (
        not name.startswith(_SUBSCRIPTIONS)
        or name.endswith("/")
        or not 0 < len(segment) <= LONGEST_ID
        or not is_known
    ):
        raise StreamNotFound("there is no such control path")
    return unquote(segment), action, unquote(path) if slash else None


def _json(status: int, document: dict[str, object]) -> Response:
    return responses.Response(status, _FIELDS, msgspec.json.encode(document))


def _no_content() -> Response:
    return responses.Response(204, f"{responses.SECURITY}{cache_headers.NO_STORE}")
