"""The declaration of a kind of log: what is known of it before its library is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import re
    from collections.abc import Callable


def _anything(_origin: str) -> None:
    """Refuse nothing."""


def _as_written(origin: str) -> str:
    """Show an origin that has no secret as it was written."""
    return origin


def _nowhere(_origin: str) -> tuple[object, ...]:
    """Return no place: each log of this kind has one of its own."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKind:
    """A kind of log, as settings, console, monitoring and commands know it.

    `name` is its word in the API, `title` its name in sentences; its origins are all that match
    `form` as a whole, and `words` spell them in the setting's help.

    `make` and `format` name functions as `module:function`, which are imported when they are
    needed: redis-py takes a tenth of a start that needs none. `make` takes a Route and returns its
    Log; `format` takes nothing and returns what the log writes, and the version of that.
    """

    name: str
    title: str
    form: re.Pattern[str]
    words: str
    make: str
    format: str = ""
    libraries: tuple[str, ...] = ()  # distributions whose versions tell what the log runs on
    # Refuses what is no origin of this kind, by a ValueError that says what it must be.
    check: Callable[[str], None] = _anything
    # The same by what is on this machine, where that may be looked at.
    look: Callable[[str], None] = _anything
    # An origin as it may be seen: no part of it is a secret.
    shown: Callable[[str], str] = _as_written
    open_keys: frozenset[str] = frozenset()  # of an origin's query: others may have secrets
    # Where the streams are, once for each name of that place: two routes must not share one.
    places: Callable[[str], tuple[object, ...]] = _nowhere
    apart: Callable[[str], str] = _as_written  # what is said of two routes that do
    settings: frozenset[str] = frozenset()  # of a route, which not every log has
    why_alone: str = ""  # why one process alone can serve the streams; "" where several can
    keeps_offsets: bool = True  # what an offset means stays so for ever
    lasts: str = ""  # for how long streams last, as a sentence, where that is not for ever

    @property
    def is_shared(self) -> bool:
        """Whether several processes, and gateways, can serve the same streams."""
        return not self.why_alone
