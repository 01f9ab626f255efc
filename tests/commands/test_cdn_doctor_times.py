"""What the doctor says of copies that go too soon, and of https URLs without HTTP/2."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING

import pytest

from gateway.tools.cdn_doctor.checks import events
from gateway.tools.cdn_doctor.finding import CheckVerdict
from gateway.tools.cdn_doctor.hints import hint
from tests.commands.deployments import ENVIRONMENT, WAITS, examined, failures, finding
from tests.commands.hop import Faults, hop
from tests.commands.nginx import nginx
from tests.support.ports import free_port
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.tools.cdn_doctor.examination import Examination

pytestmark = pytest.mark.usefixtures("processes")

KEPT_S, LATER_S = 3.0, 4.0
TLS = """
    listen 127.0.0.1:{port} ssl{protocol};
    ssl_certificate {folder}/tls.pem;
    ssl_certificate_key {folder}/tls.key;
    client_max_body_size 0;
    location / {{ proxy_cache off; proxy_buffering off; proxy_pass http://GATEWAY; }}
"""
CERTIFICATE = (
    *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
    *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
    *("-keyout", "tls.key", "-out", "tls.pem"),
)


@pytest.mark.timeout(120)
async def test_the_doctor_finds_a_chunk_evicted_too_early_when_it_looks_later() -> None:
    async def examine(faults: Faults, later_s: float) -> Examination:
        async with hop(gateway.url, faults) as (url, _):
            return await examined(f"{url}/v1/stream", later_s=later_s)

    keeps = Faults(keeps_for_all=True)
    forgets = Faults(keeps_for_all=True, forgets_after_s=KEPT_S)
    low = ENVIRONMENT | {"HEADGATE_LIMITS__MAX_APPEND": "512KiB"}
    with headgate(environment={**WAITS, **low}) as gateway:
        stays, goes, unseen = await asyncio.gather(
            examine(keeps, LATER_S), examine(forgets, LATER_S), examine(forgets, 0)
        )
    assert "the copy of a chunk is there 4 s later (Age: 0)" in finding(stays, "chunks kept").saw
    assert finding(unseen, "chunks kept").verdict is CheckVerdict.PASS
    assert finding(goes, "chunks kept").verdict is CheckVerdict.FAIL
    assert "the copy of a chunk is gone 4 s later" in finding(goes, "chunks kept").saw
    # A limit of the gateway's own is no fault of a hop.
    assert finding(stays, "large append").verdict is CheckVerdict.UNKNOWN
    assert "the body is over max_append" in finding(stays, "large append").saw


@pytest.mark.timeout(120)
async def test_the_doctor_notes_an_https_url_without_http_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 3.0)
    subprocess.run(["openssl", *CERTIFICATE], cwd=tmp_path, capture_output=True, check=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.pem"))
    ports = {"": free_port(), " http2": free_port()}
    lines = {
        f"tls{number}": TLS.format(port=port, protocol=protocol, folder=tmp_path)
        for number, (protocol, port) in enumerate(ports.items())
    }
    with (
        headgate(environment={**WAITS, **ENVIRONMENT}) as gateway,
        nginx(tmp_path, gateway.port, lines),
    ):
        old, new = await asyncio.gather(
            *(examined(f"https://127.0.0.1:{port}/v1/stream") for port in ports.values())
        )
    assert (failures(old), failures(new)) == (set(), set())
    assert finding(old, "HTTP/2").verdict is CheckVerdict.NOTE
    assert "six connections" in finding(old, "HTTP/2").saw
    assert "http2 on" in hint("HTTP/2", old.on_the_way)
    assert finding(new, "HTTP/2").verdict is CheckVerdict.PASS
