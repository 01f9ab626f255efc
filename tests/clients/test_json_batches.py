"""The official client's loop over the batches of a JSON stream, as its documentation prints it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.connections.connection import Connection
from tests.support.serving import post, put, request, serving
from tests.support.unmodified_clients import run_script
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.serving import Serving

JSON = "application/json"


async def write(gateway: Serving) -> None:
    """Append while the client waits by long-poll, and close."""
    await until(lambda: gateway.limits.live_readers == 1)
    await gateway.ask(post("s", b"[3]", content_type=JSON))
    await gateway.ask(request("POST", "s", "Stream-Closed: true"))


@pytest.mark.usefixtures("processes")
async def test_the_official_client_gets_json_batches_with_the_cursor_that_it_sends_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests: list[bytes] = []
    receive = Connection.data_received

    def noting(self: Connection, data: bytes) -> None:
        requests.append(data)
        receive(self, data)

    monkeypatch.setattr(Connection, "data_received", noting)
    async with serving() as gateway:
        await gateway.ask(put("s", body=b'[{"n":1},2]', content_type=JSON))
        writing = asyncio.create_task(write(gateway))
        report, _ = await run_script("json_batches.mjs", f"{gateway.url}/s")
        await writing
    batches = report["batches"]
    assert [item for batch in batches for item in batch["items"]] == [{"n": 1}, 2, 3]
    assert batches[0]["cursor"] == "3578400"  # of the clock, which stands
    assert (report["cache"] in {"MISS", "COLLAPSED"}, report["age"]) == (True, "0")
    polls = [one.split(b" ")[1] for one in requests if one.startswith(b"GET")]
    assert b"cursor=3578400" in polls[1], polls
