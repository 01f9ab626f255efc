"""Handle requests to control paths: subscriptions, and the keys of their webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from headgate_gateway.access.credentials import request_credential
from headgate_gateway.access.principal import account_of
from headgate_gateway.errors import Forbidden, MethodNotAllowed, StreamNotFound, Unauthenticated
from headgate_gateway.features.subscriptions.errors import SubscriptionRefused, not_found
from headgate_gateway.features.subscriptions.requests import SubscriptionRequests
from headgate_gateway.features.subscriptions.state.configuration import (
    LONGEST_ID,
    json_object,
    names_in,
    parse_configuration,
)
from headgate_gateway.features.subscriptions.state.owners import needs_of
from headgate_gateway.protocol import cache_headers, responses
from headgate_gateway.protocol.http.paths import RESERVED

if TYPE_CHECKING:
    from headgate_gateway.access.principal import Principal
    from headgate_gateway.features.subscriptions.engine import RouteSubscriptions
    from headgate_gateway.features.subscriptions.state.configuration import (
        SubscriptionConfiguration,
    )
    from headgate_gateway.features.subscriptions.state.subscription import DurableSubscription
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.feature import FeatureRequest

KEYS = f"{RESERVED}/jwks.json"
_SUBSCRIPTIONS = f"{RESERVED}/subscriptions/"
_WAKE_ACTIONS = frozenset({"callback", "ack", "release"})
_ACTIONS = _WAKE_ACTIONS | {"", "streams", "claim"}
_LINKED = frozenset(["streams"])  # the members of a request that links streams
_NEEDED = (
    "needs read on all that the pattern can match and on each of streams, and append on the wake "
    "stream"
)
_OWNER_TOKEN = "this needs a token of the client that subscribed: send Authorization: Bearer TOKEN"
_FIELDS = f"{responses.SECURITY}{cache_headers.NO_STORE}Content-Type: application/json\r\n"
_KEY_FIELDS = (
    f"{responses.SECURITY}Cache-Control: public, max-age=300\r\n"
    "Content-Type: application/jwk-set+json\r\n"
)


def refusal_response(refusal: SubscriptionRefused) -> Response:
    """Return the response of a refusal."""
    return _json(refusal.status, refusal.document)


class RemoteClient:
    """A client of another gateway, which alone knows whether it is there."""

    transport = peer = None

    @property
    def wire(self) -> RemoteClient:
        """The connection, of which nothing is here."""
        return self


class ControlRequest:
    """A request to a control path.

    Where the route conceals, another client's subscription is answered like an id that is free, and
    a PUT of it like one of other contents.
    """

    def __init__(
        self, request: FeatureRequest, engine: RouteSubscriptions, *, conceals: bool
    ) -> None:
        self._request = request
        self._engine = engine
        self._requests = SubscriptionRequests(engine)
        self._conceals = conceals

    async def response(self) -> Response:
        """Return the response. Raises SubscriptionRefused, HeadgateError."""
        name, method = self._request.name, self._request.method
        check_control(name, method)
        if name == KEYS:
            return keys_response(await self._requests.jwks())
        subscription_id, action, path = _parts(name)
        if path is not None:
            return await self._unlink(subscription_id, path)
        if not action:
            return await self._whole(subscription_id, method)
        if action == "streams":
            return await self._link(subscription_id)
        if action == "claim":
            return await self._claim(subscription_id)
        return await self._acknowledge(subscription_id, action)

    async def _whole(self, subscription_id: str, method: str) -> Response:
        if method == "PUT":
            return await self._put(subscription_id)
        principal = await self._request.admit()
        if method == "DELETE":
            return await self._delete(subscription_id, principal)
        found = self._requests.find(subscription_id)
        try:
            self._check_owner(found, principal)
        except (Forbidden, SubscriptionRefused):
            await self._check_worker(found)
            found = self._requests.find(subscription_id)
        return responses.Response(200, _FIELDS, await self._requests.describe(found))

    async def _delete(self, subscription_id: str, principal: Principal | None) -> Response:
        if (found := self._engine.by_id.get(subscription_id)) is not None:
            try:
                self._check_owner(found, principal)
            except SubscriptionRefused:  # as if there were none, which is nothing to delete
                return _no_content()
        await self._requests.delete(subscription_id)
        return _no_content()

    async def _put(self, subscription_id: str) -> Response:
        await self._request.admit()
        configuration = parse_configuration(await self._request.body(), self._prefix)
        principal = await self._admit_subscriber(configuration)
        found = self._engine.by_id.get(subscription_id)
        if found is not None and not self._conceals:  # else the id is in use by other contents
            self._check_owner(found, principal)
        made, is_new = await self._requests.put(subscription_id, configuration, principal)
        text = await self._requests.describe(made)
        return responses.Response(201 if is_new else 200, _FIELDS, text)

    async def _link(self, subscription_id: str) -> Response:
        self._check_owner(self._requests.find(subscription_id), await self._request.admit())
        names = names_in(json_object(await self._request.body(), _LINKED), self._prefix)
        found = self._requests.find(subscription_id)
        wanted = msgspec.structs.replace(found.configuration, streams=names)
        self._check_owner(found, await self._admit_subscriber(wanted))
        await self._requests.link(subscription_id, names)
        return _no_content()

    async def _unlink(self, subscription_id: str, path: str) -> Response:
        principal = await self._request.admit()
        self._check_owner(self._requests.find(subscription_id), principal)
        await self._requests.unlink(subscription_id, unquote(path))
        return _no_content()

    async def _claim(self, subscription_id: str) -> Response:
        await self._request.admit()
        body = await self._request.body()
        found = self._requests.find(subscription_id)
        configuration = found.configuration
        claimer = await self._admit_subscriber(configuration, "to claim")
        if found.is_webhook and self._conceals:
            self._check_owner(found, claimer)  # only its owner may learn that nobody claims it
        claimed = await self._requests.claim(subscription_id, body)
        self._engine.rights.claimers[self._requests.find(subscription_id)] = claimer
        return _json(200, claimed)

    async def _acknowledge(self, subscription_id: str, action: str) -> Response:
        token = request_credential("POST", self._request.name, self._request.headers).token
        body = await self._request.body()
        if self._conceals:
            self._requests.check_known_token(subscription_id, token)
        document = await self._requests.acknowledge(subscription_id, action, token, body)
        return _no_content() if document is None else _json(200, document)

    @property
    def _prefix(self) -> str:
        return self._engine.prefix

    async def _admit_subscriber(
        self, configuration: SubscriptionConfiguration, purpose: str = "to subscribe"
    ) -> Principal | None:
        """Return the principal, if it may subscribe like this. Raises Forbidden with what it needs.

        The streams may be many, and "here" in the guard's own words is none of them.
        """
        try:
            return await self._request.admit(*needs_of(configuration, self._prefix))
        except Forbidden as refusal:
            raise Forbidden(f"{refusal.detail}; {purpose} {_NEEDED}") from None

    async def _check_worker(self, found: DurableSubscription) -> None:
        """Raise Forbidden for a client that may not claim the wakes of another principal either.

        Workers look up the wake stream, and a claim tells them the rest.
        """
        if found.configuration.wake_stream is None:
            raise not_found() if self._conceals else _of_another_worker()
        try:
            await self._request.admit(*needs_of(found.configuration, self._prefix))
        except Forbidden:
            raise _of_another_worker() from None

    def _check_owner(self, found: DurableSubscription, principal: Principal | None) -> None:
        """Raise Forbidden for the subscription of another principal, and Unauthenticated.

        Raise SubscriptionRefused, as for a free id, for either of them where the route conceals.
        """
        account = found.account
        if not account or account == account_of(principal):
            return
        if self._conceals:
            raise not_found()
        if principal is None:
            raise Unauthenticated(_OWNER_TOKEN)
        raise Forbidden("the subscription is another client's")


def _of_another_worker() -> Forbidden:
    """Return the refusal to describe a subscription, in the same words for each kind of it."""
    return Forbidden(f"the subscription is another client's; a worker that claims {_NEEDED}")


def check_control(name: str, method: str) -> None:
    """Raise StreamNotFound for a path that is none, MethodNotAllowed for a wrong method."""
    allowed: tuple[str, ...] = ("GET",)
    if name != KEYS:
        _, action, path = _parts(name)
        if path is not None:
            allowed = ("DELETE",)
        else:
            allowed = ("POST",) if action else ("GET", "PUT", "DELETE")
    if method not in allowed:
        names = ", ".join(allowed)
        raise MethodNotAllowed(f"this takes {names}", names)


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
    return unquote(segment), action, path if slash else None


def _json(status: int, document: dict[str, object]) -> Response:
    return responses.Response(status, _FIELDS, msgspec.json.encode(document))


def keys_response(jwks: dict[str, Any]) -> Response:
    """Return the response with the public keys."""
    return responses.Response(200, _KEY_FIELDS, msgspec.json.encode(jwks))


def is_for_anybody(name: str) -> bool:
    """Return whether requests to a control path have the token of a wake, or need none."""
    return name == KEYS or _parts(name)[1] in _WAKE_ACTIONS


def _no_content() -> Response:
    return responses.Response(204, f"{responses.SECURITY}{cache_headers.NO_STORE}")
