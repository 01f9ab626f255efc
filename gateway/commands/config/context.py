"""`headgate config context`: the servers that commands know by a name."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from gateway.commands.options.configuration import complain
from gateway.commands.options.contexts import (
    NO_CONTEXT,
    Contexts,
    ServerContext,
    check_name,
    complete_choice,
    complete_name,
    load_contexts,
    save_contexts,
)
from gateway.commands.options.typed_secrets import SecretFile
from gateway.tools.server.target import NOT_IN_FIELDS, checked_base, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = SecretFile(resolve_path=True)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True)


@click.group()
def context() -> None:
    """Name servers, and choose the one that commands use."""


@context.command("add")
@click.argument("name")
@click.argument("url")
@click.option(
    "--auth-file",
    type=SECRET,
    metavar="FILE",
    help="File with the Authorization, as in STREAM_AUTH.",
)
@click.option(
    "--admin", default="", metavar="URL", help="URL of its admin listener, for headgate ls."
)
@click.option("--admin-token", type=SECRET, metavar="FILE", help="File with the token for --admin.")
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
        check_name(name)
        made = ServerContext(
            checked_base(url, "URL"),
            _path(auth_file),
            checked_base(admin, "--admin") if admin else "",
            _path(admin_token),
            _path(cacert),
        )
        known = load_contexts(os.environ)
        if name in known.contexts:
            raise ValueError(
                f"{name} is there already: headgate config context remove {name} goes first"
            )
        _save(known.use, {**known.contexts, name: made})
    complain(f"added {name}; to use it for all commands: headgate config context use {name}.")


@context.command("use")
@click.argument("name", shell_complete=complete_choice)
def use_context(name: str) -> None:
    """Make NAME the current context; "default" uses none."""
    with _refusals():
        known = load_contexts(os.environ)
        if name != NO_CONTEXT:
            known.of_name(name)
        _save("" if name == NO_CONTEXT else name, known.contexts)


@context.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_contexts(as_json: bool) -> None:
    """List the contexts, with a star at the current one."""
    with _refusals():
        known = load_contexts(os.environ)
    width = max(map(len, known.contexts), default=0)
    for name, one in sorted(known.contexts.items()):
        is_used = name == known.use
        url = without_secrets(one.url)
        if as_json:
            shown = {"name": name, "is_used": is_used, **msgspec.to_builtins(one), "url": url}
            click.echo(json.dumps(shown))
        else:
            click.echo(f"{'*' if is_used else ' '} {name:<{width}}  {url}")


@context.command("remove")
@click.argument("name", shell_complete=complete_name)
def remove_context(name: str) -> None:
    """Remove the context NAME, but not the files it names."""
    with _refusals():
        known = load_contexts(os.environ)
        known.of_name(name)
        rest = {other: one for other, one in known.contexts.items() if other != name}
        _save("" if known.use == name else known.use, rest)


def _save(use: str, contexts: dict[str, ServerContext]) -> None:
    save_contexts(Contexts(use, contexts), os.environ)


def _path(file: Path | None) -> str:
    if file is not None and NOT_IN_FIELDS.search(str(file)):
        raise ValueError(f"{str(file)!a} must be a path of printable characters")
    return "" if file is None else str(file)


@contextmanager
def _refusals() -> Iterator[None]:
    """End the program with a sentence about what cannot be done."""
    try:
        yield
    except ValueError as refusal:
        raise click.UsageError(f"{refusal}.") from refusal
