"""Catch-up reads of one 9 KB answer over keep-alive connections."""

from __future__ import annotations

import tempfile
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.proxies import PLAIN_NGINX, nginx_with_open_files, plain_nginx
from benchmarks.report import CORES, DELAYS, Column, Section, against, at_least
from benchmarks.rounds import medians, undisturbed
from benchmarks.servers import HeadgateServer, Reference
from benchmarks.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.rounds import Plan
    from benchmarks.servers import Server
    from benchmarks.tools import Figures

# A hundred messages of 89 bytes, which every server gives back as one array without spaces.
BODY = b"[%s]" % b",".join(b'{"i":"%03d","text":"%s"}' % (i, b"y" * 68) for i in range(100))
PATH = "/v1/stream/doc?offset=-1"
# Of the reads of 64 connections, by which each other server's divide ours.
LEAST = {"reference": 7, PLAIN_NGINX: 1.2, "electric": 2.7}


def bench(plan: Plan) -> Section:
    """Headgate against nginx's cache, the reference server and the peers at hand."""
    loads = plan.loads([64], 1, 256)
    with tempfile.NamedTemporaryFile() as body:
        body.write(BODY)
        body.flush()

        def measure(server: Server) -> Iterator[tuple[str, Figures]]:
            server.create("doc", "application/json", BODY)
            run("load", "get", server.port, 64, 1000, server.pid, body.name, PATH)  # warms up
            for connections in loads:
                arguments = (server.port, connections, plan.milliseconds, server.pid)
                once = partial(run, "load", "get", *arguments, body.name, PATH)
                yield f"{connections} connections", undisturbed(once)

        found = medians(
            plan,
            [
                lambda: HeadgateServer("memory:"),
                plain_nginx,
                nginx_with_open_files,
                Reference,
                *peers.at_hand(),
            ],
            measure,
        )
    return Section(
        title=f"catch-up reads of {len(BODY):,} bytes",
        columns=(Column("per_s", "reads/s"), *DELAYS, *CORES),
        servers=found,
        verdicts=against(
            at_least, found, "headgate memory:", "64 connections", ("reads", "per_s"), LEAST
        ),
    )
