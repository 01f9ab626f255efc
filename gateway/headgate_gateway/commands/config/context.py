"""`headgate config context`: the servers that commands know by a name."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.names import without_secrets
from headgate_gateway.commands.options.configuration import complain
from headgate_gateway.commands.options.contexts import (
    NO_CONTEXT,
    Contexts,
    ServerContext,
    complete_name,
    load_contexts,
    save_contexts,
)
from headgate_gateway.commands.options.typed_secrets import SecretFile
from headgate_gateway.tools.server.target import checked_base
from headgate_gateway.tools.shell.colour import bold, is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@click.group()
def context() -> None:
    """Name servers, and choose the one that commands use."""


@context.command("add")
@click.argument("name")
@click.argument("url")
@click.option(
    "--auth-file",
    type=SecretFile(),
    metavar="FILE",
    help="File with the Authorization, as in STREAM_AUTH.",
)
@click.option("--admin", default="", metavar="URL", help="URL of its admin listener.")
@click.option(
    "--admin-token", type=SecretFile(), metavar="FILE", help="File with the token for --admin."
)
@click.option(
    "--cacert", type=FILE, metavar="FILE", help="PEM file of the certificate authorities to trust."
)
def add_context(
    name: str,
    url: str,
    auth_file: Path | None,
    admin: str,
    admin_token: Path | None,
    cacert: Path | None,
) -> None:
    """Add the context NAME for the server whose streams are below URL.

    Only the names of files are stored. Commands read the files when they run, so no secret is
    copied.
    """
    with _refusals():
        if _NAME.fullmatch(name) is None:
            raise ValueError("a name has 1 to 64 letters, digits, dots, - and _, no dot in front")
        if name == NO_CONTEXT:
            raise ValueError(f"{NO_CONTEXT} means no context: give another name")
        made = ServerContext(
            checked_base(url, "URL"),
            _path(auth_file),
            checked_base(admin, "--admin") if admin else "",
            _path(admin_token),
            _path(cacert),
        )
        known = load_contexts()
        if name in known.contexts:
            raise ValueError(
                f"{name} is there already: headgate config context remove {name} goes first"
            )
        save_contexts(Contexts(known.use, {**known.contexts, name: made}))
    complain(f"added {name}; to use it for all commands: headgate config context use {name}.")


@context.command("use")
@click.argument("name", shell_complete=complete_name)
def use_context(name: str) -> None:
    """Make NAME the current context; "default" uses none."""
    with _refusals():
        known = load_contexts()
        if name != NO_CONTEXT:
            known.of_name(name)
        save_contexts(Contexts("" if name == NO_CONTEXT else name, known.contexts))


@context.command("list")
def list_contexts() -> None:
    """List the contexts, with a star at the current one."""
    with _refusals():
        known = load_contexts()
    width = max(map(len, known.contexts), default=0)
    width = max(width, len("NAME")) if is_terminal() else width
    if known.contexts and is_terminal():
        click.echo(bold(f"  {'NAME':<{width}}  URL"))
    for name, one in sorted(known.contexts.items()):
        mark = "*" if name == known.use else " "
        click.echo(f"{mark} {name:<{width}}  {without_secrets(one.url)}")


@context.command("remove")
@click.argument("name", shell_complete=complete_name)
def remove_context(name: str) -> None:
    """Remove the context NAME, but not the files it names."""
    with _refusals():
        known = load_contexts()
        known.of_name(name)
        rest = {other: one for other, one in known.contexts.items() if other != name}
        save_contexts(Contexts("" if known.use == name else known.use, rest))


def _path(file: Path | None) -> str:
    return "" if file is None else str(file.absolute())


@contextmanager
def _refusals() -> Iterator[None]:
    """End the program with a sentence about what cannot be done."""
    try:
        yield
    except ValueError as refusal:
        raise click.UsageError(f"{refusal}.") from refusal
