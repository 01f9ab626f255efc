"""Pages of other web origins: what their preflights permit on a model route, and what they read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.models.provider import providing
from tests.models.serving import ANTHROPIC, OPENAI, answering, gateway_before
from tests.models.tokens import TOKENS, guarded, tokens_file

if TYPE_CHECKING:
    from pathlib import Path

    import aiohttp
    from multidict import CIMultiDictProxy

pytestmark = pytest.mark.usefixtures("processes")

PAGE = "https://app.test"
CHAT, MESSAGES = f"{OPENAI}/v1/chat/completions", f"{ANTHROPIC}/v1/messages"
ENVIRONMENT = {"HEADGATE_HTTP__CORS_ORIGINS": PAGE}
OURS = ("Headgate-Token", "Headgate-Stream", "Headgate-Key-Prefix", "Last-Event-ID")
SDKS = (
    *("x-stainless-lang", "anthropic-version", "openai-organization"),
    *("api-key", "x-api-key", "user-agent"),
)


async def preflight(http: aiohttp.ClientSession, url: str, *names: str) -> CIMultiDictProxy[str]:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": ",".join(names),
    }
    async with http.options(url, headers=asked) as answer:
        assert answer.status == 204
        return answer.headers


async def test_a_preflight_of_a_model_route_permits_the_fields_of_callers_and_sdks(
    http: aiohttp.ClientSession,
) -> None:
    async with answering(environment=ENVIRONMENT) as (provider, gateway):
        asked = *OURS, *SDKS, "x-forwarded-host", "evil: x"
        permitted = await preflight(http, gateway.url + CHAT, *asked)
    names = permitted["Access-Control-Allow-Headers"].lower().split(", ")
    assert {name.lower() for name in (*OURS, *SDKS, "Authorization")} <= set(names)
    assert "x-forwarded-host" not in names
    assert not any("evil" in name for name in names)
    assert not provider.requests


FIELDS = {
    "the token as api_key": (True, "authorization", {"Authorization": "caller"}, True),
    "the token as X-Api-Key": (True, "x-api-key", {"X-Api-Key": "caller"}, True),
    "the token beside a key": (False, "headgate-token", {"Headgate-Token": "caller"}, True),
    "a provider's key alone": (False, "authorization", {"Authorization": "caller"}, False),
}


@pytest.mark.parametrize(("has_key", "name", "fields", "may"), FIELDS.values(), ids=FIELDS)
async def test_a_page_may_call_a_model_with_a_token_where_callers_send_it(
    http: aiohttp.ClientSession,
    tmp_path: Path,
    *,
    has_key: bool,
    name: str,
    fields: dict[str, str],
    may: bool,
) -> None:
    async with providing() as provider:
        settings = guarded(tmp_path, has_key=has_key)
        environment = {**ENVIRONMENT, **tokens_file(tmp_path)}
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            url = gateway.url + (MESSAGES if "X-Api-Key" in fields else CHAT)
            permitted = await preflight(http, url, name)
            assert ("POST" in permitted["Access-Control-Allow-Methods"]) == may
            bearer = "Bearer " if "Authorization" in fields else ""
            sent = {field: bearer + TOKENS[token] for field, token in fields.items()}
            sent = {"Authorization": "Bearer sk-mine", "Origin": PAGE, **sent}
            if "X-Api-Key" in fields:
                del sent["Authorization"]
            async with http.post(url, json={"stream": True}, headers=sent) as answer:
                assert answer.status == (200 if may else 401)
                await answer.read()
                if may:
                    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
                    exposed = answer.headers["Access-Control-Expose-Headers"]
                    assert {"Stream-URL", "Stream-Next-Offset"} <= set(exposed.split(", "))
