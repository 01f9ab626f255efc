"""A start serves streams while stored subscriptions are compared with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.subscriptions import engine
from headgate_gateway.features.subscriptions.engine import SoleLogSubscriptions
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.receivers import Subscribed, ends_of, subscribed, subscriptions_of
from tests.support.serving import serving

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.log_lines import Lines
    from tests.support.serving import Serving


def sole_subscriptions(gateway: Serving) -> SoleLogSubscriptions:
    """Return the subscriptions, which the route opens."""
    found = subscriptions_of(gateway.route)
    assert isinstance(found, SoleLogSubscriptions)
    return found


async def test_what_changes_while_subscriptions_are_compared_wakes_as_it_would_later(
    tmp_path: Path,
) -> None:
    async with subscribed(SqliteLog(tmp_path / "log")) as gateway:
        for name in ("read", "behind", "deleted"):
            await gateway.create(f"e/{name}", body=b'{"n":1}')
        await gateway.pull("s", pattern="e/*")
        for name in ("read", "behind", "deleted"):
            await gateway.append(f"e/{name}")
        _, claimed = await gateway.claim()
        await gateway.ack(claimed, *ends_of(claimed))
        await gateway.append("e/behind")
    async with serving(SqliteLog(tmp_path / "log")) as serving_gateway:
        opening = sole_subscriptions(serving_gateway)
        gateway = Subscribed(serving_gateway)
        await opening.open()
        try:
            await gateway.delete("e/deleted")
            await gateway.create("e/new", body=b'{"n":1}')
            await gateway.append("e/new")
            status, claimed = await gateway.claim()  # waits for the end of the comparison
            assert status == 200
            pending = {it["path"] for it in claimed["streams"] if it["has_pending"]}
            assert pending == {"e/behind", "e/new"}
            assert {it["acked_offset"] for it in claimed["streams"] if it["path"] == "e/new"} == {
                "-1"
            }
        finally:
            await opening.close()


async def test_a_start_waits_neither_for_names_nor_for_a_log_that_cannot_list_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with subscribed(SqliteLog(tmp_path / "log")) as gateway:
        await gateway.create("e/1", body=b'{"n":1}')
        await gateway.pull("s", pattern="e/*")
        await gateway.append("e/1")
    monkeypatch.setattr(engine, "PATIENCE_S", 0.01)
    monkeypatch.setattr(engine, "AGAIN_S", 0.01)
    async with serving(SqliteLog(tmp_path / "log")) as serving_gateway:
        opening = sole_subscriptions(serving_gateway)
        compare, listed = opening.find_changes, asyncio.Event()

        async def find_changes() -> None:
            if not listed.is_set():
                raise LogUnavailable("a test")
            await compare()

        monkeypatch.setattr(opening, "find_changes", find_changes)
        gateway = Subscribed(serving_gateway)
        await opening.open()
        try:
            status, told = await gateway.claim()
            assert (status, "still being compared" in told["detail"]) == (503, True)
            await gateway.append("e/1")
            listed.set()
            monkeypatch.setattr(engine, "PATIENCE_S", 10.0)
            assert (await gateway.claim())[0] == 200
        finally:
            await opening.close()


async def test_requests_are_refused_after_a_start_that_could_not_load_the_subscriptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Lines
) -> None:
    def decode(_rows: object) -> NoReturn:
        raise RuntimeError("a fault")

    async with serving(SqliteLog(tmp_path / "log")) as serving_gateway:
        opening = sole_subscriptions(serving_gateway)
        monkeypatch.setattr(opening.rows, "decode", decode)
        await opening.open()
        try:
            status, told = await Subscribed(serving_gateway).claim()
            assert (status, "could not be loaded" in told["detail"]) == (503, True)
        finally:
            await opening.close()
    assert [line["event"] for line in logged].count("subscription.not_opened") == 1
