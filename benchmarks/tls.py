"""What TLS costs: cached reads beside plain ones and nginx's, an idle reader, and handshakes.

All servers are up at once on one core, and their clients take short turns on the other. Clients are
written in Python and slower than the servers, so what is compared is the servers' processor time.
"""

from __future__ import annotations

import contextlib
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from typing_extensions import override

from benchmarks.catchup import BODY
from benchmarks.machine import TOOL_CORE, cpu_seconds, resident_bytes
from benchmarks.proxies import NginxProxy
from benchmarks.report import DELAYS, Column, Section, at_least, at_most
from benchmarks.servers import HeadgateServer, on_core
from benchmarks.tls_clients import HERE, READERS
from benchmarks.tools import ToolFailed
from tests.support.certificates import Authority, TlsPaths
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

TURNS = 6
LEAST_OF_PLAIN = 0.45  # of the reads of a second of processor time
LEAST_OF_NGINX = 0.95  # both spend most of it in OpenSSL and in the kernel
DELAY_MS = 20
READER_KB = 64  # as docs/tls.md says
PLAIN, TLS, NGINX = "plain", "TLS", "nginx proxy_cache, TLS"


class TlsServer(HeadgateServer):
    """Headgate with a certificate."""

    def __init__(self, paths: TlsPaths, authority: str) -> None:
        super().__init__("memory:", environment=paths.settings())
        self.label = TLS
        self._authority = authority

    @override
    def create(self, stream: str, content_type: str, body: bytes = b"") -> None:
        context = ssl.create_default_context(cafile=self._authority)
        _create(HTTPSConnection(HERE, self.port, context=context), stream, content_type, body)


class PlainServer(HeadgateServer):
    """Headgate without one."""

    def __init__(self) -> None:
        super().__init__("memory:")
        self.label = PLAIN

    @override
    def create(self, stream: str, content_type: str, body: bytes = b"") -> None:
        _create(HTTPConnection(HERE, self.port), stream, content_type, body)


class TlsNginx(NginxProxy):
    """nginx with the same certificate before an origin, its cache warm and on tmpfs."""

    def __init__(self, paths: TlsPaths) -> None:
        super().__init__(
            NGINX, f"ssl_certificate {paths.certificate};ssl_certificate_key {paths.key};"
        )
        self.configuration = Template(
            NginxProxy.configuration.template.replace("backlog=4096", "ssl backlog=4096")
        )


def _create(connection: HTTPConnection, stream: str, content_type: str, body: bytes) -> None:
    with contextlib.closing(connection):
        connection.request("PUT", f"/v1/stream/{stream}", body, {"Content-Type": content_type})
        if (status := connection.getresponse().status) != 201:
            raise ToolFailed(f"creating {stream}: {status}")


@contextlib.contextmanager
def _certified() -> Iterator[tuple[TlsPaths, str]]:
    """Make a certificate, and the file of its authority."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)  # nginx's worker is not root
        authority = Authority.of(folder)
        yield authority.issue().write(folder), str(authority.file)


def bench_reads(plan: Plan) -> Section:
    """Compare cached reads by TLS with plain ones, and with nginx's by TLS."""
    with contextlib.ExitStack() as stack:
        paths, ca = stack.enter_context(_certified())
        plain = stack.enter_context(PlainServer())
        tls = stack.enter_context(TlsServer(paths, ca))
        nginx = stack.enter_context(TlsNginx(paths))
        for server in (plain, tls, nginx):
            server.create("doc", "application/json", BODY)
        found = _reads([plain, tls, nginx], {PLAIN: "", TLS: ca, NGINX: ca}, plan)
    return Section(
        title=f"cached reads of {len(BODY):,} bytes by TLS",
        columns=(Column("us_each", "processor time us", 1),),
        servers={label: {"64 connections": _medians(runs)} for label, runs in found.items()},
        verdicts=[
            at_least("TLS / plain", _ratio(found, TLS, PLAIN), LEAST_OF_PLAIN),
            at_least("TLS / nginx with TLS", _ratio(found, TLS, NGINX), LEAST_OF_NGINX),
        ],
    )


def bench_idle(_plan: Plan) -> Section:
    """Measure the memory of idle event readers with and without TLS."""
    with contextlib.ExitStack() as stack:
        paths, ca = stack.enter_context(_certified())
        plain = stack.enter_context(PlainServer())
        tls = stack.enter_context(TlsServer(paths, ca))
        for server in (plain, tls):
            server.create("live", "text/plain")
        idle = {PLAIN: _idle(plain, ""), TLS: _idle(tls, ca)}
    return Section(
        title="memory of an idle event reader by TLS",
        columns=(Column("kb_each", "KB each", 1),),
        servers={label: {f"{READERS:,} readers": figures} for label, figures in idle.items()},
        verdicts=[at_most("a reader by TLS", idle[TLS]["kb_each"], READER_KB, "KB")],
    )


def bench_handshakes(plan: Plan) -> Section:
    """Measure how late events come while others do handshakes as fast as they are taken."""
    seconds = plan.milliseconds / 1000
    with contextlib.ExitStack() as stack:
        paths, ca = stack.enter_context(_certified())
        tls = stack.enter_context(TlsServer(paths, ca))
        tls.create("live", "text/plain")
        calm = {"handshakes_per_s": 0.0, **_clients("delays", tls, ca, seconds)}
        amid = _amid_handshakes(tls, ca, seconds)
    longer = amid["p50_ms"] - calm["p50_ms"]
    return Section(
        title="events amid handshakes",
        columns=(
            Column("handshakes_per_s", "handshakes/s"),
            *DELAYS,
            Column("max_ms", "most ms", 1),
        ),
        servers={TLS: {"alone": calm, "amid handshakes": amid}},
        verdicts=[at_most("p50 of an event, longer by", longer, DELAY_MS, "ms")],
    )


def _reads(
    servers: list[Server], authorities: dict[str, str], plan: Plan
) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {server.label: [] for server in servers}
    for turn in range(1 + TURNS * plan.rounds):
        for server in servers if turn % 2 else reversed(servers):
            figures = _read(server, authorities[server.label], plan.milliseconds / 6000)
            if turn:  # the first one warms up
                found[server.label].append(figures)
    return found


def _read(server: Server, ca: str, seconds: float) -> Figures:
    """Read over connections that are there already; return the processor time of each read."""
    with _started("reads", server, ca, seconds) as child:
        _await_ready(child)
        before = cpu_seconds(server.pid)
        output, _ = child.communicate("go\n")
        spent = cpu_seconds(server.pid) - before
    if child.returncode:
        raise ToolFailed(f"{server.label}: {output}")
    return {"us_each": spent / json.loads(output)["count"] * 1e6}


def _await_ready(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    if child.stdout.readline() != "ready\n":
        raise ToolFailed("the clients are not all connected")


def _idle(server: Server, ca: str) -> Figures:
    before = resident_bytes(server.pid)
    with _started("hold", server, ca, 0) as child:
        _await_ready(child)
        server.settle()
        each = (resident_bytes(server.pid) - before) / READERS
        child.communicate("")
    return {"kb_each": each / 1000}


def _amid_handshakes(server: Server, ca: str, seconds: float) -> Figures:
    with _started("handshakes", server, ca, seconds + 1) as child:
        time.sleep(0.5)
        delays = _clients("delays", server, ca, seconds)
        output, _ = child.communicate()
    return {**delays, "handshakes_per_s": json.loads(output)["per_s"]}


@contextlib.contextmanager
def _started(kind: str, server: Server, ca: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    place = (str(server.port), str(server.pid), str(seconds))
    command = [sys.executable, "-m", "benchmarks.tls_clients", kind, *place]
    child = subprocess.Popen(
        [*on_core(TOOL_CORE), *command, *([ca] if ca else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def _clients(kind: str, server: Server, ca: str, seconds: float) -> Figures:
    with _started(kind, server, ca, seconds) as child:
        output, _ = child.communicate()
    if child.returncode:
        raise ToolFailed(f"{server.label}: {output}")
    figures: Figures = json.loads(output)
    return figures


def _medians(runs: list[Figures]) -> Figures:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _ratio(found: dict[str, list[Figures]], ours: str, theirs: str) -> float:
    """Return how many reads of ours take the processor time of one of theirs."""
    pairs = zip(found[ours], found[theirs], strict=True)
    return statistics.median(its["us_each"] / mine["us_each"] for mine, its in pairs)
