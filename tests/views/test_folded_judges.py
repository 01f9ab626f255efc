"""Folded events of the AI SDK and of AG-UI, judged by their own clients."""

from __future__ import annotations

import json
import random
import subprocess
from typing import Any

import pytest

from gateway.background import at_once
from gateway.features.compact.folding import fold
from tests.models import answers
from tests.support.processes import NODE
from tests.views.reading import rendered
from tests.views.test_judges import ANSWERS, PROGRAM, RECORDED

WORDS = [f" wört{number}" for number in range(300)]
STREAMS = {
    **ANSWERS,
    **RECORDED,
    "long chat": answers.chat_completion(WORDS),
    "long message": answers.message(WORDS),
}


def records_of(body: bytes) -> list[bytes]:
    """Return the data of a view's events that are JSON."""
    lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: ")]
    return [line for line in lines if line != b"[DONE]"]


def folded(records: list[bytes], chance: random.Random) -> list[bytes]:
    """Return records folded in two reads, and the last ones as they are."""
    first, second = sorted(chance.randint(0, len(records)) for _ in range(2))
    found = []
    for part in (records[:first], records[first:second]):
        found += [event.data for event in at_once(fold("application/json", 0, part))]
    return found + records[second:]


def body_of(records: list[bytes]) -> str:
    return "".join(f"data: {record.decode()}\n\n" for record in records)


def messages_of(streams: list[tuple[list[bytes], list[bytes]]]) -> list[Any]:
    """Return the messages that both clients make of the events in `ai-sdk` and in `ag-ui`."""
    cases = [{"aiSdk": body_of(ui), "agUi": body_of(ag_ui)} for ui, ag_ui in streams]
    done = subprocess.run(
        [NODE, PROGRAM], input=json.dumps(cases).encode(), capture_output=True, check=True
    )
    return [{**one, "types": None} for one in json.loads(done.stdout)]


@pytest.mark.usefixtures("processes")
def test_clients_make_the_same_messages_of_folded_and_followed_events_as_of_all() -> None:
    chance = random.Random(17)
    whole = [
        (records_of(rendered("ai-sdk", one)), records_of(rendered("ag-ui", one)))
        for one in STREAMS.values()
    ]
    joined = [(folded(ui, chance), folded(ag_ui, chance)) for ui, ag_ui in whole for _ in range(3)]
    found = messages_of(whole + joined)
    messages, of_joined = found[: len(whole)], found[len(whole) :]
    assert of_joined == [message for message in messages for _ in range(3)]
    assert [one for one in found if "failed" in one] == []
    sizes = [sum(len(it) for pair in pairs for it in pair) for pairs in (whole * 3, joined)]
    assert sizes[1] < 0.7 * sizes[0]
