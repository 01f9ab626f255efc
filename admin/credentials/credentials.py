"""The tokens of the clients of streams: shown, issued and revoked by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from admin.access.audit import audited
from admin.answers import answers_of
from admin.model.tokens import (
    KeyRotation,
    OfTokens,
    ReadToken,
    Revocation,
    RevokedTokens,
    RotatedKeys,
    TokensView,
    TokenWish,
)
from admin.model.viewer import Viewer
from admin.operation import operation
from gateway.features.questions.tokens import ListTokens, TokenPage

if TYPE_CHECKING:
    from gateway.features.questions.process_source import ProcessSource, Setup
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

    @operation("GET", "/api/v1/tokens")
    async def page(self, query: OfTokens, viewer: Viewer) -> TokensView:
        """Return a page of the tokens of clients, without their hashes."""
        from admin.credentials.merging import (  # loaded when somebody looks at the page
            merged,
            without_clients,
        )

        question = ListTokens(query.text, query.after, query.limit)
        page = merged(await answers_of(self._source, question, TokenPage))
        if not viewer.is_operator:
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

    @operation("POST", "/api/v1/tokens")
    async def make_token(self, body: TokenWish, viewer: Viewer) -> ReadToken:
        """Make a read token, which is not logged."""
        from admin.credentials.files import make_token

        with audited(viewer, "token", "", body.streams) as logged:
            logged["subject"] = body.subject
            token = await make_token(self._settings, body, self._clock())
            logged |= {"jti": token.jti, "expires": token.expires}
        return token

    @operation("POST", "/api/v1/reader-keys/rotate")
    async def rotate_keys(self, body: KeyRotation, viewer: Viewer) -> RotatedKeys:
        """Give streams other reader keys; every gateway with the file uses them in a second."""
        from admin.credentials.files import rotate_keys

        with audited(viewer, "rotate", "", body.streams) as logged:
            logged["version"] = version = await rotate_keys(self._settings, body.streams)
        return RotatedKeys(body.streams, version)

    @operation("POST", "/api/v1/tokens/revoke")
    async def revoke(self, body: Revocation, viewer: Viewer) -> RevokedTokens:
        """Revoke a static token, or signed tokens.

        Every gateway with the file refuses them within a second. A refused revocation is not
        logged: somebody may have entered a token.
        """
        from admin.credentials.files import revoke

        with audited(viewer, "revoke", "", "") as logged:
            logged["kind"] = body.kind
            revoked = await revoke(self._settings, body)
            logged |= {"stream": f"{body.kind} {body.value}", "value": body.value}
        return revoked
