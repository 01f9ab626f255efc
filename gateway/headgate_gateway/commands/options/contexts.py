"""Contexts: servers that commands know by a name, in a file of the user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headgate.names import AUTHORIZATION_VARIABLE, checked_authorization
from headgate_gateway.small_files import create, read_file, replace
from headgate_gateway.text_files import text_of
from headgate_gateway.tools.server.target import TargetServer

if TYPE_CHECKING:
    import click

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
        known = f"known are {', '.join(sorted(self.contexts))}"
        raise ValueError(
            f"there is no context {name!r}: {known if self.contexts else 'none is known'}; "
            "add one by headgate config context add NAME URL"
        )

    def server(self, name: str) -> TargetServer:
        """Return the server of a context. Raises ValueError if its file cannot be read."""
        context, authorization = self.of_name(name), None
        if context.auth_file:
            try:
                text = text_of(Path(context.auth_file))
            except (OSError, ValueError) as cause:
                reason = cause.strerror if isinstance(cause, OSError) else f"it {cause}"
                raise ValueError(f"context {name}: {context.auth_file}: {reason}") from cause
            authorization = checked_authorization(text, context.auth_file)
        return TargetServer(
            context.url,
            authorization,
            is_bound=True,
            named_by=f"context {name}",
            authorized_by=context.auth_file or AUTHORIZATION_VARIABLE,
            ca_file=context.cacert,
            admin=context.admin,
            admin_token_file=context.admin_token_file,
        )


def _file() -> Path:
    """Return the path of the file, by the XDG Base Directory specification.

    For a user without a home, as in a container, it is one that cannot exist.
    """
    given = os.environ.get("XDG_CONFIG_HOME", "")
    if not given.startswith("/"):  # the specification says that a relative path is none
        given = os.path.expanduser("~/.config")  # noqa: PTH111 - Path raises without a home
    return Path(given if given.startswith("/") else os.devnull) / "headgate" / "contexts.json"


def load_contexts() -> Contexts:
    """Read the file; without one there are no contexts. Raises ValueError for a damaged one."""
    file = _file()
    try:
        return msgspec.json.decode(read_file(str(file)), type=Contexts)
    except (FileNotFoundError, NotADirectoryError):
        return Contexts()
    except OSError as cause:
        raise ValueError(f"{file} cannot be read: {cause.strerror}") from cause
    except ValueError as cause:  # a msgspec.DecodeError, too
        raise ValueError(f"{file}: {cause}") from cause


def save_contexts(contexts: Contexts) -> None:
    """Write the file, which only the user can read. Raises ValueError if that is not possible."""
    file = _file()
    data = msgspec.json.format(msgspec.json.encode(contexts)) + b"\n"
    try:
        file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        (replace if file.exists() else create)(file, data)
    except OSError as cause:
        raise ValueError(f"{file} cannot be written: {cause.strerror}") from cause


def complete_name(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of contexts that begin so, for the completion of a shell.

    Without a readable file there are none: a shell has no place for a message.
    """
    try:
        known = load_contexts().contexts
    except ValueError:
        return []
    return sorted(name for name in known if name.startswith(incomplete))
