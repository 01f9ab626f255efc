"""What is known of the front's certificates, and of those that Caddy could not get."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.front.certificates import CertificateFailures, find_hosts_with_certificates
from headgate_gateway.telemetry.health import by_name
from tests.front.fronted import HERE
from tests.support.certificates import Authority
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import ANEW, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

HOST = "streams.example"
DAY_S = 24 * 3600
DAYS = 30


def issue(folder: Path, host: str) -> float:
    """Put a certificate into Caddy's folder; return when it was issued, in epoch seconds."""
    place = folder / f"data/certificates/authority/{host}"
    place.mkdir(parents=True)
    (place / f"{host}.crt").write_bytes(Authority.of(folder).issue(days=DAYS).certificate)
    return datetime.datetime.now(datetime.UTC).timestamp()  # noqa: TID251 - certificates have dates


def test_a_host_without_a_certificate_is_noted_until_it_has_one(tmp_path: Path) -> None:
    missing = CertificateFailures(tmp_path, ("a.example", "b.example"), lambda: now)
    now = 0.0
    assert by_name(missing.notes()) == {}
    missing.note_failure("a.example", "refused")
    missing.note_failure("elsewhere.example", "refused")
    assert by_name(missing.notes()) == {"certificate for a.example": "refused"}
    now = issue(tmp_path, "a.example")
    assert find_hosts_with_certificates(tmp_path, ["a.example", "b.example"], now) == ["a.example"]
    assert by_name(missing.notes()) == {}


def test_a_failed_renewal_is_noted_as_one_until_the_certificate_expires(tmp_path: Path) -> None:
    now = issue(tmp_path, "a.example")
    missing = CertificateFailures(tmp_path, ("a.example",), lambda: now)
    now += (DAYS - 5) * DAY_S
    missing.note_failure("a.example", "refused")
    assert by_name(missing.notes()) == {"renewal of the certificate for a.example": "refused"}
    now += 6 * DAY_S
    assert by_name(missing.notes()) == {"certificate for a.example": "refused"}


@pytest.mark.usefixtures("processes")
def test_a_front_whose_authority_cannot_be_reached_needs_attention(tmp_path: Path) -> None:
    environment = {
        "HEADGATE_FRONT__LISTEN": f"{HERE}:{free_port()}",
        "HEADGATE_FRONT__DATA": str(tmp_path / "front"),
        "HEADGATE_FRONT__ACME": f"https://127.0.0.1:{free_port()}/directory",
    }
    with headgate(arguments=("--front", HOST), environment=environment, preface=ANEW) as server:

        def noted() -> list[dict[str, str]]:
            overview = json.loads(ask(server.admin_port, "GET", "/api/v1/overview").body)
            return [
                item
                for item in overview["attention"]
                if item["sentence"].startswith(f"certificate for {HOST}: ")
            ]

        wait_until(lambda: bool(noted()), "it is under Needs attention", server.output)
        (item,) = noted()
        assert item["level"] == "bad"
        assert "connection refused" in item["sentence"]
        answer = ask(server.admin_port, "GET", "/readyz?verbose")
        assert answer.status == 200  # the listener beside the front serves
        assert f"certificate for {HOST}" in answer.body.decode()
