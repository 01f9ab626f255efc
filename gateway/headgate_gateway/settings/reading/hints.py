"""Hints in error messages: what was probably meant by a refused text.

A hint never suggests a number that would be refused as well: `is_within` tells whether a number is
within the setting's bounds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from headgate.hosts import HOST, PORT, is_port
from headgate_gateway.settings.reading.units import MINUTE_S, UNITS_S

UNITS = {"ms": 0.001, "sec": 1, "min": MINUTE_S, **UNITS_S}
NO_QUOTES = "; write it without quotes"  # values of variables and flags are converted before

IsWithin: TypeAlias = Callable[[float], bool]
Hint: TypeAlias = Callable[[str, IsWithin], str]


def none(_text: str, _is_within: IsWithin) -> str:
    """Return no hint."""
    return ""


def of_address(text: str, _is_within: IsWithin) -> str:
    """Return a hint for a port without a host."""
    port = re.fullmatch(r":?(\d{1,5})", text)
    return f"; write 127.0.0.1:{port[1]}" if port and is_port(int(port[1])) else ""


def of_number(text: str, is_within: IsWithin) -> str:
    """Return a hint for a whole number in quotes."""
    return NO_QUOTES if re.fullmatch(r"-?\d+", text) and is_within(float(text)) else ""


def of_seconds(text: str, is_within: IsWithin) -> str:
    """Return a hint for a duration with a unit, or in quotes."""
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})?", text, re.IGNORECASE)
    if match is None:
        return ""
    seconds = float(match[1]) * UNITS[(match[2] or "s").lower()]
    if not is_within(seconds):
        return ""
    return NO_QUOTES if match[2] is None else f"; write {seconds:.12g}"


def of_whole_seconds(text: str, is_within: IsWithin) -> str:
    """Return a hint for a duration in whole seconds with a unit, or in quotes."""
    hint = of_seconds(text, is_within)
    return "" if "." in text or "." in hint else hint


def of_storage(text: str, _is_within: IsWithin) -> str:
    """Return a hint for a folder without a scheme, or for what is an origin."""
    if "@" in text:
        return ""  # it may have a password, which is not to be repeated
    if re.match(r"\.{0,2}/", text):
        return "; write file: before it"
    if text.startswith(("http://", "https://")):
        return "; give servers as origin"
    port = _port_of(text)
    if not port:
        return ""
    is_redis = port == ":6379" or text.startswith("redis")
    return "; write redis:// before it" if is_redis else "; give it as origin, after http://"


def of_origin(text: str, _is_within: IsWithin) -> str:
    """Return a hint for a server's address without a scheme, or for what is a storage."""
    if text.startswith(("file:", "memory:", "redis", ".", "/")):
        return "; give what this gateway stores itself as storage"
    return "; write http:// before it" if _port_of(text) else ""


def _port_of(text: str) -> str:
    """Return the port of a server's address without a scheme, such as `:80`; else ""."""
    match = re.fullmatch(rf"(?:{HOST}){PORT}(?:/[^?@]*)?", text)
    return "" if match is None else match["port"] or ""
