"""A page shows of a run what the AI SDK's own packages make of the same bytes of a provider."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


async def test_messages_are_those_that_the_ai_sdk_makes_of_the_same_bytes(
    url: str, subtests: pytest.Subtests
) -> None:
    # To import the SDKs takes seconds.
    judged = importlib.import_module("tests.client.runs.judged")
    cases = importlib.import_module("tests.client.runs.recordings").CASES
    messages = await judged.made(cases, url)
    assert list(messages) == [case.name for case in cases]
    for name, each in messages.items():
        with subtests.test(name):
            assert judged.comparable(each["run"]) == judged.comparable(each["judged"])
