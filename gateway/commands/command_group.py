"""The group of all commands, and those on the command line itself: version and completion."""

from __future__ import annotations

import json
import platform

import click
from typing_extensions import override

from gateway.commands.configuration import complain
from gateway.commands.shell import typed_secrets
from gateway.commands.shell.exit_status import INTERRUPTED
from gateway.commands.shell.system_errors import system_errors_in_words


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
        from gateway.commands.cdn import cdn
        from gateway.commands.context import context
        from gateway.commands.copying.commands import copy
        from gateway.commands.data_folder import backup, restore, verify
        from gateway.commands.debug import debug
        from gateway.commands.doctor import doctor
        from gateway.commands.events import events
        from gateway.commands.healthcheck import healthcheck
        from gateway.commands.many_streams.commands import COMMANDS as ON_MANY
        from gateway.commands.monitoring import alerts, grafana
        from gateway.commands.one_stream.streams import COMMANDS
        from gateway.commands.reload import reload
        from gateway.commands.retention import retention
        from gateway.commands.settings import check, hash_password, init
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
        ours = (
            *of_settings,
            *of_server,
            *of_places,
            completion,
            context,
            debug,
            retention,
            version,
        )
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


@click.command()
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


def end_with_version(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    """Print the version, and exit."""
    if is_asked:
        show_version(as_json=False)
        context.exit()


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    Load it in your shell's start file, with eval "$(headgate completion bash)", or for fish with
    headgate completion fish | source
    """
    from click.shell_completion import get_completion_class

    root = ctx.find_root()
    kind = get_completion_class(shell)
    assert kind is not None  # a choice of click's own shells
    name = root.info_name or "headgate"
    click.echo(kind(root.command, {}, name, f"_{name.upper()}_COMPLETE").source())
