"""The authorities that verify tokens in one process, made from the settings."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.access.console import ConsoleAuthority
from gateway.access.reader_keys import ReaderKeys
from gateway.access.revocations import NOTHING
from gateway.access.static import doubts
from gateway.access.static.static_tokens import StaticTokens
from gateway.access.static.tokens_file import MOST_TOLD, TokensFile, parse_tokens
from gateway.access.static.unrotated import (
    keyed_routes,
    still_unrotated,
    unrotated,
    unrotated_removals,
)
from gateway.access.verifier import Verifier
from gateway.access.watched_file import FILE_OK, WatchedFile
from gateway.errors import StartError
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import Sample
from gateway.turns import LONGEST_TURN_S

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from gateway.access.contract import Authority
    from gateway.access.revocations import Unrotated
    from gateway.access.signed.jwt_issuers import KeySource
    from gateway.access.signed.key_sets import KeySet
    from gateway.access.signed.keys_file import Keys
    from gateway.access.signed.remote_keys import RemoteKeys
    from gateway.access.static.unrotated import KeyedRoute
    from gateway.background import Background
    from gateway.settings import JwtIssuer, Settings

T = TypeVar("T")

# The kinds of credentials, and the setting that each needs, in the order in which the authorities
# are asked whether a token is theirs. JWTs are recognised by two dots only, which tokens of the
# other kinds may have, too, so they come last.
NEEDED = {"tokens": "tokens_file", "read-tokens": "keys_file", "jwt": "jwt_issuers"}
EMPTY = TokensFile({}, NOTHING, {})


class Authorities:
    """The authorities of a process, by the words of `auth`; started, they watch their files.

    `clock` returns epoch seconds. `console` is the hash of the console's token, if there is a
    console: all verifiers accept that token in addition to their own kinds.
    """

    def __init__(
        self, settings: Settings, clock: Callable[[], float], console: bytes = b""
    ) -> None:
        """Read the files of the settings; raise StartError for one that cannot be used."""
        self._clock = clock
        self._sources = settings.sources
        self._prefixes = tuple(route.prefix for route in settings.route_table)
        self._keyed = keyed_routes(settings)
        # Tokens that were removed from the file, whose streams' keys were not rotated since.
        self._removed: tuple[Unrotated, ...] = ()
        self._issuers = settings.jwt_issuers
        asked = {f"routes[{index}].auth": one.auth for index, one in enumerate(settings.routes)}
        self._asked = {"auth": settings.auth, **asked}
        self._always: list[Authority] = [ConsoleAuthority(console)] if console else []
        # The principals left to be judged again, and the next turn of that.
        self._judging: Iterator[None] = iter(())
        self._next_turn: asyncio.Handle | None = None
        self._verifiers: list[Verifier] = []
        self._files: list[WatchedFile[Any]] = []
        self._urls: list[RemoteKeys] = []
        self._tokens_path = str(Path(settings.tokens_file).absolute())
        self._tokens = tokens = self._watch_tokens(settings.tokens_file)
        self._last_tokens = tokens()
        self._keys: Callable[[], Keys] | None = None
        self._reader_keys: ReaderKeys | None = None
        issuers = {
            one.issuer: (one, self._keys_of(one, f"jwt_issuers[{index}].jwks"))
            for index, one in enumerate(settings.jwt_issuers)
        }
        self._by_kind: dict[str, Authority] = {}
        if settings.tokens_file:
            self._by_kind["tokens"] = StaticTokens(tokens)
        # Each kind imports what it needs, and only where it is used.
        if issuers:
            from gateway.access.signed.jwt_issuers import JwtIssuers

            self._by_kind["jwt"] = JwtIssuers(issuers, lambda: tokens().revocations)
        if settings.keys_file:
            # Imported at the start: the library for signatures takes 10 MB.
            from gateway.access.signed.keys_file import parse_keys_file
            from gateway.access.signed.read_tokens import ReadTokens

            self._keys = keys = self._watch("keys_file", settings.keys_file, parse_keys_file)
            self._by_kind["read-tokens"] = ReadTokens(
                keys, lambda: tokens().revocations, settings.read_token_max_age
            )

    @classmethod
    def check(cls, settings: Settings) -> tuple[str, ...]:
        """Return a sentence for each setting or revocation with no effect, or too little.

        Raises StartError for a file that cannot be used, or a kind that has no settings.
        """
        authorities = cls(settings, lambda: 0.0)
        for route in settings.route_table:
            authorities.verifier(kind for kind in settings.auth_of(route) if kind in NEEDED)
            if route.reader_keys == "on":
                authorities.reader_keys()
        return (*authorities.without_effect(), *authorities.not_rotated())

    def verifier(self, kinds: Iterable[str]) -> Verifier:
        """Return a verifier of tokens of these kinds, in any order.

        Raises StartError for a kind that has no settings.
        """
        wanted = [*kinds]
        for kind in wanted:
            if kind not in self._by_kind:
                raise StartError(f"{self._asking_for(kind)} has {kind}, which needs {NEEDED[kind]}")
        in_turn = [self._by_kind[kind] for kind in NEEDED if kind in wanted]
        made = Verifier([*self._always, *in_turn])
        self._verifiers.append(made)
        return made

    def reader_keys(self) -> ReaderKeys:
        """Return the reader keys of all streams. Raises StartError if keys_file has no secret."""
        if self._reader_keys is None:
            secret = None if self._keys is None else self._keys().reader_secret
            if secret is None:
                raise StartError(
                    "reader_keys needs keys_file with a secret, which headgate token keys NEW_FILE "
                    "makes"
                )
            self._reader_keys = ReaderKeys(secret, self._tokens().reader_keys)
        return self._reader_keys

    def without_effect(self) -> tuple[str, ...]:
        """Return a sentence for each part of the settings and tokens_file without effect."""
        return (*doubts.of_issuers(self._issuers, self._prefixes), *self._tokens().doubts)

    def not_rotated(self) -> tuple[str, ...]:
        """Return a sentence for each revocation that does not reach the caches in front."""
        return tuple(f"{self._tokens_path}: {it.sentence}" for it in self._unrotated())

    def _unrotated(self) -> tuple[Unrotated, ...]:
        return (*self._tokens().unrotated, *self._removed)

    def start(self) -> None:
        """Log the warnings, and start to watch the files and URLs on the running loop."""
        _warn(self.without_effect())
        self._warn_of_keys()
        for watched in self._watched():
            watched.start()

    async def stop(self) -> None:
        """Stop watching the files and URLs."""
        if self._next_turn is not None:
            self._next_turn.cancel()
        for watched in self._watched():
            await watched.stop()

    def _watched(self) -> tuple[Background, ...]:
        return (*self._files, *self._urls)

    def notes(self) -> dict[str, str | None]:
        """Return what is wrong with each file and URL, by name, or None where nothing is.

        A route with reader keys is named if no rotation has followed a revocation on it.
        """
        files = {file.path: file.trouble for file in self._files}
        urls = {keys.shown: keys.trouble for keys in self._urls}
        return files | urls | self._notes_of_keys()

    def _notes_of_keys(self) -> dict[str, str | None]:
        said: dict[str, list[str]] = {route.prefix: [] for route in self._keyed}
        for one in self._unrotated()[:MOST_TOLD]:
            said[one.prefix].append(one.sentence)
        return {f"reader-keys {prefix}": "; ".join(it) or None for prefix, it in said.items()}

    def samples(self) -> Iterator[Sample]:
        """Yield the state of each file, and the numbers of all issuers whose keys are at a URL."""
        for file in self._files:
            yield Sample(FILE_OK, (file.setting,), float(file.trouble is None))
        if self._urls:
            from gateway.access.signed.remote_keys import FETCHES, RESULTS

            for result in RESULTS:
                yield Sample(FETCHES, (result,), sum(it.fetches[result] for it in self._urls))

    def judge_again(self) -> None:
        """End the principals that no authority upholds any more: a few at once, many in turns."""
        now = self._clock()
        self._judging = chain.from_iterable(it.judging(now) for it in self._verifiers)
        self._go_on()
        self._take_reader_keys()

    def _take_reader_keys(self) -> None:
        """Set the current secret and versions of the reader keys; a removed secret stays in use."""
        if self._reader_keys is not None and self._keys is not None:
            self._reader_keys.update(self._keys().reader_secret, self._tokens().reader_keys)

    def _go_on(self) -> None:
        """Judge principals for one turn, and go on in the next pass of the loop."""
        if self._next_turn is not None:
            self._next_turn.cancel()
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + LONGEST_TURN_S
        for _ in self._judging:
            if loop.time() >= turn_ends:
                self._next_turn = loop.call_soon(self._go_on)
                return

    def _watch_tokens(self, path: str) -> Callable[[], TokensFile]:
        if not path:
            return lambda: EMPTY
        parse = partial(_parse_tokens, self._prefixes, self._keyed)
        return self._watch("tokens_file", path, parse, self._take_tokens)

    def _take_tokens(self) -> None:
        before, self._last_tokens = self._last_tokens, self._tokens()
        _warn(self._last_tokens.doubts)
        versions = before.reader_keys, self._last_tokens.reader_keys
        self._removed = (
            *still_unrotated(self._removed, *versions),
            *unrotated_removals(before, self._last_tokens, self._keyed),
        )[:MOST_TOLD]
        self._warn_of_keys()
        self.judge_again()

    def _warn_of_keys(self) -> None:
        for sentence in self.not_rotated()[:MOST_TOLD]:
            log.warning("access.not_rotated", what=sentence)

    def _watch(
        self,
        setting: str,
        path: str,
        parse: Callable[[str, bytes], T],
        changed: Callable[[], None] | None = None,
    ) -> Callable[[], T]:
        # Messages show the absolute path: a relative one may be meant for another folder.
        path = str(Path(path).absolute())
        try:
            file = WatchedFile(setting, path, partial(parse, path), changed or self.judge_again)
        except StartError as refusal:
            if refusal.detail.startswith(f"{path}:"):  # and with the line in the file
                raise
            raise StartError(f"{self._named(setting)}: {refusal.detail}") from refusal
        self._files.append(file)
        return lambda: file.value

    def _asking_for(self, kind: str) -> str:
        """Return the first setting that asks for a kind of credential."""
        asked = (path for path, kinds in self._asked.items() if kind in kinds)
        return self._named(next(asked, "auth"))

    def _named(self, setting: str) -> str:
        source = self._sources.get(setting)
        return setting if source is None else f"{source}: {setting}"

    def _keys_of(self, issuer: JwtIssuer, setting: str) -> KeySource:
        if issuer.is_remote:
            from gateway.access.signed.remote_keys import RemoteKeys  # only where there is a URL

            remote = RemoteKeys(issuer.jwks, issuer.algorithms, self.judge_again)
            self._urls.append(remote)
            return remote
        parse = partial(_parse_key_file, issuer.algorithms)
        return _KeysOfFile(self._watch(setting, issuer.jwks, parse))


class _KeysOfFile:
    """An issuer's keys in a file, which is watched all the time."""

    def __init__(self, read: Callable[[], KeySet]) -> None:
        self._read = read

    @property
    def keys(self) -> KeySet:
        """The keys as they were last read."""
        return self._read()

    async def look_again(self) -> None:
        """Return at once: the file is watched, so nothing needs to be fetched."""


def _parse_tokens(
    prefixes: Collection[str], keyed: Sequence[KeyedRoute], path: str, data: bytes
) -> TokensFile:
    """Parse a tokens_file and find its doubts; for a large file this runs in a thread."""
    file = parse_tokens(path, data)
    return file._replace(
        doubts=doubts.of_file(path, file, prefixes), unrotated=unrotated(file, keyed)
    )


def _warn(said: Iterable[str]) -> None:
    for doubt in said:
        log.warning("access.no_effect", what=doubt)


def _parse_key_file(algorithms: Collection[str], path: str, data: bytes) -> KeySet:
    from gateway.access.signed.key_sets import parse_keys  # 10 MB, as for the keys_file

    try:
        return parse_keys(data, algorithms)
    except ValueError as cause:
        raise ValueError(f"{path} {cause}") from None
