"""The front gets its certificates from an ACME server, and keeps them."""

from __future__ import annotations

import os
import secrets
import socket
import ssl
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.front.binary import find_caddy
from tests.support.ports import free_port
from tests.support.processes import ANEW, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUTHORITY = """
{
	admin off
	persist_config off
	skip_install_trust
	storage file_system data
	auto_https disable_redirects
	servers {
		protocols h1 h2
	}
}
https://localhost:%(port)d {
	bind 127.0.0.1
	tls internal
	acme_server {
		lifetime %(lifetime_s)ds
		allow {
			ip_ranges 127.0.0.0/8
		}
	}
}
"""


@contextmanager
def authority(folder: Path, lifetime_s: int) -> Iterator[tuple[str, Path]]:
    """An ACME server, whose certificates last so long: its directory, and its root certificate."""
    folder.mkdir()
    port = free_port()
    (folder / "Caddyfile").write_text(AUTHORITY % {"port": port, "lifetime_s": lifetime_s})
    command = [str(find_caddy()), "run", "--adapter", "caddyfile", "--config", "Caddyfile"]
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stderr=log, stdout=log, env={**os.environ, **home}
        )
    root = folder / "data/pki/authorities/local/root.crt"
    try:
        wait_until(
            lambda: serial_number("localhost", port, root) is not None, "the authority serves"
        )
        yield f"https://localhost:{port}/acme/local/directory", root
    finally:
        process.kill()
        process.wait()


def serial_number(host: str, port: int, root: Path, address: str = "") -> str | None:
    """The serial number of a certificate that the root vouches for; None without one."""
    try:
        context = ssl.create_default_context(cafile=str(root))
        with (
            socket.create_connection((address or host, port), 5) as plain,
            context.wrap_socket(plain, server_hostname=host) as by_tls,
        ):
            return str((by_tls.getpeercert() or {})["serialNumber"])
    except OSError:
        return None


def test_the_front_gets_its_certificate_by_acme_and_keeps_it_over_a_restart(tmp_path: Path) -> None:
    """An ACME server asks at the ports 443 and 80 alone, so the host is an address of its own."""
    host = "127.{}.{}.{}".format(*(secrets.choice(range(1, 255)) for _ in range(3)))
    arguments = ["--front", host, "--front-listen", f"{host}:443"]
    with authority(tmp_path / "authority", lifetime_s=1800) as (directory, root):
        environment = {
            "HEADGATE_FRONT_DATA": str(tmp_path / "front"),
            "HEADGATE_FRONT_ACME": directory,
            "HEADGATE_FRONT_ACME_ROOT": str(root),
        }
        numbers: set[str] = set()
        for _ in range(2):
            with headgate(arguments=arguments, environment=environment, preface=ANEW) as server:
                found: list[str | None] = []

                def is_served(found: list[str | None] = found) -> bool:
                    found.append(serial_number(host, 443, root))
                    return found[-1] is not None

                wait_until(is_served, "it has one", server.output)
                numbers.add(str(found[-1]))
        assert len(numbers) == 1
