"""The command line: `headgate serve`, and commands for streams and operators."""

from __future__ import annotations

import gc
import json
import platform
import sys
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from gateway.commands.configuration import (
    complain,
    config_option,
    load_settings,
    reread_settings,
)
from gateway.commands.shell import typed_secrets
from gateway.commands.shell.exit_status import INTERRUPTED, UNUSABLE
from gateway.commands.shell.system_errors import system_errors_in_words
from gateway.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path


def end_with_version(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    """Print the version, and exit."""
    if is_asked:
        show_version(as_json=False)
        context.exit()


class CommandGroup(click.Group):
    """The commands; an interrupted one exits with the status that shells expect.

    Commands in modules of their own are imported only when one of them is called or all are
    listed: a server would keep the imports in memory.
    """

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, or None."""
        if cmd_name not in self.commands:
            self._add_others()
        return super().get_command(ctx, cmd_name)

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        self._add_others()
        return super().list_commands(ctx)

    def _add_others(self) -> None:
        from gateway.check import check
        from gateway.commands.cdn import cdn
        from gateway.commands.completion import completion
        from gateway.commands.context import context
        from gateway.commands.copying.commands import copy
        from gateway.commands.data_folder import backup, restore, verify
        from gateway.commands.debug import debug
        from gateway.commands.doctor import doctor
        from gateway.commands.events import events
        from gateway.commands.hash_password import hash_password
        from gateway.commands.healthcheck import healthcheck
        from gateway.commands.init import init
        from gateway.commands.many_streams.commands import COMMANDS as ON_MANY
        from gateway.commands.monitoring import alerts, grafana
        from gateway.commands.one_stream.streams import COMMANDS
        from gateway.commands.reload import reload
        from gateway.commands.retention import retention
        from gateway.commands.subscriptions.commands import subscriptions
        from gateway.commands.token import token

        of_settings = (check, init)
        of_server = (
            alerts,
            cdn,
            doctor,
            events,
            grafana,
            hash_password,
            healthcheck,
            reload,
            subscriptions,
            token,
        )
        of_places = (backup, copy, restore, verify)
        ours = (*of_settings, *of_server, *of_places, completion, context, debug, retention)
        for other in (*COMMANDS, *ON_MANY, *ours):
            self.add_command(other)

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before a command, of which some print and exit; warn of secrets."""
        if not ctx.resilient_parsing:  # as for the completion of a shell
            for warning in typed_secrets.warnings(args):
                complain(f"warning: {warning}.")
        with system_errors_in_words():
            return super().parse_args(ctx, args)

    @override
    def invoke(self, context: click.Context) -> object:
        """Run a command; when interrupted, exit with 130, where click would exit with 1."""
        with system_errors_in_words():
            try:
                return super().invoke(context)
            except KeyboardInterrupt:
                click.echo("Interrupted.", err=True)
                context.exit(INTERRUPTED)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=end_with_version,
    help="Print the version.",
)
def cli() -> None:
    """Serve Durable Streams: append-only logs with a URL."""


@cli.command()
@config_option
@click.option("--listen", metavar="HOST:PORT", help="Address of the stream listener.")
@click.option(
    "--admin", metavar="HOST:PORT", help="Address of the console, health checks and metrics."
)
@click.option(
    "--origin",
    metavar="URL",
    help="Where streams are stored: memory:, file:PATH, a redis URL or an http(s) URL.",
)
@click.option(
    "--auth",
    metavar="KINDS",
    help="Accepted credentials, such as tokens; none lets everybody in.",
)
@click.option(
    "--front",
    metavar="HOSTS",
    help="Host names to serve with TLS, HTTP/2 and HTTP/3 through Caddy. Needs headgate[front].",
)
@click.option(
    "--front-listen", metavar="HOST:PORT", help="Address of the front; [::]:443 by default."
)
@click.option("--workers", metavar="N", help="Number of processes that serve streams on one port.")
@click.option("--long-poll-timeout", metavar="SECONDS", help="How long a long-poll waits for data.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--log-format", metavar="FORMAT", help="auto, json or console.")
def serve(config: Path | None, **flags: str | None) -> None:
    """Serve streams until SIGTERM or Ctrl-C.

    You can also set every setting in the file, or in the environment as HEADGATE_ and its name.
    Flags override the environment, and the environment overrides the file.
    """
    # Imports make no garbage: collections among them took a seventh of the start.
    gc.disable()
    settings = load_settings(config, flags)
    from gateway import trust

    # One collection behind this import: it leaves 0.6 MB of discarded classes, whose memory the
    # next imports use.
    with trust.nobody():
        import aiohttp.web  # noqa: F401

    gc.collect()
    if settings.workers == 1:
        from gateway.serve import run
    else:
        from gateway.workers.supervisor import run
    gc.freeze()
    gc.enable()
    try:
        status = run(settings, lambda: reread_settings(config, flags))
    except StartError as refusal:
        complain(f"{refusal.detail}.")
        sys.exit(UNUSABLE)
    sys.exit(status)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def version(as_json: bool) -> None:
    """Print the versions of Headgate and its libraries."""
    show_version(as_json=as_json)


def show_version(*, as_json: bool) -> None:
    """Print the versions as a line, or as a JSON object."""
    from importlib.metadata import version as distribution_version

    from gateway.settings.log_kinds import KINDS

    libraries = {"aiohttp", "uvloop"}.union(*(kind.libraries for kind in KINDS.values()))
    versions = {name: distribution_version(name) for name in ("headgate", *sorted(libraries))}
    versions["python"] = platform.python_version()
    if as_json:
        click.echo(json.dumps(versions))
        return
    below = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "headgate")
    click.echo(f"headgate {versions['headgate']} ({below})")


def main() -> None:
    """Run the command line."""
    cli(prog_name="headgate")


if __name__ == "__main__":
    main()
