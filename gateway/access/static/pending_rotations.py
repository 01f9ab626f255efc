"""Warnings about revocations that take no effect at the caches in front before a rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.access.static.rotation_warnings import remaining_warnings, removal_warnings
from gateway.access.static.tokens_file import MOST_TOLD
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.access.revocations import RotationWarning
    from gateway.access.static.rotation_warnings import KeyedRoute
    from gateway.access.static.tokens_file import TokensFile


class PendingRotations:
    """The revocations in a tokens_file that no rotation of reader keys has followed.

    `tokens` returns the present content of the file at `path`; `routes` are those with reader keys.
    """

    def __init__(
        self, path: str, tokens: Callable[[], TokensFile], routes: Sequence[KeyedRoute]
    ) -> None:
        self._path = path
        self._tokens = tokens
        self._routes = routes
        self._last_tokens = tokens()
        # Tokens that were removed from the file, whose streams' keys were not rotated since.
        self._removed: tuple[RotationWarning, ...] = ()

    def update(self) -> None:
        """Note the tokens that a change of the file has removed, and log the warnings."""
        before, after = self._last_tokens, self._tokens()
        self._last_tokens = after
        self._removed = (
            *remaining_warnings(self._removed, before.reader_keys, after.reader_keys),
            *removal_warnings(before, after, self._routes),
        )[:MOST_TOLD]
        self.warn()

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each revocation that does not reach the caches in front."""
        return tuple(f"{self._path}: {it.sentence}" for it in self._warnings())

    def warn(self) -> None:
        """Log the sentences."""
        for sentence in self.sentences()[:MOST_TOLD]:
            log.warning("access.not_rotated", what=sentence)

    def notes(self) -> dict[str, str | None]:
        """Return the sentences about each route with reader keys, or None where there is none."""
        found: dict[str, list[str]] = {route.prefix: [] for route in self._routes}
        for one in self._warnings()[:MOST_TOLD]:
            found[one.prefix].append(one.sentence)
        return {f"reader-keys {prefix}": "; ".join(it) or None for prefix, it in found.items()}

    def _warnings(self) -> tuple[RotationWarning, ...]:
        return (*self._tokens().rotation_warnings, *self._removed)
