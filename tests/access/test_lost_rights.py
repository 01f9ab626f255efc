"""What is under way for a client ends within the promised second, once it has lost its right.

A right is lost by a ban of the principal or of its address, and by a revocation in the tokens_file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.models.provider import providing
from tests.models.serving import models
from tests.subscriptions.receivers import receiver
from tests.support.examples import cases
from tests.support.given_settings import variables
from tests.support.processes import Headgate
from tests.support.tokens_files import static_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.models.provider import Provider

pytestmark = pytest.mark.usefixtures("processes")

STREAMS, MODEL = "/v1/stream", "/openai"
TOKEN, BENS, ADMIN = "token-of-ann", "token-of-ben", "o" * 32
PROMISED_S = 1.0
SLACK_S = 1.5  # of a machine that is busy with other tests
OPERATOR = {"Authorization": f"Bearer {ADMIN}"}
ANN = {"Authorization": f"Bearer {TOKEN}"}
BEN = {"Authorization": f"Bearer {BENS}"}
CHAT = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
LOSSES = ("ban of the principal", "ban of the address", "revocation")


class Losing:
    """A gateway whose one client, ann, is about to lose its right."""

    def __init__(self, gateway: Headgate, folder: Path, provider: Provider) -> None:
        self.gateway = gateway
        self.provider = provider
        self.http = aiohttp.ClientSession()
        self._tokens = folder / "tokens.toml"

    def request(self, method: str, path: str, document: object = None, **fields: str) -> Any:
        """Send a request of ann."""
        headers = {**ANN, "Content-Type": "application/json", **fields}
        body = None if document is None else json.dumps(document)
        return self.http.request(method, self.gateway.url + path, data=body, headers=headers)

    async def status(self, method: str, path: str, document: object = None) -> int:
        """Return the status of a short request of ann."""
        async with self.request(method, path, document) as response:
            return int(response.status)

    async def disconnected(self) -> int:
        """Disconnect the client, which keeps its right, and return what of it was under way."""
        return await self._ban("principal", "token ann", 0)

    async def _ban(self, kind: str, value: str, seconds: int) -> int:
        wish = {"kind": kind, "value": value, "seconds": seconds}
        url = f"{self.gateway.admin_url}/api/v1/bans"
        async with self.http.post(url, json=wish, headers=OPERATOR) as response:
            assert response.status == 200, await response.text()
            return int((await response.json())["readers"])

    async def lose(self, loss: str) -> None:
        """Take the client's right away."""
        if loss == "revocation":
            new = self._tokens.with_suffix(".new")
            new.write_text(f'{self._tokens.read_text()}\n[[revoked]]\nname = "ann"\n')
            new.replace(self._tokens)
            return
        await self._ban(*_banned(loss), 600)

    async def lift(self, loss: str) -> None:
        """End the ban before its time."""
        kind, value = _banned(loss)
        url = f"{self.gateway.admin_url}/api/v1/bans"
        query = {"kind": kind, "value": value}
        async with self.http.delete(url, params=query, headers=OPERATOR) as response:
            assert response.status == 204


def _banned(loss: str) -> tuple[str, str]:
    of_principal = "principal", "token ann"
    return of_principal if loss == "ban of the principal" else ("address", "127.0.0.1")


@contextlib.asynccontextmanager
async def losing(folder: Path) -> AsyncIterator[Losing]:
    every = '["create", "append", "read", "close", "delete"]'
    entries = [
        static_token(name, token, f"{STREAMS}/*", f"{MODEL}/*", operations=every)
        for name, token in (("ann", TOKEN), ("ben", BENS))
    ]
    (folder / "tokens.toml").write_text("".join(entries))
    key = folder / "provider.key"
    key.write_text("sk-of-the-house")
    key.chmod(0o600)
    async with providing() as provider:
        admin = [{"name": "shop", "role": "operator", "token": ADMIN}]
        server = Headgate(
            environment={
                **variables({"admin_tokens": admin}),
                "HEADGATE_CREDENTIALS__TOKENS_FILE": str(folder / "tokens.toml"),
                **variables({"models": models(provider, {"key_file": str(key)})[:1]}),
                "HEADGATE_AUTH": "tokens",
            }
        )
        server.serve_routes({"prefix": STREAMS, "storage": "memory:", "mcp_events": True})
        try:
            made = Losing(server.start(), folder, provider)
            async with made.http:
                assert await made.status("PUT", f"{STREAMS}/s", []) == 201
                yield made
        finally:
            server.close()


def call(method: str, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": "c", "method": method, "params": params}


OF_S = {"name": "stream.appended", "arguments": {"stream": "s"}}


async def live_read(client: Losing) -> Any:
    return await client.request("GET", f"{STREAMS}/s?offset=now&live=sse")


async def long_poll(client: Losing) -> Any:
    return client.request("GET", f"{STREAMS}/s?offset=now&live=long-poll")


async def mcp_stream(client: Losing) -> Any:
    response = await client.request("POST", f"{STREAMS}/mcp", call("events/stream", **OF_S))
    assert b"active" in await response.content.readuntil(b"\n\r\n")
    return response


async def model_answer(client: Losing) -> Any:
    client.provider.hold()
    client.provider.allow(1)
    path = f"{MODEL}/v1/chat/completions"
    response = await client.request("POST", path, CHAT, **{"Idempotency-Key": "k"})
    assert await response.content.readuntil(b"\n\n")
    return response


async def joined_answer(client: Losing) -> Any:
    await model_answer(client)
    return await model_answer(client)


async def answer_before_its_head(client: Losing) -> Any:
    client.provider.hold_heads()
    return client.request("POST", f"{MODEL}/v1/chat/completions", CHAT)


async def answer_that_is_passed_on(client: Losing) -> Any:
    client.provider.lingers = asyncio.Event()
    return client.request("POST", f"{MODEL}/v1/chat/completions", {**CHAT, "stream": False})


KINDS: dict[str, Callable[[Losing], Awaitable[Any]]] = {
    "a live read": live_read,
    "a long-poll": long_poll,
    "a stream of events for a host of MCP": mcp_stream,
    "the first response with a model's answer": model_answer,
    "a joined response with a model's answer": joined_answer,
    "a model's answer before its head": answer_before_its_head,
    "a model's answer that is passed on": answer_that_is_passed_on,
}


async def ended(held: Any) -> tuple[int, bytes]:
    """Return the status and the rest of a response that was cut or has ended."""
    body = b""
    response = held if isinstance(held, aiohttp.ClientResponse) else await held
    try:
        async for part in response.content.iter_any():
            body += part
    except aiohttp.ClientPayloadError:
        body += b"(cut)"
    return response.status, body


@pytest.mark.parametrize("loss", cases(LOSSES, {"revocation"}, "a revocation, and the bans below"))
@pytest.mark.parametrize("kind", KINDS)
async def test_a_request_ends_within_a_second_of_the_loss(
    kind: str, loss: str, tmp_path: Path
) -> None:
    async with losing(tmp_path) as client:
        held = await KINDS[kind](client)
        reading = asyncio.ensure_future(ended(held))
        await asyncio.sleep(0.3)
        assert not reading.done()
        await client.lose(loss)
        async with asyncio.timeout(PROMISED_S + SLACK_S):
            status, body = await reading
        refused = {401} if loss == "revocation" else {403}
        if kind.startswith("a stream of events"):
            assert b"notifications/events/terminated" in body
        elif kind.endswith("response with a model's answer"):
            assert b"access_ended" in body
        elif "model" in kind:
            assert status in refused
        for method, path, document in (
            ("GET", f"{STREAMS}/s?offset=-1", None),
            ("POST", f"{STREAMS}/mcp", call("events/poll", **OF_S)),
            ("GET", f"{STREAMS}/__ds/subscriptions/w", None),
            ("PUT", f"{STREAMS}/__ds/subscriptions/w", {"type": "pull-wake", "pattern": "*"}),
            ("POST", f"{STREAMS}/__ds/subscriptions/w/claim", {"worker": "a"}),
            ("POST", f"{MODEL}/v1/chat/completions", CHAT),
        ):
            assert await client.status(method, path, document) in refused, path


async def test_a_request_that_is_over_is_under_way_no_more(tmp_path: Path) -> None:
    path, key = f"{MODEL}/v1/chat/completions", {"Idempotency-Key": "whole"}
    async with losing(tmp_path) as client:
        for _ in range(3):  # the first answer, and two that join it
            async with client.request("POST", path, CHAT, **key) as response:
                assert (await response.read()).count(b"\n\n") > 1
        assert await client.status("GET", f"{MODEL}/v1/models") == 200
        for kind in (mcp_stream, model_answer):
            (await kind(client)).close()  # its client leaves
        await asyncio.sleep(PROMISED_S)
        assert await client.disconnected() == 0


@pytest.mark.parametrize("loss", LOSSES)
async def test_a_lease_ends_with_the_right_of_its_worker(loss: str, tmp_path: Path) -> None:
    async with losing(tmp_path) as client:
        subscription = f"{STREAMS}/__ds/subscriptions/w"
        pull = {"type": "pull-wake", "streams": ["s"], "wake_stream": "wakes"}
        assert await client.status("PUT", f"{STREAMS}/wakes", []) == 201
        assert await client.status("PUT", subscription, pull) == 201
        assert await client.status("POST", f"{STREAMS}/s", [1]) == 204
        async with client.request("POST", f"{subscription}/claim", {"worker": "a"}) as response:
            assert response.status == 200, await response.text()
            claimed = await response.json()
        ack = {"wake_id": claimed["wake_id"], "generation": claimed["generation"]}
        await client.lose(loss)
        refused = 401 if loss == "revocation" else 403

        async def status() -> int:
            fields = {"Authorization": f"Bearer {claimed['token']}"}
            async with client.request("POST", f"{subscription}/ack", ack, **fields) as response:
                return int(response.status)

        async with asyncio.timeout(PROMISED_S + SLACK_S):
            while await status() != refused:
                await asyncio.sleep(0.05)


async def test_webhooks_of_a_banned_client_pause_until_the_ban_ends(tmp_path: Path) -> None:
    loss = "ban of the principal"
    async with losing(tmp_path) as client, receiver(answer={"done": True}) as hook:
        webhook = {"type": "webhook", "streams": ["s"], "webhook": {"url": hook.url}}
        assert await client.status("PUT", f"{STREAMS}/__ds/subscriptions/h", webhook) == 201
        for number in (1, 2):
            async with client.request("POST", f"{STREAMS}/s", [number], **BEN) as response:
                assert response.status == 204
            if number == 1:
                await hook.wake(1)
                await client.lose(loss)
        await asyncio.sleep(PROMISED_S)
        assert len(hook.wakes) == 1
        await client.lift(loss)
        assert (await hook.wake(2))["streams"][0]["has_pending"]
