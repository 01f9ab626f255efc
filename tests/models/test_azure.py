"""Azure's OpenAI, by its SDK: its paths, its `api-version`, and its `api-key`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.models.answers import response
from tests.models.provider import ANSWERS, providing
from tests.models.serving import ANTHROPIC, OPENAI, gateway_before
from tests.models.tokens import TOKENS, guarded, tokens_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import aiohttp

    from tests.models.provider import Provider
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

VERSION = "2025-04-01-preview"
ID = "resp_1"
EVENTS = response()


@pytest.fixture(autouse=True)
def _azure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the provider's double answer at Azure's path, too."""
    monkeypatch.setitem(ANSWERS, "/openai/responses", ANSWERS["/v1/responses"])


def client_of(gateway: Headgate, key: str) -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(
        azure_endpoint=gateway.url + OPENAI, api_key=key, api_version=VERSION, max_retries=0
    )


def sent_by(provider: Provider) -> str:
    """Return all that the provider got but for the bodies."""
    return json.dumps([[str(it.rel_url), *it.headers.items()] for it in provider.requests])


@pytest.mark.parametrize("has_key", [False, True], ids=["the caller's key", "a key file"])
async def test_a_stored_response_is_retrieved_by_its_id_with_an_api_version(
    tmp_path: Path, *, has_key: bool
) -> None:
    key = TOKENS["caller"] if has_key else "sk-mine"
    settings = guarded(tmp_path, has_key=True) if has_key else {}
    environment = tokens_file(tmp_path) if has_key else {}
    async with providing() as provider:
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            async with client_of(gateway, key) as client:
                stream = await client.responses.create(model="m", input="Hi", stream=True)
                events = [event async for event in stream]
                assert len(events) == len(EVENTS)
                again = await client.responses.retrieve(ID, stream=True, starting_after=4)
                assert [event async for event in again] == events[5:]
                assert await client.responses.retrieve(ID) == events[-1].response
                await client.responses.retrieve("resp_2")
        first, other = provider.requests
        assert [it.query.get("api-version") for it in (first, other)] == [VERSION, VERSION]
        assert other.path == "/openai/responses/resp_2"
        for request in (first, other):
            name = "Authorization" if has_key else "Api-Key"
            value = "Bearer sk-of-the-house" if has_key else key
            assert request.headers.get(name) == value
        assert TOKENS["caller"] not in sent_by(provider)


CALLER, WRONG = TOKENS["caller"], "sk-of-nobody"
KEYS: dict[str, tuple[bool, str, Mapping[str, str], int]] = {
    "a token": (True, OPENAI, {"Api-Key": CALLER}, 200),
    "no token": (True, OPENAI, {"Api-Key": WRONG}, 401),
    "a key beside a token": (
        *(True, OPENAI),
        *({"Authorization": f"Bearer {CALLER}", "Api-Key": WRONG}, 200),
    ),
    "a token beside a key": (
        *(True, OPENAI),
        *({"Authorization": f"Bearer {WRONG}", "Api-Key": CALLER}, 401),
    ),
    "a token in Anthropic's field": (True, OPENAI, {"X-Api-Key": CALLER}, 401),
    "a token for Anthropic": (True, ANTHROPIC, {"Api-Key": CALLER}, 401),
    "any, where no token is needed": (False, OPENAI, {"Api-Key": WRONG}, 200),
    "any, where Anthropic needs none": (False, ANTHROPIC, {"Api-Key": WRONG}, 200),
}
REQUESTS: tuple[tuple[str, str, dict[str, object] | None], ...] = (
    ("POST", "/v1/{kind}?api-version=1", {"stream": True}),
    ("POST", "/v1/{kind}?api-version=1", {}),
    ("GET", "/openai/responses/resp_2?api-version=1", None),
    ("POST", "/openai/files?api-version=1", {}),
)


@pytest.mark.parametrize(("is_guarded", "prefix", "fields", "status"), KEYS.values(), ids=KEYS)
async def test_an_api_key_for_a_route_with_a_key_file_is_never_sent_on(
    http: aiohttp.ClientSession,
    tmp_path: Path,
    *,
    is_guarded: bool,
    prefix: str,
    fields: Mapping[str, str],
    status: int,
) -> None:
    settings, environment = guarded(tmp_path, has_key=True), tokens_file(tmp_path)
    if not is_guarded:
        del settings["auth"]
        environment = {}
    kind = "messages" if prefix == ANTHROPIC else "chat/completions"
    async with providing() as provider:
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            for method, path, body in REQUESTS:
                url = gateway.url + prefix + path.format(kind=kind)
                asked: Any = {"json": body, "headers": fields}
                async with http.request(method, url, **asked) as answer:
                    assert answer.status == status
                    await answer.read()
        assert len(provider.requests) == (len(REQUESTS) if status == 200 else 0)
        assert not [secret for secret in (CALLER, WRONG) if secret in sent_by(provider)]
