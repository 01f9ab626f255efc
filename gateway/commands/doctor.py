"""`headgate doctor`: what streams live in, examined."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from gateway.commands.configuration import UNUSABLE, complain, config_option, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Route


@click.group()
def doctor() -> None:
    """Examine what streams live in, and say what it means for them."""


@doctor.command("redis")
@click.argument("url", required=False, metavar="[URL]")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def doctor_redis(url: str | None, config: Path | None, as_json: bool) -> None:
    """Examine a Redis: what its settings mean for the streams in it.

    Without a URL, the Redis of each route in the settings is examined. Nothing is changed in it.
    The exit status is 1 when an error is found, and 69 when a Redis cannot be examined.
    """
    if url is None:
        routes = [route for route in load_settings(config, {}).route_table if route.is_redis]
    else:
        routes = [_route_to(url)]
    if not routes:
        complain("no route has its streams in Redis: give a URL such as redis://127.0.0.1:6379.")
        sys.exit(UNUSABLE)
    from gateway.commands.redis_doctor import report

    sys.exit(report.run(routes, as_json=as_json))


def _route_to(url: str) -> Route:
    """A route with nothing but defaults, as one by HEADGATE_ORIGIN alone is."""
    from gateway.settings import Settings, parse_redis

    try:
        parse_redis(url)
    except ValueError as refusal:
        # The URL is not repeated: there may be a password in it.
        raise click.UsageError(f"The URL {refusal}.") from refusal
    return Settings(origin=url).route_table[0]
