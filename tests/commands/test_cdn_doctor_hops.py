"""What the doctor finds of hops with one fault each, before a real gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.commands.cdn_doctor import events
from gateway.commands.cdn_doctor.examination import Unusable
from gateway.commands.cdn_doctor.finding import Verdict
from tests.commands.deployments import (
    ALL,
    ARGUMENTS,
    ENVIRONMENT,
    examined,
    failures,
    names_of_streams,
    of,
    saw,
)
from tests.commands.hop import Faults, hop
from tests.support.processes import headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.commands.cdn_doctor.examination import Examination
    from tests.support.processes import Headgate

IDS = ("X-Request-Id",)
CLAIMS = ("X-Cache", "X-Cache-Hits", "Cache-Status", "Age")
FAULTS: dict[str, tuple[Faults, set[str]]] = {
    "none": (Faults(), set()),
    "loses appends": (Faults(loses_appends=True), {"POST body"}),
    "cuts bodies": (Faults(cuts_bodies_at=1024), {"POST body"}),
    "ends polls": (Faults(ends_polls_after_s=2.0), {"poll held"}),
    "holds all events": (Faults(lets_through=0), {"SSE"}),
    "holds later events": (Faults(lets_through=1), {"SSE"}),
    "drops comments": (Faults(drops_comments=True), {"keep-alive"}),
    "forgets tags": (Faults(drops=("If-None-Match",)), {"304"}),
    "refuses removals": (Faults(refuses=("DELETE",)), set()),
    "refuses HEAD": (Faults(refuses=("HEAD",)), set()),
    # Its answers, older than an append, tell on it.
    "keeps silently": (
        Faults(keeps_for_all=True, drops=(*IDS, *CLAIMS)),
        {"query order", "304", "credentials", "empty tail"},
    ),
    "tells nothing": (Faults(drops=(*IDS, *CLAIMS)), set()),
}


async def behind(gateway: Headgate, faults: Faults, **environment: str) -> Examination:
    """What is found of a hop, which met as many requests as were counted."""
    async with hop(gateway.url, faults) as (url, met):
        found = await examined(f"{url}/v1/stream", environment=environment)
        assert len(met.requests) == found.requests
        return found


@pytest.fixture(scope="module")
def gateway() -> Iterator[Headgate]:
    with headgate(arguments=ARGUMENTS, environment=ENVIRONMENT) as gateway:
        yield gateway


@pytest.mark.timeout(120)
async def test_each_fault_is_found_and_no_other(
    gateway: Headgate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 3.0)  # as three of the gateway's heartbeats
    places = asyncio.Semaphore(6)

    async def one(faults: Faults) -> Examination:
        async with places:
            return await behind(gateway, faults)

    all_found = await asyncio.gather(*(one(faults) for faults, _ in FAULTS.values()))
    found = dict(zip(FAULTS, all_found, strict=True))
    assert {name: failures(one) for name, one in found.items()} == {
        name: faults for name, (_, faults) in FAULTS.items()
    }
    passes = {name: of(one, Verdict.PASS) for name, one in found.items()}
    assert passes["none"] == passes["refuses removals"] == ALL
    assert ALL - passes["refuses HEAD"] == {"HEAD"}
    # Without a word of any cache, nobody knows what was shared.
    assert ALL - passes["tells nothing"] == {"query order", "credentials", "equal polls"}
    assert "4,096 bytes were appended" in saw(found["loses appends"], "POST body")
    assert "and 0 are there" in saw(found["loses appends"], "POST body")
    assert "and 1,024 are there" in saw(found["cuts bodies"], "POST body")
    assert "with 504" in saw(found["ends polls"], "poll held")
    assert "an event that was appended" in saw(found["holds later events"], "SSE")
    left = {url.partition("/v1/stream/")[2] for url in found["refuses removals"].left}
    assert len(left) == 10
    assert left <= set(names_of_streams(gateway))
    assert max(one.requests for one in found.values()) <= 105


async def test_credentials_that_are_given_are_what_nobody_else_may_read_by(
    gateway: Headgate,
) -> None:
    right = "Bearer right"
    kept_apart, given_to_all = await asyncio.gather(
        behind(gateway, Faults(wants=right), STREAM_AUTH=right),
        behind(gateway, Faults(wants=right, keeps_for_all=True), STREAM_AUTH=right),
    )
    assert of(kept_apart, Verdict.PASS) == ALL
    assert "are refused, also what is kept" in saw(kept_apart, "credentials")
    assert "credentials" in failures(given_to_all)
    assert "a reader with other credentials and one with no credentials" in saw(
        given_to_all, "credentials"
    )


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({}, "it needs credentials, which STREAM_AUTH can give (401)"),
        ({"STREAM_AUTH": "Bearer wrong"}, "the credentials in STREAM_AUTH are refused (401)"),
    ],
)
async def test_who_has_no_credentials_is_told_so(
    gateway: Headgate, environment: dict[str, str], why: str
) -> None:
    async with hop(gateway.url, Faults(wants="Bearer right")) as (url, met):
        with pytest.raises(Unusable) as refusal:
            await examined(f"{url}/v1/stream", environment=environment)
        assert str(refusal.value) == why
        assert met.requests == ["PUT"]


async def test_a_poll_that_ends_before_its_time_is_known_to_who_may_ask_the_gateway(
    gateway: Headgate,
) -> None:
    early = Faults(ends_polls_after_s=2.0, ends_polls_with=204)
    async with hop(gateway.url, early) as (url, _):
        at = f"{url}/v1/stream"
        alone, with_gateway = await asyncio.gather(
            examined(at), examined(at, admin=gateway.admin_url)
        )
    assert "poll held" in of(alone, Verdict.PASS)
    assert "poll held" in failures(with_gateway)
    assert "; the gateway holds it 3 s" in saw(with_gateway, "poll held")


async def test_a_stream_that_cannot_be_removed_is_named(gateway: Headgate) -> None:
    notes: list[str] = []
    async with hop(gateway.url, Faults(refuses=("DELETE",))) as (url, met):
        task = asyncio.create_task(examined(f"{url}/v1/stream", notes=notes))
        await until(lambda: met.requests.count("PUT") == 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(notes) == 10
    for note in notes:
        assert note.startswith(f"headgate: {url}/v1/stream/headgate-doctor-")
        assert note.endswith(" could not be removed; it expires within an hour.")
