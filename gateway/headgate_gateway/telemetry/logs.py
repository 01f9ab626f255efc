"""The log lines on stderr: ours, aiohttp's and Python's warnings."""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from headgate_gateway.telemetry import log_output
from headgate_gateway.telemetry.event_journal import EVENT_RULES, JOURNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from structlog.typing import EventDict, Processor, WrappedLogger

    from headgate_gateway.settings import LogFormat, LogLevel, RequestLevel

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
# Targets without a secret, which many requests have: it takes as long to search one as to write
# half of a line. 256 KB at most; then all are forgotten.
HARMLESS_TARGETS, SHORT_TARGET = 1024, 200
_harmless: set[str] = set()
LEVELS = logging.getLevelNamesMapping()
# With the marks that turn text around, by which a name could be shown as another.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Hide a package from imports in the block, unless it was imported before."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment] # so Python says that there is none
    try:
        yield
    finally:
        del sys.modules[package]


# Where another package has brought rich, structlog would load it, 6 MB with pygments and 0.2 s, for
# tracebacks that are written without it here; so it would greenlet, for threads that nothing has.
with _without("rich"), _without("greenlet"):
    import structlog

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(NAME)


def configure(
    level: LogLevel,
    format: LogFormat,  # noqa: A002 - the setting's word
    *,
    unwritten_events: Container[str] = (),
) -> None:
    """Send every log line of the process to stderr, in one shape, but those of some events."""
    global _written
    JOURNAL.open()
    output = log_output.start(sys.stderr, on_recovered=_report_dropped)
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
            _note_event,  # before the level: what happened does not depend on what is written
            structlog.stdlib.filter_by_level,
            *([partial(_drop_events, unwritten_events)] if unwritten_events else ()),
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
    set_level(level)
    bound = structlog.contextvars.get_contextvars()
    render = None if _is_json(format) else partial(_rendered, _console())
    _written = _Written(output.write_soon, bound, render)
    # It writes whole URLs, tokens included; `access_log` stands in its place.
    logging.getLogger("aiohttp.access").disabled = True
    logging.captureWarnings(capture=True)


def add_fields(**fields: object) -> None:
    """Add these fields to every line of this process, which `configure` sets up later."""
    structlog.contextvars.bind_contextvars(**fields)


def _note_event(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Add a line to the journal if it is an event."""
    if event["event"] in EVENT_RULES:
        JOURNAL.note(event["event"], {**structlog.contextvars.get_contextvars(), **event})
    return event


def _drop_events(
    events: Container[str], _logger: WrappedLogger, _name: str, event: EventDict
) -> EventDict:
    if event["event"] in events:
        raise structlog.DropEvent
    return event


def set_level(level: LogLevel) -> None:
    """Write no lines below this level from now on."""
    logging.getLogger().setLevel(LEVELS[level.upper()])


def requests_logged(level: RequestLevel) -> bool:
    """Return whether lines of this level are written."""
    return level != "off" and logging.getLogger(NAME).isEnabledFor(LEVELS[level.upper()])


class _Written(NamedTuple):
    """The end of the chain of processors: how an event becomes a line, and where that goes."""

    write_soon: Callable[..., object]
    bound: EventDict  # fields of every line of this process
    render: Callable[[EventDict], str] | None  # None for JSON


_written: _Written | None = None  # from `configure` on
as_json = json.encoder.encode_basestring_ascii


def as_utf8(text: str, longest: int) -> str:
    """Return at most `longest` characters of a field, with a "?" for each byte that is not UTF-8.

    Requests have such bytes as halves of surrogate pairs, with which JSON cannot be encoded.
    """
    text = text[:longest]
    return text if text.isascii() else text.encode(errors="replace").decode()


def direct_lines(
    level: LogLevel, event: str, json_fields: Callable[..., str]
) -> Callable[..., None]:
    """Return a function that writes a line about an event of which many requests write one.

    It goes without the chain of processors of `log`, which takes twenty times as long. A line is
    written at the end of the event loop's turn, or before the next line of `log`. `json_fields`
    makes its fields then, of what the function was called with: JSON without the brackets. The
    caller looks at the level.
    """
    if _written is None:  # `configure` was not called
        number = LEVELS[level.upper()]
        return lambda *facts: log.log(number, event, **json.loads(f"{{{json_fields(*facts)}}}"))
    write_soon, bound, render = _written
    begin = f'"level": "{level}", "event": "{event}"'
    end = f", {json.dumps({**bound, 'logger': NAME})[1:]}\n"
    stamp = _Stamp()

    def line(now: float, facts: tuple[object, ...]) -> str:
        # In one step: a third of the time.
        return f'{{"ts": "{stamp.at(now)}", {begin}, {json_fields(*facts)}{end}'

    def rendered(now: float, facts: tuple[object, ...]) -> str:
        assert render is not None
        return render(json.loads(line(now, facts))) + "\n"

    make = line if render is None else rendered

    def write(*facts: object) -> None:
        # A line is not written by the clock of a test.
        write_soon(make, time.time(), facts)  # noqa: TID251

    return write


class _Stamp:
    """Renders times as ISO 8601. The text of a second is formatted once."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def at(self, now: float) -> str:
        """Return a time as structlog's TimeStamper has it."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00")
        microsecond = int((now - second) * 1e6)
        # Seven digits without the first one: in half of the time of a format.
        return (
            f"{self._text}.{str(microsecond + 1_000_000)[1:]}Z" if microsecond else f"{self._text}Z"
        )


def _report_dropped(lines: int) -> None:
    log.warning("log.lines_dropped", lines=lines)


def redact(target: str) -> str:
    """Return a request target without the values of secret query parameters."""
    if target in _harmless:
        return target
    if "%" not in target and _MAY_BE_SECRET.search(target) is None:
        if len(target) <= SHORT_TARGET:
            if len(_harmless) >= HARMLESS_TARGETS:
                _harmless.clear()
            _harmless.add(target)
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
    """Escape control characters: no client may break a line in two, or speak to the terminal."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = CONTROLS.sub(lambda match: ascii(match[0])[1:-1], value)
    return event
