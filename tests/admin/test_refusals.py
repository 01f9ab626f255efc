"""The page of refusals: counts by cause and route, and the newest with what their clients got."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.questions.contract import ListRefusals, RefusalList
from headgate_gateway.telemetry.access_log import RefusedRequest
from tests.admin.asking import api
from tests.admin.consoles import OPERATOR, VIEWER, Switchboard, console
from tests.support.http1 import ask
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from headgate_gateway.features.questions.contract import Answer, Question


@pytest.mark.usefixtures("processes")
def test_refusals_are_listed_with_the_sentence_that_the_client_got(
    tmp_path: Path,
) -> None:
    with headgate(f"file:{tmp_path}") as gateway:
        sentences = set()
        for number in range(12):
            refused = ask(gateway.port, "GET", f"/v1/stream/none-{number}")
            assert refused.status == 404
            sentences.add(refused.json()["detail"])
        ask(gateway.port, "GET", "/v1/stream/none?offset=nonsense&token=s3cret")
        newest = api(gateway, "refusals")["newest"]
    found = [row for row in newest if row["status"] == 404]
    assert sum(row["count"] for row in found) == 12
    assert {row["detail"] for row in found} == sentences
    assert {(row["route"], row["client"]) for row in found} == {("/v1/stream", "127.0.0.1")}
    assert [row["status"] for row in newest].count(400) == 1
    assert "s3cret" not in str(newest)
    moments = [row["at"] for row in newest]
    assert moments == sorted(moments, reverse=True)


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def two_workers(question: Question) -> Sequence[Answer]:
    """The answers of two workers, with 200 refusals each."""
    if not isinstance(question, ListRefusals):
        return ()
    return [RefusalList(tuple(_refused(worker, n) for n in range(200, 0, -1))) for worker in (0, 1)]


def _refused(worker: int, number: int) -> RefusedRequest:
    at, request_id = number + worker / 2, f"{worker}-{number}"
    first_at = 50.0 if number == 200 else at  # the newest go on since then
    return RefusedRequest(at, request_id, "/", 404, "no", "192.0.2.1", first_at)


@pytest.mark.parametrize(("token", "client_address"), [(OPERATOR, "192.0.2.1"), (VIEWER, None)])
async def test_only_operators_see_the_addresses_of_refused_clients(
    token: str, client_address: str | None
) -> None:
    async with console(Switchboard(answers=two_workers)) as client:
        _, told = await client.api("GET", "refusals", token=token)
        page = await client.page("/events?show=refusals", token)
        then = f"/events?show=refusals&from={iso(100)}&to={iso(101)}"
        of_a_second = await client.page(then, token)
    assert {row["client"] for row in told["newest"]} == {client_address}
    assert re.findall(r">(\d-\d+)</bdi></code>", of_a_second) == [
        "1-200",
        "0-200",
        "1-100",
        "0-100",
    ]
    assert ("192.0.2.1" in page) is (client_address is not None)
    assert [row["request_id"] for row in told["newest"][:3]] == ["1-200", "0-200", "1-199"]
    assert len(told["newest"]) == 200
