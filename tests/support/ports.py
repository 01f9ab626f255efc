"""Loopback ports for the servers of tests."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections import deque
from pathlib import Path

HOST = "127.0.0.1"
_SPAN = 20_000
_UNPRIVILEGED = 1024
_MOST_CLAIMS = 200  # descriptors that are held, of the 1,024 that a process often may have
_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_claims: deque[int] = deque()  # descriptors
_last = secrets.randbelow(_SPAN)  # `random` gives the same to every process of a test run


def accepts(port: int, host: str = HOST) -> bool:
    """Whether something listens on it at an address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        return probe.connect_ex((host, port)) == 0


def free_port() -> int:
    """A TCP port that nothing listens on, and that is nobody else's for a while.

    The kernel gives it to no outgoing connection: a server that is down finds it free again, and
    whoever keeps trying to reach that server is not connected to himself. Other processes that
    call this are kept from it by a claim, which is the UDP port of the same number.
    """
    global _last
    lowest = int(_KERNEL.read_text().split()[0])
    while True:
        _last = (_last + 1) % _SPAN
        port = max(_UNPRIVILEGED, lowest - _SPAN) + _last
        with (
            socket.socket() as probe,
            socket.socket(type=socket.SOCK_DGRAM) as claim,
            contextlib.suppress(OSError),
        ):
            claim.bind((HOST, port))
            probe.bind((HOST, port))
            _claims.append(claim.detach())
            if len(_claims) > _MOST_CLAIMS:
                os.close(_claims.popleft())
            return port
