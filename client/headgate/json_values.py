"""JSON values as text, and the values in text that others have written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
# The errors for bytes that are not JSON; a msgspec.DecodeError is a ValueError.
NOT_JSON = (ValueError, RecursionError)


def json_text(value: object) -> bytes:
    """Encode a value as JSON with msgspec; raise ValueError for a number that JSON does not have.

    NaN and the infinities have no JSON: they would be read as null.
    """
    text = _encode(value)
    if b"null" in text:
        try:
            # The hook is for JSON that is ready (`msgspec.Raw`), which has no such number.
            json.dumps(msgspec.to_builtins(value, enc_hook=lambda _: None), allow_nan=False)
        except ValueError:
            raise ValueError("NaN and infinities have no JSON") from None
    return text


def _refused(value: object) -> None:
    kind = type(value).__name__
    dumped = ": append its model_dump()" if hasattr(value, "model_dump") else ""
    raise TypeError(f"objects of the type {kind} have no JSON{dumped}")


_encode = msgspec.json.Encoder(enc_hook=_refused).encode


def decoded_json(data: bytes, decode: Callable[[bytes], _T] = msgspec.json.decode) -> _T:
    """Return the JSON value in bytes that others have written. Raises NOT_JSON."""
    try:
        return decode(data)
    except UnicodeDecodeError:
        return decode(as_utf8(data))


def as_utf8(data: bytes) -> bytes:
    """Return bytes with U+FFFD in place of what is not UTF-8 (WHATWG Encoding, section 6)."""
    return data if data.isascii() else data.decode(errors="replace").encode()
