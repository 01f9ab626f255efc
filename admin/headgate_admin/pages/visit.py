"""A request for a page, and the parts that all pages make of one."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from headgate_admin.answers import feature_answers
from headgate_admin.errors import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import msgspec

    from headgate_admin.console import Console
    from headgate_admin.model.kinds import Viewer

A = TypeVar("A")
C = TypeVar("C", bound=str)


class Visit(NamedTuple):
    """A request for a page: its query, its viewer, and when it came.

    `entered` has the fields of the page's form if that was sent, and `refusal` says why the form
    was refused.
    """

    console: Console
    query: Mapping[str, str]
    viewer: Viewer
    host: str  # as the browser knows this machine
    now: float
    whole: bool = True  # else the regions alone that are sent again while a page is open
    entered: Mapping[str, str] = MappingProxyType({})
    refusal: str | None = None

    async def ask(self, feature: str, question: msgspec.Struct, kind: type[A]) -> list[A]:
        """Return what each process answers to a question of a feature. Raises ConsoleError."""
        return await feature_answers(self.console.source, feature, question, kind)

    def done(self, sentences: Mapping[str, str]) -> str | None:
        """Return the sentence on the change that led here, perhaps with a count.

        Both are in the query. None without a change, or with a count that this console never
        writes.
        """
        sentence, count = sentences.get(self.query.get("done", "")), self.query.get("count", "0")
        if sentence is None or not (count.isascii() and count.isdecimal() and len(count) < 10):
            return None
        return sentence.format(count=f"{int(count):,}")


def choice(value: str, choices: Sequence[C], name: str) -> C:
    """Return the value if it is one of the choices. Raises ConsoleError."""
    for one in choices:
        if value == one:
            return one
    raise ConsoleError(400, f"{name} must be one of {', '.join(choices)}.")


def times(visit: Visit) -> tuple[float, float] | None:
    """Return the span of time in the query, which a chart leads to; None without one.

    Raises ConsoleError for what is not a time.
    """
    begin, end = visit.query.get("from"), visit.query.get("to")
    if begin is None and end is None:
        return None
    return moment(begin or "", "from"), moment(end or "", "to")


def moment(text: str, name: str) -> float:
    """Return a time that was entered, in UTC unless it says otherwise. Raises ConsoleError."""
    try:
        entered = datetime.fromisoformat(text.strip())
        return (entered if entered.tzinfo else entered.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ConsoleError(400, f"{name} must be a time such as 2026-03-01 12:05") from None


def streams_url(visit: Visit) -> str:
    """Return the URL, without a path, at which clients reach the streams.

    A gateway that listens on every interface is reached by the host of the request.
    """
    host, _, port = visit.console.name.rpartition(":")
    is_any = host in {"0.0.0.0", "[::]"}  # noqa: S104 - it is compared, not bound
    address = f"{visit.host}:{port}" if is_any else visit.console.name
    return f"{visit.console.streams_scheme}://{address}"
