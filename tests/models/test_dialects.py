"""What the dialects tell of requests, and of the events of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from gateway.models.dialects import DIALECTS
from gateway.models.dialects.contract import TokenUsage
from tests.models.answers import chat_completion, message, response

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = {
    "chat completion": ("openai", chat_completion, TokenUsage(9, 12)),
    "response": ("openai", response, TokenUsage(37, 11)),
    "message": ("anthropic", message, TokenUsage(25, 89)),
}


@pytest.mark.parametrize(("dialect", "answer", "expected"), USAGE.values(), ids=USAGE)
def test_usage_is_what_the_provider_counted_last(
    dialect: str, answer: Callable[[], list[bytes]], expected: TokenUsage
) -> None:
    usage = TokenUsage()
    for one in answer():
        DIALECTS[dialect].add_usage(one, usage)
    assert usage == expected


PATHS = {
    "chat completion": "/v1/chat/completions",
    "response": "/v1/responses",
    "message": "/v1/messages",
}


@pytest.mark.parametrize("kind", USAGE)
def test_the_last_event_of_an_answer_alone_is_known_as_the_last(kind: str) -> None:
    dialect, answer, _ = USAGE[kind]
    events = answer()
    last = [event for event in events if DIALECTS[dialect].is_last(PATHS[kind], event)]
    assert last == events[-1:]
    assert not DIALECTS[dialect].is_last(PATHS[kind], b"")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "line",
    [b'data: {"usage": [1]}', b'data: {"usage"', b'data: ["usage"]', b'data: {"usage": {}}'],
    ids=["a list", "broken JSON", "no object", "no counts"],
)
def test_usage_ignores_what_has_no_counts(dialect: str, line: bytes) -> None:
    usage = TokenUsage()
    DIALECTS[dialect].add_usage(line + b"\n\n", usage)
    assert usage == TokenUsage()


KEYS = {
    "bearer": ("openai", {"Authorization": "Bearer k"}, "k"),
    "bearer in lower case": ("openai", {"authorization": "bearer k"}, "k"),
    "another scheme": ("openai", {"Authorization": "Basic k"}, None),
    "no key": ("openai", {}, None),
    "the header of its own": ("anthropic", {"X-Api-Key": "k"}, "k"),
    "bearer of an auth token": ("anthropic", {"Authorization": "Bearer k"}, "k"),
}


@pytest.mark.parametrize(("dialect", "fields", "key"), KEYS.values(), ids=KEYS)
def test_the_key_of_a_client_is_found_where_its_sdk_sends_it(
    dialect: str, fields: dict[str, str], key: str | None
) -> None:
    assert DIALECTS[dialect].key_of(CIMultiDict(fields)) == key
