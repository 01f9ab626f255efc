"""Explain tells who would be admitted, and never by which token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.questions.streams import ExplainRequest, Explanation
from tests.support.guarded_gateway import CANARY, ROUTES, bearer, guarded, token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import Serving

WHO = "Who is admitted"


async def explained(
    gateway: Serving, target: str, *lines: str, method: str = "GET"
) -> dict[str, str]:
    """The outcome of each step by its title."""
    headers = [("Host", "headgate.test"), *(tuple(line.split(": ", 1)) for line in lines)]
    question = ExplainRequest(target, tuple(headers), method)  # type: ignore[arg-type] # pairs
    answer = await gateway.inspector.answer(question)
    assert isinstance(answer, Explanation), answer
    assert CANARY not in repr(answer)
    return {step.title: step.outcome for step in answer.steps}


@pytest.mark.parametrize("prefix", ROUTES)
async def test_explain_shows_who_is_admitted_and_until_when(prefix: str, tmp_path: Path) -> None:
    target = f"{prefix}/a/s?offset=-1"
    async with guarded(tmp_path) as gateway:
        for lines, who in (
            ([bearer("ann")], "ann, until it is revoked"),
            ([bearer("late")], "late, for 60 s more"),
            ([f"Cookie: __Secure-headgate={token('ann')}"], "ann, until it is revoked"),
        ):
            steps = await explained(gateway, target, *lines)
            assert steps[WHO] == who
            assert steps["The next answer"] in {"HIT", "MISS"}
        by_query = await explained(gateway, f"{target}&token={token('ann')}")
        assert by_query[WHO] == "ann, until it is revoked"
        for lines, outcome in (
            ([], "401 unauthenticated"),
            ([bearer("gone")], "401 unauthenticated"),
            ([bearer("ben")], "403 forbidden"),
        ):
            steps = await explained(gateway, target, *lines)
            assert steps["The next answer"] == outcome
            assert "Who shares the answer" not in steps, "it was told more than a client would be"
        written = await explained(gateway, f"{prefix}/a/s", bearer("ann"), method="POST")
        assert written["The next answer"] == "403 forbidden"


async def test_explain_shows_anonymous_reads_and_concealed_writes(tmp_path: Path) -> None:
    settings = {"conceal": "on", "anonymous": ["read"]}
    async with guarded(tmp_path, settings) as gateway:
        read = await explained(gateway, f"{ROUTES[0]}/a/s")
        assert read[WHO] == "everybody"
        written = await explained(gateway, f"{ROUTES[0]}/a/s", method="POST")
        assert written["The next answer"] == "404 stream_not_found"
