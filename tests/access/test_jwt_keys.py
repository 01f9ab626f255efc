"""Issuers whose keys are at a URL: a real server that rotates them, dies, hangs and lies."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from headgate_gateway.access import jwt_issuers
from headgate_gateway.access.authorities import Authorities
from headgate_gateway.errors import KeysUnavailable, Unauthenticated
from headgate_gateway.outbound import client
from headgate_gateway.settings import Settings
from headgate_gateway.telemetry.health import by_name
from tests.access.forging import AUDIENCE, EC, ED, ISSUER, NOW, OTHER_ED, good, jwks
from tests.support.log_lines import capture_logs
from tests.support.outbound import OutboundRequests
from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from headgate_gateway.access.principal import Principal

    Answer = Callable[["Issuer", web.Request], Awaitable[web.StreamResponse]]

KEYS = jwks([ED])


def table(keys: str) -> dict[str, object]:
    return {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "jwks": keys,
        "algorithms": ["EdDSA", "ES256"],
        "grants": [{"streams": "/s/{sub}", "operations": ["read"]}],
    }


class Issuer:
    """Its server of keys, and a gateway's authorities that ask it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.body = KEYS
        self.answer: Answer = Issuer.publish
        self.asked = 0
        self.let_go = asyncio.Event()
        self._runner: web.AppRunner | None = None
        url = f"http://127.0.0.1:{self.port}/jwks?secret=canary"
        self.authorities = Authorities(
            Settings(credentials={"jwt_issuers": (table(url),)}), lambda: NOW
        )
        self.ended: list[Principal] = []
        self.verifier = self.authorities.verifier(["jwt"], self.ended.append)

    @property
    def keys(self) -> jwt_issuers.RemoteKeys:
        return self.authorities._urls[0]

    async def publish(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.body, content_type="application/json")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        return await self.answer(self, request)

    async def open(self) -> None:
        app = web.Application()
        app.router.add_get("/{any:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def die(self) -> None:
        self.let_go.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def is_known(self, token: str) -> bool:
        try:
            await self.verifier.verify(token, NOW)
        except Unauthenticated:
            return False
        return True


@asynccontextmanager
async def issuing(answer: Answer = Issuer.publish) -> AsyncIterator[Issuer]:
    issuer = Issuer()
    issuer.answer = answer
    await issuer.open()
    issuer.authorities.start()
    try:
        yield issuer
    finally:
        await issuer.authorities.stop()
        await issuer.die()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as made:
        yield made


async def test_issuer_keys_are_fetched_in_the_background_at_the_start(issuer: Issuer) -> None:
    await until(lambda: issuer.keys.keys is not None)
    assert await issuer.is_known(good())
    assert issuer.asked == 1
    assert by_name(issuer.authorities.notes()) == {f"http://127.0.0.1:{issuer.port}/jwks": None}


async def test_a_token_that_comes_before_the_issuer_keys_waits_for_them(issuer: Issuer) -> None:
    assert issuer.keys.keys is None
    assert await issuer.is_known(good())
    assert issuer.asked == 1


async def test_a_new_issuer_key_is_fetched_when_its_first_token_arrives(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(lambda: issuer.keys.keys is not None)
    ann = await issuer.verifier.verify(good(), NOW)
    monkeypatch.setattr(jwt_issuers, "UNKNOWN_EVERY_S", 0.0)
    issuer.body = jwks([ED, EC])
    assert await issuer.is_known(good(EC, "ES256"))
    assert issuer.verifier.known(good(), NOW) is ann
    assert issuer.ended == []


@pytest.mark.parametrize("body", [jwks([EC]), jwks([OTHER_ED])], ids=["gone", "replaced"])
async def test_a_removed_issuer_key_ends_its_readers(issuer: Issuer, body: bytes) -> None:
    await until(lambda: issuer.keys.keys is not None)
    ann = await issuer.verifier.verify(good(), NOW)
    issuer.body = body
    await issuer.keys._fetch()
    assert issuer.ended == [ann]
    assert ann.until == 0
    assert not await issuer.is_known(good())


async def test_tokens_with_unknown_key_ids_cause_one_fetch_per_interval(issuer: Issuer) -> None:
    await until(lambda: issuer.keys.keys is not None)
    tokens = [good(header={"kid": f"made up {number}"}) for number in range(500)]
    for asked in (1, 2):
        assert not any(await asyncio.gather(*map(issuer.is_known, tokens)))
        assert issuer.asked == asked
        issuer.keys._requested_at -= jwt_issuers.UNKNOWN_EVERY_S  # a while ago


# ---------------------------------------------------------------- a server that is no help


async def hang(issuer: Issuer, _request: web.Request) -> web.StreamResponse:
    await issuer.let_go.wait()
    return web.Response()


async def drip(issuer: Issuer, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while not issuer.let_go.is_set():
        await response.write(b" ")
        await asyncio.sleep(0.05)
    return response


async def redirect(issuer: Issuer, request: web.Request) -> web.StreamResponse:
    if request.path == "/elsewhere":
        return await issuer.publish(request)
    raise web.HTTPFound("/elsewhere")


def says(body: bytes, status: int = 200, coding: str = "identity") -> Answer:
    async def answer(_issuer: Issuer, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={"Content-Encoding": coding})

    return answer


async def break_off(_issuer: Issuer, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(KEYS))})
    await response.prepare(request)
    await response.write(KEYS[:-1])
    assert request.transport is not None
    request.transport.close()
    return response


TROUBLES = {
    "hangs": (hang, "did not answer within 1 s"),
    "drips": (drip, "did not answer within 1 s"),
    "breaks off": (break_off, "sent a response that is not complete"),
    "redirects": (redirect, "answers 302"),
    "fails": (says(KEYS, 500), "answers 500"),
    "is gone": (says(KEYS, 404), "answers 404"),
    "has a page": (says(b"<!doctype html>"), "is no JSON Web Key Set"),
    "has a list": (says(b"[]"), "is no JSON Web Key Set"),
    "has it twice": (says(KEYS[:-1] + b',"keys":[]}'), "is no JSON Web Key Set"),
    "is nested deeply": (says(b"[" * 100_000), "is no JSON Web Key Set"),
    "has 101 keys": (says(jwks([ED] * 101)), "has more than 100 keys"),
    "is huge": (says(b" " * (256 << 10) + KEYS), "sends more than 256 KiB"),
    "is packed": (says(gzip.compress(KEYS), coding="gzip"), "is no JSON Web Key Set"),
}
WITHDRAWN = {
    "has no keys": (says(b'{"keys":[]}'), "has no key with a kid"),
    "has keys that are none": (says(b'{"keys":[1,{"kty":["x"]},{"kid":5}]}'), "has no key with"),
    "has secrets": (says(b'{"keys":[{"kty":"oct","kid":"a","k":"AAAA"}]}'), "has no key with"),
}


@pytest.mark.parametrize("name", [*TROUBLES, *WITHDRAWN])
async def test_a_token_is_unavailable_rather_than_refused_before_any_keys_were_fetched(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 and not 401: a client would throw away a token that may be good."""
    answer, trouble = (TROUBLES | WITHDRAWN)[name]
    if answer in {hang, drip}:
        monkeypatch.setattr(jwt_issuers, "FETCH_S", 1.0)
    async with issuing(answer) as issuer:
        with capture_logs() as lines:
            for _ in range(2):
                with pytest.raises(KeysUnavailable):
                    await issuer.verifier.verify(good(), NOW)
        told = issuer.keys.trouble or ""
        assert trouble in told
        assert "canary" not in f"{lines}{by_name(issuer.authorities.notes())}"
        assert issuer.asked == 1


@pytest.mark.parametrize("name", TROUBLES)
async def test_a_failed_fetch_keeps_the_last_issuer_keys(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, trouble = TROUBLES[name]
    if answer in {hang, drip}:
        monkeypatch.setattr(jwt_issuers, "FETCH_S", 1.0)
    async with issuing() as issuer:
        ann = await issuer.verifier.verify(good(), NOW)
        issuer.answer = answer
        await issuer.keys._fetch()
        assert trouble in (issuer.keys.trouble or "")
        assert issuer.ended == []
        assert issuer.verifier.known(good(), NOW) is ann
        assert await issuer.is_known(good(sub="bob"))
        assert not await issuer.is_known(good(EC, "ES256"))  # 401: there are keys, and not this one


@pytest.mark.parametrize("name", WITHDRAWN)
async def test_an_issuer_key_set_without_keys_withdraws_all_keys(name: str) -> None:
    answer, trouble = WITHDRAWN[name]
    async with issuing() as issuer:
        ann = await issuer.verifier.verify(good(), NOW)
        issuer.answer = answer
        await issuer.keys._fetch()
        assert trouble in (issuer.keys.trouble or "")
        assert issuer.ended == [ann]
        with pytest.raises(Unauthenticated, match="a key that is unknown"):
            await issuer.verifier.verify(good(), NOW)
        issuer.answer = Issuer.publish
        await issuer.keys._fetch()
        assert issuer.keys.trouble is None
        assert await issuer.is_known(good())


async def test_a_dead_issuer_ends_no_reader_and_is_used_again_once_back(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(lambda: issuer.keys.keys is not None)
    await issuer.die()
    await issuer.keys._fetch()
    assert by_name(issuer.authorities.notes()) == {
        f"http://127.0.0.1:{issuer.port}/jwks": "cannot be connected to: Connection refused"
    }
    assert await issuer.is_known(good())
    issuer.body = jwks([EC])
    await issuer.open()
    await issuer.keys._fetch()
    assert issuer.keys.trouble is None
    assert await issuer.is_known(good(EC, "ES256"))


async def test_a_failed_fetch_of_issuer_keys_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.01)
    async with issuing(says(b"", 500)) as issuer:
        await until(lambda: issuer.asked > 3)
        issuer.answer = Issuer.publish
        await until(lambda: issuer.keys.keys is not None)
        assert await issuer.is_known(good())


async def test_fetches_of_issuer_keys_are_counted_by_outcome() -> None:
    requests = OutboundRequests("jwks")
    async with issuing() as issuer:
        await until(lambda: issuer.keys.keys is not None)
        issuer.answer = says(b"", 500)
        await issuer.keys._fetch()
        await issuer.keys._fetch()
        await issuer.die()
        await issuer.keys._fetch()
    assert requests.by_outcome() == {"2xx": 1, "5xx": 2, "unreachable": 1}


async def test_an_issuer_key_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(KEYS)
    authorities = Authorities(
        Settings(credentials={"jwt_issuers": (table(str(path)),)}), lambda: NOW
    )
    ended: list[Principal] = []
    verifier = authorities.verifier(["jwt"], ended.append)
    ann = await verifier.verify(good(), NOW)
    authorities.start()
    path.write_bytes(b"{}")
    await until(lambda: by_name(authorities.notes())[str(path)] == f"{path} is no JSON Web Key Set")
    assert ended == []
    path.write_bytes(jwks([EC]))
    await until(lambda: ended == [ann])
    await authorities.stop()
