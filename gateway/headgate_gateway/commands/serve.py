"""`headgate serve`: the server, with one process or several."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

import click

from headgate_gateway.commands.options.configuration import (
    complain,
    config_option,
    load_settings,
    reread_settings,
)
from headgate_gateway.errors import StartError
from headgate_gateway.tools.shell.exit_status import UNUSABLE

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@config_option
@click.option("--listen", metavar="HOST:PORT", help="Address of the stream listener.")
@click.option(
    "--admin", metavar="HOST:PORT", help="Address of the console, health checks and metrics."
)
@click.option(
    "--storage",
    metavar="URL",
    help="Where streams are stored: file:PATH, memory: or a redis URL.",
)
@click.option("--origin", metavar="URL", help="The http(s) server that has the streams instead.")
@click.option(
    "--auth",
    metavar="KINDS",
    help="Accepted credentials, such as tokens; none lets everybody in.",
)
@click.option(
    "--front",
    metavar="HOSTS",
    help="Host names to serve with TLS, HTTP/2 and HTTP/3 through Caddy. Needs headgate[front].",
)
@click.option("--workers", metavar="N", help="Number of processes that serve streams on one port.")
@click.option("--log-level", "log__level", metavar="LEVEL", help="debug, info, warning or error.")
def serve(config: Path | None, **flags: str | None) -> None:
    """Serve streams until SIGTERM or Ctrl-C.

    The file has all settings, and so has the environment: max_append in [limits] is
    HEADGATE_LIMITS__MAX_APPEND. Flags override the environment, and the environment overrides the
    file.
    """
    # Imports make no garbage: collections among them took a seventh of the start.
    gc.disable()
    settings = load_settings(config, flags)
    from headgate_gateway import trust

    # One collection after this import: it leaves 0.6 MB of discarded classes, whose memory the
    # next imports use.
    with trust.without_authorities():
        import aiohttp.web  # noqa: F401

    gc.collect()
    if settings.workers == 1:
        from headgate_gateway.process.serve import run
    else:
        from headgate_gateway.workers.supervisor import run
    gc.freeze()
    gc.enable()
    try:
        status = run(settings, lambda: reread_settings(config, flags))
    except StartError as refusal:
        complain(f"{refusal.detail}.")
        sys.exit(UNUSABLE)
    sys.exit(status)
