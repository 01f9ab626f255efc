"""Provider keys, tokens and prompts are in no output of the gateway, whatever happens."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.models.provider import providing
from tests.models.serving import OPENAI, STREAMS, gateway_before
from tests.models.tokens import TOKENS, guarded, tokens_file
from tests.support.waiting import until
from tests.telemetry.collector import collecting

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

CALLER_KEY, HOUSE_KEY, PROMPT = "sk-of-the-caller", "sk-of-the-house", "a-wish-that-nobody-may-see"
BODY = {
    "model": "m",
    "stream": True,
    "messages": [{"role": "user", "content": PROMPT}],
}
MOST_PAGES = 150
API = (
    *("about", "alerts", "bans", "configuration", "configuration/pending", "overview"),
    *("principals", "processes", "readers", "readers/groups", "refusals", "routes", "tokens"),
    f"runs?route={OPENAI}",
    f"streams?route=/v1/stream&prefix={STREAMS.rpartition('/')[2]}",
)
_LINK = re.compile(r'href="(/[^"#]*)"')


async def pages(http: aiohttp.ClientSession, gateway: Headgate) -> dict[str, str]:
    """Return the texts of the console's pages that are linked, and of its API, by their paths."""
    texts: dict[str, str] = {}
    waiting = ["/", "/metrics", *(f"/api/v1/{name}" for name in API)]
    while waiting and len(texts) < MOST_PAGES:
        path = waiting.pop()
        if path in texts:
            continue
        async with http.get(gateway.admin_url + path) as answer:
            texts[path] = await answer.text(errors="replace")
        links = _LINK.findall(texts[path])
        waiting[:0] = [link.replace("&amp;", "&") for link in links if "/static/" not in link]
    return texts


def request(token: str, **fields: str) -> dict[str, Any]:
    """Return the arguments of a request for an answer; fields are written with hyphens."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    return {"json": BODY, "headers": {"Authorization": f"Bearer {token}", **named}}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("has_key", [False, True], ids=["the caller's key", "the house's key"])
async def test_keys_tokens_and_prompts_are_in_no_stream_log_metric_trace_page_or_file(
    tmp_path: Path, *, has_key: bool
) -> None:
    secrets = [CALLER_KEY, HOUSE_KEY, PROMPT, *TOKENS.values()]
    token = TOKENS["caller"] if has_key else CALLER_KEY
    beside = {} if has_key else {"Headgate_Token": TOKENS["caller"]}
    async with (
        providing() as provider,
        collecting() as collector,
        aiohttp.ClientSession() as http,
    ):
        environment = {
            **tokens_file(tmp_path),
            **collector.environment,
            "HEADGATE_LOG__REQUESTS": "info",
            "HEADGATE_LOG__LEVEL": "debug",
        }
        provider.refusal = f"Incorrect API key: {CALLER_KEY} {HOUSE_KEY}, {PROMPT}"
        settings = guarded(tmp_path, has_key=has_key)
        with gateway_before(provider, tmp_path, settings, environment) as gateway:
            url = f"{gateway.url}{OPENAI}/v1/chat/completions"
            streams = []
            for fields in ({}, {"Idempotency_Key": "one"}, {"Headgate_Stream": "chat"}):
                async with http.post(url, **request(token, **beside, **fields)) as answer:
                    assert answer.status == 200
                    await answer.read()
                    streams.append(urlsplit(answer.headers["Stream-URL"]).path)
            provider.statuses = [401, 500]
            for status in (401, 500):
                async with http.post(url, **request(token, **beside)) as answer:
                    assert answer.status == status
                    await answer.read()
            provider.cuts_after = 2
            async with http.post(url, **request(token, **beside)) as answer:
                await answer.read()
            provider.breaks_before_head = True
            async with http.post(url, **request(token, **beside)) as answer:
                assert answer.status == 502
            async with http.post(url, **request("wrong")) as answer:
                assert answer.status == 401
            outputs = await pages(http, gateway)
            assert len(outputs) > len(API) + 10
            for path in streams:
                for beside_it in ("", "/record"):
                    async with http.get(gateway.url + path + beside_it) as read:
                        outputs[path + beside_it] = await read.text()
                        assert read.status == 200
            await until(lambda: len(collector.spans) >= 8)
            gateway.terminate()
            outputs["log"] = gateway.output()
            outputs["traces"] = collector.received.decode(errors="replace")
            for file in (tmp_path / "data").rglob("*"):
                if file.is_file():
                    outputs[str(file)] = file.read_bytes().decode(errors="replace")
    assert outputs["log"].count(OPENAI) > 5
    found = [(place, it) for place, text in outputs.items() for it in secrets if it in text]
    assert found == []
