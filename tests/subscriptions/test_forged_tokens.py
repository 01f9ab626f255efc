"""Tokens that are not those of the wake in force: none moves a cursor, or ends or extends it."""

from __future__ import annotations

import base64
import hmac
import json
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pytest

from headgate_gateway.features.subscriptions.delivery.documents import MemoryDocuments, documents_in
from headgate_gateway.features.subscriptions.delivery.keys import DOCUMENT, KeyRing
from headgate_gateway.features.subscriptions.wakes.acknowledgements import token_for
from tests.logs.abilities import needed
from tests.subscriptions.receivers import Receiver, Subscribed, ends_of, receiver, subscribed
from tests.support.serving import PREFIX, request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Known(NamedTuple):
    """What a forger may have seen: tokens of this and another subscription, and the public key."""

    token: str
    other: str
    elsewhere: str
    public: str

    @property
    def scope(self) -> str:
        """The part of the token that can be read."""
        return self.token.partition(".")[0]

    @property
    def mac(self) -> str:
        """The part of the token that is secret."""
        return self.token.partition(".")[2]

    def rescoped(self, **members: int) -> str:
        """Return the token with other members of its scope, and the MAC as it is."""
        birth, generation, issued = json.loads(_decoded(self.scope))
        changed = [birth, members.get("generation", generation), members.get("issued", issued)]
        return f"{_encoded(json.dumps(changed).encode())}.{self.mac}"

    def signed(self, key: bytes) -> str:
        """Return the token with the MAC of another key."""
        return f"{self.scope}.{_encoded(hmac.digest(key, self.scope.encode(), 'sha256'))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _changed(text: str, at: int) -> str:
    """Return a text with another letter at a place."""
    at %= len(text)
    return f"{text[:at]}{'A' if text[at] != 'A' else 'B'}{text[at + 1 :]}"


def _respelt(mac: str) -> str:
    """Return another spelling of the same bytes: the last letter has two bits that are no data."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spelt = mac[:-1] + letters[letters.index(mac[-1]) ^ 1]
    assert _decoded(spelt) == _decoded(mac)
    return spelt


FORGED: dict[str, Callable[[Known], str]] = {
    "of another subscription": lambda it: it.other,
    "of another route": lambda it: it.elsewhere,
    "the scope of another subscription": lambda it: f"{it.other.partition('.')[0]}.{it.mac}",
    "the MAC of another subscription": lambda it: f"{it.scope}.{it.other.partition('.')[2]}",
    "a later generation": lambda it: it.rescoped(generation=2),
    "a later time": lambda it: it.rescoped(issued=4_000_000_000),
    "the same scope with blanks": lambda it: it.rescoped(),
    "signed with no key": lambda it: it.signed(b""),
    "signed with the public key": lambda it: it.signed(_decoded(it.public)),
    "signed with any key": lambda it: it.signed(secrets.token_bytes(32)),
    "without its last letter": lambda it: it.token[:-1],
    "without a MAC": lambda it: f"{it.scope}.",
    "without a scope": lambda it: f".{it.mac}",
    "a dot": lambda _: ".",
    "twice": lambda it: f"{it.token}.{it.token}",
    "a letter more": lambda it: f"{it.token}A",
    "the first letter of the scope changed": lambda it: f"{_changed(it.scope, 0)}.{it.mac}",
    "the last letter of the MAC changed": lambda it: f"{it.scope}.{_changed(it.mac, -1)}",
    "bits that are no data": lambda it: f"{it.scope}.{_respelt(it.mac)}",
    "padded": lambda it: f"{it.token}=",
    "percent-encoded": lambda it: quote(it.token).replace(".", "%2E"),
    "in quotes": lambda it: f'"{it.token}"',
    "a blank inside": lambda it: it.token.replace(".", " . "),
    "in full-width letters": lambda it: "".join(chr(ord(one) + 0xFEE0) for one in it.token),
    "empty": lambda _: "",
    "over the longest": lambda it: it.token * 9,
    "6 KiB": lambda it: f"{it.scope}.{'A' * 6_000}",
}


async def _sent(
    gateway: Subscribed, path: str, wake: dict[str, Any], *lines: str
) -> tuple[int, Any]:
    """Acknowledge all of a wake with these header lines."""
    document = {
        "wake_id": wake["wake_id"],
        "generation": wake["generation"],
        "acks": [{"stream": name, "offset": end} for name, end in ends_of(wake)],
        "done": True,
    }
    body = json.dumps(document).encode()
    target = f"{PREFIX}/__ds/subscriptions/{path}"
    encoded = [line.encode().decode("latin-1") for line in lines]
    answer = await gateway.gateway.ask(request("POST", target, *encoded, body=body))
    return answer.status, json.loads(answer.body)


async def _known(gateway: Subscribed, token: str, other: str) -> Known:
    keys = KeyRing(MemoryDocuments({}))
    await keys.prepare(0.0)
    elsewhere = token_for(keys, gateway.engine.by_id["s"], gateway.gateway.clock())
    return Known(token, other, elsewhere, gateway.engine.keys.jwks()["keys"][0]["x"])


async def _claimed(gateway: Subscribed, name: str = "s") -> Any:
    status, claimed = await gateway.claim(name=name)
    assert status == 200
    return claimed


async def _pulled(gateway: Subscribed) -> tuple[dict[str, Any], Known]:
    """Return a claim that is in force, and what a forger may know."""
    await gateway.pull("s", pattern="e/*")
    await gateway.pull("other", pattern="e/*")
    await gateway.create("e/a", body=b'{"n":1}')
    claimed, other = await _claimed(gateway), await _claimed(gateway, "other")
    return claimed, await _known(gateway, claimed["token"], other["token"])


async def _called(gateway: Subscribed, at: Receiver) -> tuple[dict[str, Any], Known]:
    """Return a wake of a webhook that is in force, and what a forger may know."""
    await gateway.webhook("s", at, pattern="e/*")
    await gateway.webhook("other", at, pattern="e/*")
    await gateway.create("e/a", body=b'{"n":1}')
    await at.wake(2)
    await gateway.quiet()
    wakes = {it["subscription_id"]: it for it in at.wakes}
    tokens = [wakes[name]["callback_token"] for name in ("s", "other")]
    return wakes["s"], await _known(gateway, *tokens)


@pytest.mark.parametrize("actions", [("ack", "release"), ("callback",)], ids=["worker", "webhook"])
async def test_a_forged_token_acknowledges_and_releases_nothing(actions: Sequence[str]) -> None:
    async with subscribed() as gateway, receiver() as at:
        is_pulled = "ack" in actions
        wake, known = await (_pulled(gateway) if is_pulled else _called(gateway, at))
        for kind, forge in FORGED.items():
            line = f"Authorization: Bearer {forge(known)}"
            for action in actions:
                status, told = await _sent(gateway, f"s/{action}", wake, line)
                assert (status, told["error"]["code"]) == (401, "TOKEN_INVALID"), kind
        assert await gateway.cursors("s") == {"e/a": "-1"}
        right = f"Authorization: Bearer {known.token}"
        assert (await _sent(gateway, f"s/{actions[0]}", wake, right))[0] == 200


@pytest.mark.parametrize(
    "line", ["Basic {}", "Digest {}", "{}", "bearer{}"], ids=["basic", "digest", "bare", "no-blank"]
)
async def test_a_token_counts_in_a_bearer_line_alone(line: str) -> None:
    async with subscribed() as gateway:
        claimed, known = await _pulled(gateway)
        sent = f"Authorization: {line.format(known.token)}"
        assert (await _sent(gateway, "s/ack", claimed, sent))[0] == 401
        assert (await _sent(gateway, f"s/ack?token={known.token}", claimed))[0] == 401
        cookie = f"Cookie: __Secure-headgate={known.token}"
        assert (await _sent(gateway, "s/ack", claimed, cookie))[0] == 401
        assert await gateway.cursors("s") == {"e/a": "-1"}


async def test_a_token_of_a_megabyte_is_refused_with_its_header_line() -> None:
    async with subscribed() as gateway:
        claimed, _ = await _pulled(gateway)
        status, _ = await _sent(
            gateway, "s/ack", claimed, f"Authorization: Bearer {'A' * (1 << 20)}"
        )
        assert status == 431
        assert await gateway.cursors("s") == {"e/a": "-1"}


async def test_a_token_of_an_earlier_generation_is_fenced_whatever_generation_is_named() -> None:
    async with subscribed() as gateway:
        first, known = await _pulled(gateway)
        line = f"Authorization: Bearer {known.token}"
        assert (await gateway.ask("POST", "s/release", _named(first), known.token))[0] == 204
        second = await _claimed(gateway)
        for wake in (first, second, {**second, "generation": 1}, {**first, "generation": 2}):
            status, told = await _sent(gateway, "s/ack", wake, line)
            assert (status, told["error"]["code"]) == (409, "FENCED")
        assert await gateway.cursors("s") == {"e/a": "-1"}


def _named(wake: dict[str, Any]) -> dict[str, Any]:
    return {"wake_id": wake["wake_id"], "generation": wake["generation"]}


async def test_the_token_of_a_claim_is_none_of_a_webhook_of_the_same_name_nor_the_reverse() -> None:
    async with subscribed() as gateway, receiver() as at:
        claimed, pulled = await _pulled(gateway)
        await gateway.ask("DELETE", "s")
        await gateway.webhook("s", at, pattern="e/*")
        await gateway.append("e/a")
        wake = await at.wake()
        await gateway.quiet()
        line = f"Authorization: Bearer {pulled.token}"
        for one in (claimed, wake):
            status, told = await _sent(gateway, "s/callback", one, line)
            assert (status, told["error"]["code"]) == (401, "TOKEN_INVALID")
        await gateway.ask("DELETE", "s")
        await gateway.pull("s", pattern="e/*")
        await gateway.append("e/a")
        claimed = await _claimed(gateway)
        line = f"Authorization: Bearer {wake['callback_token']}"
        for action in ("ack", "release"):
            for one in (claimed, wake):
                status, told = await _sent(gateway, f"s/{action}", one, line)
                assert (status, told["error"]["code"]) == (401, "TOKEN_INVALID")


@pytest.mark.parametrize("kind", ["webhook", "pull-wake"])
async def test_a_token_of_one_subscription_does_not_work_at_the_path_of_another(kind: str) -> None:
    async with subscribed() as gateway, receiver() as at:
        if kind == "webhook":
            wake, known = await _called(gateway, at)
            path = "other/callback"
        else:
            wake, known = await _pulled(gateway)
            path = "other/ack"
        line = f"Authorization: Bearer {known.token}"
        status, told = await _sent(gateway, path, wake, line)
        assert (status, told["error"]["code"]) == (401, "TOKEN_INVALID")
        assert await gateway.cursors("other") == {"e/a": "-1"}


async def test_a_token_is_not_valid_once_the_secret_is_another() -> None:
    async with subscribed() as gateway:
        claimed, known = await _pulled(gateway)
        await needed(documents_in(gateway.gateway.log)).write({DOCUMENT: None})
        # As after a start without it, which would drop the claim, too.
        gateway.engine.keys = KeyRing(needed(documents_in(gateway.gateway.log)))
        line = f"Authorization: Bearer {known.token}"
        status, told = await _sent(gateway, "s/ack", claimed, line)
        assert (status, told["error"]["code"]) == (401, "TOKEN_INVALID")
