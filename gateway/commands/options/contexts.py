"""Contexts: servers that commands know by a name, in a file of the user."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    import click

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NO_CONTEXT = "default"  # the name for none, as if there were no file


class ServerContext(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A server: the URL below which its streams are, and how to reach it.

    Secrets stay in files of their own, which are named with their whole paths.
    """

    url: str
    auth_file: str = ""
    admin: str = ""
    admin_token_file: str = ""
    cacert: str = ""


class Contexts(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The contexts by their names, and which of them is used."""

    use: str = ""
    contexts: dict[str, ServerContext] = {}

    def of_name(self, name: str) -> ServerContext:
        """Return a context. Raises ValueError if there is none of this name."""
        if name in self.contexts:
            return self.contexts[name]
        known = (
            f"known are {', '.join(sorted(self.contexts))}" if self.contexts else "none is known"
        )
        raise ValueError(
            f"there is no context {name!r}: {known}; "
            "add one by headgate config context add NAME URL"
        )


def check_name(name: str) -> None:
    """Raise ValueError unless a context can have this name."""
    if NAME.fullmatch(name) is None:
        raise ValueError("a name has 1 to 64 letters, digits, dots, - and _, and no dot in front")
    if name == NO_CONTEXT:
        raise ValueError(f"{NO_CONTEXT} means no context: headgate config context use {NO_CONTEXT}")


def contexts_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the file, by the XDG Base Directory specification."""
    given = environment.get("XDG_CONFIG_HOME", "")
    # It says that a relative path is none.
    folder = Path(given) if given.startswith("/") else Path.home() / ".config"
    return folder / "headgate" / "contexts.toml"


def load_contexts(environment: Mapping[str, str]) -> Contexts:
    """Read the file; without one there are no contexts. Raises ValueError for a damaged one."""
    from gateway.small_files import read_file

    file = contexts_file(environment)
    try:
        return msgspec.toml.decode(read_file(str(file)), type=Contexts)
    except (FileNotFoundError, NotADirectoryError):
        return Contexts()
    except OSError as cause:
        raise ValueError(f"{file} cannot be read: {cause.strerror}") from cause
    except ValueError as cause:  # a msgspec.DecodeError, too
        raise ValueError(f"{file}: {cause}") from cause


def complete_name(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of contexts that begin so, for the completion of a shell.

    Without a readable file there are none: a shell has no place for a message.
    """
    try:
        known = load_contexts(os.environ).contexts
    except ValueError:
        return []
    return sorted(name for name in known if name.startswith(incomplete))


def complete_choice(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return names as `complete_name`, and the one for no context."""
    names = complete_name(ctx, param, incomplete)
    return [*names, NO_CONTEXT] if NO_CONTEXT.startswith(incomplete) else names


def save_contexts(contexts: Contexts, environment: Mapping[str, str]) -> None:
    """Edit the file, or make one that only the user can read.

    Its comments and their order stay. Raises ValueError if it cannot be written.
    """
    from gateway.small_files import create, read_file, replace
    from gateway.toml_edits import edited

    file = contexts_file(environment)

    def change(values: MutableMapping[str, Any]) -> None:
        tables = values.setdefault("contexts", {})
        for name in tables.keys() - contexts.contexts.keys():
            del tables[name]
        for name in contexts.contexts.keys() - tables.keys():
            tables[name] = msgspec.to_builtins(contexts.contexts[name])
        if not tables:
            del values["contexts"]
        if contexts.use:
            values["use"] = contexts.use
        else:
            values.pop("use", None)

    try:
        if file.exists():
            text = read_file(str(file)).decode()
            replace(file, edited(text, change).encode())
        else:
            file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            create(file, edited("", change).encode())
    except OSError as cause:
        raise ValueError(f"{file} cannot be written: {cause.strerror}") from cause
