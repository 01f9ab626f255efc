"""A page shows of a run what the AI SDK's own packages make of the same bytes of a provider.

What the library makes of the run is what the page has made.
"""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(200)  # the SDKs build the types of their events, which takes seconds
async def test_runs_build_the_same_messages_as_the_ai_sdk_from_recorded_bytes(
    url: str, subtests: pytest.Subtests
) -> None:
    # To import the SDKs takes seconds.
    judged = importlib.import_module("tests.client.runs.judged")
    recorded = importlib.import_module("tests.client.runs.recordings").CASES
    graphs = importlib.import_module("tests.client.runs.graph")
    cases = [*recorded, *await graphs.cases()]
    messages = await judged.made(cases, url)
    assert list(messages) == [case.name for case in cases]
    for name, each in messages.items():
        with subtests.test(name):
            run, wanted = (judged.comparable(each[kind], name) for kind in ("run", "judged"))
            assert run == wanted
            assert each["assembled"] == each["run"]["message"]
