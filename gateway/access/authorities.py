"""The authorities that verify tokens in one process, made from the settings."""

from __future__ import annotations

import pkgutil
from functools import partial
from typing import TYPE_CHECKING

from gateway.access.console import ConsoleAuthority
from gateway.access.credential_files import AuthorityParts, CredentialFiles
from gateway.access.reader_keys import ReaderKeys
from gateway.access.report.findings import guarded_routes
from gateway.access.report.token_report import ReportedFile, TokenReport, parse_reported
from gateway.access.token_guard import Judging, Verifier
from gateway.access.tokens_file import NOTHING, TokensFile
from gateway.errors import StartError
from gateway.settings.credential_kinds import KINDS, ranked, verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.access.contract import Authority
    from gateway.access.key_sets import Keys
    from gateway.access.principal import CredentialUses, Principal
    from gateway.settings import Settings
    from gateway.telemetry.metrics import Sample

EMPTY = ReportedFile(TokensFile({}, NOTHING, {}))


class Authorities:
    """The authorities of a process, by the words of `auth`; started, they watch their files.

    `clock` returns epoch seconds. `console` is the hash of the console's token, if there is a
    console: all verifiers accept that token in addition to their own kinds.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        console: bytes = b"",
        earlier: Authorities | None = None,
    ) -> None:
        """Read the files of the settings; raise StartError for one that cannot be used.

        `earlier` are those before a reload: what they have fetched, and their reader keys, go on.
        """
        by_route = {f"routes[{index}].auth": one.auth for index, one in enumerate(settings.routes)}
        by_model = {f"models[{index}].auth": one.auth for index, one in enumerate(settings.models)}
        by_proxy = {f"proxies[{index}].auth": it.auth for index, it in enumerate(settings.proxies)}
        self._kinds_by_setting = {"auth": settings.auth, **by_route, **by_model, **by_proxy}
        self._always: list[Authority] = [ConsoleAuthority(console)] if console else []
        self._named = settings.named
        self._judging = Judging(clock)
        self._files = CredentialFiles(settings.named, self.judge_again)
        reported = self._watch_tokens(settings)

        def tokens() -> TokensFile:
            return reported().file

        self._tokens = tokens
        self._keys: Callable[[], Keys] | None = None
        self._reader_keys: ReaderKeys | None = None if earlier is None else earlier._reader_keys
        if settings.keys_file:
            # Imported at the start: the library for signatures takes 10 MB.
            from gateway.access.key_sets import parse_keys_file

            self._keys = self._files.watch("keys_file", settings.keys_file, parse_keys_file)
        parts = AuthorityParts(settings, self._files, tokens, self._keys)
        self._by_kind: dict[str, Authority] = {
            kind.name: pkgutil.resolve_name(kind.make)(parts)
            for kind in ranked()
            if getattr(settings, kind.setting)
        }
        self.report = TokenReport(settings, reported, self._keys, self._by_kind)
        if earlier is not None:
            self._files.adopt(earlier._files)

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
        return authorities.report.sentences()

    def verifier(
        self,
        kinds: Iterable[str],
        on_end: Callable[[Principal], None] = lambda _: None,
        uses: CredentialUses | None = None,
    ) -> Verifier:
        """Return a verifier of tokens of these kinds, in any order.

        `on_end` is called with each principal whose credential has been revoked. `uses` counts the
        requests with each holder's tokens.

        Raises StartError for a kind that has no settings.
        """
        names = [*kinds]
        for kind in names:
            if kind not in self._by_kind:
                needed = KINDS[kind].setting
                raise StartError(f"{self._asking_for(kind)} has {kind}, which needs {needed}")
        in_turn = [
            self._by_kind[kind.name]
            for kind in sorted(ranked(), key=lambda kind: kind.has_generic_format)
            if kind.name in names
        ]
        return self._judging.include(Verifier([*self._always, *in_turn], on_end, uses))

    def reader_keys(self) -> ReaderKeys:
        """Return the reader keys of all streams. Raises StartError if keys_file has no secret."""
        secret = None if self._keys is None else self._keys().reader_secret
        if secret is None:
            raise StartError(
                "reader_keys needs keys_file with a secret, which headgate token keys NEW_FILE "
                "makes"
            )
        if self._reader_keys is None:
            self._reader_keys = ReaderKeys(secret, self._tokens().reader_keys)
        return self._reader_keys

    def start(self) -> None:
        """Log the warnings, and start to watch the files and URLs on the running loop."""
        self.report.warn()
        self._files.start()

    async def stop(self) -> None:
        """Stop watching the files and URLs."""
        self._judging.stop()
        await self._files.stop()

    def notes(self) -> dict[str, str | None]:
        """Return what is wrong with each file and URL, by name, or None where nothing is.

        A route with reader keys is named if no rotation has followed a revocation on it.
        """
        return self._files.notes() | self.report.notes()

    def samples(self) -> Iterator[Sample]:
        """Return the metrics of the files, and of the URLs with keys of issuers."""
        return self._files.samples()

    def judge_again(self) -> None:
        """End the principals that no authority upholds any more, and update the reader keys."""
        self._judging.restart()
        self._update_reader_keys()

    def _update_reader_keys(self) -> None:
        """Set the current secret and versions of the reader keys; a removed secret stays in use."""
        if self._reader_keys is not None and self._keys is not None:
            self._reader_keys.update(self._keys().reader_secret, self._tokens().reader_keys)

    def _watch_tokens(self, settings: Settings) -> Callable[[], ReportedFile]:
        if not settings.tokens_file:
            return lambda: EMPTY
        parse = partial(parse_reported, guarded_routes(settings))
        return self._files.watch("tokens_file", settings.tokens_file, parse, self._on_new_tokens)

    def _on_new_tokens(self) -> None:
        self.report.update()
        self.judge_again()

    def _asking_for(self, kind: str) -> str:
        """Return the first setting that asks for a kind of credential."""
        naming = (path for path, kinds in self._kinds_by_setting.items() if kind in kinds)
        return self._named(next(naming, "auth"))
