"""The files and folders that settings name, looked at without changing anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import StartError
from gateway.settings import trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings.declared import Settings

FILE = "file:"


def problems(settings: Settings) -> Iterator[str]:
    """A sentence for each that a server with these settings could not use."""
    for route in settings.route_table:
        if route.tls_ca:
            try:
                trust.context(route.tls_ca)
            except StartError as refusal:
                yield f"{refusal.detail}."
        if route.origin.startswith(FILE):
            folder = Path(route.origin.removeprefix(FILE))
            # Whether it can be written is for the user to say as whom the server runs.
            if folder.exists() and not folder.is_dir():
                yield f"cannot use {folder} (origin): it is no folder."
