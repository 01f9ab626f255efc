"""A text written token by token reaches every client byte for byte, however often it is cut off."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.clients.behind_proxies import assert_received, reading
from tests.clients.token_writer import TokenWriter, close_stream, create_stream
from tests.clients.unicode_text import cut_into_tokens, make_text
from tests.support.examples import cases
from tests.support.processes import headgate
from tests.support.unmodified_clients import (
    read_with_browser,
    read_with_python,
    read_with_typescript,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.clients.behind_proxies import Read
    from tests.support.processes import Headgate
    from tests.support.unmodified_clients import Mode

SEED = 4437
TEXT_BYTES = 1 << 15
MAX_TOKEN_CHARACTERS = 13
MIN_TOKENS = 1_500
CONTENT_TYPE = "text/plain; charset=utf-8"
MIN_CUTS = 10
# Ten cuts need at most twenty times this, which is less than the text.
FIRST_CUT_BYTES = 3 << 9

LIVE_READERS: Sequence[tuple[Read, Mode]] = (
    (read_with_typescript, "long-poll"),
    (read_with_typescript, "sse"),
    (read_with_python, "long-poll"),
    (read_with_python, "sse"),
    (read_with_browser, "sse"),
)
# The TypeScript client never goes live on a closed stream.
LATE_READERS: Sequence[tuple[Read, Mode]] = (
    (read_with_typescript, "catch-up"),
    (read_with_python, "catch-up"),
    (read_with_python, "long-poll"),
    (read_with_python, "sse"),
    (read_with_browser, "sse"),
)
SCHEMES = cases(["memory", "file", "http"], {"http"}, "a log that a gateway reads, as clients do")


@contextlib.contextmanager
def serving(scheme: str, folder: Path) -> Iterator[tuple[Headgate, Headgate]]:
    """Whom the text is written to, and whom it is read from."""
    with headgate(f"file:{folder}" if scheme == "file" else "memory:") as log:
        if scheme != "http":
            yield log, log
            return
        with headgate(log.url) as gateway:
            yield log, gateway


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", SCHEMES)
async def test_every_official_client_gets_every_byte_once_over_cut_connections(
    scheme: str, tmp_path: Path
) -> None:
    text = make_text(SEED, TEXT_BYTES)
    tokens = cut_into_tokens(text, SEED, MAX_TOKEN_CHARACTERS)
    assert len(tokens) >= MIN_TOKENS
    with serving(scheme, tmp_path) as (written_to, server):
        url = f"{written_to.streams}/text"
        await create_stream(url, CONTENT_TYPE)
        async with reading(
            server, "text", LIVE_READERS, seed=SEED, at_most=FIRST_CUT_BYTES
        ) as live:
            await TokenWriter(url, CONTENT_TYPE).append(tokens)
            await close_stream(url)
        async with reading(
            server, "text", LATE_READERS, seed=SEED + len(LIVE_READERS), at_most=FIRST_CUT_BYTES
        ) as late:
            pass
    for run in (*live, *late):
        assert_received(run, text.encode())
        assert run.proxy.cuts >= MIN_CUTS, f"{run}"
