"""Tokens by model: counted once, bounded, and shown by metrics and the console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from headgate.dialects.progress import TokenUsage
from headgate_gateway.features.models import store as model_store
from headgate_gateway.features.models.store import LONGEST_MODEL, OTHER, TokenCounts
from tests.models.answers import response
from tests.models.provider import providing
from tests.models.serving import OPENAI, answering, gateway_before
from tests.models.tokens import TOKENS, guarded, tokens_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

ONE = TokenUsage(2, 3)


def counted(counts: TokenCounts) -> set[tuple[str, int, int]]:
    return {(model, *tokens) for model, tokens in counts.models.items()}


def test_tokens_of_one_model_add_up() -> None:
    counts = TokenCounts()
    for _ in range(3):
        counts.add("m", ONE)
    assert counted(counts) == {("m", 6, 9)}


def test_an_answer_without_counts_names_no_model() -> None:
    counts = TokenCounts()
    counts.add("made up", TokenUsage())
    assert counted(counts) == set()


def test_a_model_with_a_name_that_is_too_long_is_another_one() -> None:
    counts = TokenCounts()
    for name in ("m" * LONGEST_MODEL, "m" * (LONGEST_MODEL + 1), None):
        counts.add(name, ONE)
    assert counted(counts) == {("m" * LONGEST_MODEL, 2, 3), (OTHER, 4, 6)}


def test_models_beyond_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "MOST_MODELS", 3)
    counts = TokenCounts()
    for name in ("a", "b", "c", "d", "e", "a"):
        counts.add(name, ONE)
    models = {"a": 2, "b": 1, "c": 1, OTHER: 2}
    assert counted(counts) == {(name, 2 * n, 3 * n) for name, n in models.items()}


async def call(gateway: Headgate, token: str, **options: Any) -> None:
    import openai  # that takes a second, which most of the processes that play tests can do without

    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}{OPENAI}/v1", api_key=token, max_retries=0
    ) as client:
        stream = await client.responses.create(
            model="gpt-4o", input="Hi", stream=True, extra_headers=options
        )
        assert [event async for event in stream]


@pytest.mark.usefixtures("processes")
async def test_each_caller_s_tokens_are_counted_once_and_never_for_joins(tmp_path: Path) -> None:
    async with providing() as provider:
        settings = guarded(tmp_path, has_key=True)
        environment = tokens_file(tmp_path)
        with gateway_before(provider, settings=settings, environment=environment) as gateway:
            for name in ("caller", "other", "caller"):
                await call(gateway, TOKENS[name], **{"Idempotency-Key": "one"})
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"{gateway.admin_url}/metrics") as metrics,
            ):
                text = await metrics.text()
        lines = [line for line in text.splitlines() if "model_tokens_total{" in line]
        assert sorted(float(line.rpartition(" ")[2]) for line in lines) == [22.0, 74.0]
        assert not any(token in text for token in TOKENS.values())


@pytest.mark.usefixtures("processes")
async def test_the_console_lists_answers_with_model_and_tokens_and_a_link_to_each_stream() -> None:
    import openai

    async with answering() as (provider, gateway):
        await call(gateway, "sk-mine", **{"Headgate-Stream": "talk"})
        provider.cuts_after = 3
        with pytest.raises(openai.APIError, match="broke off"):
            await call(gateway, "sk-mine")
        provider.statuses = [429]
        with pytest.raises(openai.RateLimitError):
            await call(gateway, "sk-mine")
        async with aiohttp.ClientSession(gateway.admin_url) as http:
            async with http.get("/api/v1/runs", params={"route": OPENAI}) as listed:
                assert listed.status == 200
                rows = (await listed.json())["runs"]
            async with http.get("/runs", params={"route": OPENAI}) as page:
                text = await page.text()
    by_status = {row["status"]: row for row in rows}
    assert set(by_status) == {"finished", "failed"}
    finished = by_status["finished"]
    assert finished["name"] == "answers/chats/talk"
    assert finished["answer"] == {
        "route": "/v1/stream",
        "model": "gpt-4o",
        "input_tokens": 37,
        "output_tokens": 11,
    }
    assert finished["items"] == len(response())
    assert "broke off" in by_status["failed"]["error"]
    assert by_status["failed"]["answer"]["input_tokens"] is None
    assert "gpt-4o" in text
    assert "/streams/one?route=%2Fv1%2Fstream&amp;name=answers%2Fchats%2Ftalk" in text
