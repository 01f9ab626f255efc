"""The tokens of the clients of streams: shown, issued and revoked by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from admin.access.audit import audited
from admin.answers import answers_of
from admin.model.tokens import TokensView
from gateway.features.questions.streams import LARGEST_PAGE, PAGE
from gateway.features.questions.tokens import ListTokens, TokenPage

if TYPE_CHECKING:
    from admin.model.viewer import Viewer
    from gateway.features.issued_tokens import IssuedToken, TokenRequest
    from gateway.features.questions.process_source import ProcessSource, Setup
    from gateway.features.tokens_file_changes import RevocationEntry
    from gateway.settings import Settings


class ConsoleCredentials:
    """The credentials that the settings in force accept. A refused change raises ConsoleError."""

    def __init__(self, source: ProcessSource, setup: Setup) -> None:
        self._source = source
        self._reloader = setup.reloader
        self._clock = setup.clock

    @property
    def _settings(self) -> Settings:
        return self._reloader.settings

    async def page(
        self, text: str = "", after: str = "", limit: int = PAGE, *, with_clients: bool = False
    ) -> TokensView:
        """Return a page of the tokens whose names contain a text; addresses only `with_clients`.

        Raises ConsoleError.
        """
        from admin.credentials.merging import (  # loaded when somebody looks at the page
            merged,
            without_clients,
        )

        question = ListTokens(text, after, max(1, min(limit, LARGEST_PAGE)))
        page = merged(await answers_of(self._source, question, TokenPage))
        if not with_clients:
            page = without_clients(page)
        settings = self._settings
        health = await self._source.health()
        files = (settings.credentials.tokens_file, *(it.source for it in page.keys))
        return TokensView(
            **msgspec.structs.asdict(page),
            tokens_file=settings.credentials.tokens_file,
            keys_file=settings.credentials.keys_file,
            longest_lifetime=settings.credentials.read_token_max_age,
            problems=tuple(
                f"{file} is not in force as it is now: {problem}"
                for file in files
                if (problem := health.of_file(file)) is not None
            ),
        )

    async def make_token(self, request: TokenRequest, by: Viewer) -> tuple[IssuedToken, str]:
        """Return a read token, and the value of a Set-Cookie with it; neither is logged."""
        from admin.credentials.files import cookie_of, make_token

        with audited(by, "token", "", request.streams) as logged:
            logged["subject"] = request.subject
            now = self._clock()
            token = await make_token(self._settings, request, now)
            logged |= {"jti": token.token_id, "expires": token.expires}
        return token, cookie_of(token, request.streams, now)

    async def rotate_keys(self, streams: str, by: Viewer) -> int:
        """Give streams new reader keys; every gateway with the file uses them within a second."""
        from admin.credentials.files import rotate_keys

        with audited(by, "rotate", "", streams) as logged:
            logged["version"] = version = await rotate_keys(self._settings, streams)
        return version

    async def revoke(self, entry: RevocationEntry, by: Viewer) -> tuple[str, ...]:
        """Revoke tokens; every gateway with the file refuses them within a second.

        Return sentences on caches that still answer. What was refused is not logged: somebody may
        have entered a token.
        """
        from admin.credentials.files import revoke

        with audited(by, "revoke", "", "") as logged:
            logged["kind"] = entry.kind
            warnings = await revoke(self._settings, entry)
            logged |= {"stream": f"{entry.kind} {entry.value}", "value": entry.value}
        return warnings
