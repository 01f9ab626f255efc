"""Header values that are no UTF-8: refused, whoever sends them, and of no harm to anybody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from tests.support.serving import post, put, request, serving

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.logs.contract import Log

STAMP = ("Producer-Epoch: 0", "Producer-Seq: 0")
BAD = "\xff"  # one byte that no UTF-8 text has


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["memory", "file"])
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(post("s", b"x", f"Producer-Id: {BAD}", *STAMP), id="producer-id"),
        pytest.param(post("s", b"x", f"Stream-Seq: z{BAD}"), id="stream-seq"),
        pytest.param(post("s", b"x", content_type=f"text/{BAD}"), id="content-type-of-an-append"),
        pytest.param(put("s", content_type=f"text/{BAD}"), id="content-type-of-a-creation"),
        pytest.param(
            request("PUT", "t", f"Stream-Forked-From: /v1/stream/{BAD}"), id="stream-forked-from"
        ),
        pytest.param(put("t").replace(b"headgate.test", b"\xff"), id="host"),
    ],
)
async def test_an_undecodable_header_of_one_client_does_not_stop_the_others(
    kind: str, bad: bytes, tmp_path: Path
) -> None:
    log: Log = MemoryLog() if kind == "memory" else SqliteLog(tmp_path)
    async with serving(log, cors_origins=("https://a.test",)) as gateway:
        assert (await gateway.ask(put("s"))).status == 201
        assert (await gateway.ask(post("s", b"a", "Stream-Seq: a"))).status == 204
        # With its neighbours on one connection: they are decided in one batch.
        client = await gateway.connect()
        others = [await gateway.connect() for _ in range(3)]
        others[0].send(post("s", b"b"))
        client.send(bad)
        for other in others[1:]:
            other.send(post("s", b"b"))
        answer = await client.answer()
        assert answer.status < 500
        assert [(await other.answer()).status for other in others] == [204, 204, 204]
        assert (await gateway.ask(post("s", b"c"))).status == 204
        assert (await gateway.ask(put("u"))).status == 201
        assert gateway.route.writes.outcomes.pending == 0
