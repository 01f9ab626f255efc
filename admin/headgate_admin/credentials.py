"""The credentials of the clients of streams: shown, issued, rotated and revoked by operators."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from headgate_admin.access.audit import audited
from headgate_admin.answers import answers_of
from headgate_admin.errors import ConsoleError
from headgate_admin.model.kinds import Viewer
from headgate_admin.model.tokens import (
    KeyRotation,
    OfTokens,
    ReadToken,
    Revocation,
    RevokedTokens,
    RotatedKeys,
    TokensView,
    TokenWish,
)
from headgate_admin.operation import operation
from headgate_gateway.access.principal import MOST_PLACES
from headgate_gateway.features.questions.tokens import MOST_SIGNED, ListTokens, TokenPage
from headgate_gateway.protocol.http.paths import MAX_PATH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headgate_gateway.features.questions.process_source import ProcessSource, Setup
    from headgate_gateway.features.questions.tokens import SignedTokenRow, TokenPlace, TokenUse
    from headgate_gateway.settings import Settings

F = TypeVar("F")


class ConsoleCredentials:
    """The credentials that the settings in force accept. A refused change raises ConsoleError.

    The modules that read and change files of tokens and keys are imported at their first use: they
    take 10 MB, which a gateway without a keys_file saves.
    """

    def __init__(self, source: ProcessSource, setup: Setup) -> None:
        self._source = source
        self._setup = setup
        self._changing = asyncio.Lock()  # each change reads the file, changes and replaces it

    @property
    def _settings(self) -> Settings:
        return self._setup.settings

    @operation("GET", "/api/v1/tokens")
    async def page(self, query: OfTokens, viewer: Viewer) -> TokensView:
        """Return a page of the tokens of clients, without their hashes."""
        question = ListTokens(query.text, query.after, query.limit)
        page = _merged(await answers_of(self._source, question, TokenPage))
        if not viewer.is_operator:
            page = _without_clients(page)
        settings = self._settings.credentials
        health = await self._source.health()
        files = (settings.tokens_file, *(it.source for it in page.keys))
        return TokensView(
            **msgspec.structs.asdict(page),
            tokens_file=settings.tokens_file,
            keys_file=settings.keys_file,
            longest_lifetime=settings.read_token_max_age,
            problems=tuple(
                f"{file} is not in force as it is now: {problem}"
                for file in files
                if (problem := health.of_file(file)) is not None
            ),
        )

    @operation("POST", "/api/v1/tokens")
    async def make_token(self, body: TokenWish, viewer: Viewer) -> ReadToken:
        """Make a read token, which is not logged."""
        with audited(viewer, "token", "", body.streams) as logged:
            logged["subject"] = body.subject
            token = await _make_token(self._settings, body, self._setup.clock())
            logged |= {"jti": token.jti, "expires": token.expires}
        return token

    @operation("POST", "/api/v1/reader-keys/rotate")
    async def rotate_keys(self, body: KeyRotation, viewer: Viewer) -> RotatedKeys:
        """Give streams other reader keys; every gateway with the file uses them in a second."""
        from headgate_gateway.access.token_findings import meets
        from headgate_gateway.features.tokens_file_changes import rotate_file
        from headgate_gateway.settings.grants import check_pattern

        streams = body.streams
        with audited(viewer, "rotate", "", streams) as logged:
            try:
                check_pattern(streams)
            except ValueError as refusal:
                raise ConsoleError(400, f"streams {refusal}") from refusal
            if not any(meets(streams, it.prefix) for it in self._settings.keyed_routes):
                raise ConsoleError(
                    404, f"{streams[:MAX_PATH_BYTES]} is below no route with reader_keys = on"
                )
            path = self._tokens_file("the versions of reader keys")
            instead = "use headgate token rotate where it can be written"
            version = await self._change(path, partial(rotate_file, path, streams), instead)
            logged["version"] = version
        return RotatedKeys(streams, version)

    @operation("POST", "/api/v1/tokens/revoke")
    async def revoke(self, body: Revocation, viewer: Viewer) -> RevokedTokens:
        """Revoke a static token, or signed tokens.

        Every gateway with the file refuses them within a second. If the file cannot be written, the
        error has the lines to add. A refused revocation is not logged: somebody may have entered a
        token.
        """
        from headgate_gateway.features.tokens_file_changes import RevocationEntry, revoke_in_file

        entry = RevocationEntry(body.kind, body.value, body.before)
        with audited(viewer, "revoke", "", "") as logged:
            logged["kind"] = body.kind
            try:
                entry.check()
            except ValueError as refusal:
                raise ConsoleError(400, f"{refusal}") from refusal
            path = self._tokens_file("revocations")
            instead = f"add this to it where it can be written:\n{entry.text}"
            is_keyed = bool(self._settings.keyed_routes)
            change = partial(revoke_in_file, path, entry, has_reader_keys=is_keyed)
            await self._change(path, change, instead)
            logged |= {"stream": f"{body.kind} {body.value}", "value": body.value}
        return RevokedTokens(entry.text)

    def _tokens_file(self, content: str) -> str:
        path = self._settings.credentials.tokens_file
        if not path:
            raise ConsoleError(
                409, f"the settings have no credentials.tokens_file, in which {content} would stand"
            )
        return path

    async def _change(self, path: str, change: Callable[[], F], instead: str) -> F:
        """Change the file in a thread, one change after the other. Raises ConsoleError."""
        async with self._changing:
            try:
                return await asyncio.to_thread(change)
            except OSError as cause:
                raise ConsoleError(
                    503, f"{path} cannot be replaced: {cause.strerror}; {instead}"
                ) from cause
            except ValueError as refusal:
                raise ConsoleError(409, f"{refusal}") from refusal


async def _make_token(settings: Settings, wish: TokenWish, now: float) -> ReadToken:
    """Make the read token that an operator wishes. Raises ConsoleError if that is impossible."""
    path = settings.credentials.keys_file
    if not path:
        raise ConsoleError(
            409,
            "the settings have no credentials.keys_file: make one by headgate token keys NEW_FILE",
        )
    from headgate_gateway.access.key_sets import load_keys
    from headgate_gateway.features import issued_tokens

    try:
        keys = await asyncio.to_thread(load_keys, path)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        raise ConsoleError(503, f"the keys cannot be used: {reason}") from cause
    request = issued_tokens.TokenRequest(wish.subject, wish.streams, wish.operations, wish.lifetime)
    try:
        issued = issued_tokens.sign(request, keys, settings.credentials.read_token_max_age, now)
    except ValueError as refusal:
        raise ConsoleError(400, f"the token {refusal}") from refusal
    try:
        cookie = issued_tokens.cookie(issued, wish.streams, now)
    except ValueError:  # no cookie can be for these streams
        cookie = ""
    return ReadToken(issued.token, issued.expires, issued.token_id, cookie)


def _merged(pages: Sequence[TokenPage]) -> TokenPage:
    """Return the page of the first process, with the uses of all.

    All have the same files. One may have read a change some milliseconds before another.
    """
    first = pages[0]
    uses: dict[str, list[TokenUse]] = {}
    signed: dict[str, list[SignedTokenRow]] = {}
    for page in pages:
        for token in page.tokens:
            uses.setdefault(token.name, []).append(token.use)
        for row in page.signed:
            signed.setdefault(row.account, []).append(row)
    rows = [replace(it[0], use=_sum(row.use for row in it)) for it in signed.values()]
    rows.sort(key=lambda row: -(row.use.used_at or 0.0))
    return replace(
        first,
        tokens=tuple(replace(it, use=_sum(uses[it.name])) for it in first.tokens),
        signed=tuple(rows[:MOST_SIGNED]),
        unknown=sum(page.unknown for page in pages),
    )


def _sum(uses: Iterable[TokenUse]) -> TokenUse:
    """Return the last use with the sums of the refusals, and the newest places of all."""
    listed = [*uses]
    places: dict[tuple[str, str], TokenPlace] = {}
    for place in sorted((it for use in listed for it in use.places), key=lambda it: -it.at):
        places.setdefault((place.address, place.user_agent), place)
    return replace(
        max(listed, key=lambda use: use.used_at or 0.0),
        places=tuple(places.values())[:MOST_PLACES],
        refused=sum(it.refused for it in listed),
        forbidden=sum(it.forbidden for it in listed),
    )


def _without_clients(page: TokenPage) -> TokenPage:
    """Return the page without the addresses and user agents that tokens were used from."""
    return replace(
        page,
        tokens=tuple(replace(it, use=replace(it.use, places=())) for it in page.tokens),
        signed=tuple(replace(it, use=replace(it.use, places=())) for it in page.signed),
    )
