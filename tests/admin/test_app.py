from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from admin.app import build

if TYPE_CHECKING:
    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "Headgate",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass
class Switchboard:
    """Checks that a test sets by hand."""

    state: dict[str, str | None] = field(default_factory=dict)

    def checks(self) -> dict[str, str | None]:
        return self.state


class Broken:
    """Checks that cannot be made."""

    def checks(self) -> dict[str, str | None]:
        raise RuntimeError("secret of the machine room")


@pytest.fixture
def switchboard() -> Switchboard:
    return Switchboard({"server": None, "log /v1/stream": None})


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, switchboard: Switchboard) -> TestClient[Any, Any]:
    return await aiohttp_client(build(switchboard))


async def test_health_is_fine_whatever_readiness_says(
    client: TestClient[Any, Any], switchboard: Switchboard
) -> None:
    switchboard.state["server"] = "starting"
    answer = await client.get("/healthz")
    assert (answer.status, await answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose", "/nothing"])
async def test_every_answer_ends_its_line(path: str, client: TestClient[Any, Any]) -> None:
    assert (await (await client.get(path)).text()).endswith("\n")


async def test_readiness_names_each_check(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/readyz")
    assert answer.status == 200
    assert answer.content_type == "application/json"
    assert await answer.json() == {
        "status": "ready",
        "checks": {"server": "ok", "log /v1/stream": "ok"},
    }


@pytest.mark.parametrize(
    ("check", "reason"),
    [("server", "starting"), ("server", "draining"), ("log /v1/stream", "read-only: disk full")],
)
async def test_one_reason_is_enough_not_to_be_ready(
    check: str, reason: str, client: TestClient[Any, Any], switchboard: Switchboard
) -> None:
    switchboard.state[check] = reason
    answer = await client.get("/readyz")
    assert answer.status == 503
    checks = {"server": "ok", "log /v1/stream": "ok"} | {check: reason}
    assert await answer.json() == {"status": "not ready", "checks": checks}


async def test_readiness_follows_the_checks_from_request_to_request(
    client: TestClient[Any, Any], switchboard: Switchboard
) -> None:
    statuses = []
    for reason in (None, "draining", None):
        switchboard.state["server"] = reason
        statuses.append((await client.get("/readyz")).status)
    assert statuses == [200, 503, 200]


async def test_verbose_readiness_has_one_line_a_check(
    client: TestClient[Any, Any], switchboard: Switchboard
) -> None:
    ready = await client.get("/readyz?verbose")
    assert ready.content_type == "text/plain"
    assert (ready.status, await ready.text()) == (
        200,
        "[+] server ok\n[+] log /v1/stream ok\nready\n",
    )
    switchboard.state["server"] = "draining"
    draining = await client.get("/readyz?verbose=1")
    assert (draining.status, await draining.text()) == (
        503,
        "[-] server draining\n[+] log /v1/stream ok\nnot ready\n",
    )


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_every_answer_has_the_security_headers(
    path: str, method: str, client: TestClient[Any, Any]
) -> None:
    answer = await client.request(method, path)
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS


async def test_an_unknown_path_is_told_what_there_is(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/metrics")
    assert (answer.status, answer.content_type) == (404, "application/problem+json")
    assert await answer.json() == {
        "title": "Not Found",
        "status": 404,
        "detail": "The admin listener has /healthz, /readyz.",
    }


async def test_an_unknown_method_is_told_what_is_allowed(client: TestClient[Any, Any]) -> None:
    answer = await client.post("/readyz")
    assert (answer.status, answer.content_type) == (405, "application/problem+json")
    assert answer.headers["Allow"] == "GET, HEAD"
    assert await answer.json() == {
        "title": "Method Not Allowed",
        "status": 405,
        "detail": "/readyz answers GET, HEAD.",
    }


async def test_a_fault_is_a_problem_that_gives_nothing_away(
    aiohttp_client: AiohttpClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await aiohttp_client(build(Broken()))
    answer = await client.get("/readyz")
    assert (answer.status, answer.content_type) == (500, "application/problem+json")
    assert await answer.json() == {
        "title": "Internal Server Error",
        "status": 500,
        "detail": "The log tells what went wrong.",
    }
    assert answer.headers["Cache-Control"] == "no-store"
    assert "secret of the machine room" in "".join(capsys.readouterr())
