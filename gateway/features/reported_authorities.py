"""The authorities of a server, which report what of tokens and settings has too little effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.access.authorities import Authorities
from gateway.features.console.credential import ConsoleAuthority
from gateway.features.token_findings import (
    MOST_LISTED,
    Findings,
    UnrotatedKey,
    findings,
    grants_of_issuers,
    guarded_routes,
    unrotated_after,
)
from gateway.settings.credential_kinds import verified
from gateway.settings.reading.files import whole
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.access.tokens_file import TokensFile
    from gateway.settings import Settings


class ReportedAuthorities(Authorities):
    """Authorities that log and note what of the tokens_file has no effect, or too little."""

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        console: bytes = b"",
        earlier: Authorities | None = None,
    ) -> None:
        """Read the files, as Authorities do, and look at what the tokens_file has.

        `console` is the hash of the console's token, which all verifiers accept; b"" for none.
        """
        self._routes = guarded_routes(settings)
        self._found = Findings()
        # Of tokens that were removed from the file, whose streams' keys were not rotated since.
        self._removed: tuple[UnrotatedKey, ...] = ()
        always = (ConsoleAuthority(console),) if console else ()
        super().__init__(settings, clock, always, earlier)
        self._last_file = self.tokens()

    @classmethod
    def check(cls, settings: Settings) -> tuple[str, ...]:
        """Return a sentence for each setting or revocation with no effect, or too little.

        Raises StartError for a file that cannot be used, or a kind that has no settings.
        """
        authorities = cls(settings, lambda: 0.0)
        for route in settings.route_table:
            authorities.verifier(verified(settings.auth_of(route)))
            if route.reader_keys == "on":
                authorities.reader_keys()
        for written in settings.written:
            authorities.verifier(settings.auth_of(written))
        found = authorities._found.without_effect
        return (*grants_of_issuers(settings), *found, *authorities._not_rotated())

    @override
    def start(self) -> None:
        """Log the warnings, and start to watch the files and URLs on the running loop."""
        for sentence in grants_of_issuers(self.settings):
            log.warning("access.no_effect", what=sentence)
        self._warn_of_file()
        super().start()

    @override
    def notes(self) -> dict[str, str | None]:
        """Return what is wrong with each file and URL, by name, or None where nothing is.

        A route with reader keys is named if no rotation has followed a revocation on it.
        """
        told: dict[str, list[str]] = {it.prefix: [] for it in self._routes if it.has_reader_keys}
        for one in self._unrotated()[:MOST_LISTED]:
            told[one.prefix].append(one.sentence)
        of_routes = {f"reader-keys {prefix}": "; ".join(it) or None for prefix, it in told.items()}
        return super().notes() | of_routes

    @override
    def _parse_tokens(self, path: str, data: bytes) -> TokensFile:
        file = super()._parse_tokens(path, data)
        self._found = findings(path, file, self._routes)
        return file

    @override
    def _on_new_tokens(self) -> None:
        before, after = self._last_file, self.tokens()
        self._last_file = after
        if revoked := after.revocations.new_since(before.revocations):
            log.info("access.revoked", what=", ".join(revoked))
        removed = unrotated_after(self._removed, before, after, self._routes)
        self._removed = removed[:MOST_LISTED]
        self._warn_of_file()
        super()._on_new_tokens()

    def _warn_of_file(self) -> None:
        for sentence in self._found.without_effect:
            log.warning("access.no_effect", what=sentence)
        for sentence in self._not_rotated()[:MOST_LISTED]:
            log.warning("access.not_rotated", what=sentence)

    def _not_rotated(self) -> tuple[str, ...]:
        path = whole(self.settings.tokens_file)
        return tuple(f"{path}: {it.sentence}" for it in self._unrotated())

    def _unrotated(self) -> tuple[UnrotatedKey, ...]:
        return (*self._found.unrotated, *self._removed)
