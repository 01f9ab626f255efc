"""Views by several gateways, and by one that was started again: equal ids and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.models.answers import message
from tests.support.processes import headgate
from tests.support.redis_servers import redis_server
from tests.views.reading import EVENTS, VIEWS, complete, rendered, view_events

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

TYPE = {"Content-Type": EVENTS}


async def append(http: aiohttp.ClientSession, gateway: Headgate, record: bytes) -> None:
    async with http.post(f"{gateway.streams}/s", data=record, headers=TYPE) as answer:
        assert answer.status == 204


async def read_until(read: aiohttp.ClientResponse, end: bytes) -> bytes:
    body = b""
    while not body.endswith(end):
        body += await read.content.readany()
    return body


async def test_a_reader_goes_on_at_another_gateway_of_the_log(tmp_path: Path) -> None:
    records = message()
    async with aiohttp.ClientSession() as http:
        with (
            redis_server(tmp_path) as server,
            headgate(server.url) as one,
            headgate(server.url) as other,
        ):
            await http.put(f"{one.streams}/s", headers=TYPE)
            for record in records[:6]:
                await append(http, one, record)
            params = {"view": "ai-sdk"}
            first = await http.get(f"{one.streams}/s", params=params)
            end = rendered("ai-sdk", records[:6], closed=False)[-10:]
            begun = await read_until(first, end)
            kept, last_id = complete(view_events(begun)[:-1])
            first.close()
            assert last_id is not None
            later = await http.get(f"{other.streams}/s", params={**params, "offset": last_id})
            for record in records[6:]:
                await append(http, one, record)
            await http.post(f"{one.streams}/s", headers={"Stream-Closed": "true"})
            events = kept + view_events(await later.read())
            whole = await (await http.get(f"{one.streams}/s", params=params)).read()
            assert events == view_events(whole)
            elsewhere = await http.get(f"{other.streams}/s", params=params)
            assert await elsewhere.read() == whole


async def test_a_view_has_the_same_tag_and_bytes_after_a_restart(tmp_path: Path) -> None:
    records = message()
    origin = f"file:{tmp_path / 'data'}"
    async with aiohttp.ClientSession() as http:
        found = []
        for start in range(2):
            with headgate(origin) as gateway:
                if not start:
                    await http.put(f"{gateway.streams}/s", headers=TYPE)
                    for record in records:
                        await append(http, gateway, record)
                    await http.post(f"{gateway.streams}/s", headers={"Stream-Closed": "true"})
                for view in VIEWS:
                    read = await http.get(f"{gateway.streams}/s", params={"view": view})
                    found.append((view, read.headers["ETag"], await read.read()))
        assert found[:4] == found[4:]
        assert [body for _, _, body in found[:4]] == [rendered(view, records) for view in VIEWS]
