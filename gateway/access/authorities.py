"""All who vouch for tokens in one process, made of the settings."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.access.revocations import NOTHING
from gateway.access.static_tokens import StaticTokens
from gateway.access.tokens_file import TokensFile, parse_tokens
from gateway.access.verifier import Verifier
from gateway.access.watched_file import WatchedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.access.contract import Authority
    from gateway.settings import Settings

EMPTY = TokensFile({}, NOTHING)


class Authorities:
    """The authorities by the words of `auth`; between `start` and `stop` they watch their files.

    `clock` gives epoch seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        """Raises StartError for a file that cannot be used."""
        self._clock = clock
        self._verifiers: list[Verifier] = []
        self._files: list[WatchedFile[TokensFile]] = []
        self._by_kind: dict[str, Authority] = {}
        tokens = self._watch_tokens(settings.tokens_file)
        self._by_kind["tokens"] = StaticTokens(tokens)

    def verifier(self, kinds: Iterable[str]) -> Verifier:
        """Who verifies tokens of these kinds, out of `tokens`, `jwt` and `read-tokens`."""
        made = Verifier([self._by_kind[kind] for kind in kinds])
        self._verifiers.append(made)
        return made

    def start(self) -> None:
        """Begin to watch, on the running loop."""
        for file in self._files:
            file.start()

    async def stop(self) -> None:
        """End it."""
        for file in self._files:
            await file.stop()

    def notes(self) -> dict[str, str | None]:
        """What is wrong with each file, for whoever asks how this process is."""
        return {file.path: file.trouble for file in self._files}

    def judge_again(self) -> None:
        """End whoever is vouched for by nobody any more."""
        now = self._clock()
        for verifier in self._verifiers:
            verifier.judge_again(now)

    def _watch_tokens(self, path: str) -> Callable[[], TokensFile]:
        if not path:
            return lambda: EMPTY
        file = WatchedFile(path, partial(parse_tokens, path), self.judge_again)
        self._files.append(file)
        return lambda: file.value
