"""The double of a provider and the clients with which model routes are measured."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.servers import Process
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def provider() -> Iterator[int]:
    port = free_port()
    process = Process(port, sys.executable, "-m", "benchmarks.model_double", str(port))
    try:
        yield port
    finally:
        process.stop()


def load(kind: str, *ports: int, **asked: Any) -> dict[str, float]:
    """Return the figures of a load, without Headgate."""
    arguments = json.dumps({"load": kind, "targets": [[port, PATH] for port in ports], **asked})
    command = [sys.executable, "-m", "benchmarks.model_load", arguments]
    figures: dict[str, float] = json.loads(subprocess.check_output(command, timeout=30))
    return figures


def test_a_long_answer_comes_with_each_of_its_events_once(provider: int) -> None:
    figures = load("long", provider, events=3000, size=4096)
    assert figures["mb"] > 3000 * 4096 / 1e6


def test_answers_at_once_come_at_their_rate(provider: int) -> None:
    figures = load("at once", provider, answers=20, per_second=50, seconds=1.5)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert 300 < figures["tokens_per_s"] <= 20 * 50 * 1.1


def test_many_answers_come_on_kept_connections(provider: int) -> None:
    assert load("many", provider, answers=50, at_once=5, tokens=3)["answers_per_s"] > 0


def test_the_first_token_of_two_equal_targets_comes_alike(provider: int) -> None:
    figures = load("first", provider, provider, calls=50, wait_ms=10, is_as_sent=True)
    # uvloop's timers count whole milliseconds, and may end in the midst of the last.
    assert min(figures["p50_ms"], figures["direct_p50_ms"]) > 9
