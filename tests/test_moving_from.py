"""The pages on moving from another server do what they say, with the commands that they show."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.support.ports import accepts, free_port
from tests.support.processes import NODE, ROOT, start
from tests.support.recipes import Kitchen, titles
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

PAGES = ROOT / "docs" / "moving-from"
REFERENCE = ROOT / "tests" / "bench" / "reference.mjs"


@contextlib.contextmanager
def running(command: Sequence[str | Path], port: int, folder: Path) -> Iterator[None]:
    """Run the server that a page moves from, until the test ends."""
    process = start(command, folder=folder)
    try:
        wait_until(lambda: process.poll() is not None or accepts(port), "it accepts")
        yield
    finally:
        process.terminate()
        process.wait()


def played(page: Path, folder: Path, replaced: dict[str, str]) -> int:
    """Do all sections of a page; return how many lines of output were as they are written."""
    with Kitchen(page, folder, replaced, {}) as kitchen:
        return sum(kitchen.follow(title) for title in titles(page))


@pytest.mark.timeout(180)  # the commands start some fifty programs
def test_the_page_on_the_reference_server_moves_its_streams_as_written(tmp_path: Path) -> None:
    port = free_port()
    with running([NODE, REFERENCE, str(port), str(tmp_path / "reference")], port, tmp_path):
        page = PAGES / "reference-server.md"
        assert played(page, tmp_path, {"127.0.0.1:4438": f"127.0.0.1:{port}"}) >= 8
