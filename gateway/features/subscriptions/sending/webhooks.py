"""The client of webhooks: which URLs are called, and how little of a response is waited for."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import msgspec
from typing_extensions import override

from gateway.errors import DestinationRefused
from gateway.features.judged_connector import JudgedConnector, addresses_of
from gateway.features.subscriptions.sending.failures import DeliveryFailed, failure_of, refusal_of
from gateway.protocol.bodies.json_text import NOT_JSON
from gateway.settings.arrays.destinations import AllowedHosts, Destination, destination_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.features.judged_connector import LookUp
    from gateway.features.subscriptions.sending.signing import KeyRing

CALL_S = 10.0  # seconds for a whole call: whoever needs longer answers at once, and calls back
LONGEST_RESPONSE = 64 << 10  # bytes; `{"done": true}` has 14
# Bytes of a whole response, with what is around its body: 128 header fields may have so many.
LONGEST_ON_THE_WIRE = 1 << 20
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
        return None if 200 <= self.status < 300 else refusal_of(self.status)

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

    def __init__(self, keys: KeyRing, *, loopback: bool, look_up: LookUp = addresses_of) -> None:
        """Call hosts at the addresses that `look_up` finds, where they may be called."""
        self._keys = keys
        self._look_up = look_up
        self._hosts = WebhookHosts(loopback=loopback)
        self._session: aiohttp.ClientSession | None = None

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
        try:
            self.check(url)
            return await self._post(url, body, fields)
        except DestinationRefused as refusal:
            raise DeliveryFailed(refusal.detail) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:  # a TimeoutError is an OSError
            raise failure_of(error, CALL_S) from None

    async def _post(self, url: str, body: bytes, fields: Mapping[str, str]) -> ReceiverResponse:
        fields = {
            "Content-Type": "application/json",
            "User-Agent": "Headgate",
            "Accept-Encoding": "identity",
            **fields,
        }
        opened = self._open_session().post(url, data=body, headers=fields, allow_redirects=False)
        async with opened as response:
            answered = ReceiverResponse(response.status)
            if answered.refusal is not None:
                response.close()
                return answered
            return answered._replace(body=await _beginning(response))

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=JudgedConnector(
                    self._hosts, look_up=self._look_up, longest_response=LONGEST_ON_THE_WIRE
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=CALL_S),
                read_bufsize=LONGEST_RESPONSE,
            )
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Return a response's body; the connection of a longer one is closed, and its body not read."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > LONGEST_RESPONSE:
            response.close()
            return b""
        parts.append(part)
    return b"".join(parts)


def _is_done(text: bytes) -> bool:
    try:
        document = msgspec.json.decode(text)
    except NOT_JSON:
        return False
    return isinstance(document, dict) and document.get("done") is True
