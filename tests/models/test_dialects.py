"""What the dialects tell of requests, and of the events of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from headgate.dialects import progress
from headgate.dialects.contract import dialect_at, provider
from headgate.dialects.progress import TokenUsage, cursor_in, is_cut_json
from headgate.events import parse
from tests.models.answers import chat_completion, event, interaction, message, response

if TYPE_CHECKING:
    from headgate.dialects.progress import AnswerProgress

PATHS = {
    "chat completion": "/v1/chat/completions",
    "response": "/v1/responses",
    "message": "/v1/messages",
    "interaction": "/v1beta/interactions",
}
USAGE = {
    "chat completion": (chat_completion, TokenUsage(9, 12)),
    "response": (response, TokenUsage(37, 11)),
    "message": (message, TokenUsage(25, 89)),
    "interaction": (interaction, TokenUsage(7, 48)),
}


def state_after(path: str, *events: bytes) -> AnswerProgress:
    state = dialect_at(path).progress()
    for one in events:
        state.add(one)
    return state


@pytest.mark.parametrize("kind", USAGE)
def test_usage_is_what_the_provider_counted_last(kind: str) -> None:
    answer, expected = USAGE[kind]
    assert state_after(PATHS[kind], *answer()).usage == expected


@pytest.mark.parametrize("kind", USAGE)
def test_an_answer_has_ended_with_its_last_event_and_a_chat_with_its_reason(kind: str) -> None:
    events = USAGE[kind][0]()
    ended = [state_after(PATHS[kind], *events[:end]).has_ended for end in range(len(events) + 1)]
    # The reason, the usage and [DONE] of a chat completion.
    after_end = {"chat completion": 3, "interaction": 2}.get(kind, 1)
    assert ended == [False] * (len(events) + 1 - after_end) + [True] * after_end


def chosen(*choices: tuple[int, str | None]) -> bytes:
    return event({"choices": [{"index": index, "finish_reason": why} for index, why in choices]})


def ended(kind: str, status: str = "completed") -> bytes:
    return event({"event_type": kind, "interaction": {"id": "v1_abc", "status": status}})


DONE = b"data: [DONE]\n\n"
ERROR = {"error": {"message": "Busy: sk-secret", "type": "overloaded_error", "code": None}}
CHAT, RESPONSE, MESSAGE, INTERACTION = PATHS.values()
ENDED, FAILED, CANCELLED, OPEN, FOREIGN = "ended", "failed", "cancelled", "open", "foreign"
ENDS = {
    "a reason": (CHAT, [chosen((0, "stop"))], ENDED),
    "an empty reason": (CHAT, [chosen((0, ""))], OPEN),
    "a reason of one choice of two": (
        CHAT,
        [chosen((0, None), (1, None)), chosen((0, "stop"))],
        OPEN,
    ),
    "a choice that begins after a reason": (CHAT, [chosen((0, "stop")), chosen((1, None))], OPEN),
    "reasons of both": (
        CHAT,
        [chosen((0, None)), chosen((1, "stop")), chosen((0, "length"))],
        ENDED,
    ),
    "the last choice that is judged": (CHAT, [chosen((0, "stop")), chosen((127, None))], OPEN),
    "a choice that none has asked for": (CHAT, [chosen((0, "stop")), chosen((128, None))], ENDED),
    "[DONE] alone": (CHAT, [chosen((0, None)), DONE], ENDED),
    "nothing": (CHAT, [], OPEN),
    "comments alone": (CHAT, [b": wait\n\n", b"event: ping\n\n"], OPEN),
    "cut JSON": (CHAT, [b'data: {"choices": [\n\n'], OPEN),
    "text that is no JSON": (CHAT, [b"data: hello\n\n"], FOREIGN),
    "objects of another kind": (CHAT, [event({"token": "a"})], FOREIGN),
    "an error": (CHAT, [chosen((0, None)), event(ERROR)], FAILED),
    "an error, and [DONE]": (CHAT, [chosen((0, None)), event(ERROR), DONE], FAILED),
    "an event that is named an error": (CHAT, [b"event: error\ndata: Busy\n\n"], FAILED),
    "a response that is complete": (RESPONSE, [event({"type": "response.completed"})], ENDED),
    "a response that is incomplete": (RESPONSE, [event({"type": "response.incomplete"})], ENDED),
    "a response that failed": (RESPONSE, [event({"type": "response.failed"})], FAILED),
    "a response that was cancelled": (RESPONSE, [event({"type": "response.cancelled"})], CANCELLED),
    "a response that a client has cancelled at the gateway": (
        RESPONSE,
        [dialect_at(RESPONSE).failure_event(progress.CANCELLED, 1)],
        CANCELLED,
    ),
    "an interaction that a client has cancelled at the gateway": (
        INTERACTION,
        [dialect_at(INTERACTION).failure_event(progress.CANCELLED, 1)],
        CANCELLED,
    ),
    "an error of a response": (RESPONSE, [event({"type": "error", "code": "busy"})], FAILED),
    "a response with [DONE] alone": (RESPONSE, [event({"type": "response.created"}), DONE], OPEN),
    "a message that stops": (MESSAGE, [event({"type": "message_stop"})], ENDED),
    "a message with a reason": (MESSAGE, [event({"type": "message_delta"})], OPEN),
    "a ping": (MESSAGE, [event({"type": "ping"})], OPEN),
    "an interaction that is complete": (INTERACTION, [ended("interaction.completed")], ENDED),
    "an interaction that failed": (INTERACTION, [ended("interaction.completed", "failed")], FAILED),
    "a cancelled interaction": (
        INTERACTION,
        [ended("interaction.completed", "cancelled")],
        CANCELLED,
    ),
    "an interaction that goes on": (INTERACTION, [event({"event_type": "step.stop"})], OPEN),
    "an error of an interaction": (INTERACTION, [event({"event_type": "error", **ERROR})], FAILED),
    "an error of a message": (MESSAGE, [event({"type": "error", **ERROR}, "error")], FAILED),
}


@pytest.mark.parametrize(("path", "events", "expected"), ENDS.values(), ids=ENDS)
def test_the_end_of_an_answer_is_judged_by_its_events(
    path: str, events: list[bytes], expected: str
) -> None:
    state = state_after(path, *events)
    failure = state.failure
    found = OPEN if not state.may_end else ENDED if state.has_ended else FOREIGN
    if failure is not None:
        found = CANCELLED if failure.code == "response_cancelled" else FAILED
        assert "secret" not in failure.sentence
    assert found == expected
    assert state.is_refused == (failure is not None and len(events) == 1)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(
    "line",
    [b'data: {"usage": [1]}', b'data: {"usage"', b'data: ["usage"]', b'data: {"usage": {}}'],
    ids=["a list", "broken JSON", "no object", "no counts"],
)
def test_usage_ignores_what_has_no_counts(path: str, line: bytes) -> None:
    assert state_after(path, line + b"\n\n").usage == TokenUsage()


KEYS = {
    "bearer": ("openai", {"Authorization": "Bearer k"}, "k"),
    "bearer in lower case": ("openai", {"authorization": "bearer k"}, "k"),
    "another scheme": ("openai", {"Authorization": "Basic k"}, None),
    "no key": ("openai", {}, None),
    "the header of its own": ("anthropic", {"X-Api-Key": "k"}, "k"),
    "Google's": ("gemini", {"X-Goog-Api-Key": "k"}, "k"),
    "bearer of an auth token": ("anthropic", {"Authorization": "Bearer k"}, "k"),
}


@pytest.mark.parametrize(("dialect", "fields", "key"), KEYS.values(), ids=KEYS)
def test_the_key_of_a_client_is_found_where_its_sdk_sends_it(
    dialect: str, fields: dict[str, str], key: str | None
) -> None:
    assert provider(dialect).key_of(CIMultiDict(fields)) == key


def test_data_on_several_lines_are_one_value() -> None:
    completed = b"""event: response.completed
data: {"type": "response.completed", "sequence_number": 7,
data: "response": {"id": "r"}}

"""
    dialect = dialect_at(RESPONSE)
    assert dialect.retrieval is not None
    event = parse(completed)
    assert event is not None
    assert cursor_in(event.data) == 7
    assert dialect.response_id(completed) == "r"
    assert dialect.object_after(None, completed) == {"id": "r"}


CUTS = {b'{"a": 1': True, b'{"a": 1}': False, b"[DONE]": False, b"[DO": True, b"hello": False}


@pytest.mark.parametrize(("data", "is_cut"), CUTS.items(), ids=map(repr, CUTS))
def test_cut_json_is_told_from_other_text(data: bytes, is_cut: bool) -> None:
    assert is_cut_json(data) is is_cut
