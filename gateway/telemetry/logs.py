"""One stream of log lines on stderr: ours, aiohttp's and Python's warnings."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import TYPE_CHECKING, NotRequired, TypedDict, Unpack
from urllib.parse import unquote_plus

from gateway.telemetry.plain_structlog import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

    from gateway.settings import LogFormat, LogLevel, RequestLevel
    from gateway.telemetry.live_traffic import Ended

SECRET_PARAMETERS = frozenset(
    {
        "access_token",
        "api_key",
        "apikey",
        "auth",
        "authorization",
        "key",
        "password",
        "rk",
        "secret",
        "sig",
        "signature",
        "token",
    }
)
LONGEST_SHOWN = 200  # characters of what proxies and clients say of themselves
NAME = "headgate"
REDACTED = "[redacted]"
LEVELS = logging.getLevelNamesMapping()
# With the marks that turn text around, by which a name could be shown as another.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(NAME)


def configure(level: LogLevel, format: LogFormat) -> None:  # noqa: A002 - the setting's word
    """Send every log line of the process to stderr, in one shape."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json() if _is_json(format) else _console()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level.upper()])
    # It writes whole URLs, tokens included; `request_line` stands in its place.
    logging.getLogger("aiohttp.access").disabled = True
    logging.captureWarnings(capture=True)


def requests_logged(level: RequestLevel) -> bool:
    """Whether `request_line` at this level would write anything."""
    return level != "off" and logging.getLogger(NAME).isEnabledFor(LEVELS[level.upper()])


class Outcome(TypedDict):
    """What became of a request: its status, the bytes of its answer's body, its duration."""

    request_id: str
    status: int
    size: int
    duration_s: float
    cache: str  # X-Cache as the client was told it, or none
    route: str  # its prefix, or none
    ended: Ended
    principal: NotRequired[str | None]  # the name of whom a guard knows
    refused: NotRequired[str | None]  # why a guard has not admitted him: never the token


def request_line(
    level: RequestLevel,
    *,
    method: str,
    target: str,
    client: str | None,
    forwarded_for: str | None,
    user_agent: str | None,
    **outcome: Unpack[Outcome],
) -> None:
    """Write the one line of a finished request. `target` is its path and query as received."""
    if not requests_logged(level):
        return
    known = {} if forwarded_for is None else {"forwarded_for": forwarded_for[:LONGEST_SHOWN]}
    if user_agent is not None:
        known["user_agent"] = user_agent[:LONGEST_SHOWN]
    if principal := outcome.get("principal"):
        known["principal"] = principal
    if refused := outcome.get("refused"):
        known["refused"] = refused[:LONGEST_SHOWN]
    log.log(
        LEVELS[level.upper()],
        "request",
        request_id=outcome["request_id"],
        method=method,
        path=redact(target),
        route=outcome["route"],
        status=outcome["status"],
        bytes=outcome["size"],
        duration_us=round(outcome["duration_s"] * 1e6),
        cache=outcome["cache"],
        client=client,
        **known,
        ended=outcome["ended"],
    )


def redact(target: str) -> str:
    """A request target without the values of secret query parameters."""
    path, mark, query = target.partition("?")
    return path + mark + "&".join(map(_redact_pair, query.split("&")))


def _redact_pair(pair: str) -> str:
    name, mark, _ = pair.partition("=")
    return (
        name + mark + REDACTED if mark and unquote_plus(name).lower() in SECRET_PARAMETERS else pair
    )


def _is_json(format: LogFormat) -> bool:  # noqa: A002 - the setting's word
    return format == "json" or (format == "auto" and not sys.stderr.isatty())


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _known_fields_first,
        structlog.processors.JSONRenderer(),
    ]


def _console() -> list[Processor]:
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return [
        _escape_controls,
        structlog.dev.ConsoleRenderer(
            colors=colors,
            timestamp_key="ts",
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _known_fields_first(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    return {**{key: event.pop(key) for key in ("ts", "level", "event")}, **event}


def _escape_controls(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """What clients send must not break a line in two, nor speak to the terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = CONTROLS.sub(lambda match: ascii(match[0])[1:-1], value)
    return event
