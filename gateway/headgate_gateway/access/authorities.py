"""The authorities that verify tokens in one process, made from the settings."""

from __future__ import annotations

import asyncio
import pkgutil
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from headgate_gateway.access.reader_keys import ReaderKeys
from headgate_gateway.access.token_findings import NO_FILE, TokensReport, examine, guarded_routes
from headgate_gateway.access.token_guard import Verifier
from headgate_gateway.access.tokens_file import StaticTokens
from headgate_gateway.background import LONGEST_TURN_S
from headgate_gateway.errors import StartError
from headgate_gateway.settings.credential_kinds import KINDS, ranked, verified
from headgate_gateway.small_files import WatchedFiles, read_file
from headgate_gateway.telemetry.health import ACCESS_FILE, KEY_SET, Cause, HealthNote
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import Sample, least

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from headgate_gateway.access.contract import Authority
    from headgate_gateway.access.jwt_issuers import JwtIssuers, KeysOfFile, RemoteKeys
    from headgate_gateway.access.key_sets import Keys, KeySet
    from headgate_gateway.access.principal import CredentialUses, Principal
    from headgate_gateway.access.read_tokens import ReadTokens
    from headgate_gateway.access.token_findings import ExaminedTokens
    from headgate_gateway.access.tokens_file import Revocations, TokensFile
    from headgate_gateway.settings import JwtIssuer, Settings


FILE_OK = least(
    "headgate_access_file_ok",
    "1 while the current file of tokens or keys is in force, by the setting that names it.",
    "setting",
)

T = TypeVar("T")


class WatchedFile(WatchedFiles[T]):
    """A file's content as `parse` returns it.

    `parse` takes the file's bytes. It raises ValueError with a line for each mistake, which names
    the file and repeats nothing secret. `on_change` is called after each change of `value`.
    """

    def __init__(
        self, setting: str, path: str, parse: Callable[[bytes], T], on_change: Callable[[], None]
    ) -> None:
        """Read the file for the first time. Raises StartError if it cannot be used."""
        self.setting = setting  # the name of the setting that has its path
        self.path = path
        self._parse = parse
        self._notify = on_change
        super().__init__((path,))

    @override
    def _read(self) -> T:
        return self._parse(read_file(self.path))

    @override
    def _on_change(self) -> None:
        log.info("access.file_read", file=self.path)
        self._notify()

    @override
    def _log_refusal(self, why: str) -> None:
        log.error("access.file_refused", file=self.path, why=why, instead="its last good state")


def _parse_key_file(algorithms: Collection[str], path: str, data: bytes) -> KeySet:
    from headgate_gateway.access.key_sets import parse_keys  # 10 MB, as for the keys_file

    try:
        return parse_keys(data, algorithms)
    except ValueError as cause:
        raise ValueError(f"{path} {cause}") from None


class Authorities:
    """The authorities of a process, by the words of `auth`; started, they watch their files.

    `keys` returns the present content of the keys_file, if there is one. What of the tokens_file
    and the settings has no effect is logged.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        always: Sequence[Authority] = (),
        earlier: Authorities | None = None,
    ) -> None:
        """Read the files of the settings; raise StartError for one that cannot be used.

        `clock` returns epoch seconds. All verifiers accept the tokens of `always`, too. `earlier`
        are those before a reload: what they have fetched, and their reader keys, go on.
        """
        self.settings = settings
        self._files: list[WatchedFile[Any]] = []
        self._urls: list[RemoteKeys] = []
        self._tokens: Callable[[], ExaminedTokens] = lambda: NO_FILE
        self.keys: Callable[[], Keys] | None = None
        self._clock = clock
        self._always = always
        self._verifiers: list[Verifier] = []
        self._unchecked: Iterator[None] = iter(())  # each step checks one principal
        self._next_turn: asyncio.Handle | None = None
        self._reader_keys: ReaderKeys | None = None if earlier is None else earlier._reader_keys
        if settings.credentials.tokens_file:
            self._tokens = self.watch(
                "credentials.tokens_file",
                settings.credentials.tokens_file,
                self._examine_tokens,
                self._on_new_tokens,
            )
        self.report = TokensReport(settings, self._tokens())
        if settings.credentials.keys_file:
            # Imported here: the library for signatures takes 10 MB.
            from headgate_gateway.access.key_sets import parse_keys_file

            self.keys = self.watch(
                "credentials.keys_file", settings.credentials.keys_file, parse_keys_file
            )
        self.by_kind: dict[str, Authority] = {
            kind.name: pkgutil.resolve_name(kind.make)(self)
            for kind in ranked()
            if settings.value_at(kind.setting)
        }
        fetched = {} if earlier is None else {keys.public_url: keys for keys in earlier._urls}
        for keys in self._urls:
            if keys.public_url in fetched:
                keys.adopt(fetched[keys.public_url])

    def watch(
        self,
        setting: str,
        path: str,
        parse: Callable[[str, bytes], T],
        on_change: Callable[[], None] | None = None,
    ) -> Callable[[], T]:
        """Read a file, and return a function that returns its parsed content at any time.

        `on_change` is called after each change, instead of `recheck_principals`. Raises StartError
        for a file that cannot be used.
        """
        # Messages show the absolute path: a relative one may be meant for another folder.
        path = str(Path(path).absolute())
        try:
            file = WatchedFile(
                setting, path, partial(parse, path), on_change or self.recheck_principals
            )
        except StartError as refusal:
            if refusal.detail.startswith(f"{path}:"):  # and with the line in the file
                raise
            raise StartError(f"{self.settings.named(setting)}: {refusal.detail}") from refusal
        self._files.append(file)
        return lambda: file.value

    def _examine_tokens(self, path: str, data: bytes) -> ExaminedTokens:
        """Return the content of the tokens_file at a path.

        Raises ValueError for a mistake, and for content that would bring back former reader keys.
        """
        tokens = examine(guarded_routes(self.settings), path, data)
        keys, file = self._reader_keys, tokens.file
        if keys is not None and keys.are_former(file.reader_keys, file.revoked):
            raise ValueError(
                f"{path} has revocations and versions of an earlier time, whose reader keys those "
                "know who were revoked since: raise a version, as headgate token rotate '/*' does"
            )
        return tokens

    def keys_of(self, issuer: JwtIssuer, setting: str) -> RemoteKeys | KeysOfFile:
        """Return the keys of an issuer, from the URL or file that its setting names."""
        from headgate_gateway.access.jwt_issuers import (  # where there are any
            KeysOfFile,
            RemoteKeys,
        )

        if issuer.is_remote:
            remote = RemoteKeys(issuer.jwks, issuer.algorithms, self.recheck_principals)
            self._urls.append(remote)
            return remote
        parse = partial(_parse_key_file, issuer.algorithms)
        return KeysOfFile(self.watch(setting, issuer.jwks, parse))

    def tokens(self) -> TokensFile:
        """Return the present content of the tokens_file, which may be empty."""
        return self._tokens().file

    def revocations(self) -> Revocations:
        """Return what is revoked at present."""
        return self.tokens().revocations

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
            if kind not in self.by_kind:
                needed = KINDS[kind].setting
                raise StartError(f"{self._asking_for(kind)} has {kind}, which needs {needed}")
        in_turn = [
            self.by_kind[kind.name]
            for kind in sorted(ranked(), key=lambda kind: kind.has_generic_format)
            if kind.name in names
        ]
        verifier = Verifier([*self._always, *in_turn], on_end, uses)
        self._verifiers.append(verifier)
        return verifier

    def reader_keys(self) -> ReaderKeys:
        """Return the reader keys of all streams. Raises StartError if keys_file has no secret."""
        secret = None if self.keys is None else self.keys().reader_secret
        if secret is None:
            raise StartError(
                "reader_keys needs credentials.keys_file with a secret, which headgate token keys "
                "NEW_FILE makes"
            )
        if self._reader_keys is None:
            file = self.tokens()
            self._reader_keys = ReaderKeys(secret, file.reader_keys, file.revoked)
        return self._reader_keys

    def start(self) -> None:
        """Log the warnings, and start to watch the files and URLs on the running loop."""
        self.report.warn()
        for watched in (*self._files, *self._urls):
            watched.start()

    async def stop(self) -> None:
        """Stop watching the files and URLs, and checking principals."""
        self._cancel_turn()
        for watched in (*self._files, *self._urls):
            await watched.stop()

    def notes(self) -> Iterator[HealthNote]:
        """Yield what is wrong with each file and URL, or that nothing is."""
        for file in self._files:
            yield HealthNote(ACCESS_FILE, file.path, Cause.of("refused", file.trouble))
        for keys in self._urls:
            yield HealthNote(KEY_SET, keys.public_url, Cause.of("not_fetched", keys.trouble))

    def samples(self) -> Iterator[Sample]:
        """Yield the state of each file."""
        for file in self._files:
            yield Sample(FILE_OK, (file.setting,), float(file.trouble is None))

    def recheck_principals(self) -> None:
        """End the principals that no authority upholds any more, and update the reader keys.

        A few are checked at once, and many in turns. A removed secret of reader keys stays in use.
        """
        now = self._clock()
        self._unchecked = chain.from_iterable(it.recheck(now) for it in self._verifiers)
        self._recheck_for_a_turn()
        if self._reader_keys is not None and self.keys is not None:
            file = self.tokens()
            self._reader_keys.update(self.keys().reader_secret, file.reader_keys, file.revoked)

    def _recheck_for_a_turn(self) -> None:
        self._cancel_turn()
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + LONGEST_TURN_S
        for _ in self._unchecked:
            if loop.time() >= turn_ends:
                self._next_turn = loop.call_soon(self._recheck_for_a_turn)
                return

    def _cancel_turn(self) -> None:
        if self._next_turn is not None:
            self._next_turn.cancel()

    def _on_new_tokens(self) -> None:
        self.report.change(self._tokens())
        self.recheck_principals()

    def _asking_for(self, kind: str) -> str:
        """Return the first setting that asks for a kind of credential."""
        settings = self.settings
        asking = {"auth": settings.auth}
        for name in ("routes", "models", "proxies"):
            tables = enumerate(getattr(settings, name))
            asking |= {f"{name}[{index}].auth": one.auth for index, one in tables}
        return settings.named(
            next((path for path, kinds in asking.items() if kind in kinds), "auth")
        )


def check_authorities(settings: Settings) -> tuple[str, ...]:
    """Return a sentence for each setting or entry of the tokens_file that has no effect.

    Raises StartError for a file that cannot be used, or a kind that has no settings.
    """
    authorities = Authorities(settings, lambda: 0.0)
    for route in settings.route_table:
        authorities.verifier(verified(settings.auth_of(route)))
        if route.reader_keys == "on":
            authorities.reader_keys()
    for written in settings.written:
        authorities.verifier(settings.auth_of(written))
    return authorities.report.warnings()


# The functions that the kinds of credentials in the settings name


def static_tokens(authorities: Authorities) -> StaticTokens:
    """Make the authority for the tokens of the tokens_file."""
    return StaticTokens(authorities.tokens)


def read_tokens(authorities: Authorities) -> ReadTokens:
    """Make the authority for the tokens that keys of the keys_file sign."""
    from headgate_gateway.access.read_tokens import ReadTokens

    assert authorities.keys is not None, "the kind needs keys_file"
    max_age = authorities.settings.credentials.read_token_max_age
    return ReadTokens(authorities.keys, authorities.revocations, max_age)


def jwt_issuers(authorities: Authorities) -> JwtIssuers:
    """Make the authority for the JWTs of all issuers, whose keys are watched."""
    from headgate_gateway.access.jwt_issuers import JwtIssuers

    issuers = {
        one.issuer: (one, authorities.keys_of(one, f"credentials.jwt_issuers[{index}].jwks"))
        for index, one in enumerate(authorities.settings.credentials.jwt_issuers)
    }
    return JwtIssuers(issuers, authorities.revocations)
