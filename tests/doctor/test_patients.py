"""What the doctor finds of hops that change one field, query, method or event."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from multidict import CIMultiDict

from headgate_doctor import examination
from headgate_doctor.checks.offsets import CHUNK_BYTES
from tests.doctor.deployments import WAITS, examined, failures, finding, saw
from tests.doctor.scripted_hop import Answered, Asked, Patient, scripted_hop
from tests.support.origin_servers import Reference
from tests.support.processes import headgate

# The others are the same for each of these, and have tests of their own.
LOOKED_AT = {"headers", "SSE joined", "offsets", "early 404"}


class Drops:
    """Takes fields out of requests."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, asked: Asked) -> None:
        for name in self._names:
            asked.headers.popall(name, None)


class CutsTags:
    """Cuts tags, and quotes them again."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __call__(self, _: Asked, answered: Answered) -> None:
        if tag := answered.headers.get("ETag"):
            answered.headers["ETag"] = tag[: self._length].rstrip('"') + '"'


class KeepsTags:
    """Gives each URL the tag of its first response."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def __call__(self, asked: Asked, answered: Answered) -> None:
        if tag := answered.headers.get("ETag"):
            answered.headers["ETag"] = self._known.setdefault(asked.target, tag)


class KeepsChunks:
    """Keeps whole chunks by their URL, in whichever order it has its parameters."""

    def __init__(self) -> None:
        self._kept: dict[str, Answered] = {}

    def asks(self, asked: Asked) -> Answered | None:
        return self._kept.get(asked.target) if asked.method == "GET" else None

    def answers(self, asked: Asked, answered: Answered) -> None:
        if asked.method == "GET" and len(answered.body) == CHUNK_BYTES:
            headers = CIMultiDict({**answered.headers, "Age": "1"})
            self._kept[asked.target] = Answered(answered.status, headers, answered.body)


def lowers_queries(asked: Asked) -> None:
    asked.query = asked.query.lower()


def raises_queries(asked: Asked) -> None:
    asked.query = asked.query.upper()


def sends_head_as_get(asked: Asked) -> None:
    asked.method = "GET" if asked.method == "HEAD" else asked.method


def sets_cookie(_: Asked, answered: Answered) -> None:
    answered.headers.add("Set-Cookie", "route=1; Path=/")


def cuts_offsets(_: Asked, answered: Answered) -> None:
    if offset := answered.headers.get("Stream-Next-Offset"):
        answered.headers["Stream-Next-Offset"] = offset[:20]


def drops_closures(_: Asked, answered: Answered) -> None:
    answered.headers.popall("Stream-Closed", None)


def keeps_304(_: Asked, answered: Answered) -> None:
    if answered.status == 304:
        answered.headers["Cache-Control"] = "max-age=86400"


def is_up_to_date(asked: Asked, answered: Answered) -> None:
    if asked.method == "GET" and answered.status == 200:
        answered.headers["Stream-Up-To-Date"] = "true"


def answers_empty_appends(asked: Asked) -> Answered | None:
    is_empty = asked.method == "POST" and not asked.body
    return Answered(204, CIMultiDict()) if is_empty else None


def sends_another_host(asked: Asked) -> None:
    asked.headers["Host"] = "gateway.internal:4437"


class Turns:
    """Turns a status of responses into another one."""

    def __init__(self, status: int, into: int) -> None:
        self._status, self._into = status, into

    def __call__(self, _: Asked, answered: Answered) -> None:
        if answered.status == self._status:
            answered.status = self._into


CHUNKS = KeepsChunks()
PATIENTS = {
    "none": Patient(set()),
    "joins events": Patient({"SSE joined"}, joins_events=True),
    "Last-Event-ID": Patient({"Last-Event-ID"}, asks=Drops("Last-Event-ID")),
    "If-None-Match": Patient({"tags"}, asks=Drops("If-None-Match")),
    "old tags": Patient({"tags"}, answers=KeepsTags()),
    "tags of 16": Patient({"tags"}, answers=CutsTags(16)),
    "tags of 64": Patient({"tags"}, answers=CutsTags(64)),
    "tags of 90": Patient({"tags"}, answers=CutsTags(90)),
    "Stream-TTL": Patient({"request fields"}, asks=Drops("Stream-TTL")),
    "Stream-Seq": Patient({"request fields"}, asks=Drops("Stream-Seq")),
    "Stream-Expires-At": Patient({"request fields"}, asks=Drops("Stream-Expires-At")),
    "a cookie": Patient({"cookies"}, answers=sets_cookie),
    "lower case": Patient({"queries"}, asks=lowers_queries),
    "upper case": Patient(
        {"bodies", "headers", "offsets", "queries", "refusals"}, asks=raises_queries
    ),
    "HEAD as GET": Patient({"HEAD of chunks", "headers"}, asks=sends_head_as_get),
    "cut offsets": Patient({"headers"}, answers=cuts_offsets),
    "no closures": Patient({"headers", "refusals"}, answers=drops_closures),
    "304 for a day": Patient({"headers"}, answers=keeps_304),
    "another Host": Patient({"headers"}, asks=sends_another_host),
    "X-Stream-Multi": Patient({"request fields"}, asks=Drops("X-Stream-Multi")),
    "up to date": Patient({"offsets"}, answers=is_up_to_date),
    "empty appends": Patient({"statuses"}, asks=answers_empty_appends),
    "chunks by order": Patient(set(), asks=CHUNKS.asks, answers=CHUNKS.answers),  # a note
    "201 as 200": Patient({"statuses"}, answers=Turns(201, 200)),
    "304 as 200": Patient({"tags"}, answers=Turns(304, 200)),
    "404 as 410": Patient({"early 404"}, answers=Turns(404, 410)),
    "410 as 404": Patient({"refusals"}, answers=Turns(410, 404)),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
async def test_the_doctor_names_what_a_hop_changes_in_requests_and_responses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row for row in examination.CHECKS if not LOOKED_AT.isdisjoint(row.finds)]
    monkeypatch.setattr(examination, "CHECKS", tuple(rows))
    async with contextlib.AsyncExitStack() as end:
        gateway = end.enter_context(headgate(environment=WAITS))
        urls = [
            await end.enter_async_context(scripted_hop(gateway.url, patient))
            for patient in PATIENTS.values()
        ]
        found = await asyncio.gather(*(examined(f"{url}/v1/stream") for url in urls))
    by_name = dict(zip(PATIENTS, found, strict=True))
    assert saw(by_name["another Host"], "headers").startswith(
        "a new stream has the Location http://gateway.internal:4437/v1/stream/headgate-doctor-"
    )
    assert finding(by_name["empty appends"], "statuses").advice == "answered early"
    assert saw(by_name["chunks by order"], "chunks kept").startswith(
        "a cache keeps a copy for each order"
    )
    assert "its offset does not arrive" in saw(by_name["upper case"], "queries")
    assert finding(by_name["304 as 200"], "tags").advice == "304"
    assert {name: failures(one) for name, one in by_name.items()} == {
        name: patient.checks for name, patient in PATIENTS.items()
    }


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(60)
async def test_the_doctor_finds_no_fault_in_responses_of_the_reference_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row for row in examination.CHECKS if not LOOKED_AT.isdisjoint(row.finds)]
    monkeypatch.setattr(examination, "CHECKS", tuple(rows))
    server = Reference()
    try:
        server.start()
        found = await examined(f"{server.url}/v1/stream")
    finally:
        server.kill()
    assert failures(found) == set()
