"""The server ends each SSE answer after a while; clients follow on without loss."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from tests.clients.behind_proxies import assert_received, reading
from tests.clients.token_writer import TokenWriter, close_stream, create_stream
from tests.clients.unicode_text import cut_into_tokens, make_text
from tests.support.processes import headgate
from tests.support.unmodified_clients import (
    read_with_browser,
    read_with_python,
    read_with_typescript,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.clients.behind_proxies import Read
    from tests.support.unmodified_clients import Mode

SEED = 4439
CONTENT_TYPE = "text/plain; charset=utf-8"
# Longer than the second below which the TypeScript client takes SSE for broken.
SSE_MAX_AGE_S = 2
NEVER_CUT = sys.maxsize
WRITING_S = 5 * SSE_MAX_AGE_S  # a browser waits for some seconds before it connects again
MIN_SSE_REQUESTS = 2
BATCH = 10
PACE_S = 0.02

READERS: Sequence[tuple[Read, Mode]] = (
    (read_with_typescript, "sse"),
    (read_with_python, "sse"),
    (read_with_browser, "sse"),
)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
async def test_official_clients_resume_after_each_end_of_an_sse_response() -> None:
    tokens = cut_into_tokens(make_text(SEED, 1 << 20), SEED, 13)
    written: list[bytes] = []
    with headgate(environment={"HEADGATE_LIVE__SSE_MAX_AGE": str(SSE_MAX_AGE_S)}) as server:
        url = f"{server.streams}/text"
        await create_stream(url, CONTENT_TYPE)
        writer = TokenWriter(url, CONTENT_TYPE)
        async with reading(server, "text", READERS, seed=SEED, at_most=NEVER_CUT) as runs:
            loop = asyncio.get_running_loop()
            enough = loop.time() + WRITING_S
            while loop.time() < enough:
                batch = tokens[len(written) : len(written) + BATCH]
                assert batch, "the whole text was written too early"
                await writer.append(batch)
                written += batch
                await asyncio.sleep(PACE_S)
            await close_stream(url)
    for run in runs:
        assert_received(run, b"".join(written))
        assert run.task.result().requests["sse"] >= MIN_SSE_REQUESTS, f"{run}"
