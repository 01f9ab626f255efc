"""The files and folders that settings name, looked at without changing anything."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass

from gateway import trust

FILE = "file:"


@dataclass(frozen=True, slots=True)
class Look:
    """The context of a validation that looks at files; `only_route` is without `routes`."""

    only_route: bool


def check_authorities(path: str, look: object) -> None:
    """Refuse a file whose authorities a server could not trust."""
    if not (isinstance(look, Look) and path):
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as cause:
        raise ValueError(f"must be a file of authorities: {trust.why_not(cause)}") from cause


def check_folder(origin: str, look: object) -> None:
    """Refuse an origin in a folder that is none."""
    if not (isinstance(look, Look) and origin.startswith(FILE)):
        return
    folder = origin.removeprefix(FILE)
    # Whether it can be written is for the user to say as whom the server runs.
    if os.path.exists(folder) and not os.path.isdir(folder):  # noqa: PTH110, PTH112 - Path raises
        raise ValueError("must be a folder, or nothing yet: this is a file")


def place(origin: str) -> str:
    """The one name of the folder behind an origin, by whatever links and ways it is written."""
    return os.path.realpath(origin.removeprefix(FILE))  # Path.resolve raises where links go round
