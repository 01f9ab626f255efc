"""Subscriptions of hosts of MCP go on in a copy of their log, also under other keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.logs.sqlite.log import SqliteLog
from tests.mcp_events.hosts import append, create, guarded, host
from tests.mcp_events.receivers import hook
from tests.mcp_events.test_webhooks import asked, pass_time, quiet
from tests.subscriptions.copied import copied
from tests.support.serving import PREFIX, get
from tests.support.tokens_files import token
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("has_keys", [False, True], ids=["without-keys", "with-keys"])
async def test_events_come_signed_with_the_same_secret_from_a_copy(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], *, has_keys: bool
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    async with hook() as at:
        async with (
            guarded(tmp_path, SqliteLog(source)) as gateway,
            host(gateway, token=token("all")) as it,
        ):
            await create(gateway, "a/x")
            await it.ask("events/subscribe", **asked(at))
            await append(gateway, "a/x", {"n": 1})
            await at.has(1)
        if has_keys:
            async with guarded(tmp_path, SqliteLog(target)) as gateway:
                assert (await gateway.ask(get(f"{PREFIX}/__ds/jwks.json"))).status == 200
        for changed in (1, 0):
            assert await copied(f"file:{source}", f"file:{target}") == 0
            result = json.loads(capfd.readouterr().out.splitlines()[-1])
            assert result["subscriptions_changed"] == changed
        async with guarded(tmp_path, SqliteLog(target)) as gateway:
            await append(gateway, "a/x", {"n": 2})
            await at.has(1, 2)
        assert at.challenges == 1


async def test_a_copy_sends_what_was_not_accepted_of_an_append_and_nothing_before_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    async with hook(statuses=[200, 200, 500]) as at:
        async with (
            guarded(tmp_path, SqliteLog(source)) as gateway,
            host(gateway, token=token("all")) as it,
        ):
            await create(gateway, "a/x")
            await it.ask("events/subscribe", **asked(at))
            await append(gateway, "a/x", [{"n": number} for number in range(1, 5)])
            await until(lambda: len(at.messages) == 3)
            await quiet(gateway)
        assert at.accepted == [1, 2]
        assert await copied(f"file:{source}", f"file:{target}") == 0
        capfd.readouterr()
        async with guarded(tmp_path, SqliteLog(target)) as gateway:
            pass_time(gateway, 2.0)
            await at.has(1, 2, 3, 4)
