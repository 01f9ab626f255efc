"""What can be seen of a play: requests and responses, counters, log lines and spans."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Request:
    """A request that a client sent."""

    method: str
    target: str
    fields: dict[str, str]  # by names in lower case
    body: bytes

    @property
    def line(self) -> tuple[str, str]:
        return self.method, self.target


@dataclass(slots=True)
class Response:
    """A response on a connection: `mark` begins the printed lines of its head."""

    mark: str
    request: Request
    head: list[str]
    body: bytes = b""
    is_whole: bool = False  # whether `body` is all of it

    @property
    def status(self) -> int:
        return int(self.head[0].split(" ")[1])

    def get(self, name: str) -> str:
        """Return the value of a header line, or nothing."""
        start = f"{name}: "
        return next((line[len(start) :] for line in self.head if line.startswith(start)), "")


@dataclass(slots=True)
class Seen:
    """What a play shows, in the order of the time; the rest in the order of what made it."""

    notes: list[str | Response] = field(default_factory=list)
    heard: list[tuple[list[str], list[str]]] = field(default_factory=list)  # heads and bodies
    counted: dict[str, float] = field(default_factory=dict)
    logged: list[dict[str, str]] = field(default_factory=list)
    spans: list[str] = field(default_factory=list)

    @property
    def responses(self) -> list[Response]:
        return [note for note in self.notes if isinstance(note, Response)]


def request_of(data: bytes) -> Request:
    """Return a request from its bytes, whatever they are."""
    head, _, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target, *_ = [*line.split(" "), "", ""]
    pairs = (one.partition(":") for one in lines)
    return Request(method, target, {name.lower(): value.strip() for name, _, value in pairs}, body)
