"""headgate greeting say."""

from __future__ import annotations

import click


@click.command
@click.argument("name")
@click.option("--config", expose_value=False)
def say(name: str) -> None:
    """Print a greeting."""
    click.echo(f"Hello, {name}")
