"""The front gets its certificates from an ACME server, and keeps them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.front.acme import authority, serial_number
from tests.support.processes import ANEW, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("processes")
def test_the_front_gets_its_certificate_by_acme_and_keeps_it_over_a_restart(tmp_path: Path) -> None:
    """An ACME server asks at the ports 443 and 80 alone, so the host is an address of its own."""
    host = "127.{}.{}.{}".format(*(secrets.choice(range(1, 255)) for _ in range(3)))
    with authority(tmp_path / "authority", lifetime_s=1800) as (directory, root):
        environment = {
            "HEADGATE_FRONT__LISTEN": f"{host}:443",
            "HEADGATE_FRONT__DATA": str(tmp_path / "front"),
            "HEADGATE_FRONT__ACME": directory,
            "SSL_CERT_FILE": str(root),
        }
        numbers: set[str] = set()
        for _ in range(2):
            with headgate(
                arguments=("--front", host), environment=environment, preface=ANEW
            ) as server:
                found: list[str | None] = []

                def is_served(found: list[str | None] = found) -> bool:
                    found.append(serial_number(host, 443, root))
                    return found[-1] is not None

                wait_until(is_served, "it has one", server.output)
                numbers.add(str(found[-1]))
        assert len(numbers) == 1
