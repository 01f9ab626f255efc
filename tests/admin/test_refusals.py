"""The page of refusals: counts by cause and route, and the newest with what their clients got."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient

from admin.app import build
from gateway.features.questions.contract import ListRefusals, RefusalList
from gateway.telemetry.access_log import RefusedRequest
from tests.admin.consoles import ADMITTED, OPERATOR, VIEWER, Switchboard, setup
from tests.support.admin_server import AdminServer
from tests.support.http1 import ask
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.features.questions.contract import Answer, Question


@pytest.mark.usefixtures("processes")
def test_refusals_are_listed_with_the_sentence_that_the_client_got(
    tmp_path: Path,
) -> None:
    gateway = Headgate(f"file:{tmp_path}")
    try:
        gateway.start()
        sentences = set()
        for number in range(12):
            refused = ask(gateway.port, "GET", f"/v1/stream/none-{number}")
            assert refused.status == 404
            sentences.add(json.loads(refused.body)["detail"])
        ask(gateway.port, "GET", "/v1/stream/none?offset=nonsense&token=s3cret")
        shown = ask(gateway.admin_port, "GET", "/api/v1/refusals", Accept="application/json")
        told = json.loads(shown.body)
        found = [row for row in told["newest"] if row["status"] == 404]
        assert sum(row["count"] for row in found) == 12
        assert {row["detail"] for row in found} == sentences
        assert {(row["route"], row["client"]) for row in found} == {("/v1/stream", "127.0.0.1")}
        assert [row["status"] for row in told["newest"]].count(400) == 1
        assert b"s3cret" not in shown.body
        moments = [row["at"] for row in told["newest"]]
        assert moments == sorted(moments, reverse=True)
    finally:
        gateway.close()


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def two_workers(question: Question) -> Sequence[Answer]:
    """The answers of two workers, with 200 refusals each."""
    if not isinstance(question, ListRefusals):
        return ()
    return [RefusalList(tuple(_refused(worker, n) for n in range(200, 0, -1))) for worker in (0, 1)]


def _refused(worker: int, number: int) -> RefusedRequest:
    at, request_id = number + worker / 2, f"{worker}-{number}"
    return RefusedRequest(at, request_id, "/", 404, "no", "192.0.2.1")


@pytest.mark.parametrize(("token", "client_address"), [(OPERATOR, "192.0.2.1"), (VIEWER, None)])
async def test_only_operators_see_the_addresses_of_refused_clients(
    token: str, client_address: str | None
) -> None:
    app = build(Switchboard(answers=two_workers), setup(admin_tokens=ADMITTED))
    headers = {"Authorization": f"Bearer {token}"}
    async with TestClient(AdminServer(app)) as client:
        told: Any = await (await client.get("/api/v1/refusals", headers=headers)).json()
        page = await (await client.get("/events?show=refusals", headers=headers)).text()
        then = f"/events?show=refusals&from={iso(100)}&to={iso(101)}"
        of_a_second = await (await client.get(then, headers=headers)).text()
    assert {row["client"] for row in told["newest"]} == {client_address}
    assert re.findall(r"<code>(\d-\d+)</code>", of_a_second) == ["1-100", "0-100"]
    assert ("192.0.2.1" in page) is (client_address is not None)
    assert [row["request_id"] for row in told["newest"][:3]] == ["1-200", "0-200", "1-199"]
    assert len(told["newest"]) == 200
