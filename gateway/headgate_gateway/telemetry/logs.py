"""The log lines on stderr: ours, aiohttp's and Python's warnings."""

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
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from typing_extensions import override

from headgate_gateway.telemetry import log_output
from headgate_gateway.telemetry.event_journal import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Callable, Container

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
NEEDS_QUOTES = re.compile("[ ='\"]")
FIELDS = "headgate_fields"  # of a record of `logging`
# Colors of terminals, by ECMA-48: green, yellow and red are those of levels.
_BRIGHT, _DIM, _BLUE, _MAGENTA, _CYAN = 1, 2, 34, 35, 36
_LEVEL_COLORS = {"debug": 32, "info": 32, "warning": 33, "error": 31, "critical": 31}


class EventLogger:
    """Writes a line about each event, with the keywords of a call as its fields."""

    def info(self, event: str, **fields: object) -> None:
        """Log what is usual."""
        self.log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what somebody should look at."""
        self.log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log what failed; a field `exc_info` is the exception."""
        self.log(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Log what failed, with the exception that is handled now."""
        self.log(logging.ERROR, event, {"exc_info": True, **fields})

    def log(self, level: int, event: str, fields: dict[str, Any]) -> None:
        """Log an event; the journal gets it whatever the level, since it has happened."""
        JOURNAL.note(event, {**_process_fields, **fields})
        exception = fields.pop("exc_info", None)
        _logger.log(level, event, exc_info=exception, extra={FIELDS: fields})


log = EventLogger()
_logger = logging.getLogger(NAME)
_process_fields: dict[str, object] = {}  # of every line of this process


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
    render = _renderer(format)
    handler = logging.StreamHandler(output)
    handler.setFormatter(_LineFormatter(render))
    handler.addFilter(lambda it: it.name != NAME or it.msg not in unwritten_events)
    logging.getLogger().handlers[:] = [handler]
    set_level(level)
    _written = (output.write_soon, render)
    # It writes whole URLs, tokens included; `access_log` stands in its place.
    logging.getLogger("aiohttp.access").disabled = True
    logging.captureWarnings(capture=True)


def add_fields(**fields: object) -> None:
    """Add these fields to every line of this process, which `configure` sets up later."""
    _process_fields.update(fields)


def set_level(level: LogLevel) -> None:
    """Write no lines below this level from now on."""
    logging.getLogger().setLevel(LEVELS[level.upper()])


def requests_logged(level: RequestLevel) -> bool:
    """Return whether lines of this level are written."""
    return level != "off" and logging.getLogger(NAME).isEnabledFor(LEVELS[level.upper()])


# Where lines go, and how their fields become text; from `configure` on.
_written: tuple[Callable[..., object], Callable[[dict[str, Any]], str]] | None = None
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

    It goes without `log` and `logging`, which take ten times as long. A line is written at the end
    of the event loop's turn, or before the next line of `log`. `json_fields` makes its fields
    then, of what the function was called with: JSON without the brackets. The caller looks at the
    level.
    """
    if _written is None:  # `configure` was not called
        number = LEVELS[level.upper()]
        return lambda *facts: log.log(number, event, json.loads(f"{{{json_fields(*facts)}}}"))
    write_soon, render = _written
    begin = f'"level": "{level}", "event": "{event}"'
    end = f", {json.dumps({**_process_fields, 'logger': NAME})[1:]}\n"
    stamp = _Stamp()

    def line(now: float, facts: tuple[object, ...]) -> str:
        # In one step: a third of the time.
        return f'{{"ts": "{stamp.at(now)}", {begin}, {json_fields(*facts)}{end}'

    def rendered(now: float, facts: tuple[object, ...]) -> str:
        return render(json.loads(line(now, facts))) + "\n"

    make = line if render is _json else rendered

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
        """Return a time, which is exact to the microsecond, in UTC."""
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


class _LineFormatter(logging.Formatter):
    """Renders records of this server, of its libraries and of Python's warnings."""

    def __init__(self, render: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._render = render
        self._stamp = _Stamp()

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, FIELDS, {})
        known = {
            "ts": self._stamp.at(record.created),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        # Each name has its first place and its last value: `known` comes first, and is not changed.
        line = {**known, **fields, **_process_fields, **fields, **known, "logger": record.name}
        if record.stack_info:
            line["stack"] = record.stack_info
        if record.exc_info and record.exc_info[1]:
            line["exception"] = self.formatException(record.exc_info)
        return self._render(line)


def _renderer(format: LogFormat) -> Callable[[dict[str, Any]], str]:  # noqa: A002 - the setting's word
    is_terminal = sys.stderr.isatty()
    if format == "json" or (format == "auto" and not is_terminal):
        return _json
    return partial(_text, _colored if is_terminal and not os.environ.get("NO_COLOR") else _plain)


def _json(line: dict[str, Any]) -> str:
    return json.dumps(line, default=repr)


def _text(colored: Callable[..., str], line: dict[str, Any]) -> str:
    """Return a line for people: columns, then fields in the order of their names."""
    below = [f"\n{line.pop(name)}" for name in ("stack", "exception") if name in line]
    ts, level, event, logger = (
        _without_controls(line.pop(name)) for name in ("ts", "level", "event", "logger")
    )
    level_colors = (_LEVEL_COLORS[level], _BRIGHT) if level in _LEVEL_COLORS else ()
    parts = [
        colored(ts, _DIM),
        f"[{colored(f'{level:<9}', *level_colors)}]",
        colored(f"{event:<30}", _BRIGHT),
        f"{colored('[')}{colored(logger, _BRIGHT, _BLUE)}{colored(']')}",
        *(f"{colored(it, _CYAN)}={colored(_shown(line[it]), _MAGENTA)}" for it in sorted(line)),
    ]
    return " ".join(parts) + "".join(below)


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return repr(value)
    text = _without_controls(value)
    return repr(text) if NEEDS_QUOTES.search(text) else text


def _without_controls(text: str) -> str:
    """Escape control characters: no client may break a line in two, or speak to the terminal."""
    return CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def _colored(text: str, *codes: int) -> str:
    return "".join(f"\33[{code}m" for code in codes) + text + "\33[0m"


def _plain(text: str, *_codes: int) -> str:
    return text
