"""Keys survive restarts, rotate, and are shown nowhere."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.exceptions import InvalidSignature

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.subscriptions.delivery.documents import MemoryDocuments
from headgate_gateway.features.subscriptions.delivery.keys import (
    AHEAD_S,
    BEHIND_S,
    FILE,
    ROTATE_S,
    KeyRing,
)
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.subscriptions.receivers import is_signed, receiver, subscribed
from tests.support.serving import PREFIX, get

if TYPE_CHECKING:
    from pathlib import Path


def ring_in(folder: Path) -> KeyRing:
    """Return the keys in a private folder."""
    documents = MemoryDocuments({})
    documents.private_folder = folder
    return KeyRing(documents)


async def test_keys_are_the_same_after_a_restart_and_only_the_server_reads_them(
    tmp_path: Path,
) -> None:
    first, second = ring_in(tmp_path), ring_in(tmp_path)
    await first.prepare(1000.0)
    await second.prepare(2000.0)
    assert first.jwks() == second.jwks()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


async def test_a_new_key_is_published_before_it_signs_and_the_old_one_until_it_cannot_matter(
    tmp_path: Path,
) -> None:
    ring = ring_in(tmp_path)
    await ring.prepare(0.0)
    (old,) = [key["kid"] for key in ring.jwks()["keys"]]
    assert ring.is_ready(ROTATE_S - 1)
    assert not ring.is_ready(ROTATE_S)
    await ring.prepare(ROTATE_S)
    kids = [key["kid"] for key in ring.jwks()["keys"]]
    assert len(kids) == 2
    assert ring.key_id(ROTATE_S + AHEAD_S - 1) == old
    assert ring.key_id(ROTATE_S + AHEAD_S) == kids[1] != old
    for now, published in [(BEHIND_S, 2), (BEHIND_S + 1, 1)]:
        await ring.prepare(ROTATE_S + AHEAD_S + now)
        assert len(ring.jwks()["keys"]) == published
    # After a long stop the former key still signs until the new one is known.
    late = ring_in(tmp_path)
    await late.prepare(10 * ROTATE_S)
    assert late.key_id(10 * ROTATE_S) == kids[1]
    assert len(late.jwks()["keys"]) == 2


async def test_the_first_subscriptions_of_all_may_come_at_once(tmp_path: Path) -> None:
    async with subscribed(SqliteLog(tmp_path)) as gateway, receiver() as at:
        await asyncio.gather(*(gateway.webhook(f"s{it}", at, pattern="*") for it in range(20)))
        stored = ring_in(tmp_path)
        await stored.prepare(gateway.gateway.clock())
        assert stored.jwks() == gateway.engine.keys.jwks()


@pytest.mark.parametrize("text", [b"", b"{}", b"no json"])
async def test_a_key_file_that_cannot_be_read_is_left_as_it_is(text: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(text)
    with pytest.raises(LogUnavailable, match=FILE):
        await ring_in(tmp_path).prepare(0.0)
    assert (tmp_path / FILE).read_bytes() == text


async def test_the_public_keys_verify_and_nothing_private_is_shown(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path)
    async with subscribed(log) as gateway, receiver() as at:
        await gateway.webhook("s", at, pattern="*")
        await gateway.create("a", body=b'{"n":1}')
        wake = await at.wake()
        answer = await gateway.gateway.ask(get(f"{PREFIX}/__ds/jwks.json"))
        jwks = json.loads(answer.body)
        assert is_signed(*at.received[0], jwks)
        assert jwks["keys"][0].keys() == {"kty", "crv", "use", "alg", "kid", "x"}
        content = json.loads((tmp_path / FILE).read_bytes())
        secrets = [content["secret"], *(key["private"] for key in content["keys"])]
        _, description = await gateway.ask("GET", "s")
        shown = json.dumps([jwks, wake, description])
        in_log = (tmp_path / "headgate.db").read_bytes() + (
            tmp_path / "headgate.db-wal"
        ).read_bytes()
        for secret in secrets:
            assert secret not in shown
            assert secret.encode() not in in_log
        with pytest.raises(InvalidSignature):
            is_signed(at.received[0][0] + b" ", at.received[0][1], jwks)
