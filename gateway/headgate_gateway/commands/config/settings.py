"""Commands on settings, without a server: check them, begin a file of them, hash a password."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate_gateway.commands.options.configuration import complain, config_option, load_settings
from headgate_gateway.commands.options.typed_secrets import AskingCommand, can_ask, secret_of_stdin
from headgate_gateway.errors import StartError
from headgate_gateway.tools.shell.exit_status import FAILED, UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings import Settings


@click.command()
@config_option
@click.option(
    "--schema",
    "is_schema",
    is_flag=True,
    help="Print the JSON schema of a settings file, for editors.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print each setting in effect with its source, as JSON."
)
@click.option(
    "--strict",
    "is_strict",
    is_flag=True,
    help="Exit with 1 if there are warnings, but not for a certificate that ends soon.",
)
def check(config: Path | None, *, is_schema: bool, as_json: bool, is_strict: bool) -> None:
    """Check the settings and the files they name.

    Nothing is started. With --json, the command prints one object: settings has the value, source
    and default of each setting, without secrets; warnings has the warnings that otherwise go to
    stderr; proxies has what goes through which proxy of this environment. --schema reads no
    settings.
    """
    if is_schema:
        from headgate_gateway.settings.documents.json_schema import json_schema

        click.echo(json.dumps(json_schema(), indent=2))
        return
    settings = load_settings(config, {})
    from headgate_gateway.outgoing_proxies import proxy_warnings
    from headgate_gateway.process.start_check import check_start
    from headgate_gateway.settings.cross_checks.dangerous_settings import dangers

    try:
        endings = _check_certificates(settings)
        warnings = (
            *check_start(settings),
            *dangers(settings),
            *proxy_warnings(),
            *_open_keys(settings),
            *_not_durable(settings),
            *_event_types(settings),
        )
    except StartError as refusal:
        complain(f"{refusal.detail}.")
        sys.exit(UNUSABLE)
    if as_json:
        _print_json(settings, (*warnings, *endings))
    else:
        for warning in (*warnings, *endings):
            complain(f"warning: {warning}.")
        _print_routes(settings)
    if warnings and is_strict:
        sys.exit(FAILED)


def _check_certificates(settings: Settings) -> tuple[str, ...]:
    """Return a warning for each certificate that ends soon, which --strict lets pass.

    Raises StartError for one that no client would accept. A server starts with it all the same, if
    it has no other.
    """
    from headgate_gateway.settings.reached import stream_tls

    listeners = [*filter(None, (stream_tls(settings), settings.admin_tls))]
    if not listeners:
        return ()
    from headgate_gateway.tls.certificate import read_certificate

    now = time.time()  # noqa: TID251 - there is no caller to hand one down
    endings = []
    for files in listeners:
        certificate = read_certificate(files.certificate)
        named = f"{settings.named(f'{files.section}.certificate')}: the certificate in"
        if (refusal := certificate.refusal(now, files.hosts)) is not None:
            raise StartError(f"{named} {files.certificate} {refusal.facts['reason']}")
        if (ending := certificate.ending(now)) is not None:
            endings.append(f"{named} {files.certificate} {ending.facts['reason']}")
    return tuple(endings)


def _open_keys(settings: Settings) -> Iterator[str]:
    """Yield a warning for each private key of a listener that others may use."""
    from headgate_gateway.settings.reached import stream_tls

    for files in filter(None, (stream_tls(settings), settings.admin_tls)):
        from headgate_gateway.tls.certificate_files import advice_on_key

        mode = stat.S_IMODE(os.stat(files.key).st_mode)  # noqa: PTH116 - Path raises on odd names
        advice = advice_on_key(files.key, mode)
        if advice is not None:
            yield f"{settings.named(f'{files.section}.key')}: {advice}"


def _event_types(settings: Settings) -> Iterator[str]:
    """Yield a warning for each file of event types that is not used."""
    from headgate_gateway.settings.cross_checks.written_routes import written_routes
    from headgate_gateway.settings.reading.toml_file import spell

    for path, route in written_routes(settings):
        if route.mcp_events_file and not route.mcp_events:
            yield f"{settings.named(spell(path))}: mcp_events_file has no effect without mcp_events"


def _not_durable(settings: Settings) -> Iterator[str]:
    """Yield a warning for each Redis server without an append-only file.

    If a server cannot be reached, print that instead: it is no warning.
    """
    from headgate_gateway.settings.cross_checks.written_routes import written_routes
    from headgate_gateway.settings.log_kinds.redis import KIND, WITHOUT_FILE
    from headgate_gateway.settings.reading.toml_file import spell

    for path, route in written_routes(settings):
        if route.log_kind is not KIND:
            continue
        from headgate_gateway.tools.redis_doctor.asking import (
            ServerUnreachable,
            servers_without_file,
        )

        name = settings.named(spell(path))
        try:
            for server in servers_without_file(route):
                yield f"{name}: {server}: {WITHOUT_FILE}; headgate doctor redis says more"
        except ServerUnreachable as cause:
            complain(f"{name}: cannot see whether Redis keeps an append-only file: {cause}.")


def _print_json(settings: Settings, warnings: tuple[str, ...]) -> None:
    import msgspec

    from headgate_admin.configuration.in_force import configuration
    from headgate_gateway.outgoing_proxies import proxy_uses

    report = {
        "settings": configuration(settings).settings,
        "warnings": warnings,
        "proxies": proxy_uses(settings),
    }
    click.echo(msgspec.json.format(msgspec.json.encode(report)))


def _print_routes(settings: Settings) -> None:
    from headgate_admin.record import policy
    from headgate_gateway.outgoing_proxies import in_words, proxy_uses
    from headgate_gateway.settings import redacted_origin
    from headgate_gateway.settings.reached import front_urls

    streams = f"{settings.listen}{' by TLS' if settings.tls.certificate else ''}"
    streams = " and ".join((streams, *front_urls(settings)))
    console = f"{settings.admin.listen}{' by TLS' if settings.admin.tls.certificate else ''}"
    click.echo(f"Valid: streams on {streams}, console on {console}.")
    width = max(len(one.prefix) for one in settings.guarded)
    for route in settings.route_table:
        click.echo(f"  {route.prefix:<{width}}  {redacted_origin(route.location)}")
        click.echo(f"  {'':<{width}}  {' '.join(policy.admission(route, settings.auth_of(route)))}")
        if route.mcp_events:
            click.echo(f"  {'':<{width}}  MCP Events at {route.prefix}/mcp")
    for model in settings.models:
        click.echo(f"  {model.prefix:<{width}}  answers of {model.upstream} in {model.streams}")
        click.echo(f"  {'':<{width}}  {policy.calls(model, settings.auth_of(model))}")
    for proxy in settings.proxies:
        hosts = ", ".join((*proxy.allow, *proxy.allow_inside)) or "no host"
        click.echo(f"  {proxy.prefix:<{width}}  responses of {hosts} in {proxy.streams}")
        click.echo(f"  {'':<{width}}  {policy.calls(proxy, settings.auth_of(proxy))}")
    if uses := proxy_uses(settings):
        click.echo(f"Requests of its own: {in_words(uses)}.")


@click.command()
@click.argument("file", default="headgate.toml", type=click.Path(path_type=Path), metavar="[FILE]")
def init(file: Path) -> None:
    """Write a settings file with comments.

    FILE is headgate.toml by default. The file is valid as it is, and has every setting with its
    meaning and default. An existing file is not changed.
    """
    from headgate_gateway.settings.documents.commented_file import commented_file

    quoted = shlex.quote(str(file))
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(commented_file(quoted))
    except FileExistsError:
        complain(f"{file} is there already: it was left as it is.")
        sys.exit(FAILED)
    except OSError as error:
        complain(f"{file} cannot be written: {error.strerror}.")
        sys.exit(FAILED)
    click.echo(f"Wrote {file}. To serve by it: headgate serve --config {quoted}")


# Long enough that the attempts which the server allows cannot find it; words are welcome.
SHORTEST, LONGEST = 12, 1024  # characters


@click.command("hash-password", cls=AskingCommand)
def hash_password() -> None:
    """Print the hash of a password, for admin.users.

    The command asks for the password, or reads it from stdin without the line end.
    """
    if can_ask():
        password = str(
            click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        )
    else:
        password = secret_of_stdin(LONGEST)
    if not SHORTEST <= len(password) <= LONGEST or "\n" in password:
        complain(f"a password is one line of {SHORTEST} to {LONGEST:,} characters.")
        sys.exit(FAILED)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    from headgate_gateway.settings.arrays.access import NO_ARGON2

    # What RFC 9106 recommends where a check shall take 64 MiB instead of 2 GiB.
    salt = os.urandom(16)
    try:
        kdf = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024)
    except UnsupportedAlgorithm:
        complain(f"no password can be hashed: {NO_ARGON2}.")
        sys.exit(FAILED)
    click.echo(kdf.derive_phc_encoded(password.encode("utf-8", "surrogateescape")))
