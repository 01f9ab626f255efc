"""The files and folders that settings name, looked at without changing anything."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from gateway import trust
from gateway.settings.log_kinds import kind_of


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


def check_place(origin: str, look: object) -> None:
    """Refuse an origin whose log has no place on this machine, such as a folder that is a file."""
    kind = kind_of(origin)
    if isinstance(look, Look) and kind is not None:
        kind.look(origin)
