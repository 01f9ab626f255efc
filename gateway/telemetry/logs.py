"""One stream of log lines on stderr: ours, aiohttp's and Python's warnings."""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from gateway.telemetry import log_output
from gateway.telemetry.plain_structlog import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import EventDict, Processor, WrappedLogger

    from gateway.settings import LogFormat, LogLevel, RequestLevel

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
NAME = "headgate"
REDACTED = "[redacted]"
_MAY_BE_SECRET = re.compile(f"[?&](?:{'|'.join(sorted(SECRET_PARAMETERS))})=", re.IGNORECASE)
LEVELS = logging.getLevelNamesMapping()
# With the marks that turn text around, by which a name could be shown as another.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(NAME)


def configure(level: LogLevel, format: LogFormat) -> None:  # noqa: A002 - the setting's word
    """Send every log line of the process to stderr, in one shape."""
    global _written
    output = log_output.begin(sys.stderr, on_recovered=_report_dropped)
    atexit.register(output.close)
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
    handler = logging.StreamHandler(output)
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
    bound = structlog.contextvars.get_contextvars()
    if _is_json(format):
        tail = json.dumps({**bound, "logger": NAME})
        _written = _Written(output.write_soon, bound, None, f", {tail[1:]}\n")
    else:
        _written = _Written(output.write_soon, bound, partial(_rendered, _console()), "")
    # It writes whole URLs, tokens included; `access_log` stands in its place.
    logging.getLogger("aiohttp.access").disabled = True
    logging.captureWarnings(capture=True)


def requests_logged(level: RequestLevel) -> bool:
    """Return whether lines of this level are written."""
    return level != "off" and logging.getLogger(NAME).isEnabledFor(LEVELS[level.upper()])


class _Written(NamedTuple):
    """The end of the chain of processors: how an event becomes a line, and where that goes."""

    write: Callable[[str], object]
    bound: EventDict  # fields of every line of this process
    render: Callable[[EventDict], str] | None  # None where lines are JSON
    json_end: str  # the bound fields, and the end of a line


_written: _Written | None = None  # from `configure` on
as_json = json.encoder.encode_basestring_ascii


def writes_json() -> bool:
    """Return whether lines are JSON, so that `write_json` may be called."""
    return _written is not None and _written.render is None


def write_json(level: str, event: str, fields: str) -> None:
    """Write the line that `log` would write, of fields that are JSON already: `"status": 200`.

    It takes a fortieth of the time, which counts for a line that each request writes. The line is
    written at the end of the event loop's turn, or before the next line of `log`. The caller has
    looked at the level.
    """
    assert _written is not None, "lines are JSON"
    _written.write(
        f'{{"ts": "{_stamp.now()}", "level": "{level}", "event": "{event}", '
        f"{fields}{_written.json_end}"
    )


def write(level: str, event: str, fields: EventDict) -> None:
    """Write the line that `log` would write, without its chain of processors.

    Where lines are JSON, `write_json` is the one to call.
    """
    if _written is None or _written.render is None:
        log.log(LEVELS[level.upper()], event, **fields)
        return
    said = {"level": level, "event": event, **fields, **_written.bound, "logger": NAME}
    _written.write(_written.render({"ts": _stamp.now(), **said}) + "\n")


class _Stamp:
    """The time of a line, as ISO 8601. The text of a second is formatted once."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def now(self) -> str:
        """Return the time, as structlog's TimeStamper has it."""
        now = time.time()  # noqa: TID251 - a line is not written by the clock of a test
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
        microsecond = int((now - second) * 1e6)
        return f"{self._text}.{microsecond:06d}Z" if microsecond else f"{self._text}Z"


_stamp = _Stamp()


def _report_dropped(lines: int) -> None:
    log.warning("log.lines_dropped", lines=lines)


def redact(target: str) -> str:
    """Return a request target without the values of secret query parameters."""
    if "%" not in target and _MAY_BE_SECRET.search(target) is None:
        return target
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


def _rendered(processors: Sequence[Processor], event: EventDict) -> str:
    """Return an event as the processors leave it, the last of which makes a line of it."""
    line: Any = event
    for process in processors:
        line = process(None, "", line)
    return str(line)


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
