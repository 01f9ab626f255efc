"""headgate greeting say."""

from __future__ import annotations

import click


@click.command
@click.argument("name")
def say(name: str) -> None:
    """Print a greeting."""
    click.echo(f"Hello, {name}")
