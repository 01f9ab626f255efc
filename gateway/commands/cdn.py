"""`headgate cdn`: configurations for the caches and proxies in front of a gateway."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.commands.configuration import UNUSABLE, complain, config_option, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable


@click.group()
def cdn() -> None:
    """Make and check configurations for CDNs and proxies in front of a gateway."""


def _choices(command: Callable[..., None]) -> Callable[..., None]:
    """The options that stand beside the settings."""
    for option in reversed(
        (
            config_option,
            click.option(
                "--upstream", metavar="HOST:PORT", help="The gateway, as the edge sees it."
            ),
            click.option("--host", metavar="NAME", help="The host name that readers use."),
            click.option("--listen", type=int, metavar="PORT", help="Port of the edge."),
            click.option("--credentials", metavar="MODE", help="bypass or per-credential."),
            click.option("--cache-size", metavar="SIZE", help="Of the edge's cache, such as 1GiB."),
            click.option("--purge", is_flag=True, default=None, help="Let caches be purged."),
            click.option(
                "--standalone", is_flag=True, default=None, help="A whole file, for any user."
            ),
        )
    ):
        command = option(command)
    return command


@cdn.command("render")
@click.argument("target")
@click.option("-o", "output", type=click.Path(path_type=Path), help="Write to this file.")
@_choices
def render_target(
    target: str, output: Path | None, config: Path | None, **overrides: object
) -> None:
    """Print the configuration of one target."""
    settings = load_settings(config, {})
    from cdn_configs import targets
    from cdn_configs.errors import Refused
    from cdn_configs.options import from_settings
    from cdn_configs.render import render

    try:
        text = render(targets.target(target), from_settings(settings, **overrides))
    except Refused as refusal:
        complain(f"{refusal.detail}.")
        sys.exit(UNUSABLE)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text)
