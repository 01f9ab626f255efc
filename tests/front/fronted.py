"""A Headgate with a front on loopback, and clients that reach it by TLS."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import ANEW, Headgate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = "127.0.0.2"  # on 127.0.0.1 the UDP port of a free port is claimed
HOST = "localhost"


class Answer(NamedTuple):
    """What curl tells of a response."""

    version: str
    status: int
    body: str


class Fronted(Headgate):
    """A `headgate serve --front`; `front` is the URL of its host."""

    def __init__(
        self,
        folder: Path,
        *,
        origin: str = "memory:",
        arguments: Sequence[str] = (),
        settings: dict[str, str] | None = None,
        front_port: int | None = None,
    ) -> None:
        self.front_port = front_port or free_port()
        self.data = folder / "front"
        super().__init__(
            origin,
            arguments=["--front", HOST, *arguments],
            environment={
                "HEADGATE_FRONT__LISTEN": f"{HERE}:{self.front_port}",
                "HEADGATE_FRONT__DATA": str(self.data),
                **(settings or {}),
            },
            # A child that is bound to its parent is so to the thread that started it.
            preface=ANEW,
        )

    @property
    def front(self) -> str:
        return f"https://{HOST}:{self.front_port}"

    @property
    def caddy(self) -> int:
        """The pid of the Caddy that is a child of the server."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        (found,) = [
            int(child)
            for child in children.split()
            if Path(f"/proc/{child}/comm").read_text().strip() == "caddy"
        ]
        return found

    def metrics(self) -> dict[str, float]:
        """Each sample of `/metrics`, with its labels in its name."""
        text = ask(self.admin_port, "GET", "/metrics").body.decode()
        lines = [line.rpartition(" ") for line in text.splitlines() if line[:1] != "#"]
        return {name: float(number) for name, _, number in lines}

    def ask(self, path: str, *arguments: str, version: str = "--http2") -> Answer:
        """Ask the front by curl; a status of 0 says that it could not be asked."""
        told = subprocess.run(
            [
                *("curl", "-sk", version, "--max-time", "20"),
                *("--resolve", f"{HOST}:{self.front_port}:{HERE}"),
                *("-w", "\n%{http_version} %{http_code}", *arguments, f"{self.front}{path}"),
            ],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        body, _, end = told.rpartition("\n")
        http_version, status = end.split()
        return Answer(http_version, int(status), body)

    def put(self, name: str, body: str) -> Answer:
        """Create a stream with these bytes."""
        return self.ask(
            f"/v1/stream/{name}",
            *("-X", "PUT", "-H", "Content-Type: text/plain", "--data-binary", body),
        )


@contextmanager
def fronted(folder: Path, **options: Any) -> Iterator[Fronted]:
    """Run a server with a front, with its data in the folder, while the block runs."""
    server = Fronted(folder, **options)
    try:
        server.start()
        yield server
    finally:
        server.close()
