"""Types of arguments and options beyond those of click."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from headgate.names import NOT_IN_FIELDS
from headgate_gateway.commands.options.server import target_of
from headgate_gateway.commands.options.stream_names import complete_stream
from headgate_gateway.settings.reading.units import DURATION_KIND, seconds_of
from headgate_gateway.tools.server.target import StreamTarget

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


class StreamType(click.ParamType[StreamTarget]):
    """A stream's URL or name."""

    name = "stream"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> StreamTarget:
        """Return the stream with this name or URL."""
        if isinstance(value, StreamTarget):
            return value
        try:
            return target_of(str(value), ctx)
        except ValueError as cause:
            self.fail(str(cause), param, ctx)

    @override
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in complete_stream(ctx, param, incomplete)]


class FieldType(click.ParamType[str]):
    """Text that is sent as a header field, or as a part of a query."""

    name = "text"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text unchanged; it must be one line."""
        text = str(value)
        if NOT_IN_FIELDS.search(text):
            self.fail(f"{text!a} must be one line of text", param, ctx)
        return text


class DurationType(click.ParamType[float]):
    """A number of seconds, or a duration with a unit."""

    name = "duration"

    def __init__(self, least_s: float = 0, most_s: float = math.inf) -> None:
        self._least_s, self._most_s = least_s, most_s

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number of seconds, as an int if it is whole."""
        text = str(value)
        seconds = seconds_of(text if text[-1:].isalpha() else f"{text}s")
        if seconds is None or not self._least_s <= seconds <= self._most_s:
            limit = "" if math.isinf(self._most_s) else f" and at most {self._most_s:g}"
            bounds = f"at least {self._least_s:g}{limit}"
            self.fail(
                f"{text!r} must be seconds, {bounds}, or a duration such as {DURATION_KIND}",
                param,
                ctx,
            )
        return seconds


class SecondsType(DurationType):
    """A whole number of seconds, or such a duration with a unit."""

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number of seconds."""
        seconds = super().convert(value, param, ctx)
        if not isinstance(seconds, int):
            self.fail(f"{value!r} must be whole seconds, such as 90 or {DURATION_KIND}", param, ctx)
        return seconds


class MomentType(click.ParamType[str]):
    """A time to come, kept as it was written."""

    name = "time"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the text of the time unchanged."""
        text = str(value)
        moment = _moment(text)
        if moment is None:
            self.fail(f"{text!r} must be a time such as 2030-01-31T12:00:00Z", param, ctx)
        if moment <= datetime.now(UTC):  # noqa: TID251 - there is no caller to hand a clock down
            self.fail(f"{text!r} is in the past", param, ctx)
        return text


def _moment(text: str) -> datetime | None:
    if TIME.fullmatch(text) is None:
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None
