"""The client of webhooks: which URLs are called, and how little of a response is waited for."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from typing_extensions import override
from yarl import URL

from gateway.errors import DestinationRefused
from gateway.features.subscriptions.sending.failures import DeliveryFailed, failure_of, refusal_of
from gateway.protocol.bodies.json_text import NOT_JSON
from gateway.settings.arrays.destinations import AllowedHosts, Destination, destination_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.features.subscriptions.sending.signing import KeyRing
    from gateway.outbound.client import OutboundClient
    from gateway.outbound.connections import LookUp

CALL_S = 10.0  # seconds for a whole call: whoever needs longer answers at once, and calls back
ACCEPTED = range(200, 300)  # statuses, of which the body is read as well
HTTPS_PORTS = frozenset({443, 8443})  # any other is seldom a receiver's, and often a machine's


class ReceiverResponse(NamedTuple):
    """The response of a receiver: its status, and its body; b"" if it is a refusal, or too long."""

    status: int
    body: bytes = b""

    @property
    def is_done(self) -> bool:
        """True if the receiver has done already what it was woken for."""
        return _is_done(self.body)

    @property
    def refusal(self) -> str | None:
        """The reason why the receiver has not accepted what was sent; None if it has."""
        return None if self.status in ACCEPTED else refusal_of(self.status)

    def check(self) -> None:
        """Raise DeliveryFailed if the receiver has not accepted what was sent."""
        if self.refusal is not None:
            category = "http_5xx" if self.status >= 500 else "http_4xx"
            raise DeliveryFailed(self.refusal, category)


class WebhookHosts(AllowedHosts):
    """The hosts of receivers: public ones by https, and this machine where it is allowed."""

    def __init__(self, *, loopback: bool) -> None:
        super().__init__(())
        self.loopback = loopback

    @override
    def check(self, destination: Destination) -> None:
        scheme, host, port, _ = destination
        if _is_this_machine(host):
            if not self.loopback:
                raise DestinationRefused('webhooks to this machine need webhook_loopback = "on"')
            if scheme != "http":
                raise DestinationRefused(
                    "a webhook to this machine is http://localhost or 127.0.0.x"
                )
            return
        if scheme != "https":
            raise DestinationRefused("a webhook's URL must begin with https://")
        if port not in HTTPS_PORTS:
            raise DestinationRefused("a webhook's port must be 443 or 8443")
        if (address := destination.address) is not None:
            self.check_address(host, port, address)

    @override
    def check_address(self, host: str, port: int, address: IPv4Address | IPv6Address) -> None:
        if not (self.loopback and _is_this_machine(host) and address.is_loopback):
            super().check_address(host, port, address)


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return IPv4Address(host).is_loopback
    except ValueError:
        return False


class WebhookClient:
    """The client of receivers: it sends bodies that are signed with the route's key."""

    def __init__(self, keys: KeyRing, *, loopback: bool, look_up: LookUp | None = None) -> None:
        """Call hosts at the addresses that the system or `look_up` finds, if they may be called."""
        self._keys = keys
        self._hosts = WebhookHosts(loopback=loopback)
        self._look_up = look_up
        self._client: OutboundClient | None = None

    def allow_loopback(self, *, loopback: bool) -> None:
        """Allow webhooks to this machine, or refuse them, from the next call on."""
        self._hosts.loopback = loopback

    def check(self, url: str) -> None:
        """Raise DestinationRefused for a URL that no webhook may have."""
        self._hosts.check(destination_of(url))

    async def call(self, url: str, body: bytes, now: float) -> bool:
        """Send a wake; return whether its receiver is done already. Raises DeliveryFailed."""
        response = await self.send(url, body, now)
        response.check()
        return response.is_done

    async def send(self, url: str, body: bytes, now: float) -> ReceiverResponse:
        """Send a signed body; return the response. Raises DeliveryFailed if there is none."""
        return await self.post(url, body, {"Webhook-Signature": self._keys.signature(body, now)})

    async def post(self, url: str, body: bytes, fields: Mapping[str, str]) -> ReceiverResponse:
        """Send a body; return the response. Raises DeliveryFailed if there is none."""
        from gateway.outbound import client, connections  # few servers have receivers
        from gateway.outbound.failures import NoResponse

        if self._client is None:
            look_up = self._look_up or connections.addresses_of
            connect = partial(client.usual_connector, self._hosts, look_up)
            self._client = client.OutboundClient("webhook", connect)
        fields = {"Content-Type": "application/json", **fields}
        try:
            self.check(url)
            request = client.OutboundRequest("POST", URL(url), fields, body)
            response = await self._client.call(request, CALL_S, body_of=ACCEPTED)
        except DestinationRefused as refusal:
            raise DeliveryFailed(refusal.detail) from None
        except NoResponse as failure:
            raise failure_of(failure) from None
        return ReceiverResponse(response.status, response.body if response.is_whole else b"")

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.close()


def _is_done(text: bytes) -> bool:
    try:
        document = msgspec.json.decode(text)
    except NOT_JSON:
        return False
    return isinstance(document, dict) and document.get("done") is True
