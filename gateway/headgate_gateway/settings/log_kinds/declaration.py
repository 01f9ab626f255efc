"""The declaration of a kind of log, usable before the log's library is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from collections.abc import Callable


def _anything(_storage: str) -> None:
    """Accept every storage."""


def _as_written(storage: str) -> str:
    """Return a storage without secrets as it was written."""
    return storage


def _harmless(_storage: str) -> str:
    """Return no danger."""
    return ""


def _nowhere(_storage: str) -> tuple[object, ...]:
    """Return no place: logs of this kind cannot share one."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKind:
    """A kind of log, as settings, console, monitoring and commands know it.

    `name` is its name in the API, `title` its name in sentences. `form` is the pattern of its whole
    storages, and `words` describe them in the help of the setting.

    `make` and `format` name functions as `module:function`, which are imported when they are
    needed: most servers have logs of one kind. `make` takes a Route and returns its Log;
    `format` returns the name and version of the format that the log writes.
    """

    name: str
    title: str
    form: re.Pattern[str]
    words: str
    make: str
    format: str = ""
    libraries: tuple[str, ...] = ()  # distributions whose versions are reported with the log
    # Raises ValueError, which says what the storage must be, for an invalid storage.
    check: Callable[[str], None] = _anything
    # Raises ValueError if files on this machine rule the storage out.
    look: Callable[[str], None] = _anything
    # Returns what is dangerous about the place as it is now, in words without a full stop, or "".
    danger: Callable[[str], str] = _harmless
    # Returns the storage as it may be shown, without secrets.
    redact: Callable[[str], str] = _as_written
    # Returns the places that a storage's streams are in; two routes must not share one.
    places: Callable[[str], tuple[object, ...]] = _nowhere
    # Returns why two routes cannot both have the place, for the error about them.
    conflict: Callable[[str], str] = _as_written
    settings: frozenset[str] = frozenset()  # settings of a route that only some kinds of logs have
    why_alone: str = ""  # why only one process can serve the streams; "" if several can
    keeps_offsets: bool = True  # an offset never comes to mean other data
    lasts: str = ""  # a sentence on how long streams last; "" means for ever

    @property
    def is_shared(self) -> bool:
        """True when several processes, and gateways, can serve the same streams."""
        return not self.why_alone
