"""A file of tokens or keys that is read again when it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from gateway.access.small_files import read_file
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import least
from gateway.watched_files import WatchedFiles

if TYPE_CHECKING:
    from collections.abc import Callable

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
