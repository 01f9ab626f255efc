"""`headgate alerts` and `headgate grafana`: what a gateway is watched with, for its settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from gateway.commands.configuration import config_option, load_settings
from gateway.monitoring.objective import LEAST_OBJECTIVE, OBJECTIVE

if TYPE_CHECKING:
    from pathlib import Path

# Prometheus takes braces in an annotation for a template.
PAGE = re.compile(r"https?://[^\s#{}]+")


def _page(_context: click.Context, _option: click.Parameter, url: str) -> str:
    if url and not PAGE.fullmatch(url):
        raise click.BadParameter("must be an http:// or https:// URL without a fragment (#…)")
    return url


def _name(_ctx: click.Context, _parameter: click.Parameter, name: str) -> str:
    if name and re.fullmatch(r"[\w.-]{1,64}", name) is None:
        raise click.BadParameter("it may have letters, digits, and . _ - alone, 64 at most.")
    return name


def _selector(_ctx: click.Context, _parameter: click.Parameter, selector: str) -> str:
    """Return a matcher that PromQL can read; recorded series have no other label of a target."""
    if selector and re.fullmatch(r'job=~?"[^"\\{}\n]+"', selector) is None:
        raise click.BadParameter('it has to be of the form job="NAME" or job=~"PATTERN".')
    return selector


@click.command()
@config_option
@click.option(
    "--objective",
    type=click.FloatRange(LEAST_OBJECTIVE, 100, max_open=True),
    default=OBJECTIVE,
    show_default=True,
    help="Percent of a route's requests that should not get a 5xx response.",
)
@click.option(
    "--runbooks",
    default="",
    metavar="URL",
    callback=_page,
    help="URL of the page that alerts link to, each to the section with its name.  [default: the"
    " page of the console, at the address in the setting admin]",
)
@click.option(
    "--name",
    default="",
    callback=_name,
    help="Name of this configuration, if a Prometheus has the rules of several: it is added to the"
    " name of their group. Give each a --selector, too.",
)
@click.option(
    "--selector",
    default="",
    metavar="MATCHER",
    callback=_selector,
    help='Label matcher for the gateways of this configuration, such as job="chat".',
)
def alerts(config: Path | None, objective: float, runbooks: str, name: str, selector: str) -> None:
    """Print recording and alert rules for Prometheus.

    They match the settings in the file and the environment: without Redis, there are no rules
    about Redis.
    """
    settings = load_settings(config, {})
    from gateway.monitoring.rules_file import rules_file

    click.echo(rules_file(settings, objective, runbooks, name, selector), nl=False)


@click.command()
@config_option
def grafana(config: Path | None) -> None:
    """Print a dashboard for Grafana, as JSON.

    It matches the settings in the file and the environment, as the rules of headgate alerts do.
    """
    settings = load_settings(config, {})
    from gateway.monitoring.grafana import dashboard

    click.echo(dashboard(settings), nl=False)
