"""Views on routes with a guard: who may read, and how an open response ends with its token."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import pytest

from tests.access.test_live_readers import ENDS, WITHIN_S, left, parked
from tests.support.guarded_gateway import bearer, end_token, guarded
from tests.support.serving import PREFIX, get
from tests.views.reading import to_the_end

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_view_needs_the_permission_to_read(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        assert (await gateway.ask(get(f"{PREFIX}/a/s?view=sse"))).status == 401
        for who in ("ben", "writer"):
            assert (await gateway.ask(get(f"{PREFIX}/a/s?view=sse", bearer(who)))).status == 403


@pytest.mark.parametrize("how", ENDS)
async def test_an_open_view_ends_within_a_second_of_the_end_of_its_token(
    how: str, tmp_path: Path
) -> None:
    async with guarded(tmp_path) as gateway:
        wire = get(f"{PREFIX}/a/s?view=sse", bearer("late"))
        client = await gateway.connect()
        await client.send_all(wire)
        head = await client.head()
        assert (head.status, head.get("Cache-Control")) == (
            200,
            "private, no-cache, no-transform",
        )
        await parked(gateway, 1)
        await end_token(gateway, tmp_path, how)
        ended_at = perf_counter()
        await to_the_end(client)
        assert perf_counter() - ended_at < WITHIN_S
        assert left(gateway, PREFIX, "sse", how) == 1
        assert (await client.ask(wire)).status == 401
        assert len(gateway.services.admitted) == 0
