"""Whether spans are exported, and how: what the environment says, and who takes them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import StartError
from headgate_gateway.telemetry import tracing
from headgate_gateway.telemetry.spans import LAST_EXPORT_S
from tests.support.http1 import ask
from tests.support.log_lines import Lines, capture_logs
from tests.support.ports import free_port
from tests.support.serving import PREFIX, get, serving
from tests.support.waiting import until
from tests.telemetry.collector import Collector, collecting, traced
from tests.workers.several import several

if TYPE_CHECKING:
    from tests.support.serving import Serving

REQUESTS = 24  # on as many connections: that all of them go to one worker comes once in 2^23
READ = f"GET {PREFIX}/{{stream}}"


# ---------------------------------------------------------------- the environment


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "a"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a"},
            False,
            id="exporter-none-with-an-endpoint",
        ),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"},
            False,
            id="disabled-in-capitals",
        ),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "no"},
            True,
            id="disabled-with-the-value-no",
        ),
    ],
)
def test_the_environment_decides_if_spans_are_recorded(
    environment: dict[str, str], wanted: bool
) -> None:
    assert tracing.is_enabled(environment) is wanted


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, r"^OTEL_TRACES_EXPORTER is zipkin: it can be "),
        pytest.param(
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            r"^OTEL_EXPORTER_OTLP_PROTOCOL is grpc: only http/protobuf is spoken here$",
            id="grpc",
        ),
    ],
)
def test_an_unsupported_exporter_or_protocol_is_refused_at_the_start(
    environment: dict[str, str], why: str
) -> None:
    with pytest.raises(StartError, match=why):
        tracing.start(environment)


def python(program: str, **environment: str) -> str:
    """What a program prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.usefixtures("processes")
def test_tracing_libraries_are_not_imported_unless_the_environment_asks_for_tracing() -> None:
    program = """if True:
        import asyncio, sys
        from headgate_gateway.process.gateway import Gateway
        from headgate_gateway.settings import Settings
        async def main():
            gateway = Gateway(Settings(storage="memory:"))
            assert gateway._services.tracer is None
        asyncio.run(main())
        print([name for name in sys.modules if name.startswith(("opentelemetry", "requests"))])
    """
    assert python(program) == "[]"


@pytest.mark.usefixtures("processes")
def test_tracing_without_opentelemetry_installed_raises_a_start_error_in_one_sentence() -> None:
    program = """if True:
        import os, sys
        sys.modules["opentelemetry"] = None  # as where it is not installed
        from headgate_gateway.errors import StartError
        from headgate_gateway.telemetry import tracing
        try:
            tracing.start(os.environ)
        except StartError as error:
            print(error.detail)
    """
    assert python(program, OTEL_TRACES_EXPORTER="otlp") == (
        "OTEL_* variables ask for traces, but OpenTelemetry is not installed:"
        " install headgate[otel], or set OTEL_SDK_DISABLED=true"
    )


# ---------------------------------------------------------------- the export


async def test_spans_carry_service_name_and_instance_id_of_their_process(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(get("s"))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
    async with traced() as tracer, serving(tracer=tracer) as gateway:
        await gateway.ask(get("s"))
    one, other = await collector.several(READ, 2)
    assert (one.resource["service.name"], other.resource["service.name"]) == ("headgate", "edge")
    assert one.resource["deployment.environment.name"] == "test"
    assert len({span.resource["service.instance.id"] for span in (one, other)}) == 2


@pytest.mark.usefixtures("processes")
async def test_each_worker_is_an_instance_of_its_own_and_exports_remaining_spans_at_its_stop(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")

    def serve() -> None:
        with several("http://127.0.0.1:9") as server:
            for _ in range(REQUESTS):
                assert ask(server.port, "GET", f"{PREFIX}/s").status == 502
            assert collector.spans == []
            assert server.terminate() == 0

    await asyncio.to_thread(serve)
    requests = collector.named(READ)
    assert len(requests) == REQUESTS
    assert len({span.resource["service.instance.id"] for span in requests}) == 2
    assert {span.resource["service.version"] for span in requests} == {version("headgate")}


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where spans are exported to, and nobody listens yet."""
    port = free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    return port


@pytest.mark.usefixtures("port")
async def test_an_unreachable_collector_does_not_delay_requests_or_the_stop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The queue has room for some of the spans only, and the exporter tries for 10 s."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    loop = asyncio.get_running_loop()
    with capture_logs() as lines:
        async with traced() as tracer, serving(tracer=tracer) as gateway:
            for _ in range(40):
                assert (await gateway.ask(get("s"))).status == 404
            began = loop.time()
        assert loop.time() - began < LAST_EXPORT_S + 2
    assert "Queue full" not in capsys.readouterr().err
    told = [line for line in lines if line["event"] == "tracing.spans_lost"]
    assert [line["spans"] for line in told] == [40]
    assert "Connection refused" in told[0]["reason"]


async def test_failed_exports_and_their_recovery_are_each_logged_once(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.05")
    with capture_logs() as lines:
        async with AsyncExitStack() as last, traced() as tracer, serving(tracer=tracer) as gateway:
            await until(lambda: goes_on(gateway, tracer.exports.failures >= 3))
            collector = await last.enter_async_context(collecting(port))
            await until(lambda: goes_on(gateway, bool(collector.spans)))
    assert events(lines) == [
        "tracing.export_failed",
        "tracing.export_recovered",
        "tracing.spans_lost",
    ]
    assert lines[0]["reason"].startswith("Failed to export spans batch")


def events(lines: Lines) -> list[str]:
    return [line["event"] for line in lines if line["event"].startswith("tracing.")]


async def goes_on(gateway: Serving, is_so: bool) -> bool:
    """Whether it is so; with a span more."""
    await gateway.ask(get("s"))
    return is_so
