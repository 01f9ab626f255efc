"""What is measured before an HTTP origin, which is the reference server on the tool's core."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

from benchmarks.machine import TOOL_CORE
from benchmarks.rounds import apart
from benchmarks.servers import HERE, PINNED, HeadgateServer, Nginx, Reference, Server
from tests.support.processes import HEADGATE as PROGRAM

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.tools import Figures

CACHING = """
    proxy_cache streams;
    proxy_cache_valid 200 1h;
    proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
"""
HEADGATE = "headgate, origin"
PLAIN_NGINX = "nginx proxy_cache"


class Origin(Reference):
    """The reference server, where it takes nothing from whoever stands before it."""

    def __init__(self) -> None:
        super().__init__(core=TOOL_CORE)
        self.label = "origin itself"


class Proxy(Server):
    """A server before an origin; a class names it before the server it is."""

    origin: Server

    def create(self, stream: str, content_type: str, body: bytes = b"") -> None:
        """Streams are made at the origin."""
        self.origin.create(stream, content_type, body)

    def told_apart(self, measure: Callable[[], Figures]) -> Figures:
        """Measure, and count the origin's time apart from what else ran."""
        return apart(measure, origin_cpu=[self.origin.pid])


class HeadgateProxy(Proxy, HeadgateServer):
    """Headgate before its origin; events are posted to the origin, or `through` Headgate."""

    def __init__(
        self,
        *,
        through: bool = False,
        arguments: Sequence[str] = (),
        preface: Sequence[str] = PINNED,
        program: Path = PROGRAM,
        origin: Server | None = None,
    ) -> None:
        self.origin = origin or Origin()
        url = f"http://127.0.0.1:{self.origin.port}"
        super().__init__(url, arguments=arguments, preface=preface, program=program)
        self.label = "headgate, through" if through else HEADGATE
        self._through = through

    def start(self) -> None:
        self.origin.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self.origin.stop()

    @property
    def append_port(self) -> int:
        return self.port if self._through else self.origin.port


class NginxProxy(Proxy, Nginx):
    """nginx before its origin, with a cache in memory unless told otherwise."""

    configuration = Template((HERE / "proxy.conf").read_text())

    def __init__(
        self,
        label: str,
        options: str = "",
        *,
        caching: str = CACHING,
        origin: Server | None = None,
    ) -> None:
        self.origin = origin or Origin()
        super().__init__()
        self.label = label
        self._options = options
        self._caching = caching

    def start(self) -> None:
        self.origin.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self.origin.stop()

    def _values(self, folder: Path) -> dict[str, str]:
        return {
            **super()._values(folder),
            "origin": str(self.origin.port),
            "options": self._options,
            "caching": self._caching,
        }


def plain_nginx() -> NginxProxy:
    """Return an nginx that opens and reads the cached file for each answer."""
    return NginxProxy(PLAIN_NGINX)


def nginx_with_open_files() -> NginxProxy:
    """Return an nginx that keeps the cached files open."""
    options = "open_file_cache max=100 inactive=1h; open_file_cache_valid 1h;"
    return NginxProxy("nginx, open files", options)


def nginx_with_sendfile() -> NginxProxy:
    """Return an nginx that lets the kernel send the cached file."""
    return NginxProxy("nginx, sendfile", "sendfile on; tcp_nopush on;")


def passing_nginx() -> NginxProxy:
    """Return an nginx that asks the origin each time."""
    return NginxProxy("nginx proxy_pass", caching="")
