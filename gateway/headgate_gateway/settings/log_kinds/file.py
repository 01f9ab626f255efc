"""Streams in a folder of this machine, `file:PATH`, used by one process at a time."""

from __future__ import annotations

import os
import re
import shlex
import stat
import tempfile
from pathlib import Path

from headgate_gateway.settings.log_kinds.declaration import LogKind

OTHERS = 0o077  # the rights of everybody but the user


def folder(storage: str) -> str:
    """Return the folder that a storage `file:PATH` names."""
    return storage.removeprefix("file:")


def _check(storage: str) -> None:
    path = folder(storage)
    if path.startswith("~"):
        raise ValueError("must have its folder written out: ~ is not expanded here")
    if re.match("//[^/]", path):
        raise ValueError("must be file:PATH without a host, such as file:/var/lib/headgate")


def _look(storage: str) -> None:
    path = folder(storage)
    # Whether the folder is writable depends on the user that the server runs as.
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 - Path raises
        raise ValueError("must be a folder, or nothing yet: this is a file")


def is_new(storage: str) -> bool:
    """Return whether nothing is in the folder of a storage yet, or there is no folder."""
    try:
        return not os.listdir(folder(storage))  # noqa: PTH208 - Path raises on odd names
    except (OSError, ValueError):
        return True


def why_not_writable(storage: str) -> str | None:
    """Return why this user cannot make the folder, or write to it; None if it can.

    Only the system knows, so an empty folder is made where the first one is missing, and removed.
    """
    path = Path(folder(storage)).absolute()
    try:
        there = next(it for it in (path, *path.parents) if it.exists())
        Path(tempfile.mkdtemp(prefix=".headgate-", dir=there)).rmdir()
    except OSError as error:
        need = "be written to" if os.path.isdir(path) else "be made"  # noqa: PTH112 - as in _look
        return f"the data folder {path} cannot {need}: {error.strerror or error}"
    return None


def _danger(storage: str) -> str:
    """Return a sentence about a folder that others can look into, or ""."""
    path = folder(storage)
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116 - Path raises on odd names
    except (OSError, ValueError):
        return ""  # no folder yet: the server makes it for its user alone
    if not mode & OTHERS:
        return ""
    return (
        f"others can look into the folder {path}, whose mode is {mode:04o}: "
        f"chmod 0700 {shlex.quote(path)}, unless they should"
    )


def _redacted(storage: str) -> str:
    return f"file:{Path(folder(storage)).absolute()}"


def _place(storage: str) -> str:
    """Return the canonical path of the folder, with links resolved."""
    return os.path.realpath(folder(storage))  # Path.resolve raises for circular links


KIND = LogKind(
    name="file",
    title="folder",
    form=re.compile("file:.+", re.DOTALL),
    words="file:PATH",
    make="headgate_gateway.logs.sqlite.log:log_of",
    format="headgate_gateway.logs.sqlite.data_folder:form_written",
    libraries=("apsw",),
    check=_check,
    look=_look,
    danger=_danger,
    redact=_redacted,
    places=lambda storage: (_place(storage),),
    conflict=lambda storage: f"both are {_place(storage)}",
    settings=frozenset({"max_storage_size"}),
    why_alone="one process alone can keep its data in a folder",
)
