"""The server that a command means: by its flags, the environment, or what runs here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

import click

from gateway.tools.server.target import (
    HomeServer,
    check_stream_name,
    is_whole_url,
    several_servers,
    stream_at,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.tools.server.target import StreamTarget

CA_FILE = "headgate.cacert"  # a key of click's meta
F = TypeVar("F", bound=Callable[..., Any])


def cacert_option(command: F) -> F:
    """Add the option that says whom to trust; `ca_file_of` reads it."""

    def keep(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.meta[CA_FILE] = value

    return click.option(
        "--cacert",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=keep,
        help="Trust only the certificate authorities in this PEM file.",
    )(command)


def target_of(name: str, ctx: click.Context | None) -> StreamTarget:
    """Return the stream called `name` for a command with these options. Raises ValueError."""
    is_url = is_whole_url(name)
    if not is_url:
        check_stream_name(name)  # before a server is chosen: no other would help
    return target_at(name, home_of(os.environ, needs_base=not is_url), ctx)


def target_at(name: str, home: HomeServer, ctx: click.Context | None) -> StreamTarget:
    """Return the stream called `name` at a server or by its URL. Raises ValueError."""
    return replace(stream_at(name, home), ca_file=ca_file_of(ctx))


def ca_file_of(ctx: click.Context | None) -> str:
    """Return the file of --cacert, "" without one."""
    return "" if ctx is None else ctx.meta.get(CA_FILE, "")


def home_of(
    environment: Mapping[str, str], *, needs_base: bool = True, admin: str | None = None
) -> HomeServer:
    """Return the server that names mean. Raises ValueError if the sources make no sense.

    STREAM_URL goes before a server that runs here, which goes before the default. Of several that
    run here, the one with its admin listener at `admin` is meant; it may also be elsewhere. None is
    for commands without that option.
    """
    home = HomeServer.of_environment(environment)
    if home.is_bound:
        return with_admin(home, environment)
    return _running_here(home, environment, admin) if needs_base else home


def with_admin(home: HomeServer, environment: Mapping[str, str]) -> HomeServer:
    """Return the server with the URL of its admin listener if it runs here."""
    from gateway.process.running_servers import running_servers

    base = home.base.rstrip("/")
    found = [it for it in running_servers(environment) if base in it.streams]
    if len(found) != 1:
        return home
    return replace(home, admin=found[0].admin, certificate=found[0].certificate)


def _running_here(
    home: HomeServer, environment: Mapping[str, str], admin: str | None
) -> HomeServer:
    """Return the one server that runs here, else `home`. Raises ValueError if there are several.

    With `admin`, only a server with that admin listener counts. The base of one with several
    routes is its root.
    """
    from gateway.process.running_servers import running_servers

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
