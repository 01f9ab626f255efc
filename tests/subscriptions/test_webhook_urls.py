"""URLs of webhooks are judged when a subscription is created, and addresses at each connection."""

from __future__ import annotations

import pytest

from gateway.errors import DestinationRefused
from gateway.protocol.http.destinations import destination_of
from gateway.settings import Settings
from gateway.settings.reached import callback_base, may_call_loopback
from gateway.settings.reading.kinds import Address
from gateway.subscriptions.sending.signing import KeyRing
from gateway.subscriptions.sending.webhooks import DeliveryFailed, WebhookClient, WebhookHosts
from tests.subscriptions.receivers import receiver, subscribed

REFUSED = [
    "http://example.com/hook",
    "ftp://example.com/hook",
    "https://",
    "https://user:secret@example.com/",
    "https://example.com:22/",
    "https://example.com:4439/",
    "https://10.0.0.1/hook",
    "http://10.0.0.1/hook",
    "https://192.168.1.1/",
    "https://172.16.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/",
    "https://127.0.0.1/",
    "https://localhost/",
    "https://0.0.0.0/",
    "https://[::1]/",
    "http://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[fe80::1]/",
    "https://[fd00:ec2::254]/",
    "https://0x7f.1/",
    "https://2130706433/",
    "http://127.0.0.1.example.com/",
    "http://localhost.example.com/",
    "https://example.com\\@10.0.0.1/",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_an_unsafe_url_is_refused_when_the_subscription_is_created(url: str) -> None:
    async with subscribed() as gateway:
        document = {"type": "webhook", "pattern": "a", "webhook": {"url": url}}
        status, told = await gateway.ask("PUT", "s", document)
        assert (status, told["error"]["code"]) == (400, "WEBHOOK_URL_REJECTED")
        assert (await gateway.ask("GET", "s"))[0] == 404


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
        assert "webhook_loopback" in (await gateway.ask("GET", "s"))[1]["last_error"]
        assert at.wakes == []


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "169.254.169.254", "::ffff:10.0.0.7"])
async def test_a_name_that_leads_inside_is_not_called(address: str) -> None:
    looked_up: list[str] = []

    async def look_up(host: str, _port: int, _family: object) -> list[str]:
        looked_up.append(host)
        return ["8.8.8.8", address]

    keys = KeyRing(None)
    keys.prepare(0.0)
    client = WebhookClient(keys, loopback=True, look_up=look_up)
    client.check("https://rebinds.example/hook")
    with pytest.raises(DeliveryFailed, match="not public"):
        await client.call("https://rebinds.example/hook", b"{}", 0.0)
    await client.close()
    assert looked_up == ["rebinds.example"]


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
        pytest.param({"webhook_loopback": "off"}, "http://127.0.0.1:4437", False, id="off"),
    ],
)
def test_the_gateway_is_named_by_its_settings_alone(
    changes: dict[str, object], base: str, loopback: bool
) -> None:
    settings = Settings().but(**changes)
    assert (callback_base(settings), may_call_loopback(settings)) == (base, loopback)


async def test_webhooks_are_refused_without_a_public_url() -> None:
    async with subscribed() as gateway, receiver() as at:
        gateway.engine.renew(gateway.engine.rules._replace(base_url=""))
        document = {"type": "webhook", "pattern": "a", "webhook": {"url": at.url}}
        status, told = await gateway.ask("PUT", "s", document)
        assert (status, told["error"]["code"]) == (400, "WEBHOOK_URL_REJECTED")
        assert "public_url" in told["error"]["message"]
