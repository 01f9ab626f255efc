"""The kinds of credentials: each module here declares a `KIND`, and is found by that."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headgate_gateway.settings.credential_kinds.declaration import CredentialKind


def _declared() -> Iterator[CredentialKind]:
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        kind: CredentialKind | None = getattr(import_module(found.name), "KIND", None)
        if kind is not None:
            yield kind


KINDS: dict[str, CredentialKind] = {kind.name: kind for kind in _declared()}


def ranked() -> tuple[CredentialKind, ...]:
    """Return the kinds in the order in which they are listed."""
    return tuple(sorted(KINDS.values(), key=lambda kind: (kind.rank, kind.name)))


def names() -> tuple[str, ...]:
    """Return the words for the kinds in `auth`."""
    return tuple(kind.name for kind in ranked())


def verified(auth: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds in the `auth` of a route that this gateway verifies itself."""
    return tuple(word for word in auth if word in KINDS)
