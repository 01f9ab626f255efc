"""nginx before a gateway, with several configurations at once: a server, on a port, for each."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.support.ports import accepts, free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"  # which is not on everybody's PATH
MAIN = """
daemon off;
user {user};
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $request_uri $raw_path {{ "~^(?<path>[^?]*)" $path; }}
    {servers}
}}
"""
SERVER = """
    proxy_cache_path {folder}/{name} keys_zone={name}:1m;
    server {{
        listen 127.0.0.1:{port};
        proxy_cache {name};
        add_header X-Cache-Status $upstream_cache_status always;
        {lines}
    }}
"""


@contextlib.contextmanager
def nginx(folder: Path, gateway: int, servers: Mapping[str, str]) -> Iterator[dict[str, int]]:
    """The ports of servers with these lines, in each of which GATEWAY is its address."""
    ports = {name: free_port() for name in servers}
    written = [
        SERVER.format(folder=folder, name=name, port=ports[name], lines=lines)
        for name, lines in servers.items()
    ]
    main = MAIN.format(folder=folder, user=getpass.getuser(), servers="".join(written))
    config = folder / "nginx.conf"
    config.write_text(main.replace("GATEWAY", f"127.0.0.1:{gateway}"))
    with run(folder, config, list(ports.values())):
        yield ports


@contextlib.contextmanager
def run(folder: Path, config: Path, ports: list[int]) -> Iterator[None]:
    """One nginx, until the block ends."""
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [PROGRAM, "-p", str(folder), "-c", str(config)], stdout=said, stderr=said
        )
    try:
        wait_until(
            lambda: process.poll() is not None or all(map(accepts, ports)), "nginx to listen"
        )
        assert process.poll() is None, (folder / "said").read_text()
        yield
    finally:
        process.terminate()
        process.wait()
