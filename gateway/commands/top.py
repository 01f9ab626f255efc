"""`headgate top`: a live screen with the busiest streams of a server, its readers and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.commands.options.admin_target import on_admin_listener

if TYPE_CHECKING:
    from gateway.tools.server.target import StreamTarget

SHORTEST_S = 0.5  # the server takes its figures each two seconds


@click.command()
@click.option(
    "--interval",
    "interval_s",
    type=click.FloatRange(SHORTEST_S, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two frames.",
)
@click.option("--once", is_flag=True, help="Print one frame, and end.")
@on_admin_listener
def top(interval_s: float, once: bool, target: StreamTarget) -> None:
    """Watch the streams with the most appends, the clients with the most readers, and refusals.

    On a terminal, the screen is drawn again after each interval; q or Ctrl-C ends it. Otherwise
    frames are printed one below the other. The server must be a Headgate, because its admin
    listener has the figures.
    """
    from gateway.commands.running import run
    from gateway.tools.top.screen import watch

    run(target, watch(target, interval_s, once=once))
