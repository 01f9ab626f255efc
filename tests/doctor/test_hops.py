"""What the doctor finds of hops with one fault each, before a real gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_doctor.checks import events
from headgate_doctor.examination import Unusable
from headgate_doctor.finding import CheckVerdict
from tests.doctor.deployments import (
    ALL,
    ENVIRONMENT,
    MADE,
    MADE_AGAIN,
    WAITS,
    examined,
    failures,
    finding,
    names_of_streams,
    of,
    saw,
)
from tests.doctor.hop import Faults, hop
from tests.support.processes import headgate
from tests.support.waiting import at_rest, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_doctor.examination import Examination
    from tests.support.processes import Headgate

IDS = ("X-Request-Id",)
EARLY_S = 0.6  # of six, and yet no answer at once
CLAIMS = ("X-Cache", "X-Cache-Hits", "Cache-Status", "Age")
RIGHT = "Bearer right"
FAULTS: dict[str, tuple[Faults, set[str]]] = {
    "none": (Faults(), set()),
    "loses appends": (Faults(loses_appends=True), {"POST body"}),
    "cuts bodies": (Faults(cuts_bodies_at=1024), {"POST body", "bodies", "SSE joined"}),
    "ends polls": (Faults(ends_polls_after_s=EARLY_S), {"poll held"}),
    "ends polls quietly": (Faults(ends_polls_after_s=EARLY_S, ends_polls_with=204), {"poll held"}),
    "holds all events": (Faults(lets_through=0), {"SSE", "bodies"}),
    "holds later events": (Faults(lets_through=1), {"SSE"}),
    "drops comments": (Faults(drops_comments=True), {"keep-alive"}),
    "refuses removals": (Faults(refuses=("DELETE",)), {"removal"}),
    "refuses HEAD": (Faults(refuses=("HEAD",)), {"HEAD"}),
    "turns 204 into 200": (Faults(turns_204_into=200), {"poll held", "statuses"}),
    "keeps events": (Faults(keeps_events=True), {"SSE kept"}),
    # Its answers, older than an append, tell on it.
    "keeps silently": (
        Faults(keeps_for_all=True, drops=(*IDS, *CLAIMS)),
        {"empty tail", "SSE kept", "deleted tail", "headers", "tags"},
    ),
    "tells nothing": (Faults(drops=(*IDS, *CLAIMS)), set()),
    "wants credentials": (Faults(wants=RIGHT), set()),
    "keeps for all who wants credentials": (
        Faults(wants=RIGHT, keeps_for_all=True),
        {
            *("credentials", "equal polls", "empty tail", "SSE kept", "private reads"),
            *("deleted tail", "headers", "tags"),
        },
    ),
}


async def behind(gateway: Headgate, faults: Faults, turn: asyncio.Lock) -> Examination:
    """What is found of a hop, which met as many requests as were counted.

    They wait most of their time, beside each other, but begin in turn: with a hundred requests.
    """
    environment = {} if faults.wants is None else {"STREAM_AUTH": faults.wants}
    async with hop(gateway.url, faults) as (url, met):
        async with turn:
            examination = asyncio.create_task(examined(f"{url}/v1/stream", environment=environment))
            await at_rest(lambda: len(met.requests))
        found = await examination
        assert found.requests == len(met.requests)
        return found


@pytest.fixture(scope="module")
def gateway(processes: None) -> Iterator[Headgate]:
    with headgate(environment={**WAITS, **ENVIRONMENT}) as gateway:
        yield gateway


@pytest.mark.timeout(120)
async def test_the_doctor_names_exactly_the_faults_of_each_hop(
    gateway: Headgate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 3.0)  # as three of the gateway's heartbeats
    turn = asyncio.Lock()
    all_found = await asyncio.gather(
        *(behind(gateway, faults, turn) for faults, _ in FAULTS.values())
    )
    found = dict(zip(FAULTS, all_found, strict=True))
    assert {name: failures(one) for name, one in found.items()} == {
        name: faults for name, (_, faults) in FAULTS.items()
    }
    passes = {name: of(one, CheckVerdict.PASS) for name, one in found.items()}
    assert passes["none"] == ALL
    assert ALL - passes["refuses removals"] == {"removal", "deleted tail"}
    assert ALL - passes["wants credentials"] == {
        "chunks kept"
    }  # as the copies of all are not theirs
    # Polls that end so soon may be too short for two of the checks.
    assert ALL - passes["ends polls quietly"] <= {"204 kept", "cursor", "equal polls", "poll held"}
    assert ALL - passes["refuses HEAD"] == {"HEAD", "HEAD of chunks"}
    assert finding(found["turns 204 into 200"], "poll held").advice == "204 changed"
    assert finding(found["refuses HEAD"], "HEAD").advice == "HEAD refused"
    assert ALL - passes["drops comments"] == {"keep-alive"}
    # Without a word of any cache, nobody knows what was shared.
    assert ALL - passes["tells nothing"] == {*("credentials", "equal polls", "chunks kept")}
    assert "4,096 bytes were appended" in saw(found["loses appends"], "POST body")
    assert "and 0 are there" in saw(found["loses appends"], "POST body")
    assert "and 1,024 are there" in saw(found["cuts bodies"], "POST body")
    assert "with 504" in saw(found["ends polls"], "poll held")
    assert "are refused, even where there is a copy" in saw(
        found["wants credentials"], "credentials"
    )
    given_to_all = saw(found["keeps for all who wants credentials"], "credentials")
    assert given_to_all.startswith("a reader with a Cookie and one with no credentials and one")
    assert "an event that was appended" in saw(found["holds later events"], "SSE")
    left = {url.partition("/v1/stream/")[2] for url in found["refuses removals"].leftovers}
    assert len(left) == MADE
    assert left <= set(names_of_streams(gateway))
    assert max(one.requests for one in found.values()) <= 270


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        pytest.param(
            {},
            'it needs credentials: set STREAM_AUTH="Bearer TOKEN" in the environment (401)',
            id="no-credentials",
        ),
        pytest.param(
            {"STREAM_AUTH": "Bearer wrong"},
            "the credentials in STREAM_AUTH are refused: put another into STREAM_AUTH (401)",
            id="wrong-credentials",
        ),
    ],
)
async def test_the_doctor_without_valid_credentials_says_to_set_stream_auth(
    gateway: Headgate, environment: dict[str, str], why: str
) -> None:
    async with hop(gateway.url, Faults(wants="Bearer right")) as (url, met):
        with pytest.raises(Unusable) as refusal:
            await examined(f"{url}/v1/stream", environment=environment)
        assert str(refusal.value) == why
        assert met.requests == ["PUT"]


async def test_the_doctor_names_each_stream_it_cannot_remove(gateway: Headgate) -> None:
    notes: list[str] = []
    async with hop(gateway.url, Faults(refuses=("DELETE",))) as (url, met):
        task = asyncio.create_task(examined(f"{url}/v1/stream", notes=notes))
        await until(lambda: met.requests.count("PUT") == MADE + MADE_AGAIN)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(notes) == MADE
    for note in notes:
        assert note.startswith(f"{url}/v1/stream/headgate-doctor-")
        assert note.endswith(" could not be removed; it expires within an hour.")
