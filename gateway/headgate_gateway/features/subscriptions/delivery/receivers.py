"""The receivers of webhooks: which URLs are called, and what their answers mean."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from typing_extensions import override
from yarl import URL

from headgate.json_values import NOT_JSON
from headgate_gateway.errors import DestinationRefused
from headgate_gateway.outgoing_proxies import setting_proxies
from headgate_gateway.protocol.http.destinations import AllowedHosts, Destination, destination_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.outbound.client import OutboundClient
    from headgate_gateway.outbound.connections import LookUp
    from headgate_gateway.outbound.failures import NoResponse
    from headgate_gateway.telemetry.outbound import FailureKind


# Seconds for a whole call: a receiver that needs longer answers at once, and calls back.
CALL_S = 10.0
ACCEPTED = range(200, 300)  # statuses, of which the body is read as well
HTTPS_PORTS = frozenset({443, 8443})  # any other is seldom a receiver's, and often a machine's
_MOVED = "give the URL that it redirects to: redirects are not followed"
_MISSED = "correct the path in the webhook's URL, or let it take POST there"
# What to do about statuses. The response itself may say more, and is not shown: a subscriber
# could read what any server says.
_REFUSED = {
    **dict.fromkeys((301, 302, 303, 307, 308), _MOVED),
    **dict.fromkeys((401, 403), "see in its log why it refuses the request"),
    **dict.fromkeys((404, 405), _MISSED),
}
_OF_OPERATOR = "tell the operator of this server"
_ADVICE: dict[FailureKind, str] = {
    "broken": "see its log",
    "certificate": "give it a valid certificate for its host name, with the whole chain",
    "invalid": "check what listens at the webhook's URL",
    "name": "correct the host name in the webhook's URL, or its records in DNS",
    "proxy": _OF_OPERATOR,
    "timeout": "answer at once, and work after the answer",
    "tls": "serve TLS 1.2 or newer at the port of the webhook's URL",
    "too_long": "answer with a status and a short body",
    "unreachable": "start it, or correct the host and port in the webhook's URL",
}


class DeliveryFailed(Exception):
    """A call that came to nothing; `detail` has nothing of the response or of the URL's path."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def refusal_of(status: int) -> str:
    """Return the reason of a failure where a receiver answers with a status that is not 2xx."""
    return f"the receiver answered {status}; {_REFUSED.get(status, 'see its log')}"


def failure_of(failure: NoResponse) -> DeliveryFailed:
    """Return the failure of a delivery whose call got no response, with what to do about it."""
    if failure.kind == "refused":
        return DeliveryFailed(failure.why)
    advice = _OF_OPERATOR if failure.is_of_proxy else _ADVICE[failure.kind]
    return DeliveryFailed(f"the receiver {failure.why}; {advice}")


class ReceiverResponse(NamedTuple):
    """The response of a receiver: its status, and its body; b"" if it is a refusal, or too long."""

    status: int
    body: bytes = b""

    @property
    def is_done(self) -> bool:
        """True if the receiver has done already what it was woken for."""
        try:
            document = msgspec.json.decode(self.body)
        except NOT_JSON:
            return False
        return isinstance(document, dict) and document.get("done") is True

    @property
    def refusal(self) -> str | None:
        """The reason why the receiver has not accepted what was sent; None if it has."""
        return None if self.status in ACCEPTED else refusal_of(self.status)

    def check(self) -> None:
        """Raise DeliveryFailed if the receiver has not accepted what was sent."""
        if self.refusal is not None:
            raise DeliveryFailed(self.refusal)


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
                raise DestinationRefused(
                    "a webhook may lead to this machine only while nobody else reaches this gateway"
                )
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
    """The client of a route's receivers."""

    def __init__(self, *, loopback: bool, proxy: str = "", look_up: LookUp | None = None) -> None:
        """Call hosts at the addresses that the system or `look_up` finds, if they may be called.

        With the URL of a `proxy`, that looks up and calls the hosts that are not on this machine.
        """
        self._hosts = WebhookHosts(loopback=loopback)
        self._look_up = look_up
        self._proxy = proxy
        self._client: OutboundClient | None = None

    def renew(self, *, loopback: bool, proxy: str) -> None:
        """Call this machine or refuse to, and use a proxy or none, from the next call on."""
        self._hosts.loopback = loopback
        if proxy != self._proxy and self._client is not None:
            self._client.proxies = setting_proxies(proxy)
        self._proxy = proxy

    def check(self, url: str) -> None:
        """Raise DestinationRefused for a URL that no webhook may have."""
        self._hosts.check(destination_of(url))

    async def post(self, url: str, body: bytes, fields: Mapping[str, str]) -> ReceiverResponse:
        """Send a body; return the response. Raises DeliveryFailed if there is none."""
        from headgate_gateway.outbound import client, connections  # few servers have receivers
        from headgate_gateway.outbound.failures import NoResponse

        if self._client is None:
            look_up = self._look_up or connections.addresses_of
            connect = partial(client.usual_connector, self._hosts, look_up)
            self._client = client.OutboundClient(
                "webhook", connect, proxies=setting_proxies(self._proxy)
            )
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
