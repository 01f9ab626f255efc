"""URLs of webhooks are judged when a subscription is created, and addresses at each connection."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from headgate_gateway.errors import DestinationRefused
from headgate_gateway.features.subscriptions.delivery.receivers import (
    DeliveryFailed,
    WebhookClient,
    WebhookHosts,
)
from headgate_gateway.protocol.http.destinations import destination_of
from headgate_gateway.settings import Settings
from headgate_gateway.settings.reached import callback_base, may_call_loopback
from headgate_gateway.settings.reading.kinds import Address
from tests.protocol.urls_inside import ADDRESSES, URLS
from tests.subscriptions.receivers import receiver, subscribed
from tests.support.given_settings import sections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# What every client of URLs must refuse, here as https, and what is refused to webhooks alone.
REFUSED = {name: url.replace("http:", "https:", 1) for name, url in URLS.items()} | {
    "http to a public host": "http://example.com/hook",
    "http to a public address": "http://8.8.8.8/hook",
    "http to a private address": "http://10.0.0.1/hook",
    "http to loopback in IPv6": "http://[::1]/",
    "http to loopback mapped into IPv6": "http://[::ffff:127.0.0.1]/",
    "http to a name that begins as loopback": "http://127.0.0.1.example.com/",
    "http to a name below localhost": "http://localhost.example.com/",
    "http to a name that ends as localhost": "http://example.localhost/",
    "http to loopback as a number": "http://2130706433/",
    "https to localhost": "https://localhost/",
    "https to localhost with a dot": "https://localhost./",
    "the port of SSH": "https://example.com:22/",
    "the port of Redis": "https://example.com:6379/",
    "the port of the console": "https://example.com:4439/",
    "the port of http": "https://example.com:80/",
    "no https": "javascript:alert(1)",
    "data": "data:text/plain,x",
    "a path": "/hook",
}


async def test_an_unsafe_url_is_refused_when_the_subscription_is_created() -> None:
    async with subscribed() as gateway:
        for name, url in REFUSED.items():
            document = {"type": "webhook", "pattern": "a", "webhook": {"url": url}}
            status, told = await gateway.ask("PUT", "s", document)
            assert (status, told["error"]["code"]) == (400, "WEBHOOK_URL_REJECTED"), name
            assert (await gateway.ask("GET", "s"))[0] == 404


@pytest.mark.parametrize("url", [None, "", 7, ["https://example.com/"], {"url": "x"}])
async def test_a_url_that_is_no_text_is_refused(url: object) -> None:
    async with subscribed() as gateway:
        document = {"type": "webhook", "pattern": "a", "webhook": {"url": url}}
        assert (await gateway.ask("PUT", "s", document))[0] == 400


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?token=x",
        "https://example.com:8443/",
        "https://8.8.8.8/",
        "http://localhost:9000/hook",
        "http://127.9.8.7:80/",
    ],
)
def test_a_public_url_and_this_machine_are_permitted(url: str) -> None:
    WebhookHosts(loopback=True).check(destination_of(url))


@pytest.mark.parametrize("url", ["http://localhost:9000/hook", "http://127.9.8.7:80/"])
def test_this_machine_is_refused_where_others_reach_the_gateway(url: str) -> None:
    with pytest.raises(DestinationRefused):
        WebhookHosts(loopback=False).check(destination_of(url))


async def test_the_address_is_judged_at_each_connection_and_not_only_at_the_creation() -> None:
    async with subscribed() as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        gateway.engine.renew(gateway.engine.rules._replace(webhook_loopback=False))
        await gateway.create("a", body=b'{"n":1}')
        await gateway.quiet()
        assert "this machine" in (await gateway.ask("GET", "s"))[1]["last_error"]
        assert at.wakes == []


SIGNED = {"Webhook-Signature": "t=0"}  # which the receiver does not verify here


class Names:
    """A resolver that has the next answer for each look-up; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.looked_up: list[str] = []

    async def look_up(self, host: str, _port: int, _family: object) -> list[str]:
        """Return the next addresses."""
        self.looked_up.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@contextlib.asynccontextmanager
async def client_of(names: Names) -> AsyncIterator[WebhookClient]:
    """A client that looks names up so, and may call this machine."""
    client = WebhookClient(loopback=True, look_up=names.look_up)
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("others", [[], ["8.8.8.8"]], ids=["alone", "behind-a-public-one"])
@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
async def test_a_name_that_leads_inside_is_not_called(address: str, others: list[str]) -> None:
    names = Names([*others, address])
    async with client_of(names) as client:
        client.check("https://rebinds.example/hook")
        with pytest.raises(DeliveryFailed, match="not public"):
            await client.post("https://rebinds.example/hook", b"{}", SIGNED)
    assert names.looked_up == ["rebinds.example"]


async def test_a_name_whose_address_changes_between_two_calls_is_judged_again() -> None:
    async def closes(_call: web.Request) -> web.StreamResponse:
        return web.Response(headers={"Connection": "close"})

    names = Names(["127.0.0.1"], ["10.0.0.7"])
    async with receiver(respond=closes) as at, client_of(names) as client:
        url = at.url.replace("127.0.0.1", "localhost")
        assert not (await client.post(url, b"{}", SIGNED)).is_done
        with pytest.raises(DeliveryFailed, match="not public"):
            await client.post(url, b"{}", SIGNED)
    assert len(at.wakes) == 1
    assert names.looked_up == ["localhost", "localhost"]


async def test_a_name_is_looked_up_once_for_a_connection_and_never_between() -> None:
    names = Names(["127.0.0.1"], ["10.0.0.7"])
    async with receiver() as at, client_of(names) as client:
        for _ in range(3):
            await client.post(at.url.replace("127.0.0.1", "localhost"), b"{}", SIGNED)
    assert (len(at.wakes), names.looked_up) == (3, ["localhost"])


@pytest.mark.parametrize(
    ("changes", "base", "loopback"),
    [
        pytest.param({}, "http://127.0.0.1:4437", True, id="on-loopback"),
        pytest.param({"listen": Address("0.0.0.0", 80)}, "", False, id="on-all-addresses"),
        pytest.param({"listen": Address("127.0.0.1", 0)}, "", True, id="on-any-port"),
        pytest.param({"public_url": "https://s.example"}, "https://s.example", False, id="named"),
        pytest.param({"front": ("s.example",)}, "https://s.example", False, id="behind-a-front"),
        pytest.param(
            {"trusted_proxies": ("10.0.0.1/32",)}, "http://127.0.0.1:4437", False, id="proxied"
        ),
        pytest.param({"public_url": "http://[::1]:1"}, "http://[::1]:1", True, id="named-here"),
    ],
)
def test_the_gateway_is_named_by_its_settings_alone(
    changes: dict[str, object], base: str, loopback: bool
) -> None:
    settings = Settings().but(**sections(changes))
    assert (callback_base(settings), may_call_loopback(settings)) == (base, loopback)


async def test_webhooks_are_refused_without_a_public_url() -> None:
    async with subscribed() as gateway, receiver() as at:
        gateway.engine.renew(gateway.engine.rules._replace(base_url=""))
        document = {"type": "webhook", "pattern": "a", "webhook": {"url": at.url}}
        status, told = await gateway.ask("PUT", "s", document)
        assert (status, told["error"]["code"]) == (400, "WEBHOOK_URL_REJECTED")
        assert "public_url" in told["error"]["message"]
