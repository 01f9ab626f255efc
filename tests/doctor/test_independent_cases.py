"""Deployments whose authors knew what operators write, and not what the doctor looks at.

Each has one fault that readers or writers were seen to suffer from, before the doctor was asked.
Some are right, though no file of Headgate's looks like them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_doctor import examination, probe_sender
from headgate_doctor.finding import CheckVerdict
from tests.commands.nginx import nginx
from tests.doctor.deployments import (
    WAITS,
    examined,
    examined_together,
    failures,
    finding,
    saw,
)
from tests.doctor.hop import Faults, hop
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.proxy_engines import HAProxy, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")


HOST = "proxy_set_header Host $http_host;"
PASS = (
    "proxy_buffering off; proxy_request_buffering off; client_max_body_size 0;"
    f"proxy_http_version 1.1; {HOST}"
)
# Chunks alone are kept: what is live, at the tail or for one reader goes by the cache.
CHUNKS = (
    f"client_max_body_size 0; {HOST} proxy_cache_convert_head off; proxy_cache_methods GET;"
    "proxy_cache_key $http_host$request_uri; set $past $arg_live$http_authorization$http_cookie;"
    "if ($arg_offset = now) { set $past 1; } if ($request_method = HEAD) { set $past 1; }"
    "proxy_no_cache $past; proxy_cache_bypass $past;"
)
KEPT = "location / { proxy_pass http://GATEWAY; }"
ON = "location / { proxy_cache off; proxy_pass http://GATEWAY; %s }"
NGINX: dict[str, tuple[str, set[str]]] = {
    "a 404 is the site's front page": (
        f"{PASS} proxy_intercept_errors on; error_page 404 =200 /index.html;"
        "location = /index.html { internal; default_type text/html; return 200 '<h1>Hello</h1>'; }"
        + ON
        % "",
        {"early 404", "removal", "deleted tail"},
    ),
    "refusals are the site's error page": (
        f"{PASS} proxy_intercept_errors on; error_page 400 403 404 409 410 502 503 504 /error.html;"
        "location = /error.html { internal; return 409 'Sorry'; }" + ON % "",
        {"refusals"},
    ),
    "requests are mirrored to the same server": (
        PASS
        + "location = /copy { proxy_cache off; proxy_pass http://GATEWAY$request_uri; }"
        + ON % "mirror /copy;",
        {"sent once"},
    ),
    "browsers keep all for four hours": (
        PASS + ON % "expires 4h;",
        {"browsers' copies", "headers"},
    ),
    "other sites are allowed twice": (
        PASS + ON % "add_header Access-Control-Allow-Origin * always;",
        {"CORS", "headers", "refusals"},
    ),
    "preflights are answered as a page about CORS has it": (
        PASS + ON % "if ($request_method = OPTIONS) { add_header Access-Control-Allow-Origin *;"
        "add_header Access-Control-Allow-Methods 'GET, POST, OPTIONS';"
        "add_header Access-Control-Allow-Headers 'DNT,User-Agent,Cache-Control,Content-Type,Range';"
        "return 204; }",
        {"CORS"},
    ),
    "POST is answered from a copy": (
        f"{CHUNKS.replace('methods GET', 'methods GET HEAD POST')} proxy_ignore_headers"
        f" Cache-Control; proxy_cache_valid 204 10s; {KEPT}",
        {"POST body", "statuses"},
    ),
    "HEAD is refused": (
        PASS + ON % "if ($request_method = HEAD) { return 405; }",
        {"HEAD"},
    ),
    "Cache-Control is removed": (
        PASS + ON % "proxy_hide_header Cache-Control;",
        {"browsers' copies"},
    ),
    "browsers keep all for half a minute": (PASS + ON % "expires 30s;", {"browsers' copies"}),
    "heads of a KiB": (
        PASS.replace("proxy_buffering off;", "proxy_buffer_size 820; proxy_buffers 8 820;")
        + ON % "proxy_busy_buffers_size 1640;",
        {"headers"},
    ),
    "nginx that passes all on": (
        PASS + ON % "add_header Strict-Transport-Security max-age=9;",
        set(),
    ),
    "nginx that keeps chunks alone": (CHUNKS + KEPT, set()),
}
HAPROXY = """
global
    maxconn 4000
defaults
    mode http
    option http-no-delay
    timeout connect 5s
    timeout client 90s
    timeout server 90s
"""
ONE = "server one 127.0.0.1:ORIGIN"
ORIGINS = ("https://one.example", "https://other.example")
# What stands before a gateway whose pages are named one by one.
LISTED: dict[str, tuple[str, set[str], tuple[str, ...]]] = {
    "Vary is ignored": (
        f"{CHUNKS} proxy_ignore_headers Cache-Control Vary; proxy_cache_valid 200 1s; {KEPT}",
        {"CORS"},
        ORIGINS,
    ),
    "Origin is in the key": (
        f"{CHUNKS.replace('$request_uri', '$request_uri$http_origin')} {KEPT}",
        set(),
        ORIGINS,
    ),
    "nothing is kept for pages": (PASS + ON % "", set(), ORIGINS),
}
# What stands in a proxy, and what it finds.
PROXIES: dict[str, tuple[str, set[str]]] = {
    "Producer fields are dropped": (
        f"http-request del-header Producer- -m beg\n    {ONE}",
        {"repeated append"},
    ),
    "two servers with streams of their own": (
        f"balance roundrobin\n    {ONE}\n    server two 127.0.0.1:OTHER",
        {"one server"},
    ),
    "HAProxy that compresses": (
        "compression algo gzip\n    compression type text/plain application/json\n    "
        f"option forwardfor\n    http-response del-header Server\n    {ONE} check",
        set(),
    ),
}
HOPS: dict[str, tuple[Faults, set[str]]] = {
    "a Worker reads answers as text": (Faults(reads_as_text=True), {"POST body"}),
    "Stream-Cursor is stripped": (Faults(drops_from_reads=("Stream-Cursor",)), {"headers"}),
    "Stream-Up-To-Date is stripped": (
        Faults(drops_from_reads=("Stream-Up-To-Date",)),
        {"headers"},
    ),
    "Stream-Next-Offset is stripped": (
        Faults(drops_from_reads=("Stream-Next-Offset",)),
        {"headers"},
    ),
    "ETag is stripped": (Faults(drops_from_reads=("ETag",)), {"headers"}),
    "Access-Control-Allow-Origin is stripped": (
        Faults(drops_from_reads=("Access-Control-Allow-Origin",)),
        {"CORS"},
    ),
    "OPTIONS is refused": (Faults(refuses=("OPTIONS",)), {"CORS"}),
    "responses are cut": (Faults(cuts_responses_at=100_000), {"large append", "offsets"}),
    "responses have a few fields": (
        Faults(most_fields=16),
        {"headers"},
    ),
    "paths are in lower case": (Faults(lowers_paths=True), {"paths"}),
    "a 404 is kept": (Faults(keeps_404=True), {"early 404"}),
}
EXPECTED = {name: faults for name, (_, faults) in [*NGINX.items(), *PROXIES.items(), *HOPS.items()]}
# What waits for polls and events, which nothing here has a fault in, and every other module plays.
WAITING = {"equal polls", "204 together", "SSE"}


@contextlib.contextmanager
def haproxy(gateway: int, other: int) -> Iterator[dict[str, int]]:
    """One HAProxy, with a port for each of the proxies."""
    ports = {name: free_port() for name in PROXIES}
    listening = [
        f"listen p{port}\n    bind 127.0.0.1:{port}\n    {PROXIES[name][0]}\n"
        for name, port in ports.items()
    ]
    text = HAPROXY + "".join(listening)
    text = text.replace("ORIGIN", str(gateway)).replace("OTHER", str(other))
    with started(HAProxy(), {"configuration": text}, max(ports.values())):
        yield ports


@pytest.mark.timeout(120)
async def test_the_doctor_names_faults_of_configurations_written_blind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in examination.CHECKS if WAITING.isdisjoint(row.finds)]
    monkeypatch.setattr(examination, "CHECKS", tuple(rows))
    lines = {f"n{turn}": lines for turn, (lines, _) in enumerate(NGINX.values())}
    async with contextlib.AsyncExitStack() as end:
        gateway = end.enter_context(headgate(environment=WAITS))
        other = end.enter_context(headgate(environment=WAITS))
        ports = end.enter_context(nginx(tmp_path, gateway.port, lines))
        ports = dict(zip(NGINX, ports.values(), strict=True))
        ports |= end.enter_context(haproxy(gateway.port, other.port))
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        for name, (faults, _) in HOPS.items():
            urls[name], _ = await end.enter_async_context(hop(gateway.url, faults))
        found = await examined_together(urls)
    assert {name: failures(one) for name, one in found.items()} == EXPECTED
    causes = {one.advice for name in EXPECTED for one in found[name].findings if one.is_failure}
    for name in ("Stream-Cursor", "Stream-Up-To-Date", "Stream-Next-Offset", "ETag"):
        assert f" has no {name}" in saw(found[f"{name} is stripped"], "headers")
    assert "Access-Control-Allow-Origin" in saw(
        found["Access-Control-Allow-Origin is stripped"], "CORS"
    )
    assert causes - {None} == {
        *("error pages", "CORS twice", "preflight", "rewritten"),
        *("cut responses", "POST kept", "long heads", "HEAD refused", "browsers' copies"),
    }


@pytest.mark.timeout(120)
async def test_the_doctor_names_a_hop_that_ignores_vary_where_pages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in examination.CHECKS if "CORS" in row.finds]
    monkeypatch.setattr(examination, "CHECKS", tuple(rows))
    environment = {"HEADGATE_HTTP__CORS_ORIGINS": ",".join(ORIGINS)}
    lines = {f"n{turn}": lines for turn, (lines, *_) in enumerate(LISTED.values())}
    with (
        headgate(environment={**WAITS, **environment}) as gateway,
        nginx(tmp_path, gateway.port, lines) as ports,
    ):
        urls = [f"http://127.0.0.1:{port}/v1/stream" for port in ports.values()]
        given = await asyncio.gather(*(examined(url, origins=ORIGINS) for url in urls))
        unknown = await examined(urls[-1])
    expected = [faults for _, faults, _ in LISTED.values()]
    assert [failures(one) for one in given] == expected
    assert finding(given[0], "CORS").advice == "Vary"
    assert finding(unknown, "CORS").verdict is CheckVerdict.NOTE


@pytest.mark.timeout(120)
async def test_the_doctor_names_a_vary_that_is_too_long_for_nginx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in examination.CHECKS if "headers" in row.finds]
    monkeypatch.setattr(examination, "CHECKS", tuple(rows))
    sizes = {"n0": 128, "n1": 129}
    lines = {name: PASS + ON % f"add_header Vary {'x' * size};" for name, size in sizes.items()}
    with (
        headgate(environment=WAITS) as gateway,
        nginx(tmp_path, gateway.port, lines) as ports,
    ):
        urls = [f"http://127.0.0.1:{port}/v1/stream" for port in ports.values()]
        found = [finding(await examined(url), "headers") for url in urls]
    assert [one.verdict for one in found] == [CheckVerdict.PASS, CheckVerdict.NOTE]
    assert "129 characters" in found[1].saw


@pytest.mark.timeout(120)
async def test_the_doctor_names_waiting_readers_that_use_up_the_connections_of_a_hop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [row for row in examination.CHECKS if not {"equal polls", "HEAD"}.isdisjoint(row.finds)]
    monkeypatch.setattr(examination, "CHECKS", tuple(rows))
    monkeypatch.setattr(probe_sender, "ANSWER_S", 2.0)
    port = free_port()
    with headgate(environment={"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "3"}) as gateway:
        few = f"listen few\n    bind 127.0.0.1:{port}\n    server one 127.0.0.1:{gateway.port}"
        with started(HAProxy(), {"configuration": f"{HAPROXY}{few} maxconn 8\n"}, port):
            found = await examined(f"http://127.0.0.1:{port}/v1/stream")
    assert failures(found) == {"waiting readers"}
    assert "and one after them has" in finding(found, "waiting readers").saw
