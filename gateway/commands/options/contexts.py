"""Contexts: servers that commands know by a name, in a file of the user."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Replace the file, which only the user can read. Raises ValueError if it cannot be written."""
    from gateway.small_files import create, replace

    file = contexts_file(environment)
    data = _toml(contexts).encode()
    try:
        file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        if file.exists():
            replace(file, data)
        else:
            create(file, data)
    except OSError as cause:
        raise ValueError(f"{file} cannot be written: {cause.strerror}") from cause


def _toml(contexts: Contexts) -> str:
    """Return the text of the file: names need no quotes, and all values are text."""
    lines = [f"use = {_string(contexts.use)}"] if contexts.use else []
    for name, context in sorted(contexts.contexts.items()):
        lines += ["", f'[contexts."{name}"]']
        lines += [f"{key} = {_string(it)}" for key, it in msgspec.to_builtins(context).items()]
    return "\n".join(lines).lstrip("\n") + "\n"


def _string(text: str) -> str:
    # Of what TOML wants escaped, JSON leaves DEL alone; there is none in a URL or path of ours.
    return json.dumps(text, ensure_ascii=False)
