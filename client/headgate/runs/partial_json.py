"""The value that JSON tells so far, of which the end has not come, as the AI SDK takes it.

A call of a tool is shown while its input comes. What is not whole yet is left out, such as a key
without a value; a text has what has come of it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\u[0-9a-fA-F]{4}|\\[^u])*(?P<quote>")?)"""
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<word>t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?)"
    r"|(?P<sign>[][{}:,])"
)
_WORDS = ("true", "false", "null")
_CLOSINGS = {"{": "}", "[": "]"}
NOTHING: Final = msgspec.UNSET


def partial_value(text: str) -> object:
    """Return the value of the beginning of a JSON text; NOTHING where it tells none yet."""
    for candidate in (text, _completed(text)):
        try:
            return msgspec.json.decode(candidate)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
    return NOTHING


def _completed(text: str) -> str:
    """Return the text up to the last value that has come, with what ends it."""
    closings: list[str] = []
    whole, ending, is_key = 0, "", False
    at = 0
    for token in _TOKEN.finditer(text):
        if text[at : token.start()].strip():
            break  # half of an escape, or no JSON
        at, sign = token.end(), token["sign"]
        if sign in _CLOSINGS:
            closings.append(_CLOSINGS[sign])
        elif sign in {"}", "]"} and closings:
            closings.pop()
        if sign in {":", ","} or (is_key and sign is None):
            # What comes next in an object is a key, until its colon.
            is_key = sign != ":" and "}" in closings[-1:]
            continue
        is_key = sign == "{"
        whole, ending = at, _rest(token)
    return text[:whole] + ending + "".join(reversed(closings))


def _rest(token: re.Match[str]) -> str:
    """Return what is missing of a text or a word."""
    if token["text"] is not None:
        return "" if token["quote"] else '"'
    word = token["word"] or ""
    return next((each[len(word) :] for each in _WORDS if word and each.startswith(word)), "")
