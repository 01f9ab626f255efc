"""The servers of an origin: their health, and which of them gets requests."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import msgspec
from typing_extensions import override
from yarl import URL

from headgate_gateway.errors import OriginUnreachable
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Self

    from headgate_gateway.settings import Route

# One slow answer may be the request's fault; two in a row, none between them, are the server's.
SILENCES = 2
TRIED_EVERY_S = 0.25  # where a server is alone and down: the others are refused at once meanwhile
# After so long a server that answers with nothing but 5xx is failing: longer than a restart or a
# failover behind a load balancer, shorter than anybody's patience.
FAILING_AFTER_S = 10.0
FAILING_AFTER = 5  # requests: the first retries of one reader and one writer are fewer
# A client that leaves earlier may not have wanted the answer. A slow origin answers some request
# within FAILING_AFTER_S.
ABANDONED_AFTER_S = 1.0
# A request that has waited so long says by itself that its server is slow. It says so for a while
# after its end, too: a scrape each 15 s would miss two thirds of those that take 6 s.
LONG_WAIT_S = 5.0
RECENT_S = 20.0

# Servers hold a long-poll for 20 to 60 s: so much longer they may take until its head.
POLL_S = 45


class OriginSettings(msgspec.Struct):
    """The servers of a route's origin, and their timeouts."""

    urls: tuple[str, ...]  # in order of preference
    prefix: str  # of the route
    connect_timeout: float = 5  # for each server; a lost packet is sent again after 1 and 3 s
    response_timeout: float = 30.0  # until the head of an answer
    read_timeout: float = 30  # between parts of an answer's body
    poll_timeout: float = 75  # until the head of a long-poll's answer
    max_requests: int = 512  # in flight, besides the polls of feeds
    health_path: str = ""  # "" means a connection
    health_interval: float = 5
    tls_ca: str = ""  # PEM file with the authorities to trust instead of the system's

    @property
    def has_probes(self) -> bool:
        """True for several servers without a `health_path`: Headgate probes them by itself."""
        return not self.health_path and len(self.urls) > 1

    @classmethod
    def of(cls, route: Route) -> Self:
        """Return the settings of a route with an http(s) origin."""
        return cls(
            urls=route.origins,
            prefix=route.prefix,
            response_timeout=route.response_timeout,
            read_timeout=route.response_timeout,
            poll_timeout=route.response_timeout + POLL_S,
            max_requests=route.max_origin_requests,
            health_path=route.health_path,
            health_interval=route.health_interval,
            tls_ca=route.tls_ca,
        )


class ErrorHistory:
    """The server errors (5xx) of one server since its last other response.

    A request that its client has given up, because no response came, counts as one. They are a
    report only: requests go on, and a failing server keeps its turn. One stream that always gets an
    error says nothing about the server, so a failure needs errors for two.
    """

    __slots__ = (
        "_answers",
        "_began_at",
        "_first",
        "_server",
        "_several",
        "count",
        "is_failing",
    )

    def __init__(self, server: str) -> None:
        self._server = server
        self.count = 0  # 0 if the latest response was not a 5xx
        self._began_at = 0.0  # monotonic time
        self._first = ""  # the path of the first request
        self._several = False  # another path was requested, too
        self._answers = False  # there was a response among them
        self.is_failing = False

    @property
    def why(self) -> str | None:
        """The reason why the server counts as failing; None if it does not."""
        if not self.is_failing:
            return None
        answers = "nothing but 5xx" if self._answers else "nothing, so that clients gave up,"
        return f"has answered {answers} for {monotonic() - self._began_at:.0f} s"

    def note(self, status: int | None, target: str, *, is_probe: bool = False) -> None:
        """Note a response, or None without one, and log the beginning and the end of a failure.

        Errors to probes need no second path. A probe that succeeds hides no errors to requests.
        """
        if status is not None and status < 500:
            if not is_probe:
                self.end()
            return
        self._answers = self._answers or status is not None
        path, now = target.partition("?")[0], monotonic()
        if not self.count:
            self._first, self._began_at = path, now
        self.count += 1
        self._several = self._several or is_probe or path != self._first
        is_long = now - self._began_at >= FAILING_AFTER_S
        if is_long and self._several and self.count >= FAILING_AFTER and not self.is_failing:
            self.is_failing = True
            log.warning("origin.failing", server=self._server, status=status, reason=self.why)

    def end(self) -> None:
        """Note that the server has answered something else, or cannot be reached any more."""
        if self.is_failing:
            lasted_s = round(monotonic() - self._began_at, 1)
            log.info("origin.not_failing", server=self._server, lasted_s=lasted_s)
        self.count, self._several, self._answers, self.is_failing = 0, False, False, False


class OriginServer:
    """A server of an origin, by its base URL, and its health.

    `on_change` is called when it is down, or up again.
    """

    def __init__(self, url: str, prefix: str, on_change: Callable[[], None] = lambda: None) -> None:
        self.url = url
        # It distinguishes its answers from those before another server was asked, or none could be:
        # it may come back with an older copy of its streams.
        self.incarnation = url
        self._on_change = on_change
        self.why_unhealthy: str | None = None
        self.errors = ErrorHistory(url)
        self.fell = asyncio.Event()  # set as long as the server is down
        self._prefix = prefix
        parsed = URL(url)
        self.speaks_tls = parsed.scheme == "https"
        self.origin = str(parsed.origin())
        self.endpoint = parsed.raw_host or "", parsed.port or 0
        self.host = parsed.host_port_subcomponent or ""  # as it is named to it
        self.authority = f"{parsed.host_subcomponent}:{parsed.port}"
        self._hosts = {(parsed.host, parsed.port)}
        if parsed.is_default_port():
            # Behind something that speaks TLS for it, a server may think that it speaks http.
            self._hosts = {(parsed.host, port) for port in (80, 443)}
        path = "" if "/" not in url.partition("://")[2] else parsed.raw_path
        self._base = prefix if not path else path.rstrip("/")
        self._silences = 0
        self._long_wait = 0.0, 0.0  # the latest one and when it ended, in monotonic time

    @override
    def __repr__(self) -> str:
        return f"OriginServer({self.url!r}, {self.why_unhealthy or 'up'})"

    @property
    def up(self) -> bool:
        """True if requests go to the server."""
        return self.why_unhealthy is None

    @property
    def was_silent(self) -> bool:
        """True if the server took connections, but did not answer."""
        return self._silences >= SILENCES

    def to_server(self, target: str) -> str:
        """Return the server's target for a target of the gateway."""
        path = self._base + target.removeprefix(self._prefix)
        return path if path.startswith("/") else f"/{path}"

    def path(self, path: str) -> str | None:
        """Return the server's path for a path of the gateway; None outside the prefix."""
        if not path.startswith(f"{self._prefix}/"):
            return None
        return self._base + path.removeprefix(self._prefix)

    def location(self, url: str) -> str | None:
        """Return the gateway's path for a URL of the server; None outside the base URL."""
        path = url
        if not url.startswith("/") or url.startswith("//"):
            host, path = _split(url)
            if host not in self._hosts:
                return None
        if not path.startswith(f"{self._base}/"):
            return None
        return self._prefix + path.removeprefix(self._base)

    def answered(self, status: int, target: str, waited_s: float = 0.0) -> None:
        """Note the head of an answer to a request for `target`, and how long that has waited."""
        if waited_s > LONG_WAIT_S:
            self.note_wait(waited_s)
        if status >= 500 or self.errors.count:
            self.errors.note(status, target)
        if self._silences or self.why_unhealthy is not None:
            self.recovered()

    def abandoned(self, target: str, waited_s: float) -> None:
        """Note a request for `target` that its client has given up before an answer."""
        if waited_s >= ABANDONED_AFTER_S and self.up:
            self.errors.note(None, target)

    def note_wait(self, waited_s: float) -> None:
        """Note how long a request that is over has waited, if that was long."""
        if waited_s > LONG_WAIT_S:
            self._long_wait = waited_s, monotonic()

    def recent_wait_s(self) -> float:
        """Return how long the latest long request has waited, or 0 once that is not recent."""
        waited_s, ended_at = self._long_wait
        return waited_s if monotonic() - ended_at <= RECENT_S else 0.0

    def silent(self, why: str) -> None:
        """Note a request that was not answered in time."""
        self._silences += 1
        if self.was_silent:
            self.failed(why)

    def failed(self, why: str) -> None:
        """Mark the server as down; it gets no requests until a check succeeds."""
        if self.why_unhealthy is None:
            self.errors.end()
            log.warning("origin.down", server=self.url, reason=why)
        was_up, self.why_unhealthy = self.up, why
        self.fell.set()
        if was_up:
            self._on_change()

    def recovered(self) -> None:
        """Note that a check found it well."""
        if self.why_unhealthy is not None:
            log.info("origin.up", server=self.url)
        was_up, self.why_unhealthy = self.up, None
        self._silences = 0
        self.fell.clear()
        if not was_up:
            self._on_change()


class OriginServers:
    """The servers in order of preference."""

    def __init__(self, urls: Sequence[str], prefix: str, *, tries: bool = True) -> None:
        """Without `tries` a server that is down is left alone until a check finds it well."""
        self._tries = tries
        self._servers = tuple(OriginServer(url, prefix, self._note_change) for url in urls)
        self.used_at = 0.0  # loop time of the latest request
        # The first server that is up, which gets the requests; None if none is up.
        self.chosen: OriginServer | None = self._servers[0]
        self.preferred = self._servers[0]
        self._changes = 0

    def __iter__(self) -> Iterator[OriginServer]:
        return iter(self._servers)

    def following(self, but: Collection[OriginServer]) -> OriginServer | None:
        """Return the server for a request that has failed at those in `but`, or None.

        While all of several servers are down, each counts as up: the checks themselves may be at
        fault, and a request shows at least as much as a check.
        """
        counts_all = self.chosen is None and self._tries and len(self._servers) > 1
        found = (one for one in self._servers if (one.up or counts_all) and one not in but)
        return next(found, None)

    def are_down(self) -> bool:
        """Return whether no server is up."""
        return self.chosen is None

    @property
    def incarnation(self) -> str:
        """The name of the server that gets requests now, or "" if none is up."""
        return "" if self.chosen is None else self.chosen.incarnation

    def _note_change(self) -> None:
        """Give all servers new incarnations if requests go to another one from now on."""
        before, self.chosen = self.chosen, next((one for one in self._servers if one.up), None)
        if before is not self.chosen:
            self._changes += 1
            for server in self._servers:
                server.incarnation = f"{server.url} {self._changes}"

    def first(self) -> OriginServer:
        """Return the first server that is up. Raises OriginUnreachable."""
        now = asyncio.get_running_loop().time()
        server = self.chosen or self.following(())
        if server is not None:
            self.used_at = now
            return server
        if self._tries and now - self.used_at >= TRIED_EVERY_S:
            self.used_at = now
            return self._servers[0]  # which may be back before the next check
        raise OriginUnreachable(f"the origin {self._servers[0].why_unhealthy}")

    def path(self, path: str) -> str | None:
        """Return the first server's path for a path of the gateway."""
        return self._servers[0].path(path)

    def why_unhealthy(self) -> str | None:
        """Return why no server is up, with the reason of each, or which one is failing, or None."""
        if self.chosen is not None:
            failing = [f"{one.url} {one.errors.why}" for one in self._servers if one.errors.why]
            return "; ".join(failing) or None
        return "; ".join(f"{server.url} {server.why_unhealthy}" for server in self._servers)

    def health(self) -> dict[str, tuple[bool, bool]]:
        """Return whether each server is up, and answers with nothing but errors.

        They are by host and port; of two URLs there, both must be up.
        """
        found: dict[str, tuple[bool, bool]] = {}
        for one in self._servers:
            is_up, is_failing = found.get(one.authority, (True, False))
            found[one.authority] = is_up and one.up, is_failing or one.errors.is_failing
        return found

    def location(self, url: str) -> str | None:
        """Return the gateway's path for a URL of any of the servers, or None."""
        found = (server.location(url) for server in self._servers)
        return next((path for path in found if path is not None), None)


def _split(url: str) -> tuple[tuple[str | None, int | None], str]:
    """Return host and port of an absolute URL, and its path and query as they are written."""
    try:
        parsed = URL(url, encoded=True)
        host = (parsed.host, parsed.port)
    except ValueError:
        return (None, None), ""
    if parsed.scheme not in {"http", "https"} or parsed.raw_user or parsed.raw_fragment:
        return (None, None), ""
    return host, parsed.raw_path_qs
