"""Figures of the gateway itself, from its admin listener."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import msgspec

from gateway.tools.server.target import TOKEN_VARIABLE
from gateway.tools.shell.failure import FAILURES, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from headgate.stream import Stream

    from gateway.tools.cdn_doctor.probe_sender import ProbeSender
    from gateway.tools.cdn_doctor.streams import OwnStream

MOST_ORIGINS = 2  # enough to see that one page gets what was stored for another
_ORIGIN = re.compile(r"https?://[^\s/?#@,*]+")

T = TypeVar("T")


class _Setting(msgspec.Struct):
    key: str
    value: str


class _Configuration(msgspec.Struct):
    settings: list[_Setting]


class _Route(msgspec.Struct):
    prefix: str


class _Routes(msgspec.Struct):
    routes: list[_Route]


class _Readers(msgspec.Struct):
    readers_by_mode: dict[str, int]


def web_origins(named: Iterable[str]) -> tuple[str, ...]:
    """Return the first MOST_ORIGINS of these that are web origins, and not "*"."""
    return tuple(one for one in named if _ORIGIN.fullmatch(one))[:MOST_ORIGINS]


class GatewayCounters:
    """The times that a gateway's settings promise, and its count of polls that wait."""

    def __init__(self, asker: ProbeSender, admin: Stream) -> None:
        self._asker = asker
        self._admin = admin
        self._prefixes: list[str] = []
        # Up to MOST_ORIGINS web origins whose pages may read; none if all may.
        self.cors_origins: tuple[str, ...] = ()
        self.poll_s = self.heartbeat_s = self.sse_max_age_s = 0.0  # until it is looked at

    async def look(self) -> None:
        """Read the routes and settings. Raises Failed if the server does not send them."""
        configuration = await self._get("configuration", {}, _Configuration)
        values = {setting.key: setting.value for setting in configuration.settings}
        self.poll_s = self._seconds(values, "live.long_poll_timeout")
        self.heartbeat_s = self._seconds(values, "live.sse_heartbeat")
        self.sse_max_age_s = self._seconds(values, "live.sse_max_age")
        named = re.split(r"[\s,\"']+", values.get("http.cors_origins", "").strip("[]"))
        self.cors_origins = web_origins(named)
        routes = await self._get("routes", {}, _Routes)
        self._prefixes = [route.prefix for route in routes.routes]

    async def polls_waiting(self, own: OwnStream) -> int | None:
        """Return the number of long-polls that wait at a stream; None for an unknown stream."""
        path = urlsplit(own.stream.url).path
        prefixes = [prefix for prefix in self._prefixes if path.startswith(f"{prefix}/")]
        if not prefixes:
            return None
        prefix = max(prefixes, key=len)
        query = {"route": prefix, "name": path.removeprefix(f"{prefix}/")}
        try:
            known = await self._get("stream", query, _Readers)
        except FAILURES:
            return None
        # None of them here: they wait at another gateway of the same streams.
        return known.readers_by_mode.get("long-poll") or None

    async def _get(self, name: str, query: Mapping[str, str], kind: type[T]) -> T:
        stream = self._admin.beside(f"{self._admin.url}/{name}")
        reply = await self._asker.send(stream, "GET", query=query)
        if reply.status in {401, 403}:
            raise Failed(f"{self._admin.shown}: it wants a token, see {TOKEN_VARIABLE}")
        if not reply.is_good:
            raise Failed(f"{self._admin.shown}: {reply.error_text}")
        try:
            return msgspec.json.decode(reply.body, type=kind)
        except msgspec.DecodeError as cause:
            raise self._is_none() from cause

    def _seconds(self, values: Mapping[str, str], key: str) -> float:
        """Return a setting in seconds; a day, the longest that a gateway takes, has five digits."""
        value = values.get(key, "")
        if re.fullmatch(r"\d{1,5}(\.\d{1,9})?", value, re.ASCII) is None:
            raise self._is_none()
        return float(value)

    def _is_none(self) -> Failed:
        return Failed(f"{self._admin.shown}: no gateway's admin listener is there")
