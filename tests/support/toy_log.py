"""A kind of log that is all in this module: what it takes to add one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.settings.log_kinds.declaration import LogKind

if TYPE_CHECKING:
    from headgate_gateway.settings import Route

_ORIGIN = re.compile(r"toy://:(?P<password>[^@]*)@(?P<shelf>.*)")


class ToyLog(MemoryLog):
    """A log on a shelf that is locked with a password."""

    def __init__(self, origin: str, max_retired: int = 1000) -> None:
        super().__init__(max_retired)
        self.shelf = _shelf(origin)


def log_of(route: Route) -> ToyLog:
    """Return the log on the shelf of a route's origin."""
    return ToyLog(route.storage)


def form_written() -> tuple[str, str]:
    """Return what the log writes, and the version of that form."""
    return "labels of shelves", "7"


def _shelf(origin: str) -> str:
    match = _ORIGIN.fullmatch(origin)
    if match is None or not match["shelf"].isalpha():
        raise ValueError("must have the name of a shelf, in letters, after its @")
    return match["shelf"]


def _check(origin: str) -> None:
    _shelf(origin)


KIND = LogKind(
    name="toy",
    title="a toy",
    form=_ORIGIN,
    words="toy://:PASSWORD@SHELF",
    make="tests.support.toy_log:log_of",
    format="tests.support.toy_log:form_written",
    libraries=("click",),
    check=_check,
    redact=lambda origin: f"toy://:***@{_shelf(origin)}",
    places=lambda origin: (_shelf(origin),),
    conflict=lambda origin: f"both are on the shelf {_shelf(origin)}",
    settings=frozenset({"wait_replicas"}),
    why_alone="one process alone can open a shelf",
    lasts="Streams last until somebody cleans up.",
)
