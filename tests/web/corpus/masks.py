"""Replace what differs from play to play by words, and show bytes as text."""

from __future__ import annotations

import re
from hashlib import sha256

LONGEST_BODY = 2000  # characters of a body that are shown; of a longer one size and digest stand
_RUN = re.compile(r"(.)\1{39,}", re.DOTALL)
_ID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]+\b")
_MASKS = (
    (re.compile(r"\b00-[0-9a-f]{32}-[0-9a-f]{16}-([0-9a-f]{2})\b"), r"00-<trace>-<span>-\1"),
    (re.compile(r"\b1000000\d{3}\b"), "<later cursor>"),  # than 999999999, by a random number
    (re.compile(r'"[0-9a-f]{16}(?=[:"])'), '"<stream>'),
)


class Masks:
    """The masks of one play, whose ports and ids are known."""

    def __init__(self, *, ports: dict[int, str], instance: str) -> None:
        self._ports = {f":{port}": f":<{name}>" for port, name in ports.items()}
        self._instance = instance

    def __call__(self, text: str) -> str:
        """Return the text without what another play would have otherwise."""
        for port, name in self._ports.items():
            text = text.replace(port, name)
        if self._instance in text:
            text = _ID.sub(lambda found: self._without(found[0], found[1]), text)
        for pattern, word in _MASKS:
            text = pattern.sub(word, text)
        return text

    def _without(self, request_id: str, instance: str) -> str:
        return "<id>" if instance == self._instance else request_id


def shown(data: bytes) -> str:
    """Return bytes as text of one line, long runs of one character abbreviated."""
    text = data.decode("latin-1")
    if len(text) >= 40:
        text = _RUN.sub(lambda run: f"<{len(run[0])} times {run[1]!r}>", text)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def lines_of(data: bytes) -> list[str]:
    """Return bytes as lines, each of which ended by CR LF; what does not end so has a mark."""
    *whole, last = data.split(b"\r\n")
    lines = [shown(line) for line in whole]
    return [*lines, f"{shown(last)}<no line end>"] if last else lines


def body_of(data: bytes) -> list[str]:
    """Return a body as lines; of a long one that does not shrink its size and digest."""
    lines = [shown(line) for line in data.split(b"\n")] if data else []
    if sum(map(len, lines)) > LONGEST_BODY:
        return [f"<{len(data)} bytes, SHA-256 {sha256(data).hexdigest()[:16]}>"]
    return lines


def unusual(head: list[str], body: bytes) -> list[str]:
    """Return the lines of a request's head without those that most requests have."""
    line, *fields = head or [""]
    usual = ["Host: headgate.test"]
    is_chunked = any(one.lower().startswith("transfer-encoding:") for one in fields)
    if not is_chunked and (body or line.startswith(("POST ", "PUT "))):
        usual.append(f"Content-Length: {len(body)}")
    lines = [line]
    for one in usual:
        if fields[:1] == [one]:
            del fields[0]
        else:
            lines.append(f"-{one}")
    return [*lines, *fields]
