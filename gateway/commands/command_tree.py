"""The tree of commands: those of the server, and those that features declare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.command_declaration import CommandDeclaration as Command

if TYPE_CHECKING:
    from collections.abc import Iterator

_STREAM = "gateway.commands.one_stream.streams"
_MANY = "gateway.commands.many_streams.commands"

COMMANDS = (
    Command("", "serve", "gateway.commands.serve:serve", "Serve streams until SIGTERM or Ctrl-C."),
    Command("", "stream", "", "Create, append to, read, list and delete streams."),
    Command("", "data", "", "Copy, back up, restore and verify the data of streams."),
    Command("", "cdn", "gateway.commands.cdn:cdn", "Make configurations of CDNs and proxies."),
    Command("", "doctor", "", "Find faults of a CDN, a Redis or a running server."),
    Command("", "monitor", "", "Print events of a server, alert rules and a dashboard."),
    Command("", "token", "gateway.commands.token:token", "Make and check tokens of clients."),
    Command("", "config", "", "Write, check and reload settings; name servers."),
    Command("stream", "create", f"{_STREAM}:create", "Create a stream."),
    Command("stream", "append", f"{_STREAM}:append", "Append to a stream."),
    Command("stream", "read", f"{_STREAM}:read", "Print a stream up to its tail."),
    Command("stream", "tail", f"{_STREAM}:tail", "Print a stream as it grows."),
    Command("stream", "head", f"{_STREAM}:head", "Print the metadata of a stream."),
    Command("stream", "ls", f"{_MANY}:list_streams", "List streams."),
    Command("stream", "close", f"{_STREAM}:close", "Close a stream to further appends."),
    Command("stream", "delete", f"{_MANY}:delete", "Delete streams with their data."),
    Command("data", "copy", "gateway.commands.copying.commands:copy", "Copy streams to a server."),
    Command("data", "backup", "gateway.commands.data_folder:backup", "Copy a data folder."),
    Command("data", "restore", "gateway.commands.data_folder:restore", "Restore a backup."),
    Command("data", "verify", "gateway.commands.data_folder:verify", "Verify data or a backup."),
    Command(
        "data",
        "retention",
        "gateway.commands.retention:retention",
        "Print or set how much of a stream is kept.",
    ),
    Command("doctor", "cdn", "gateway.commands.doctor:doctor_cdn", "Find faults of a CDN."),
    Command("doctor", "redis", "gateway.commands.doctor:doctor_redis", "Find faults of a Redis."),
    Command(
        "doctor", "debug", "gateway.commands.doctor:debug", "Write an archive for a bug report."
    ),
    Command(
        "doctor", "health", "gateway.commands.health:health", "Check that the server is alive."
    ),
    Command("monitor", "alerts", "gateway.commands.monitoring:alerts", "Print Prometheus rules."),
    Command(
        "monitor", "grafana", "gateway.commands.monitoring:grafana", "Print a Grafana dashboard."
    ),
    Command("monitor", "events", "gateway.commands.monitoring:events", "List what happened."),
    Command("config", "check", "gateway.commands.settings:check", "Check the settings."),
    Command("config", "init", "gateway.commands.settings:init", "Write a settings file."),
    Command(
        "config", "reload", "gateway.commands.reload:reload", "Make a server read its settings."
    ),
    Command("config", "context", "gateway.commands.context:context", "Name servers; choose one."),
    Command(
        "config",
        "completion",
        "gateway.commands.completion:completion",
        "Print the completion script of a shell.",
    ),
    Command(
        "config",
        "hash-password",
        "gateway.commands.settings:hash_password",
        "Print the hash of a password.",
    ),
)
# Commands of the group stream that work without its name, and those of them that help lists.
SHORTHANDS = ("create", "append", "read", "tail", "ls", "delete", "head", "close")
LISTED_SHORTHANDS = SHORTHANDS[:6]


def commands_of(group: str) -> list[Command]:
    """Return the declarations of the commands in a group, in the order of their list."""
    return [it for it in _all() if it.group == group]


def find(group: str, name: str) -> Command | None:
    """Return the declaration of a command in a group, or None."""
    if group == "" and name in SHORTHANDS:
        group = "stream"
    return next((it for it in _all() if (it.group, it.name) == (group, name)), None)


def similar(group: str, name: str) -> list[str]:
    """Return the commands that somebody may have meant who typed `name` in a group."""
    ours = [it for it in _all() if it.name == name]
    if not ours:
        from difflib import get_close_matches

        nearest = get_close_matches(name, dict.fromkeys(it.name for it in _all()), n=1)
        ours = [it for it in _all() if it.name in nearest]
    in_group = [it for it in ours if it.group == group]
    return [" ".join(filter(None, ("headgate", it.group, it.name))) for it in in_group or ours]


def _all() -> Iterator[Command]:
    """Yield all declarations; features are imported only after those of the server."""
    yield from COMMANDS
    from gateway.features.kinds import KINDS

    for kind in KINDS:
        yield from kind.commands
