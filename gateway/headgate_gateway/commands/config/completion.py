"""`headgate config completion`: scripts with which shells complete commands."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    Load it in your shell's start file, with eval "$(headgate config completion bash)", or for fish
    with headgate config completion fish | source
    """
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None  # a choice of click's own shells
    name = root.info_name or "headgate"
    click.echo(kind(root.command, {}, name, f"_{name.upper()}_COMPLETE").source())
