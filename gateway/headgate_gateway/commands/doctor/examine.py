"""`headgate doctor`: find faults of a Redis or a running server."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate_gateway.commands.options.configuration import complain, config_option, load_settings
from headgate_gateway.commands.options.server import on_admin_listener
from headgate_gateway.tools.shell.exit_status import UNUSABLE

if TYPE_CHECKING:
    from headgate_gateway.settings import Route
    from headgate_gateway.tools.server.target import StreamTarget


@click.command("redis")
@click.argument("url", required=False, metavar="[URL]")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def doctor_redis(url: str | None, config: Path | None, as_json: bool) -> None:
    """Say what a Redis's settings mean for streams.

    Without a URL, the command examines the Redis of each route in the settings. It changes nothing
    there. The exit status is 1 if it finds an error, and 69 if it cannot examine a Redis.
    """
    from headgate_gateway.settings.log_kinds.redis import KIND

    if url is None:
        table = load_settings(config, {}).route_table
        routes = [it for it in table if it.log_kind is KIND]
    else:
        routes = [_route_to(url)]
    if not routes:
        complain(
            "no route has its streams in Redis: give a URL such as redis://127.0.0.1:6379, or the "
            "settings by --config FILE."
        )
        sys.exit(UNUSABLE)
    from headgate_gateway.tools.redis_doctor import report

    sys.exit(report.run(routes, as_json=as_json))


def _route_to(url: str) -> Route:
    """Return a route with nothing but defaults, like that of HEADGATE_STORAGE alone."""
    from headgate.names import with_scheme
    from headgate.redis_url import parse_redis
    from headgate_gateway.settings import Settings

    try:
        parse_redis(url)
    except ValueError as refusal:
        # Another URL is not repeated: there may be a password in it.
        meant = with_scheme(url, "redis")
        hint = f": write {meant}" if meant else ""
        raise click.UsageError(f"URL {refusal}{hint}.") from refusal
    return Settings(storage=url).route_table[0]


@click.command()
@click.argument(
    "file", type=click.Path(dir_okay=False, path_type=Path), default="headgate-debug.tar.gz"
)
@on_admin_listener
def debug(file: Path, target: StreamTarget) -> None:
    """Write an archive for a bug report.

    The command takes ten seconds. The archive has settings without secrets, versions, metrics and
    figures of the console. For a server on this machine it also has limits, descriptors by kind,
    processor time by thread and the last log lines. It has no data of streams.
    """
    from headgate_gateway.commands.running import run
    from headgate_gateway.process.running_servers import running_servers
    from headgate_gateway.tools.debug_bundle import bundle

    at = target.url.removesuffix("/api").rstrip("/")
    pids = [it.pid for it in running_servers(os.environ) if it.admin.rstrip("/") == at]
    run(target, bundle(target, pids[0] if len(pids) == 1 else None, file))
