"""A message as a page without scripts shows it: JSON in lines, text as it is, bytes as hex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate_admin.pages import show

if TYPE_CHECKING:
    from headgate_admin.model.streams import ShownMessage

PREVIEW = 160  # characters: what a wide screen shows of a line
BYTES_A_LINE = 16


def preview(message: ShownMessage) -> str:
    """Return the beginning of a message on one line."""
    if message.text is not None:
        return show.visible(" ".join(message.text[:PREVIEW].split()))
    return (message.data or b"")[: PREVIEW // 3].hex(" ")


def payload(message: ShownMessage, is_json: bool) -> str:
    """Return a whole message in lines; its line ends and tabs stay as they are."""
    if message.text is None:
        return hex_lines(message.data or b"")
    text = _indented(message.text) if is_json and not message.truncated else message.text
    lines = (map(show.visible, line.split("\t")) for line in text.split("\n"))
    return "\n".join("\t".join(parts) for parts in lines)


def _indented(text: str) -> str:
    """Indent JSON with a line for each value; numbers stay as they were written."""
    try:
        return msgspec.json.format(text, indent=2)
    except msgspec.DecodeError:
        return text


def hex_lines(data: bytes) -> str:
    """Return lines of sixteen bytes: their place, hex, and ASCII where it can be seen."""
    lines = []
    for begin in range(0, len(data), BYTES_A_LINE):
        piece = data[begin : begin + BYTES_A_LINE]
        seen = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)
        lines.append(f"{begin:08x}  {piece.hex(' '):<47}  {seen}")
    return "\n".join(lines)
