"""The server that a command means: by its flags, the environment, a context, or what runs here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

import click

from headgate.names import AUTHORIZATION_VARIABLE, BASE_VARIABLE, DEFAULT_BASE, without_secrets
from headgate_gateway.commands.options.configuration import load_settings
from headgate_gateway.commands.options.contexts import Contexts, complete_name, load_contexts
from headgate_gateway.commands.options.typed_secrets import SecretFile
from headgate_gateway.settings.reached import console_url
from headgate_gateway.settings.reading.given import ENVIRONMENT_PREFIX
from headgate_gateway.tools.server.target import (
    TOKEN_VARIABLE,
    TargetServer,
    admin_api,
    check_stream_name,
    is_whole_url,
    several_servers,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from headgate_gateway.process.running_servers import RunningServer
    from headgate_gateway.tools.server.target import StreamTarget

URL_VARIABLE = "STREAM_ADMIN_URL"
DEFAULT_ADMIN = "http://127.0.0.1:4439"
F = TypeVar("F", bound=Callable[..., Any])


def kept_option(name: str, **settings: Any) -> Callable[[F], F]:  # noqa: ANN401 - click's
    """Return an option whose value `kept` returns; the command itself does not get it."""

    def keep(ctx: click.Context, option: click.Parameter, value: object) -> None:
        if value is not None:
            ctx.meta[f"headgate.{option.name}"] = value

    return click.option(name, is_eager=True, expose_value=False, callback=keep, **settings)


def kept(ctx: click.Context | None, name: str) -> Any:  # noqa: ANN401 - as the option is declared
    """Return the value of a `kept_option`; None without one."""
    return None if ctx is None else ctx.meta.get(f"headgate.{name}")


context_option = kept_option(
    "--context",
    metavar="NAME",
    shell_complete=complete_name,
    help="Use the server of this context.",
)
cacert_option = kept_option(
    "--cacert",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Trust only the certificate authorities in this PEM file.",
)
admin_option = kept_option(
    "--admin",
    metavar="URL",
    help=f"URL of the server's admin listener.  [default: the value of {URL_VARIABLE}]",
)
admin_token_option = kept_option(
    "--admin-token",
    type=SecretFile(),
    metavar="FILE",
    help=f"File with the token for --admin.  [default: the value of {TOKEN_VARIABLE}]",
)


def server_options(command: F) -> F:
    """Add the options that say which server a command goes to."""
    return context_option(cacert_option(command))


def admin_options(command: F) -> F:
    """Add the options that say where the server's admin listener is, and the token for it."""
    return admin_option(admin_token_option(command))


def on_admin_listener(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which server a command goes to; its admin API is the `target`."""

    @wraps(command)
    def call(**others: object) -> None:
        command(target=named_admin(click.get_current_context()), **others)

    return admin_options(server_options(call))


# Streams


def target_of(name: str, ctx: click.Context | None) -> StreamTarget:
    """Return the stream called `name` for a command with these options. Raises ValueError."""
    is_url = is_whole_url(name)
    if not is_url:
        check_stream_name(name)  # before a server is chosen: no other would help
    target = server_of(ctx, needs_base=not is_url).stream(name)
    return replace(target, ca_file=kept(ctx, "cacert") or target.ca_file)


# Servers


def server_of(
    ctx: click.Context | None, *, needs_base: bool = True, by_admin: bool = False
) -> TargetServer:
    """Return the server that names mean. Raises ValueError if the sources make no sense.

    The flag goes before STREAM_URL, which goes before the context in use, before a server that
    runs here, before the default. Of several that run here, `by_admin` is for the one with the
    named admin listener, which may also be elsewhere.
    """
    server = _named(kept(ctx, "context"))
    if server.is_bound:
        return server if server.admin else running_at(server)
    return _running_here(server, admin_url(ctx) if by_admin else None) if needs_base else server


def _named(context: str | None) -> TargetServer:
    """Return the server of --context, of STREAM_URL or of the context in use, else the default.

    STREAM_AUTH goes before the authorization of the context in use.
    """
    if context is not None:
        return load_contexts().server(context)
    server = TargetServer.of_environment(os.environ)
    known = Contexts() if server.is_bound else load_contexts()
    if not known.use:
        return server
    found = known.server(known.use)
    if server.authorization is None:
        return found
    return replace(found, authorization=server.authorization, authorized_by=AUTHORIZATION_VARIABLE)


def _running() -> list[RunningServer]:
    from headgate_gateway.process.running_servers import running_servers

    return running_servers(os.environ)


def running_at(server: TargetServer) -> TargetServer:
    """Return the server with the URL of its admin listener if it runs here."""
    found = [it for it in _running() if server.base.rstrip("/") in it.streams]
    if len(found) != 1:
        return server
    return replace(server, admin=found[0].admin, certificate=found[0].certificate)


def _running_here(server: TargetServer, admin: str | None) -> TargetServer:
    """Return the one server that runs here, else `server`. Raises ValueError if there are several.

    With `admin`, only a server with that admin listener counts. The base of one with several
    routes is its root.
    """
    servers = _running()
    if admin:
        at = admin.rstrip("/").removesuffix("/api")
        servers = [it for it in servers if it.admin.rstrip("/") == at]
    if not servers:
        return server
    if len(servers) > 1:
        or_by = "a whole URL" if admin is None else "--admin URL"
        raise several_servers((url for it in servers for url in it.streams), or_by)
    (found,) = servers
    server = replace(server, admin=found.admin, certificate=found.certificate)
    if len(found.streams) == 1:
        return replace(server, base=found.streams[0])
    base = urljoin(found.streams[0], "/").rstrip("/")
    return replace(server, base=base, routes=found.streams)


def routes_running_at(addresses: Collection[str]) -> dict[str, dict[str, bool]]:
    """Return the routes of servers that run here and listen on some HOST:PORT.

    For each address they are prefixes, and whether the streams are those of an HTTP origin.
    """
    found: dict[str, dict[str, bool]] = {}
    for server in _running():
        for url in server.streams:
            parts = urlsplit(url)
            if parts.netloc in addresses:
                found.setdefault(parts.netloc, {})[parts.path] = url in server.forwarded
    return found


# Admin listeners


def admin_url(ctx: click.Context | None) -> str:
    """Return the URL of the admin API by a flag or the environment; "" if neither names one.

    The environment does not count beside --context.
    """
    is_in_context = kept(ctx, "context") is not None
    return kept(ctx, "admin") or ("" if is_in_context else os.environ.get(URL_VARIABLE, ""))


def admin_of(server: TargetServer, ctx: click.Context, url: str = "") -> StreamTarget:
    """Return the admin API of a server: at `url`, where the command says, or where it is known.

    Raises ValueError if nothing says where it is.
    """
    known = server.admin or (DEFAULT_ADMIN if server.base == DEFAULT_BASE else "")
    found = url or admin_url(ctx) or known
    if not found:
        raise ValueError(
            f"the admin listener of {without_secrets(server.base)} is not known: correct this URL, "
            f"or say where the listener is by --admin URL or {URL_VARIABLE}"
        )
    token_file, is_set = kept(ctx, "admin_token"), bool(os.environ.get(TOKEN_VARIABLE))
    if found == server.admin and server.admin_token_file and not is_set:
        token_file = token_file or Path(server.admin_token_file)
    named_by = "--admin" if kept(ctx, "admin") else URL_VARIABLE
    target = admin_api(found, token_file, os.environ, named_by)
    return replace(
        target,
        server=server,
        ca_file=kept(ctx, "cacert") or server.ca_file,
        certificate=server.certificate if found == server.admin else "",
    )


def admin_beside(stream: StreamTarget, ctx: click.Context) -> StreamTarget | None:
    """Return the admin API of the server of a stream; None where no option or server names it.

    The listener of the environment or a context is that of its own server alone. A --admin that
    makes no sense ends the command.
    """
    is_given = kept(ctx, "admin") is not None
    if not is_given and not stream.server.has(stream.url):
        return None
    try:
        return admin_of(stream.server, ctx)
    except ValueError as cause:
        if is_given:
            raise click.UsageError(f"{cause}.") from cause
        return None


def named_admin(ctx: click.Context) -> StreamTarget:
    """Return the admin API of the server that names mean, or end the command."""
    try:
        return admin_of(server_of(ctx, by_admin=True), ctx)
    except ValueError as cause:
        raise click.UsageError(f"{cause}.") from cause


def admin_by_settings(ctx: click.Context, config: Path | None) -> StreamTarget:
    """Return the admin API of the server with these settings on this machine, or end the command.

    With --context, or without a file of settings, it is the server that `named_admin` finds, before
    the one that the environment's settings say. An unknown server of STREAM_URL is another than the
    one that settings of no variable describe.
    """
    try:
        if config is not None and kept(ctx, "admin") is None and kept(ctx, "context") is None:
            server = _of_settings(config)
            return admin_of(server, ctx, server.admin)
        server = server_of(ctx, by_admin=True)
        is_described = not server.is_bound or any(
            it.startswith(ENVIRONMENT_PREFIX) for it in os.environ
        )
        is_known = admin_url(ctx) or server.admin or server.named_by != BASE_VARIABLE
        if is_described and not is_known:
            server = _of_settings(None)
        return admin_of(server, ctx)
    except ValueError as cause:
        raise click.UsageError(f"{cause}.") from cause


def _of_settings(config: Path | None) -> TargetServer:
    """Return the server that its settings describe. Raises ValueError without a known port."""
    settings = load_settings(config, {})
    if settings.admin.listen.port == 0:
        raise ValueError(
            "admin.listen has port 0, so the server's port is not known: say where it is by "
            f"--admin URL or {URL_VARIABLE}"
        )
    return TargetServer(admin=console_url(settings), certificate=settings.admin.tls.certificate)
