"""An ACME server on loopback, and the certificates that it gives."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headgate_gateway.front.caddy_process import find_caddy
from tests.support.ports import free_port
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
