"""A whole gateway: it purges what is deleted though it is stopped at once, within its grace."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession

from headgate_gateway.process.gateway import Gateway
from headgate_gateway.protocol.cache_headers import stream_tag
from headgate_gateway.purge.purger import CALL_S
from headgate_gateway.settings import Address, Settings
from tests.purge.double import Double, file_of
from tests.support.given_settings import sections
from tests.support.http1 import Client
from tests.support.log_lines import capture_logs
from tests.support.ports import free_port
from tests.support.serving import PREFIX, put, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN = "t0ken-of-bunny"


def settings_of(double: Double, grace_s: float) -> Settings:
    cache = {"kind": "bunny", "url": double.url, "zone": "1", "token_file": file_of(TOKEN)}
    return Settings.of(
        sections(
            {
                "storage": "memory:",
                "listen": Address("127.0.0.1", free_port()),
                "admin": Address("127.0.0.1", free_port()),
                "shutdown_grace": grace_s,
                "purges": [cache],
            }
        )
    )


async def sent(settings: Settings, requests: Sequence[bytes]) -> list[int]:
    """The status of each answer."""
    client = await Client.connect(settings.listen.port)
    statuses = [(await client.ask(asked)).status for asked in requests]
    client.close()
    return statuses


async def test_a_deletion_just_before_the_stop_is_still_purged() -> None:
    async with Double() as double:
        settings = settings_of(double, grace_s=10)
        gateway = Gateway(settings)
        await gateway.start()
        assert await sent(settings, [put("s"), request("DELETE", "s")]) == [201, 204]
        assert double.calls == []  # nobody who writes waits for it
        await gateway.stop()
        assert [call.json for call in double.calls] == [{"CacheTag": stream_tag(f"{PREFIX}/s")}]


async def test_many_streams_that_the_console_deletes_are_purged_each() -> None:
    async with Double() as double, ClientSession() as http:
        settings = settings_of(double, grace_s=10)
        gateway = Gateway(settings)
        await gateway.start()
        assert await sent(settings, [put("room-a"), put("room-b"), put("c")]) == [201] * 3
        admin = f"http://{settings.admin.listen}/api/v1"

        async def told(method: str, path: str, body: object = None) -> Any:
            async with http.request(
                method, f"{admin}/{path}", json=body, headers=headers
            ) as answer:
                return await answer.json()

        headers: dict[str, str] = {}
        headers["X-CSRF-Token"] = (await told("GET", "session"))["csrf"]
        path = "streams/deletion"
        counted = await told("POST", path, {"route": PREFIX, "prefix": "room-"})
        await told("POST", f"{path}/start", {"id": counted["id"], "confirm": 2})

        async def is_done() -> bool:
            return bool((await told("GET", path))["state"] == "done")

        await until(is_done)
        await gateway.stop()
        purged = "".join(str(call.json) for call in double.calls)
        assert [stream_tag(f"{PREFIX}/{name}") in purged for name in ("room-a", "room-b", "c")] == [
            True,
            True,
            False,
        ]


async def test_a_cache_that_does_not_answer_delays_the_stop_by_the_grace_period_only() -> None:
    with capture_logs() as lines:
        async with Double() as double:
            double.goes.clear()
            settings = settings_of(double, grace_s=1)
            gateway = Gateway(settings)
            await gateway.start()
            await sent(settings, [put("s"), request("DELETE", "s")])
            began = asyncio.get_running_loop().time()
            await gateway.stop()
            assert asyncio.get_running_loop().time() - began < 1 + CALL_S / 2
            double.goes.set()
    told = {line["event"]: line.get("purges") for line in lines}
    assert told["purge.abandoned"] == 1
    assert "server.drain_incomplete" in told
    assert TOKEN not in str(lines)
