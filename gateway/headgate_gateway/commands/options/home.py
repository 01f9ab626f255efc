"""The server that a command means: by its flags, the environment, a context, or what runs here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

import click

from headgate.names import AUTHORIZATION_VARIABLE
from headgate_gateway.commands.options.contexts import Contexts, complete_name, load_contexts
from headgate_gateway.text_files import text_of
from headgate_gateway.tools.server.target import (
    HomeServer,
    check_stream_name,
    checked_authorization,
    is_whole_url,
    several_servers,
    stream_at,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from headgate_gateway.commands.options.contexts import ServerContext
    from headgate_gateway.tools.server.target import StreamTarget

CONTEXT, CA_FILE = "headgate.context", "headgate.cacert"  # keys of click's meta
F = TypeVar("F", bound=Callable[..., Any])


def server_options(command: F) -> F:
    """Add the options that say which server a command goes to; `home_of` reads them."""
    context_option = click.option(
        "--context",
        metavar="NAME",
        is_eager=True,
        expose_value=False,
        callback=_keep(CONTEXT),
        shell_complete=complete_name,
        help="Use the server of this context.",
    )
    return context_option(cacert_option(command))


def cacert_option(command: F) -> F:
    """Add the option that says whom to trust; `ca_file_of` reads it."""
    return click.option(
        "--cacert",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_keep(CA_FILE),
        help="Trust only the certificate authorities in this PEM file.",
    )(command)


def _keep(key: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def keep(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.meta[key] = value

    return keep


def target_of(name: str, ctx: click.Context | None) -> StreamTarget:
    """Return the stream called `name` for a command with these options. Raises ValueError."""
    is_url = is_whole_url(name)
    if not is_url:
        check_stream_name(name)  # before a server is chosen: no other would help
    return target_at(name, home_of(os.environ, ctx, needs_base=not is_url), ctx)


def target_at(name: str, home: HomeServer, ctx: click.Context | None) -> StreamTarget:
    """Return the stream called `name` at a server or by its URL. Raises ValueError."""
    target = stream_at(name, home)
    return replace(target, ca_file=ca_file_of(ctx) or target.ca_file)


def ca_file_of(ctx: click.Context | None) -> str:
    """Return the file of --cacert, "" without one."""
    return "" if ctx is None else ctx.meta.get(CA_FILE, "")


def context_of(ctx: click.Context | None) -> str | None:
    """Return the name of --context, None without one."""
    return None if ctx is None else ctx.meta.get(CONTEXT)


def home_of(
    environment: Mapping[str, str],
    ctx: click.Context | None,
    *,
    needs_base: bool = True,
    admin: str | None = None,
) -> HomeServer:
    """Return the server that names mean. Raises ValueError if the sources make no sense.

    The flag goes before STREAM_URL, which goes before the context in use, before a server that
    runs here, before the default. Of several that run here, the one with its admin listener at
    `admin` is meant; it may also be elsewhere. None is for commands without that option.
    """
    home = _named_server(environment, context_of(ctx))
    if home.is_bound:
        return home if home.admin else with_admin(home, environment)
    return _running_here(home, environment, admin) if needs_base else home


def _named_server(environment: Mapping[str, str], context: str | None) -> HomeServer:
    """Return the server of --context, of STREAM_URL or of the context in use, else the default.

    STREAM_AUTH goes before the authorization of the context in use.
    """
    if context is not None:
        return _of_context(context, load_contexts(environment).of_name(context))
    home = HomeServer.of_environment(environment)
    known = Contexts() if home.is_bound else load_contexts(environment)
    if not known.use:
        return home
    found = _of_context(known.use, known.of_name(known.use))
    if home.authorization is None:
        return found
    return replace(found, authorization=home.authorization, authorized_by=AUTHORIZATION_VARIABLE)


def _of_context(name: str, context: ServerContext) -> HomeServer:
    """Return the server of a context. Raises ValueError if its file cannot be read."""
    authorization = None
    if context.auth_file:
        try:
            text = text_of(Path(context.auth_file))
        except (OSError, ValueError) as cause:
            reason = cause.strerror if isinstance(cause, OSError) else f"it {cause}"
            raise ValueError(f"context {name}: {context.auth_file}: {reason}") from cause
        authorization = checked_authorization(text, context.auth_file)
    return HomeServer(
        context.url,
        authorization,
        is_bound=True,
        named_by=f"context {name}",
        authorized_by=context.auth_file or AUTHORIZATION_VARIABLE,
        ca_file=context.cacert,
        admin=context.admin,
        admin_token_file=context.admin_token_file,
    )


def with_admin(home: HomeServer, environment: Mapping[str, str]) -> HomeServer:
    """Return the server with the URL of its admin listener if it runs here."""
    from headgate_gateway.process.running_servers import running_servers

    base = home.base.rstrip("/")
    found = [it for it in running_servers(environment) if base in it.streams]
    if len(found) != 1:
        return home
    return replace(home, admin=found[0].admin, certificate=found[0].certificate)


def routes_running_at(addresses: Collection[str]) -> dict[str, dict[str, bool]]:
    """Return the routes of servers that run here and listen on some HOST:PORT.

    For each address they are prefixes, and whether the streams are those of an HTTP origin.
    """
    from headgate_gateway.process.running_servers import running_servers

    found: dict[str, dict[str, bool]] = {}
    for server in running_servers(os.environ):
        for url in server.streams:
            parts = urlsplit(url)
            if parts.netloc in addresses:
                found.setdefault(parts.netloc, {})[parts.path] = url in server.forwarded
    return found


def _running_here(
    home: HomeServer, environment: Mapping[str, str], admin: str | None
) -> HomeServer:
    """Return the one server that runs here, else `home`. Raises ValueError if there are several.

    With `admin`, only a server with that admin listener counts. The base of one with several
    routes is its root.
    """
    from headgate_gateway.process.running_servers import running_servers

    servers = running_servers(environment)
    if admin:
        at = admin.rstrip("/").removesuffix("/api")
        servers = [it for it in servers if it.admin.rstrip("/") == at]
    if not servers:
        return home
    if len(servers) > 1:
        or_by = "a whole URL" if admin is None else "--admin URL"
        raise several_servers((server.streams[0] for server in servers), or_by)
    (server,) = servers
    home = replace(home, admin=server.admin, certificate=server.certificate)
    if len(server.streams) == 1:
        return replace(home, base=server.streams[0])
    base = urljoin(server.streams[0], "/").rstrip("/")
    return replace(home, base=base, routes=server.streams)
