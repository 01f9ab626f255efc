from __future__ import annotations

import asyncio
import platform
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from headgate_admin.app import build
from headgate_gateway.telemetry.metrics import Sample, counter, gauge
from tests.admin.consoles import Switchboard, setup
from tests.support.admin_server import AdminServer
from tests.support.log_lines import capture_logs

if TYPE_CHECKING:
    from aiohttp.test_utils import TestClient
    from pytest_aiohttp.plugin import AiohttpClient

    from headgate_gateway.features.questions.contract import Answer, Question
    from headgate_gateway.features.questions.process_source import Health
    from headgate_gateway.telemetry.metrics import Snapshot

READS = counter("reads_total", "Reads so far.", "route")
SIZE = gauge("size_bytes", "Bytes now.")
BUILD_HELP = (
    "# HELP headgate_build_info Always 1; the labels name the versions of Headgate and Python."
)
RUNNING = f'{{python="{platform.python_version()}",version="{version("headgate")}"}}'
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; font-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Server": "Headgate",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Broken(Switchboard):
    """Checks that cannot be made, and questions that are answered until `is_broken`."""

    is_broken = False

    async def health(self) -> Health:
        raise RuntimeError("secret of the machine room")

    async def measure(self) -> Snapshot:
        raise RuntimeError("secret of the machine room")

    async def query(self, question: Question) -> list[Answer]:
        if self.is_broken:
            raise RuntimeError("secret of the machine room")
        return []


@pytest.fixture
def switchboard() -> Switchboard:
    return Switchboard({"server": None, "log /v1/stream": None})


@pytest.fixture
async def client(aiohttp_client: AiohttpClient, switchboard: Switchboard) -> TestClient[Any, Any]:
    return await aiohttp_client(AdminServer(build(switchboard, setup())))


@pytest.mark.parametrize(
    ("checks", "notes", "status", "told"),
    [
        ({}, {}, 200, {}),
        ({}, {"origin /r": "is away"}, 200, {"origin /r": "is away"}),
        ({"server": "starting"}, {}, 503, {"server": "starting"}),
        ({"server": "draining"}, {}, 503, {"server": "draining"}),
        ({"log /v1/stream": "is away"}, {}, 503, {"log /v1/stream": "is away"}),
        (
            {"log /v1/stream": "is away"},
            {"log /v1/stream": "full"},
            503,
            {"log /v1/stream": "is away; full"},
        ),
        ({}, {"log /v1/stream": "full"}, 200, {"log /v1/stream": "full"}),
    ],
    ids=[
        *("ready", "ready-with-a-note", "starting", "draining"),
        *("a-log-away", "a-log-away-for-some", "a-log-read-only"),
    ],
)
async def test_readyz_lists_each_check_and_answers_503_if_one_of_them_fails(
    checks: dict[str, str | None],
    notes: dict[str, str | None],
    status: int,
    told: dict[str, str],
    client: TestClient[Any, Any],
    switchboard: Switchboard,
) -> None:
    switchboard.state |= checks
    switchboard.notes |= notes
    reasons = {"server": "ok", "log /v1/stream": "ok", **told}
    served = "degraded" if "log /v1/stream" in notes else "ready"
    verdict = served if status == 200 else "not ready"
    answer = await client.get("/readyz")
    assert (answer.status, answer.content_type) == (status, "application/json")
    assert await answer.json() == {"status": verdict, "checks": reasons}
    verbose = await client.get("/readyz?verbose")
    assert (verbose.status, verbose.content_type) == (status, "text/plain")
    lines = [f"[+] {it} ok" if why == "ok" else f"[-] {it} {why}" for it, why in reasons.items()]
    assert (await verbose.text()).splitlines() == [*lines, verdict]
    alive = await client.get("/healthz")
    assert (alive.status, await alive.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose", "/metrics", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_every_admin_response_has_the_security_headers_and_ends_with_a_newline(
    path: str, method: str, client: TestClient[Any, Any], switchboard: Switchboard
) -> None:
    switchboard.numbers = (Sample(SIZE, (), 1),)
    answer = await client.request(method, path)
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert (await answer.text())[-1:] == ("" if method == "HEAD" else "\n")


METRICS = {
    "text/plain": f"""\
{BUILD_HELP}
# TYPE headgate_build_info gauge
headgate_build_info{RUNNING} 1.0
# HELP reads_total Reads so far.
# TYPE reads_total counter
reads_total{{route="/a"}} 3.0
reads_total{{route="/b"}} 4.0
# HELP size_bytes Bytes now.
# TYPE size_bytes gauge
size_bytes 1024.0
""",
    "application/openmetrics-text": f"""\
{BUILD_HELP}
# TYPE headgate_build_info gauge
headgate_build_info{RUNNING} 1.0
# HELP reads Reads so far.
# TYPE reads counter
reads_total{{route="/a"}} 3.0
reads_total{{route="/b"}} 4.0
# HELP size_bytes Bytes now.
# TYPE size_bytes gauge
size_bytes 1024.0
# EOF
""",
}


@pytest.mark.parametrize("accept", METRICS)
async def test_metrics_are_served_in_either_format_of_prometheus(
    accept: str, client: TestClient[Any, Any], switchboard: Switchboard
) -> None:
    switchboard.numbers = (
        Sample(READS, ("/a",), 3),
        Sample(SIZE, (), 1024),
        Sample(READS, ("/b",), 4),
    )
    answer = await client.get("/metrics", headers={"Accept": accept})
    assert (answer.status, answer.content_type) == (200, accept)
    lines = (await answer.text()).splitlines(keepends=True)
    assert "headgate_admin_connections 0.0\n" in lines
    assert "".join(it for it in lines if "headgate_admin_" not in it) == METRICS[accept]


OPEN, PLAIN = "application/openmetrics-text", "text/plain"
ACCEPTED = {
    "nothing": ("", PLAIN),
    "openmetrics": (OPEN, OPEN),
    "another case": ("Application/OpenMetrics-Text; Version=1.0.0", OPEN),
    "a weight of zero": (f"{OPEN};q=0,{PLAIN}", PLAIN),
    "text before a lighter one": (f"{PLAIN};version=0.0.4,{OPEN};version=1.0.0;q=0.5", PLAIN),
    "text lighter": (f"{PLAIN};q=0.2, {OPEN};version=1.0.0;q=0.5", OPEN),
    "an old version": (f"{OPEN};version=0.0.1,{PLAIN};q=0.1", PLAIN),
    "a new version": (f"{OPEN};version=3.0.0,{OPEN};version=1.0.0;q=0.3,{PLAIN};q=0.2", OPEN),
    "anything": ("*/*", PLAIN),
    "no number": (f"{OPEN};q=much", PLAIN),
    "Prometheus 3": (
        f"{OPEN};version=1.0.0;escaping=allow-utf-8;q=0.5,{OPEN};version=0.0.1;q=0.4,"
        f"{PLAIN};version=1.0.0;escaping=allow-utf-8;q=0.3,{PLAIN};version=0.0.4;q=0.2,*/*;q=0.1",
        OPEN,
    ),
}


@pytest.mark.parametrize(("accept", "content_type"), ACCEPTED.values(), ids=ACCEPTED)
async def test_metrics_have_the_format_that_the_scraper_prefers(
    client: TestClient[Any, Any], switchboard: Switchboard, accept: str, content_type: str
) -> None:
    switchboard.numbers = ()
    answer = await client.get("/metrics", headers={"Accept": accept})
    assert answer.content_type == content_type
    assert (await answer.text()).endswith("# EOF\n") == (content_type == OPEN)


async def test_concurrent_first_requests_to_lazily_loaded_pages_all_succeed(
    client: TestClient[Any, Any],
) -> None:
    paths = [
        "/gateways",
        "/api/v1/about",
        "/static/headgate.css",
        "/gateways",
        "/api/v1/openapi.json",
    ]
    answers = await asyncio.gather(*map(client.get, paths))
    assert [answer.status for answer in answers] == [200] * len(paths)


PROBLEMS = {
    ("GET", "/stats"): (
        404,
        "not_found",
        "The admin listener has /healthz, /metrics, /readyz and /api/v1/openapi.json.",
    ),
    ("POST", "/readyz"): (405, "method_not_allowed", "/readyz answers GET, HEAD."),
    ("GET", "/readyz"): (500, "internal_error", "The log tells what went wrong."),
    ("GET", "/metrics"): (500, "internal_error", "The log tells what went wrong."),
}


@pytest.mark.parametrize("request_line", PROBLEMS, ids=" ".join)
async def test_an_error_is_a_problem_document_and_a_fault_is_logged_without_details(
    request_line: tuple[str, str], aiohttp_client: AiohttpClient
) -> None:
    status, code, detail = PROBLEMS[request_line]
    client: TestClient[Any, Any] = await aiohttp_client(AdminServer(build(Broken(), setup())))
    with capture_logs() as lines:
        answer = await client.request(*request_line)
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    title = code.replace("_", " ").capitalize()
    told = {"type": "about:blank", "title": title, "status": status, "code": code}
    assert await answer.json() == {**told, "detail": detail}
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers.get("Allow") == ("GET, HEAD" if status == 405 else None)
    of_requests = [line for line in lines if line["event"] != "admin.look_failed"]  # the recorder's
    assert [(line["event"], line["exc_info"]) for line in of_requests] == (
        [("admin.request_failed", True)] if status == 500 else []
    )


async def test_an_event_stream_ends_and_is_logged_when_rendering_fails(
    aiohttp_client: AiohttpClient,
) -> None:
    source = Broken()
    client: TestClient[Any, Any] = await aiohttp_client(
        AdminServer(build(source, setup(time.monotonic)))
    )
    events_only = {"Accept": "text/event-stream"}
    answer = await client.get("/events?show=refusals", headers=events_only)
    assert (await answer.content.readline()).startswith(b"event: regions")
    source.is_broken = True
    with capture_logs() as lines:
        await answer.content.read()
    # A look of the recorder, of which there is one in five seconds, fails as well.
    events = [line["event"] for line in lines if line["event"] != "admin.look_failed"]
    assert events == ["admin.events_failed"]
