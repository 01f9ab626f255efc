"""Types of arguments and options beyond those of click."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from typing_extensions import override

from headgate.names import NOT_IN_FIELDS
from headgate_gateway.commands.options.server import target_of
from headgate_gateway.commands.options.stream_names import complete_stream
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


class SecondsType(click.ParamType[int]):
    """A number of seconds, at least one."""

    name = "seconds"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number of seconds."""
        text = str(value)
        if not re.fullmatch(r"0*[1-9]\d*", text, re.ASCII):
            self.fail(f"{text!r} must be whole seconds, at least 1, such as 3600", param, ctx)
        return int(text)


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
