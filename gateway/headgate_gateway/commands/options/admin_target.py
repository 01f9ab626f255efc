"""The admin API of a gateway as a target of commands, and the token for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from headgate.names import BASE_VARIABLE, DEFAULT_BASE, is_quoted
from headgate_gateway.commands.options.configuration import load_settings
from headgate_gateway.commands.options.home import ca_file_of, context_of, home_of, server_options
from headgate_gateway.commands.options.typed_secrets import SecretFile
from headgate_gateway.settings.reached import console_url
from headgate_gateway.text_files import MARK, unmarked
from headgate_gateway.tools.server.target import (
    NOT_IN_FIELDS,
    TOKEN_VARIABLE,
    HomeServer,
    StreamTarget,
    resolve,
    without_secrets,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

URL_VARIABLE = "STREAM_ADMIN_URL"
DEFAULT_ADMIN = "http://127.0.0.1:4439"
TOKEN_BYTES = 4096  # no header field may be longer at most servers

admin_option = click.option(
    "--admin",
    metavar="URL",
    help=f"URL of the server's admin listener.  [default: the value of {URL_VARIABLE}]",
)
admin_token_option = click.option(
    "--admin-token",
    type=SecretFile(),
    metavar="FILE",
    help=f"File with the token for --admin.  [default: the value of {TOKEN_VARIABLE}]",
)


@dataclass(frozen=True, slots=True)
class AdminTarget(StreamTarget):
    """The admin API of a gateway, and the token for it."""

    @property
    @override
    def advice(self) -> str:
        kind = "a" if self.authorization is None else "another"
        return f"give {kind} token of admin.tokens by {TOKEN_VARIABLE} or --admin-token FILE"


def _named_admin(url: str | None, ctx: click.Context) -> str:
    """Return the URL of the admin API by a flag or the environment; "" if neither names one.

    The environment does not count beside --context.
    """
    is_in_context = context_of(ctx) is not None
    return url or ("" if is_in_context else os.environ.get(URL_VARIABLE, ""))


def admin_of(
    home: HomeServer, url: str | None, token_file: Path | None, ctx: click.Context
) -> StreamTarget:
    """Return the admin API of a server: by flags, the environment, or what is known of `home`.

    Raises ValueError if nothing says where it is.
    """
    known = home.admin or (DEFAULT_ADMIN if home.base == DEFAULT_BASE else "")
    found = _named_admin(url, ctx) or known
    if not found:
        raise ValueError(
            f"the admin listener of {without_secrets(home.base)} is not known: correct this URL, "
            f"or say where the listener is by --admin URL or {URL_VARIABLE}"
        )
    is_known, is_set = found == home.admin, bool(os.environ.get(TOKEN_VARIABLE))
    if token_file is None and is_known and home.admin_token_file and not is_set:
        token_file = Path(home.admin_token_file)
    target = admin_target(found, token_file, os.environ)
    return replace(
        target,
        home=home,
        ca_file=ca_file_of(ctx) or home.ca_file,
        certificate=home.certificate if is_known else "",
    )


def on_admin_listener(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which server a command goes to; its admin API is the `target`."""

    @wraps(command)
    def call(admin: str | None, admin_token: Path | None, **others: object) -> None:
        command(target=named_admin(click.get_current_context(), admin, admin_token), **others)

    return admin_option(admin_token_option(server_options(call)))


def named_admin(ctx: click.Context, url: str | None, token_file: Path | None) -> StreamTarget:
    """Return the admin API of the server that names mean, its `home`, or end the command."""
    try:
        home = home_of(os.environ, ctx, admin=_named_admin(url, ctx))
        return admin_of(home, url, token_file, ctx)
    except ValueError as cause:
        raise click.UsageError(f"{cause}.") from cause


def admin_by_settings(
    ctx: click.Context, url: str | None, token_file: Path | None, config: Path | None
) -> StreamTarget:
    """Return the admin API of the server with these settings on this machine, or end the command.

    With --context, or without a file of settings, it is the server that `named_admin` finds, before
    the one that the environment's settings say.
    """
    try:
        if url is None and config is not None and context_of(ctx) is None:
            home = _of_settings(config)
            url = home.admin
        else:
            named = _named_admin(url, ctx)
            home = home_of(os.environ, ctx, admin=named)
            if not (named or home.admin or home.named_by != BASE_VARIABLE):
                home = _of_settings(None)
        return admin_of(home, url, token_file, ctx)
    except ValueError as cause:
        raise click.UsageError(f"{cause}.") from cause


def _of_settings(config: Path | None) -> HomeServer:
    """Return the server that its settings describe. Raises ValueError without a known port."""
    settings = load_settings(config, {})
    if settings.admin.listen.port == 0:
        raise ValueError(
            "admin.listen has port 0, so the server's port is not known: say where it is by "
            f"--admin URL or {URL_VARIABLE}"
        )
    certificate = settings.admin.tls.certificate
    return HomeServer(admin=console_url(settings), certificate=certificate)


def admin_target(url: str, token_file: Path | None, environment: Mapping[str, str]) -> StreamTarget:
    """Return the URL of a gateway's admin API and its token. Raises ValueError for a bad URL."""
    if re.match(r"https?://", url, re.IGNORECASE) is None:
        raise ValueError("it must be a URL such as http://127.0.0.1:4439")
    api = resolve(f"{url.partition('?')[0].rstrip('/')}/api", {}).url
    token = _token(token_file) if token_file is not None else environment.get(TOKEN_VARIABLE, "")
    if NOT_IN_FIELDS.search(token):
        raise ValueError("the token must be one line of text")
    if is_quoted(token):
        source = token_file or TOKEN_VARIABLE
        raise ValueError(f"the token in {source} has quotes around it: leave them out")
    return AdminTarget(api, f"Bearer {token}" if token else None)


def _token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(len(MARK) + TOKEN_BYTES + 1)
        token = unmarked(data).decode("ascii").strip()
    except OSError as cause:
        raise ValueError(f"the token in {path} cannot be read: {cause.strerror}") from cause
    except UnicodeError as cause:
        raise ValueError(f"what is in {path} is no token") from cause
    except ValueError as cause:
        raise ValueError(f"{path} {cause}") from cause
    if not token or len(token) > TOKEN_BYTES:
        raise ValueError(f"what is in {path} is no token")
    return token
