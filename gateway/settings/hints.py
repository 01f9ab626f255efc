"""What was probably meant by a text that cannot be taken, in words that follow what it must be."""

from __future__ import annotations

import re

from gateway.settings.hosts import HOST, PORT, is_port

UNITS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
NO_QUOTES = "; write it without quotes"  # variables and flags have none, and are no texts here


def none(_text: str) -> str:
    """For what is clear without."""
    return ""


def of_address(text: str) -> str:
    """For a port alone."""
    port = re.fullmatch(r":?(\d{1,5})", text)
    return f"; write 127.0.0.1:{port[1]}" if port and is_port(int(port[1])) else ""


def of_number(text: str) -> str:
    """For a whole number in quotes."""
    return NO_QUOTES if re.fullmatch(r"-?\d+", text) else ""


def of_seconds(text: str) -> str:
    """For a duration with a unit, or in quotes."""
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)\s*({'|'.join(UNITS)})?", text, re.IGNORECASE)
    if match is None:
        return ""
    if match[2] is None:
        return NO_QUOTES
    return f"; write {float(match[1]) * UNITS[match[2].lower()]:.12g}"


def of_whole_seconds(text: str) -> str:
    """The same, unless it has a fraction."""
    hint = of_seconds(text)
    return "" if "." in text or "." in hint else hint


def of_origin(text: str) -> str:
    """For a folder, or the address of a server, without a scheme."""
    if re.match(r"\.{0,2}/", text):
        return f"; write file:{text}"
    match = re.fullmatch(rf"(?:{HOST}){PORT}(?:/[^?@]*)?", text)
    return f"; write http://{text}" if match is not None and match["port"] else ""
