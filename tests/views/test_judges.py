"""Views of recorded answers, judged by the AI SDK and by AG-UI's own client."""

from __future__ import annotations

import json
import random
import subprocess
from functools import cache
from typing import Any

import pytest

from headgate.dialects.contract import dialect_at
from headgate.dialects.progress import EarlyEnd
from tests.client.runs.recordings import CASES
from tests.models import answers
from tests.support.processes import NODE, ROOT
from tests.views.reading import EVENTS, JSON, complete, rendered, view_events
from tests.views.test_hostile_streams import chunks_of_any_shape, with_wrong_types

PROGRAM = ROOT / "tests" / "node" / "view_messages.mjs"
FIRST = 10  # events, before the provider of some answers breaks off
TEXT = "".join(answers.WORDS)
FAILED = EarlyEnd("origin_broken", "the connection to the provider broke off")
PARTING = b'event: headgate.end\ndata: {"outcome":"complete","usage":{},"reason":null}\n\n'
ANSWERS = {
    "chat": answers.chat_completion(),
    "responses": answers.response(),
    "messages": answers.message(),
}
KEYS = {"aiSdk": "ai-sdk", "agUi": "ag-ui"}
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages"}
RECORDED = {f"{one.api}-{one.name}": [*one.bodies] for one in CASES if one.bodies}


STOPPED = {
    "json-stopped": [
        json.dumps(one).encode()
        for one in (
            {"type": "start", "messageId": "m"},
            {"type": "text-start", "id": "t"},
            {"type": "text-delta", "id": "t", "delta": "Once"},
            {"type": "abort"},
            {"type": "finish"},
        )
    ]
}


def type_of(name: str) -> str:
    """Return the content type of a stream."""
    return JSON if name.startswith("json-") else EVENTS


def failed(name: str) -> list[bytes]:
    """Return an answer whose provider broke off after some events."""
    return [*ANSWERS[name][:FIRST], dialect_at(PATHS[name]).failure_event(FAILED, 7)]


def hostile(seed: int) -> list[bytes]:
    """Return events of an answer, some of them with values of wrong types."""
    chance = random.Random(seed)
    source = chance.choice([*ANSWERS.values()])
    return [with_wrong_types(one, chance) if chance.random() < 0.3 else one for one in source]


def streams() -> dict[str, list[bytes]]:
    """Return all streams that are judged, by name."""
    found = {**ANSWERS, **RECORDED, **{f"{name}-failed": failed(name) for name in ANSWERS}}
    chat = [*ANSWERS.values(), failed("messages"), ANSWERS["chat"]]
    found["a-chat"] = [record for one in chat for record in (*one, PARTING)]
    found |= {f"hostile-{seed}": hostile(seed) for seed in range(100)}
    return found | {f"json-{seed}": chunks_of_any_shape(seed) for seed in range(100)} | STOPPED


@cache
def judged() -> dict[str, Any]:
    """Return what the clients make of the streams: one process judges them all."""
    found = streams()
    cases = [
        {key: rendered(view, one, type_of(name)).decode() for key, view in KEYS.items()}
        for name, one in found.items()
    ]
    out = subprocess.run(
        [NODE, PROGRAM], input=json.dumps(cases).encode(), capture_output=True, check=True
    ).stdout
    return dict(zip(found, json.loads(out), strict=True))


def texts(messages: list[dict[str, Any]]) -> str:
    """Return what an agent's messages say."""
    said = [one.get("content") or "" for one in messages if one["role"] == "assistant"]
    return "".join(said)


@pytest.mark.usefixtures("processes")
def test_every_stream_is_valid_for_both_clients() -> None:
    found = judged()
    assert len(found) > 160
    assert {name: one["failed"] for name, one in found.items() if "failed" in one} == {}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ANSWERS)
def test_both_clients_read_the_text_of_an_answer(name: str) -> None:
    one = judged()[name]
    parts = one["message"]["parts"]
    assert "".join(part["text"] for part in parts if part["type"] == "text") == TEXT
    assert texts(one["messages"]) == TEXT
    assert (one["types"][0], one["types"][-1]) == ("RUN_STARTED", "RUN_FINISHED")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ["chat", "messages"])
def test_both_clients_read_the_call_of_a_tool(name: str) -> None:
    one = judged()[name]
    parts = one["message"]["parts"]
    [call] = [part for part in parts if part["type"] == "tool-weather"]
    assert (call["state"], call["input"]) == ("input-available", {"city": "Köln"})
    [called] = [it for each in one["messages"] for it in each.get("toolCalls") or []]
    assert called["function"]["name"] == "weather"
    assert json.loads(called["function"]["arguments"]) == {"city": "Köln"}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ANSWERS)
def test_a_failed_answer_is_an_error_to_both_clients_behind_what_it_has_said(name: str) -> None:
    one = judged()[f"{name}-failed"]
    assert one["errors"] == [FAILED.sentence]
    assert one["types"][-1] == "RUN_ERROR"
    events = view_events(rendered("ai-sdk", failed(name)))
    assert events[-2].data == '{"type":"finish","finishReason":"error"}'
    said = rendered("text", failed(name)).decode()
    assert said
    assert TEXT.startswith(said)


@pytest.mark.usefixtures("processes")
def test_a_stopped_run_is_cancelled_for_an_agent() -> None:
    one = judged()["json-stopped"]
    assert one["types"][-2:] == ["TEXT_MESSAGE_END", "RUN_FINISHED"]
    assert texts(one["messages"]) == "Once"


@pytest.mark.usefixtures("processes")
def test_each_answer_of_a_chat_is_a_run_and_a_message_of_its_own() -> None:
    types = judged()["a-chat"]["types"]
    ends = [it for it in types if it in {"RUN_STARTED", "RUN_FINISHED", "RUN_ERROR"}]
    finished = ["RUN_STARTED", "RUN_FINISHED"]
    assert ends == [*finished, *finished, *finished, "RUN_STARTED", "RUN_ERROR", *finished]
    records = streams()["a-chat"]
    starts = [one for one in view_events(rendered("ai-sdk", records)) if '"start"' in one.data]
    assert len({json.loads(one.data)["messageId"] for one in starts}) == 5
    text = rendered("text", records).decode()
    assert text.startswith("\n\n".join([TEXT, TEXT, TEXT]))
    assert text.endswith(f"\n\n{TEXT}")


@pytest.mark.parametrize("view", ["ai-sdk", "ag-ui"])
@pytest.mark.parametrize("name", ANSWERS)
def test_what_a_client_has_at_a_cut_and_gets_after_it_is_the_whole_view(
    name: str, view: str
) -> None:
    """Cut at every byte: the events up to the last id are kept, and the rest begins behind it."""
    body = rendered(view, ANSWERS[name])
    whole = view_events(body)
    for at in range(len(body) + 1):
        kept, last_id = complete(view_events(body[:at].decode(errors="replace").encode()))
        ends = [number for number, one in enumerate(whole, 1) if one.id == last_id]
        rest = ends[0] if last_id else 0
        assert kept + whole[rest:] == whole
