"""Deployments with a fault, each of which the doctor names.

Each is a configuration of Headgate's own with a line changed, so that nothing but this line can be
what is found.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_doctor.advice import ADVICE
from tests.cdn.candidates import Candidate
from tests.cdn.origin import headgate_origin
from tests.doctor.deployments import POLL_S, examined_together, failures, saw
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_cdn.options import CredentialMode
    from headgate_doctor.examination import Examination
    from tests.cdn.origin import HeadgateOrigin

KEY = "$headgate_path?$headgate_query"


class Changed(NamedTuple):
    """A rendered configuration in which a text stands in the place of another."""

    target: str
    old: str
    new: str
    faults: set[str]
    also: tuple[str, str] = ("", "")
    credentials: CredentialMode = "bypass"

    @contextlib.contextmanager
    def started(self, origin: HeadgateOrigin) -> Iterator[int]:
        port = free_port()
        name, *others = (files := Candidate(self.target, self.credentials).files(port, origin))
        assert self.old in files[name], self
        changed = {name: files[name].replace(self.old, self.new).replace(*self.also)}
        changed |= {other: files[other] for other in others}
        with started(ENGINES[self.target], changed, port):
            yield port


CHANGED: dict[str, Changed] = {
    "only live is in the key": Changed(
        "nginx", KEY, "$headgate_path$arg_live", {"offsets", "cursor", "queries", "headers"}
    ),
    "offset is not in the key": Changed(
        "nginx", KEY, "$headgate_path$arg_live,$arg_cursor", {"offsets", "queries"}
    ),
    "cursor is not in the key": Changed(
        "nginx", KEY, "$headgate_path$arg_live,$arg_offset", {"cursor"}
    ),
    "live is not in the key": Changed(
        "nginx",
        KEY,
        "$headgate_path$arg_offset,$arg_cursor",
        {"headers", "queries"},
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
        {"SSE kept", "Last-Event-ID"},
        # Else a busy machine may take longer than the two seconds in which answers are shared.
        ("set beresp.ttl = 2s;", "set beresp.ttl = 20s;"),
    ),
    "requests of an address are limited": Changed(
        "nginx",
        "client_max_body_size 0;",
        "client_max_body_size 0; limit_req zone=api burst=20 nodelay; limit_req_status 429;",
        {"rate limit"},
        ("http {", "http { limit_req_zone $binary_remote_addr zone=api:1m rate=10r/s;"),
    ),
}


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
async def test_the_doctor_names_exactly_the_fault_of_each_faulty_deployment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADGATE_LIVE__SSE_HEARTBEAT", "1")
    async with contextlib.AsyncExitStack() as end:
        origin = end.enter_context(headgate_origin(POLL_S))
        ports = {name: end.enter_context(one.started(origin)) for name, one in CHANGED.items()}
        urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        found = await examined_together(urls)
    assert {name: failures(one) for name, one in found.items()} == {
        name: one.faults for name, one in CHANGED.items()
    }
    assert "chunk was answered with what is at the " in saw(
        found["only live is in the key"], "offsets"
    )
    assert advice(found["bodies are as long as nginx has them"]) == {ADVICE["body limit"]}
    assert advice(found["requests of an address are limited"]) == {ADVICE["rate limit"]}
    assert advice(found["live is not in the key"]) == {ADVICE["live in key"]}
    assert max(one.requests for one in found.values()) <= 240


def advice(examination: Examination) -> set[str]:
    """What is said of all that failed."""
    return {ADVICE[one.advice or one.check] for one in examination.findings if one.is_failure}
