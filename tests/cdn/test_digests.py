"""A rendered file answers with its digest, by which the doctor sees that it has drifted."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options, from_settings
from headgate_cdn.render import DIGEST_HEADER, digest_of, render
from headgate_cdn.targets import TARGETS, target
from headgate_doctor import examination
from headgate_doctor.finding import CheckVerdict
from headgate_gateway.settings import Settings
from tests.doctor.deployments import examined, finding
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate
from tests.support.proxy_engines import ENGINES, run_here, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.processes import Headgate

HOST, UPSTREAM = "streams.example.com", "gateway.example.com:4437"
# They lie beside a file that answers.
BESIDE = {name for one in TARGETS.values() for name in one.beside}
# Their own words set no header of one's choice in answers.
SILENT = {"ingress-nginx"}
STREAM = "/v1/stream/s"


# ---------------------------------------------------------------- what the digest is of


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - BESIDE - SILENT))
def test_the_digest_of_a_rendered_file_changes_with_its_options(name: str) -> None:
    def digest(**options: object) -> str:
        made = from_settings(Settings(), host=HOST, upstream=UPSTREAM, **options)
        text = render(target(name), made)
        found = digest_of(target(name), text)
        assert found is not None, "the file does not answer with its digest"
        assert DIGEST_HEADER in text
        return found

    assert digest() == digest()
    assert digest() != digest(poll_s=7)
    assert digest().startswith(f"{name}/")


# ---------------------------------------------------------------- what answers with it


@pytest.fixture(scope="module")
def gateway(processes: None) -> Iterator[Headgate]:
    quick = {"HEADGATE_LIVE__SSE_HEARTBEAT": "1"}
    with headgate(environment={**quick, "HEADGATE_LIVE__LONG_POLL_TIMEOUT": "2"}) as server:
        assert ask(server.port, "PUT", STREAM, b"data", Content_Type="text/plain").status == 201
        yield server


@contextlib.contextmanager
def deployed(name: str, text: str, port: int) -> Iterator[int]:
    one = run_here(name)
    with started(ENGINES[name], {one.file_name: text}, port):
        yield port


def rendered(name: str, gateway: Headgate, port: int, **options: object) -> str:
    one = run_here(name)
    made = Options(
        upstream=f"127.0.0.1:{gateway.port}",
        is_upstream_given=True,
        listen=port,
        host="" if one.can_stand_alone else "localhost",
        standalone=one.can_stand_alone,
        **options,  # type: ignore[arg-type]
    )
    return render(one, made)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "name", ["nginx", "varnish", "haproxy", "caddy", "cloudflare-worker", "vercel"]
)
def test_every_response_through_a_deployed_file_has_its_digest(
    name: str, gateway: Headgate
) -> None:
    port = free_port()
    text = rendered(name, gateway, port)
    digest = digest_of(target(name), text)
    with deployed(name, text, port):
        answers = [
            ask(port, "GET", f"{STREAM}?offset=-1", None),
            ask(port, "GET", f"{STREAM}?offset=-1", None),
            ask(port, "HEAD", STREAM, None),
            ask(port, "GET", "/v1/stream/none?offset=-1", None),
            ask(port, "POST", STREAM, b"more", Content_Type="text/plain"),
        ]
    assert [one.get(DIGEST_HEADER.lower()) for one in answers] == [digest] * len(answers)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("name", ["nginx", "varnish"])
def test_the_sse_response_while_the_gateway_is_away_has_the_digest(name: str) -> None:
    port, nobody = free_port(), free_port()
    upstream = f"127.0.0.1:{nobody}"
    text = render(
        run_here(name),
        Options(upstream=upstream, is_upstream_given=True, listen=port, standalone=True),
    )
    fields = {"Accept": "text/event-stream", "Cache_Control": "no-cache"}
    with deployed(name, text, port):
        answer = ask(port, "GET", f"{STREAM}?offset=-1&live=sse", None, **fields)
    assert answer.status == 200
    assert answer.body.startswith(b": the gateway is away\nretry: ")
    assert answer.get(DIGEST_HEADER.lower()) == digest_of(target(name), text)


# ---------------------------------------------------------------- the doctor


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("change", "verdict", "said"),
    [
        ({}, "pass", "what is deployed is what the settings ask for: nginx/"),
        (
            {"cache_size": 64 << 20},
            "fail",
            "drifted: rendered with other options or by another version, render anew (deployed",
        ),
        (None, "fail", "no answer has Headgate-Config: the file is not deployed, or is older"),
    ],
    ids=["same", "changed", "older"],
)
async def test_the_doctor_finds_that_a_deployed_nginx_file_has_drifted(
    change: dict[str, object] | None,
    verdict: str,
    said: str,
    gateway: Headgate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = tuple(row for row in examination.CHECKS if "configuration" in row.finds)
    monkeypatch.setattr(examination, "CHECKS", rows)
    port = free_port()
    text = rendered("nginx", gateway, port)
    if change is None:
        lines = text.splitlines(keepends=True)
        there = "".join(line for line in lines if DIGEST_HEADER not in line)
    else:
        there = rendered("nginx", gateway, port, **change)
    with deployed("nginx", there, port):
        digest = digest_of(target("nginx"), text)
        found = await examined(f"http://127.0.0.1:{port}/v1/stream", rendered=digest)
    one = finding(found, "configuration")
    assert (one.verdict, said in one.saw) == (CheckVerdict(verdict), True), one
