"""The groups of commands, which import a command only when it is called."""

from __future__ import annotations

import pkgutil
import re
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from headgate_gateway.commands import command_tree
from headgate_gateway.commands.options import typed_secrets
from headgate_gateway.commands.options.configuration import complain
from headgate_gateway.tools.shell.exit_status import INTERRUPTED
from headgate_gateway.tools.shell.system_errors import system_errors_in_words

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


CONFIG = "headgate.config"  # a key of click's meta
LISTEN_NAMES = {"port", "host", "bind", "address"}  # what other servers call --listen
NAME = re.compile(r"[\w-]{1,40}")


class CommandGroup(click.Group):
    """A group of the commands that are declared for it. Help and completion import none of them."""

    @property
    def words(self) -> str:
        """The name of the group in declarations: "" for the first level."""
        return self.name or ""

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        declared = command_tree.find(self.words, cmd_name, _config(ctx))
        if declared is None:
            return None
        if not declared.target:
            return CommandGroup(declared.name, help=declared.help)
        command: click.Command = pkgutil.resolve_name(declared.target)
        return command

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [it.name for it in command_tree.commands_of(self.words, _config(ctx))]

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            commands = command_tree.commands_of(self.words, _config(ctx))
            formatter.write_dl([(it.name, it.help) for it in commands])

    @override
    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        config = _config(ctx)
        declared = command_tree.commands_of(self.words, config)
        if not self.words:
            found = (command_tree.find("", name, config) for name in command_tree.LISTED_SHORTHANDS)
            declared += filter(None, found)
        fits = [it for it in declared if it.name.startswith(incomplete)]
        named = [CompletionItem(it.name, help=it.help) for it in fits]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names; say which is meant by another name."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as refusal:
            if NAME.fullmatch(args[0]) is None:  # such as a URL, which may have a secret in it
                names = ", ".join(self.list_commands(ctx))
                raise click.UsageError(f"A command must come first: {names}.", ctx) from refusal
            similar = command_tree.similar(self.words, args[0], _config(ctx))
            meant = " or ".join(f'"{it}"' for it in similar)
            did_you = f" Did you mean {meant}?" if meant else ""
            raise click.UsageError(f'No such command "{args[0]}".{did_you}', ctx) from refusal


class RootGroup(CommandGroup):
    """The commands of the first level; an interrupted one exits with the status shells expect."""

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_commands(ctx, formatter)
        with formatter.section("Shorthands of stream"):
            formatter.write_text(" ".join(command_tree.LISTED_SHORTHANDS))

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before a command, of which some print and exit; warn of secrets."""
        ctx.meta[CONFIG] = _config_in(args)
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
            except click.UsageError as refusal:
                if refusal.ctx is None:
                    raise
                raise _explained(refusal, refusal.ctx) from refusal
            except KeyboardInterrupt:
                click.echo("Interrupted.", err=True)
                context.exit(INTERRUPTED)


def _explained(refusal: click.UsageError, ctx: click.Context) -> click.UsageError:
    """Return the error with the parameter that is meant by another program's option or argument."""
    options = {it.name for it in ctx.command.params if isinstance(it, click.Option)}
    arguments = {it.name for it in ctx.command.params} - options
    if refusal.message.startswith("Got unexpected extra argument") and "config" in options:
        message = f"{refusal.message}. A file of settings is given by --config FILE."
        return click.UsageError(message, ctx)
    if isinstance(refusal, click.NoSuchOption):
        name = refusal.option_name.removeprefix("--")
        if name in LISTEN_NAMES and "listen" in options:
            return click.UsageError(f"{refusal.message} Did you mean '--listen'?", ctx)
        if name in arguments:
            message = f"{refusal.message} Write {name.upper()} without {refusal.option_name}."
            return click.UsageError(message, ctx)
    return refusal


def _config(ctx: click.Context) -> str:
    """Return the file of settings that the command line names, "" without one."""
    return str(ctx.meta.get(CONFIG, ""))


def _config_in(words: list[str]) -> str:
    """Return the file of `--config FILE`: features in it may declare the command itself."""
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word == "--config" or word.startswith("--config="):
            return following if word == "--config" else word.removeprefix("--config=")
    return ""


def end_with_version(context: click.Context, _option: click.Parameter, is_asked: bool) -> None:
    """Print the versions of Headgate and its libraries, and exit."""
    if not is_asked:
        return
    import platform
    from importlib.metadata import version

    from headgate_gateway.settings.log_kinds import KINDS

    libraries = {"aiohttp", "uvloop"}.union(*(kind.libraries for kind in KINDS.values()))
    below = [f"{name} {version(name)}" for name in sorted(libraries)]
    below.append(f"python {platform.python_version()}")
    click.echo(f"headgate {version('headgate')} ({', '.join(below)})")
    context.exit()
