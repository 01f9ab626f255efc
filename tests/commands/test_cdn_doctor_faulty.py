"""A dozen deployments with a fault, each of which the doctor names.

Most are a configuration of Headgate's own with a line changed, so that nothing but this line can be
what is found. The last five are made as guides for other kinds of sites have them, by people who
knew neither streams nor the doctor.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from gateway.commands.cdn_doctor.hints import hint
from tests.cdn.candidates import Candidate
from tests.cdn.origin import headgate_origin
from tests.commands.deployments import POLL_S, examined_together, failures, saw
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, Nginx, Varnish, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.commands.cdn_doctor.examination import Examination
    from tests.cdn.origin import HeadgateOrigin
    from tests.support.proxy_engines import Engine

KEY = "$headgate_path?$headgate_query"


class Changed(NamedTuple):
    """A rendered configuration in which a text stands in the place of another."""

    target: str
    old: str
    new: str
    faults: set[str]
    also: tuple[str, str] = ("", "")

    @contextlib.contextmanager
    def started(self, origin: HeadgateOrigin) -> Iterator[int]:
        port = free_port()
        name, *others = (files := Candidate(self.target).files(port, origin))
        assert self.old in files[name], self
        changed = {name: files[name].replace(self.old, self.new).replace(*self.also)}
        changed |= {other: files[other] for other in others}
        with started(ENGINES[self.target], changed, port):
            yield port


CHANGED: dict[str, Changed] = {
    "only live is in the key": Changed(
        "nginx", KEY, "$headgate_path$arg_live", {"offsets", "cursor"}
    ),
    "offset is not in the key": Changed(
        "nginx", KEY, "$headgate_path$arg_live,$arg_cursor", {"offsets"}
    ),
    "cursor is not in the key": Changed(
        "nginx", KEY, "$headgate_path$arg_live,$arg_offset", {"cursor"}
    ),
    "live is not in the key": Changed(
        "nginx",
        KEY,
        "$headgate_path$arg_offset,$arg_cursor",
        {"headers"},
        # Polls have a cache of their own, whose keys need no live.
        ("proxy_cache headgate_polls;", "proxy_cache headgate;"),
    ),
    "bodies are as long as nginx has them": Changed(
        "nginx", "client_max_body_size 0;", "", {"large append"}
    ),
    "nothing that is kept is found again": Changed(
        "nginx", f'{KEY}"', f'{KEY}$request_id"', {"chunks kept"}
    ),
    "Last-Event-ID is not in the key": Changed(
        "varnish",
        "hash_data(req.http.Last-Event-ID);",
        "",
        {"SSE resume"},
        # Else a busy machine may take longer than the two seconds in which answers are shared.
        ("set beresp.ttl = 2s;", "set beresp.ttl = 20s;"),
    ),
}
# Ways to cache that guides for pages, map tiles and other APIs show, in their least words.
GUIDES: dict[str, tuple[Engine, str, set[str]]] = {
    "as for pages": (
        Nginx(),
        """
        proxy_cache_path cache keys_zone=pages:1m inactive=60m;
        server {
            listen 127.0.0.1:PORT;
            location / {
                proxy_pass http://127.0.0.1:ORIGIN;
                proxy_cache pages;
                proxy_cache_valid 200 302 10m;
                proxy_cache_valid 404 1m;
                add_header X-Cache-Status $upstream_cache_status;
            }
        }
        """,
        {"query order", "credentials", "equal polls", "large append"},
    ),
    "as for files": (
        Nginx(),
        """
        proxy_cache_path cache keys_zone=files:1m inactive=4h;
        proxy_cache_key $scheme$host$uri;
        proxy_cache_valid 1m;
        proxy_read_timeout 10;
        server {
            listen 127.0.0.1:PORT;
            location / { proxy_pass http://127.0.0.1:ORIGIN; proxy_cache files; }
        }
        """,
        {"offsets", "headers", "paths", "credentials", "equal polls", "large append"},
    ),
    "as for what many ask": (
        Nginx(),
        """
        proxy_cache_path cache keys_zone=hot:1m inactive=10m;
        server {
            listen 127.0.0.1:PORT;
            location / {
                proxy_pass http://127.0.0.1:ORIGIN;
                proxy_cache hot;
                proxy_cache_key $scheme$host$uri$args;
                proxy_cache_valid 200 5m;
                proxy_cache_valid 404 1m;
                proxy_cache_use_stale error timeout;
                proxy_cache_lock on;
                add_header X-Cache-Status $upstream_cache_status;
            }
        }
        """,
        {"query order", "paths", "credentials", "204 together", "large append"},
    ),
    "as for an API with a limit": (
        Nginx(),
        """
        limit_req_zone $binary_remote_addr zone=api:1m rate=10r/s;
        server {
            listen 127.0.0.1:PORT;
            location / {
                limit_req zone=api burst=20 nodelay;
                limit_req_status 429;
                proxy_pass http://127.0.0.1:ORIGIN;
                proxy_http_version 1.1;
                proxy_read_timeout 300s;
            }
        }
        """,
        {"rate limit"},
    ),
    "as for map tiles": (
        Varnish(),
        """
        vcl 4.1;
        backend tiles { .host = "127.0.0.1"; .port = "ORIGIN"; .first_byte_timeout = 600s; }
        sub vcl_recv {
            if (req.method != "GET" && req.method != "HEAD") { return (pass); }
            set req.url = regsub(req.url, "\\?.*$", "");
            unset req.http.Cookie;
            return (hash);
        }
        sub vcl_backend_response {
            if (beresp.status >= 200 && beresp.status < 300) { set beresp.ttl = 1d; }
        }
        """,
        {"offsets", "headers", "credentials", "SSE", "HEAD", "empty tail", "poll held"},
    ),
}
NGINX = """
daemon off;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {lines}
}}
"""


@contextlib.contextmanager
def as_guides_say(engine: Engine, text: str, origin: HeadgateOrigin) -> Iterator[int]:
    """The port of a server before the origin, until the block ends."""
    port = free_port()
    text = text.replace("PORT", str(port)).replace("ORIGIN", str(origin.port))
    if isinstance(engine, Nginx):
        text = NGINX.format(lines=text)
    with started(engine, {"configuration": text}, port):
        yield port


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
async def test_the_doctor_names_exactly_the_fault_of_each_faulty_deployment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADGATE_SSE_HEARTBEAT", "1")
    async with contextlib.AsyncExitStack() as end:
        origin = end.enter_context(headgate_origin(POLL_S))
        ports = {name: end.enter_context(one.started(origin)) for name, one in CHANGED.items()}
        for name, (engine, text, _) in GUIDES.items():
            ports[name] = end.enter_context(as_guides_say(engine, text, origin))
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        found = await examined_together(urls)
    assert {name: failures(one) for name, one in found.items()} == {
        **{name: one.faults for name, one in CHANGED.items()},
        **{name: faults for name, (*_, faults) in GUIDES.items()},
    }
    assert "a read at the end of the first chunk was answered with what is at the beginning" in saw(
        found["only live is in the key"], "offsets"
    )
    assert advice(found["bodies are as long as nginx has them"]) == {hint("body limit", ("nginx",))}
    assert advice(found["as for an API with a limit"]) == {hint("rate limit", ("nginx",))}
    assert advice(found["live is not in the key"]) == {hint("live in key", ("nginx",))}
    assert max(one.requests for one in found.values()) <= 165


def advice(examination: Examination) -> set[str]:
    """What is said of all that failed."""
    return {
        hint(one.advice or one.check, examination.on_the_way)
        for one in examination.findings
        if one.is_failure
    }
