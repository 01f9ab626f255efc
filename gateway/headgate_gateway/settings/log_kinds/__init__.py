"""The kinds of logs: each module here declares a `KIND`, and is found by that."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings.log_kinds.declaration import LogKind


def _declared() -> Iterator[LogKind]:
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        kind: LogKind | None = getattr(import_module(found.name), "KIND", None)
        if kind is not None:
            yield kind


KINDS: dict[str, LogKind] = {kind.name: kind for kind in _declared()}


def kind_of(storage: str) -> LogKind | None:
    """Return the kind of log that a storage names; None if it names no log."""
    return next((kind for kind in KINDS.values() if kind.form.fullmatch(storage)), None)


def kinds_with(setting: str) -> tuple[LogKind, ...]:
    """Return the kinds whose routes may have a setting that not all of them have."""
    return tuple(kind for kind in KINDS.values() if setting in kind.settings)
