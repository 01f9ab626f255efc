"""The tree of commands: those of the server, and those that features declare."""

from __future__ import annotations

import os
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from headgate_gateway.command_declaration import CommandDeclaration as Command

if TYPE_CHECKING:
    from collections.abc import Iterator


def _of(group: str, *rows: tuple[str, str, str]) -> list[Command]:
    """Return the commands of a group, each by its name, its place in the package, and its line."""
    package = f"headgate_gateway.commands.{group}"
    return [Command(group, name, f"{package}.{target}", line) for name, target, line in rows]


COMMANDS = (
    Command(
        "",
        "serve",
        "headgate_gateway.commands.serve:serve",
        "Serve streams until SIGTERM or Ctrl-C.",
    ),
    Command("", "status", "headgate_gateway.commands.status:status", "Say how a server is doing."),
    Command("", "top", "headgate_gateway.commands.top:top", "Watch streams, clients and refusals."),
    Command("", "stream", "", "Create, append to, read, list and delete streams."),
    Command("", "data", "", "Copy, back up, restore and verify the data of streams."),
    Command(
        "", "cdn", "headgate_gateway.commands.cdn:cdn", "Make configurations of CDNs and proxies."
    ),
    Command("", "doctor", "", "Find faults of a CDN, a Redis or a running server."),
    Command("", "monitor", "", "Print events of a server, alert rules and a dashboard."),
    Command(
        "", "token", "headgate_gateway.commands.token:token", "Make and check tokens of clients."
    ),
    Command("", "config", "", "Write, check and reload settings; name servers."),
    *_of(
        "stream",
        ("create", "streams:create", "Create a stream, or check that it exists already."),
        ("append", "streams:append", "Append to a stream."),
        ("read", "streams:read", "Print a stream up to its tail."),
        ("tail", "streams:tail", "Print a stream as it grows, until it is closed."),
        ("head", "streams:head", "Print the metadata of a stream."),
        ("ls", "many_streams:list_streams", "List the streams."),
        ("close", "streams:close", "Close a stream to further appends."),
        ("delete", "many_streams:delete", "Delete a stream with its data, or many."),
    ),
    *_of(
        "data",
        ("copy", "copying:copy", "Copy streams from one place to another."),
        ("backup", "data_folder:backup", "Copy a data folder to a file."),
        ("restore", "data_folder:restore", "Create a data folder from a backup."),
        ("verify", "data_folder:verify", "Verify a data folder or a backup."),
        ("retention", "retention:retention", "Print or set how much of a stream is kept."),
    ),
    *_of(
        "doctor",
        ("cdn", "cdn:doctor_cdn", "Find faults of a proxy or CDN in front of a server."),
        ("redis", "examine:doctor_redis", "Say what a Redis's settings mean for streams."),
        ("debug", "examine:debug", "Write an archive for a bug report."),
        ("health", "health:health", "Check that the server is alive."),
    ),
    *_of(
        "monitor",
        ("alerts", "monitoring:alerts", "Print recording and alert rules for Prometheus."),
        ("grafana", "monitoring:grafana", "Print a dashboard for Grafana, as JSON."),
        ("events", "monitoring:events", "List what happened at a server."),
    ),
    *_of(
        "config",
        ("check", "settings:check", "Check the settings and the files they name."),
        ("init", "settings:init", "Write a settings file with comments."),
        ("reload", "reload:reload", "Make a server read its settings again."),
        ("context", "context:context", "Name servers, and choose the one that commands use."),
        ("completion", "completion:completion", "Print the completion script of a shell."),
        ("hash-password", "settings:hash_password", "Print the hash of a password."),
    ),
)
# Commands of the group stream that work without its name, and those of them that help lists.
SHORTHANDS = ("create", "append", "read", "tail", "ls", "delete", "head", "close")
LISTED_SHORTHANDS = SHORTHANDS[:6]
# What other programs call a command or an option of ours.
SYNONYMS = {
    "cat": "read",
    "get": "read",
    "list": "ls",
    "rm": "delete",
    "remove": "delete",
    "write": "append",
    "publish": "append",
    "follow": "tail",
    "start": "serve",
    "run": "serve",
    "validate": "check",
    "test": "check",
    "help": "--help",
    "version": "--version",
}


def commands_of(group: str, config: str) -> list[Command]:
    """Return the declarations of the commands in a group, in the order of their list.

    Features are those that the file `config` and the environment name.
    """
    return [it for it in _all(config) if it.group == group]


def find(group: str, name: str, config: str) -> Command | None:
    """Return the declaration of a command in a group, or None."""
    if group == "" and name in SHORTHANDS:
        group = "stream"
    return next((it for it in _all(config) if (it.group, it.name) == (group, name)), None)


def similar(group: str, name: str, config: str) -> list[str]:
    """Return the commands that somebody may have meant who typed `name` in a group."""
    name = SYNONYMS.get(name, name)
    if name.startswith("-"):
        return [f"headgate {name}"]
    known = [*_all(config), *_with_commands_of_their_own(config)]
    ours = [it for it in known if it.name == name]
    if not ours:
        from difflib import get_close_matches

        nearest = get_close_matches(name, dict.fromkeys(it.name for it in known), n=1)
        ours = [it for it in known if it.name in nearest]
    in_group = [it for it in ours if it.group == group or it == find(group, it.name, config)]
    return [" ".join(filter(None, ("headgate", it.group, it.name))) for it in in_group or ours]


def _with_commands_of_their_own(config: str) -> Iterator[Command]:
    """Yield what is below commands such as token, which have to be imported for it."""
    for it in _all(config):
        command = pkgutil.resolve_name(it.target) if it.target else None
        for name in getattr(command, "commands", ()):
            yield Command(f"{it.group} {it.name}".strip(), name, it.target, "")


def _all(config: str) -> Iterator[Command]:
    """Yield all declarations; features are imported only after those of the server."""
    yield from COMMANDS
    from headgate_gateway.features.kinds import KINDS

    for kind in KINDS:
        yield from kind.commands
    config = config or os.environ.get("HEADGATE_CONFIG", "")
    if config or "HEADGATE_FEATURES" in os.environ:
        from headgate_gateway.settings.loading import feature_kinds

        for kind in feature_kinds(Path(config) if config else None, os.environ):
            yield from getattr(kind, "commands", ())
