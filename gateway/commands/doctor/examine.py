"""`headgate doctor`: find faults of a CDN, a Redis or a running server."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.commands.options.admin_target import (
    admin_target,
    admin_token_option,
    on_admin_listener,
)
from gateway.commands.options.configuration import complain, config_option, load_settings
from gateway.commands.options.home import ca_file_of, cacert_option
from gateway.tools.shell.exit_status import UNUSABLE

if TYPE_CHECKING:
    from gateway.settings import Route
    from gateway.tools.server.target import StreamTarget

_DIGEST = re.compile(r"[a-z-]{1,64}/[0-9a-f]{16}")


@click.command("cdn")
@click.argument("url", metavar="URL")
@click.option(
    "--admin",
    metavar="URL",
    help="URL of the admin listener of the gateway behind it, to use its own counts.",
)
@admin_token_option
@click.option(
    "--for",
    "later_s",
    type=click.FloatRange(0, 86400),
    default=0,
    metavar="SECONDS",
    help="After this time, check again that a whole chunk is still cached.",
)
@click.option(
    "--rendered",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File of headgate cdn render: check that this version of it is deployed.",
)
@click.option(
    "--digest",
    metavar="DIGEST",
    help="Digest that responses should have, instead of --rendered.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="Web origin whose pages may read: give two, to see that each gets its own responses.  "
    "[default: http.cors_origins of the settings, with --config or --admin]",
)
@cacert_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor_cdn(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    url: str,
    admin: str | None,
    admin_token: Path | None,
    later_s: float,
    rendered: Path | None,
    digest: str | None,
    origins: tuple[str, ...],
    config: Path | None,
    *,
    as_json: bool,
) -> None:
    """Find faults of a proxy or CDN in front of a server.

    The command creates streams with random names below the URL, reads them, appends to them and
    deletes them, with at most 300 requests. It sends the value of STREAM_AUTH as their
    Authorization. It only reads with the value of STREAM_READ_AUTH, a read token. With --rendered,
    it renders the file again with the settings (--config), and compares its digest with that of the
    responses. The exit status is 1 if something is wrong, and 2 if the URL cannot be examined.
    """
    if math.isnan(later_s):
        raise click.BadParameter("it must be a number of seconds.", param_hint="--for")
    if admin is None and admin_token is not None:
        raise click.UsageError("--admin-token needs --admin.")
    if rendered is not None and digest is not None:
        raise click.UsageError("--rendered and --digest exclude each other.")
    if digest is not None and _DIGEST.fullmatch(digest) is None:
        raise click.BadParameter("it is like nginx/4b377d29c24c42d1.", param_hint="--digest")
    from gateway.tools.cdn_doctor import report
    from gateway.tools.cdn_doctor.deployment import ExaminationOptions
    from gateway.tools.cdn_doctor.streams import first_target, reader_of

    try:
        target = replace(first_target(url, os.environ), ca_file=ca_file_of(ctx))
        reader = reader_of(url, os.environ)
    except ValueError as refusal:
        raise click.BadParameter(str(refusal), param_hint="URL") from refusal
    admin_at = None if admin is None else _admin(admin, admin_token, ctx)
    digest = digest if rendered is None else _digest(rendered, config)
    found = report.run(
        target.shown.rpartition("/")[0],
        target,
        admin_at,
        ExaminationOptions(later_s, reader, digest, _origins(origins, config)),
        as_json=as_json,
    )
    sys.exit(found)


def _admin(url: str, token_file: Path | None, ctx: click.Context) -> StreamTarget:
    """Return the admin API of the gateway behind the deployment."""
    try:
        target = admin_target(url, token_file, os.environ)
    except ValueError as refusal:
        raise click.BadParameter(str(refusal), param_hint="--admin") from refusal
    return replace(target, ca_file=ca_file_of(ctx))


def _origins(given: tuple[str, ...], config: Path | None) -> tuple[str, ...]:
    """Return the web origins that are given, or those that the settings name."""
    from gateway.tools.cdn_doctor.gateway_counters import web_origins

    if given != web_origins(given):
        why = "it must be one or two web origins such as https://app.example.com."
        raise click.BadParameter(why, param_hint="--origin")
    if given or config is None:
        return given
    return web_origins(load_settings(config, {}).http.cors_origins)


def _digest(file: Path, config: Path | None) -> str:
    """Return the digest of a rendered file as the settings make it now; else end the program."""
    from cdn_configs.check import LONGEST_FILE, rendered_now
    from cdn_configs.errors import Refused
    from cdn_configs.render import digest_of

    settings = load_settings(config, {})
    try:
        with file.open("rb") as opened:
            text = opened.read(LONGEST_FILE + 1).decode(errors="replace")
        target, _, as_made = rendered_now(text, settings)
    except (OSError, Refused) as refusal:
        why = refusal.strerror if isinstance(refusal, OSError) else refusal.detail
        complain(f"{file} cannot be compared: {why}.")
        sys.exit(UNUSABLE)
    digest = digest_of(target, as_made)
    if digest is None:
        complain(f"{file} answers nothing itself: give the file that it lies beside.")
        sys.exit(UNUSABLE)
    return digest


@click.command("redis")
@click.argument("url", required=False, metavar="[URL]")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def doctor_redis(url: str | None, config: Path | None, as_json: bool) -> None:
    """Say what a Redis's settings mean for streams.

    Without a URL, the command examines the Redis of each route in the settings, also one that only
    stores subscriptions. It changes nothing there. The exit status is 1 if it finds an error, and
    69 if it cannot examine a Redis.
    """
    from gateway.settings.log_kinds.redis import KIND

    if url is None:
        table = load_settings(config, {}).route_table
        stored = [route.subscription_log for route in table if route.subscriptions]
        routes = [it for it in (*table, *stored) if it.log_kind is KIND]
    else:
        routes = [_route_to(url)]
    if not routes:
        complain("no route has its streams in Redis: give a URL such as redis://127.0.0.1:6379.")
        sys.exit(UNUSABLE)
    from gateway.tools.redis_doctor import report

    sys.exit(report.run(routes, as_json=as_json))


def _route_to(url: str) -> Route:
    """Return a route with nothing but defaults, like that of HEADGATE_STORAGE alone."""
    from gateway.settings import Settings
    from gateway.settings.log_kinds.redis import parse_redis

    try:
        parse_redis(url)
    except ValueError as refusal:
        # The URL is not repeated: there may be a password in it.
        raise click.UsageError(f"The URL {refusal}.") from refusal
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
    from gateway.commands.running import run
    from gateway.process.running_servers import running_servers
    from gateway.tools.debug_bundle import bundle

    at = target.url.removesuffix("/api").rstrip("/")
    pids = [it.pid for it in running_servers(os.environ) if it.admin.rstrip("/") == at]
    run(target, bundle(target, pids[0] if len(pids) == 1 else None, file))
