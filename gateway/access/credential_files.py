"""The files and URLs from which the authorities of a process get their tokens and keys."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from gateway.errors import StartError
from gateway.small_files import WatchedFiles, read_file
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import Sample, least

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from gateway.access.jwt_issuers import KeySource
    from gateway.access.key_sets import KeySet
    from gateway.access.remote_keys import RemoteKeys
    from gateway.background import Background
    from gateway.settings import JwtIssuer


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


class CredentialFiles:
    """The watched files and URLs; `on_change` is called after a change of any of them.

    `named` returns a setting's name for messages, with the place where it was given.
    """

    def __init__(self, named: Callable[[str], str], on_change: Callable[[], None]) -> None:
        self._named = named
        self._on_change = on_change
        self._files: list[WatchedFile[Any]] = []
        self._urls: list[RemoteKeys] = []

    def watch(
        self,
        setting: str,
        path: str,
        parse: Callable[[str, bytes], T],
        on_change: Callable[[], None] | None = None,
    ) -> Callable[[], T]:
        """Read a file, and return a function that returns its parsed content at any time.

        Raises StartError for a file that cannot be used. `on_change` replaces the general one.
        """
        # Messages show the absolute path: a relative one may be meant for another folder.
        path = str(Path(path).absolute())
        try:
            file = WatchedFile(setting, path, partial(parse, path), on_change or self._on_change)
        except StartError as refusal:
            if refusal.detail.startswith(f"{path}:"):  # and with the line in the file
                raise
            raise StartError(f"{self._named(setting)}: {refusal.detail}") from refusal
        self._files.append(file)
        return lambda: file.value

    def keys_of(self, issuer: JwtIssuer, setting: str) -> KeySource:
        """Return the keys of an issuer, from the URL or file that its setting names."""
        if issuer.is_remote:
            from gateway.access.remote_keys import RemoteKeys  # only where there is a URL

            remote = RemoteKeys(issuer.jwks, issuer.algorithms, self._on_change)
            self._urls.append(remote)
            return remote
        parse = partial(_parse_key_file, issuer.algorithms)
        return _KeysOfFile(self.watch(setting, issuer.jwks, parse))

    def adopt(self, earlier: CredentialFiles) -> None:
        """Use the keys that were fetched from the same URLs before, until others are."""
        fetched = {keys.public_url: keys for keys in earlier._urls}
        for keys in self._urls:
            if keys.public_url in fetched:
                keys.adopt(fetched[keys.public_url])

    def start(self) -> None:
        """Start to watch, on the running loop."""
        for watched in self._watched():
            watched.start()

    async def stop(self) -> None:
        """Stop watching."""
        for watched in self._watched():
            await watched.stop()

    def _watched(self) -> tuple[Background, ...]:
        return (*self._files, *self._urls)

    def notes(self) -> dict[str, str | None]:
        """Return what is wrong with each file and URL, by name, or None where nothing is."""
        files = {file.path: file.trouble for file in self._files}
        return files | {keys.public_url: keys.trouble for keys in self._urls}

    def samples(self) -> Iterator[Sample]:
        """Yield the state of each file, and the total fetches from all URLs."""
        for file in self._files:
            yield Sample(FILE_OK, (file.setting,), float(file.trouble is None))
        if self._urls:
            from gateway.access.remote_keys import FETCHES, RESULTS

            for result in RESULTS:
                yield Sample(FETCHES, (result,), sum(it.fetches[result] for it in self._urls))


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


def _parse_key_file(algorithms: Collection[str], path: str, data: bytes) -> KeySet:
    from gateway.access.key_sets import parse_keys  # 10 MB, as for the keys_file

    try:
        return parse_keys(data, algorithms)
    except ValueError as cause:
        raise ValueError(f"{path} {cause}") from None
