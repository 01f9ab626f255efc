"""`headgate cdn`: configurations for the CDNs and proxies in front of a gateway."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
from click.core import ParameterSource

from headgate_gateway.commands.options.configuration import complain, config_option, load_settings
from headgate_gateway.commands.options.parameters import SecondsType
from headgate_gateway.commands.options.server import (
    admin_token_option,
    cacert_option,
    kept,
    kept_option,
    named_admin,
)
from headgate_gateway.text_files import unmarked
from headgate_gateway.tools.shell.exit_status import FAILED, UNUSABLE
from headgate_gateway.tools.shell.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from headgate_cdn.check import CheckReport
    from headgate_cdn.target import Target
    from headgate_gateway.settings import Settings
    from headgate_gateway.tools.server.target import StreamTarget


@click.group()
def cdn() -> None:
    """Make and check configurations of CDNs and proxies."""


# A gateway needs a configuration made with its own settings.
UNNAMED = (
    "no --config was given, so the settings are the defaults and the environment's: if your "
    "gateway has others, name its file by --config."
)
# What a configuration is made for, besides the settings.
_OPTIONS = (
    click.option(
        "--upstream",
        metavar="HOST:PORT,…",
        help="Address at which the target reaches the gateway, or addresses of several gateways; "
        "SERVICE:PORT for a target in Kubernetes. It speaks HTTPS to the gateway if "
        "tls.certificate is set or the port is 443; begin with http:// or https:// to say "
        "otherwise.  [default: that of listen]",
    ),
    click.option(
        "--upstream-ca",
        metavar="FILE",
        help="File on the target's machine with the authorities that may have issued the gateway's "
        "certificate.  [default: those of its system]",
    ),
    click.option(
        "--upstream-name",
        metavar="NAME",
        help="Host name that the gateway's certificate has to be for.  [default: that of "
        "--upstream]",
    ),
    click.option(
        "--host",
        metavar="NAME",
        help="Host name that readers use; with --standalone, also a loopback address.",
    ),
    click.option("--listen", metavar="PORT", type=int, help="Port of the target.  [default: 8080]"),
    click.option(
        "--credentials",
        metavar="MODE",
        help="How to cache for readers with credentials. bypass: do not cache. per-credential: "
        "cache a copy for each credential. The others share one copy between all who may read: "
        "by a reader key in the URL (reader-key), after asking the gateway (asked), or by a read "
        "token that the target verifies (verified).  [default: bypass]",
    ),
    click.option(
        "--remember",
        "remember_s",
        metavar="DURATION",
        type=SecondsType(),
        help="With asked, how long a permission of the gateway is cached.  [default: 10]",
    ),
    click.option(
        "--stale-if-error",
        "stale_if_error_s",
        metavar="DURATION",
        type=SecondsType(),
        help="How long to serve stale copies while the gateway is away.  [default: 0]",
    ),
    click.option(
        "--cache-size",
        metavar="SIZE",
        help="Size of the target's cache; Varnish takes as much again for copies of less than ten "
        "seconds.  [default: 1GiB]",
    ),
    click.option(
        "--compress-private",
        is_flag=True,
        default=None,
        help="Compress shared reads of private streams, too: their lengths tell of contents.",
    ),
    click.option(
        "--shield",
        metavar="PLACE",
        help="Location of the vendor through which all others reach the gateway.  [default: none]",
    ),
    click.option(
        "--purge", is_flag=True, default=None, help="Let the gateway purge cached copies."
    ),
    click.option(
        "--standalone",
        is_flag=True,
        default=None,
        help="Print a complete file that runs without root.",
    ),
)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what a configuration is made for, besides the settings."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _settings_of(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say whose settings count: those of a file, or of a running gateway."""

    @wraps(command)
    def call(config: Path | None, **more: object) -> None:
        ctx = click.get_current_context()
        admin = kept(ctx, "admin")
        if admin == "":  # such as a variable that is not set
            raise click.UsageError("--admin must be a URL such as http://127.0.0.1:4439.")
        if admin and ctx.get_parameter_source("config") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--config and --admin both name settings: give one of them.")
        gateway = named_admin(ctx) if admin else None
        command(config=config, gateway=gateway, **more)

    admin_option = kept_option(
        "--admin",
        metavar="URL",
        help="In place of --config: URL of the admin listener of the gateway, which makes the file "
        "for the settings that are in force there.",
    )
    return config_option(admin_option(admin_token_option(cacert_option(call))))


def _complete_target(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the targets that begin so, for the completion of a shell."""
    from headgate_cdn.targets import TARGETS

    return [name for name in TARGETS if name.startswith(incomplete)]


@cdn.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_targets(*, as_json: bool) -> None:
    """List the targets, and how each was tested."""
    from headgate_cdn.targets import TARGETS

    if as_json:
        for target in TARGETS.values():
            shown = {"name": target.name, "state": target.state, "title": target.title}
            click.echo(json.dumps(shown))
        return
    names = max(map(len, TARGETS))
    states = max(len(target.state) for target in TARGETS.values())
    for target in TARGETS.values():
        click.echo(f"{target.name:<{names}}  {target.state:<{states}}  {target.title}")


@cdn.command("render")
@click.argument("target", shell_complete=_complete_target)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write to this file instead of stdout; for a folder, also write the files beside it.",
)
@click.option("--force", is_flag=True, help="Write over files that differ.")
@_options
@_settings_of
def render_target(
    target: str,
    output: Path | None,
    *,
    force: bool,
    config: Path | None,
    gateway: StreamTarget | None,
    **chosen: object,
) -> None:
    """Print the configuration of a target for these settings.

    Nothing is written if the target does not support the options. Without --admin, no server is
    asked for anything.
    """
    with _refusals():
        from headgate_cdn import targets

        whole = targets.target(target)
        in_folder = output is not None and output.is_dir()
        named = (whole, *map(targets.target, whole.beside)) if in_folder else (whole,)
        notes: list[str] = []
        if gateway is None:
            files, notes = _by_settings(config, named, chosen)
        else:
            from headgate_gateway.commands.cdn_files import files_of_gateway
            from headgate_gateway.commands.running import run

            files = run(gateway, files_of_gateway(gateway, named, chosen))
    if output is None:
        click.echo(files[whole.file_name], nl=False)
    else:
        places = {output / name if in_folder else output: text for name, text in files.items()}
        _write(places, force=force)
    for note in notes:
        complain(note)


def _by_settings(
    config: Path | None, named: Sequence[Target], chosen: Mapping[str, object]
) -> tuple[Mapping[str, str], list[str]]:
    """Return the files that settings make of targets, and notes about whose settings these are."""
    from headgate_cdn.purpose import purpose
    from headgate_gateway.commands.cdn_files import files_of_settings

    settings = load_settings(config, {})
    files, made = files_of_settings(settings, named, chosen, is_named=config is not None)
    unnamed = [f"{UNNAMED} {purpose(made)}"] if config is None else []
    return files, [*unnamed, *_other_routes(settings, made.upstream)]


@cdn.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@config_option
def check_file(file: Path, config: Path | None, *, as_json: bool) -> None:
    """Compare a rendered file with the current settings.

    The vendor's own checker also checks it, if that is installed. The exit status is 1 if the file
    differs or the checker refuses it.
    """
    settings = load_settings(config, {})
    with _refusals():
        from headgate_cdn.check import LONGEST_FILE, check
        from headgate_cdn.errors import Refused

        with _file_errors(file, "read", UNUSABLE), file.open("rb") as opened:
            content = opened.read(LONGEST_FILE + 1)
        try:
            unmarked(content)
        except ValueError as cause:  # another encoding
            raise Refused(f"{file} {cause}") from cause
        report = check(content.decode(errors="replace"), settings)
    if config is None:
        complain(UNNAMED)
    from headgate_gateway.tools.shell.output import echoed

    with echoed():  # the status is told all the same
        if as_json:
            shown = msgspec.to_builtins(report)
            click.echo(json.dumps({"file": str(file), "is_fine": report.is_fine, **shown}))
        else:
            _show(file, report)
    if not report.is_fine:
        sys.exit(FAILED)


@cdn.command("explain")
@click.argument("target", shell_complete=_complete_target)
def explain_target(target: str) -> None:
    """Say what a target does and does not do, and which options it refuses."""
    with _refusals():
        from headgate_cdn import targets
        from headgate_cdn.explain import explain

        click.echo(explain(targets.target(target)), nl=False)


def _write(files: Mapping[Path, str], *, force: bool) -> None:
    """Write all files, and say which; without `force` none if one is there and differs."""
    for file, text in files.items():
        with _file_errors(file, "written"):
            if not force and file.is_file() and file.read_text(errors="replace") != text:
                complain(f"{file} is there already and differs: write over it by --force.")
                sys.exit(FAILED)
    for file, text in files.items():
        with _file_errors(file, "written"):
            file.write_text(text)
        complain(f"wrote {file}.")


def _other_routes(settings: Settings, upstream: str) -> Iterator[str]:
    """Yield which servers on this machine, at addresses of --upstream, have other routes.

    A file for a server's own streams removes cookies, so it is wrong for an origin that knows its
    readers by them.
    """
    from headgate_gateway.commands.options.server import routes_running_at

    ours = {route.prefix: route.log_kind is None for route in settings.route_table}
    addresses = upstream.replace("localhost:", "127.0.0.1:").split(",")
    for address, theirs in routes_running_at(addresses).items():
        if theirs != ours:
            yield (
                f"the server at {address} has other routes ({_words(theirs)}) than these settings "
                f"({_words(ours)}): name its settings by --config or --admin."
            )


def _words(routes: Mapping[str, bool]) -> str:
    """Return the prefixes of routes, and where their streams are."""
    kinds = {True: "of an origin", False: "of its own"}
    return ", ".join(f"{prefix} {kinds[it]}" for prefix, it in sorted(routes.items()))


def _show(file: Path, report: CheckReport) -> None:
    click.echo(safe(report.difference), nl=False)
    same = "differs from" if report.difference else "is"
    click.echo(f"{file} {same} what the settings ask for ({report.target}).")
    if report.warning:
        click.echo(f"{report.warning}.")
    if not report.checker:
        click.echo("No checker of its vendor runs here.")
    elif report.accepted is None:
        click.echo(f"{report.checker} is not installed, so it has not checked the file.")
    elif report.accepted:
        click.echo(f"{report.checker} takes the file.")
    else:
        click.echo(safe(report.said), nl=False)
        click.echo(f"{report.checker} refuses the file.")


@contextmanager
def _refusals() -> Iterator[None]:
    """End the program with one sentence if something cannot be done."""
    from headgate_cdn.errors import Refused

    try:
        yield
    except Refused as refusal:
        complain(f"{refusal.detail}.")
        sys.exit(UNUSABLE)


@contextmanager
def _file_errors(file: Path, what: str, status: int = FAILED) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        complain(f"{file} cannot be {what}: {error.strerror}.")
        sys.exit(status)
