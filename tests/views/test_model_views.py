"""Views of answers as model routes store them, while they are written and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.models.answers import WORDS
from tests.models.provider import providing
from tests.models.serving import ANTHROPIC, OPENAI, gateway_before
from tests.views.reading import complete, values, view_events

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

PATHS = {
    "chat": f"{OPENAI}/v1/chat/completions",
    "responses": f"{OPENAI}/v1/responses",
    "messages": f"{ANTHROPIC}/v1/messages",
}
BODY = {"model": "m", "stream": True, "messages": [], "input": "", "max_tokens": 9}
KEY = {"Authorization": "Bearer sk-mine"}


@pytest.mark.parametrize("kind", PATHS)
async def test_an_answer_is_read_in_every_view_while_it_is_written(
    kind: str, tmp_path: Path
) -> None:
    async with providing() as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider, tmp_path) as gateway:
            provider.hold()
            asking = http.post(gateway.url + PATHS[kind], json=BODY, headers=KEY)
            provider.allow(3)
            async with asking as answer:
                url = answer.headers["Stream-URL"]
                params = [{"view": view} for view in ("ai-sdk", "ag-ui", "text", "sse")]
                reads = [await http.get(url, params=one) for one in params]
                provider.allow()
                await answer.read()
                live = [await read.read() for read in reads]
            stored = [await (await http.get(url, params=one)).read() for one in params]
            assert live == stored
            assert live[2].decode() == "".join(WORDS)
            assert values(view_events(live[0]))[-1]["type"] == "finish"
            assert values(view_events(live[1]))[-1]["type"] == "RUN_FINISHED"
            assert view_events(live[3])[-1].name == "end"


async def test_the_answers_of_a_chat_are_read_from_any_event_while_the_next_is_awaited(
    tmp_path: Path,
) -> None:
    async with providing() as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider, tmp_path) as gateway:
            fields, stream = {**KEY, "Headgate-Stream": "talk"}, ""
            for number in range(2):
                provider.cuts_after = 6 if number else None
                url = gateway.url + PATHS["chat"]
                async with http.post(url, json=BODY, headers=fields) as answer:
                    await answer.read()
                    stream = answer.headers["Stream-URL"]
            read = await http.get(stream, params={"view": "ag-ui"})
            body = b""
            while b"RUN_ERROR" not in body:
                body += await read.content.readany()
            read.close()
            types = [one["type"] for one in values(view_events(body))]
            assert types[-1] == "RUN_ERROR"
            assert types.count("RUN_STARTED") == 2
            kept, last_id = complete(view_events(body)[:9])
            assert last_id is not None
            again = await http.get(stream, params={"view": "ag-ui", "offset": last_id})
            rest = b""
            while b"RUN_ERROR" not in rest:
                rest += await again.content.readany()
            again.close()
            assert kept + view_events(rest) == view_events(body)


async def test_views_of_private_answers_are_for_no_shared_cache(tmp_path: Path) -> None:
    async with providing() as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider, tmp_path) as gateway:
            async with http.post(gateway.url + PATHS["chat"], json=BODY, headers=KEY) as answer:
                await answer.read()
                url = answer.headers["Stream-URL"]
            offset = f"{0:016d}_{0:016d}"
            for view in ("sse", "ai-sdk", "ag-ui", "text"):
                params = {"view": view, "offset": offset}
                async with http.get(url, params=params) as read:
                    assert read.headers["Cache-Control"].startswith("private, ")


@pytest.mark.parametrize("view", ["ai-sdk", "ag-ui", "sse"])
@pytest.mark.parametrize("is_live", [True, False], ids=["live", "stored"])
async def test_a_failed_answer_ends_with_an_id_by_which_a_client_knows_that_it_has_everything(
    view: str, is_live: bool, tmp_path: Path
) -> None:
    async with providing() as provider, aiohttp.ClientSession() as http:
        with gateway_before(provider, tmp_path) as gateway:
            provider.cuts_after = 6
            provider.hold()
            asking = http.post(gateway.url + PATHS["chat"], json=BODY, headers=KEY)
            provider.allow(3)
            async with asking as answer:
                url = answer.headers["Stream-URL"]
                read = await http.get(url, params={"view": view}) if is_live else None
                provider.allow()
                await answer.read()
            read = read or await http.get(url, params={"view": view})
            ids = [line[4:] for line in (await read.text()).splitlines() if line[:4] == "id: "]
            assert ids[-1].endswith("~")
            back = {"Last-Event-ID": ids[-1]}
            async with http.get(url, params={"view": view}, headers=back) as again:
                assert again.status == 204
