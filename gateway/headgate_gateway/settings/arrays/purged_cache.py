"""The settings of caches in front that are purged: nginx and Varnish servers, and CDNs."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from headgate.hosts import HOST, PORT, check_ipv6, is_loopback, is_port
from headgate_gateway.settings.reading import files
from headgate_gateway.settings.reading.kinds import FilePath, ValueKind
from headgate_gateway.settings.reading.tables import Table, ValueContext, checks, setting
from headgate_gateway.settings.reading.values import TextPattern, Validator

Driver = Literal[
    "nginx", "varnish", "fastly", "cloudflare", "cloudflare-worker", "cloudfront", "bunny"
]
# The vendors' purge APIs; ZONES has the id that their calls need besides a token.
APIS = {
    "fastly": "https://api.fastly.com",
    "cloudflare": "https://api.cloudflare.com",
    "cloudfront": "https://cloudfront.amazonaws.com",
    "bunny": "https://api.bunny.net",
}
TAKE_TOKENS = {*APIS, "cloudflare-worker"}
ZONES = {
    "fastly": ("the id of a service", r"[A-Za-z0-9]{1,64}"),
    "cloudflare": ("the id of a zone", r"[A-Za-z0-9]{1,64}"),
    "cloudfront": ("the id of a distribution", r"[A-Z0-9]{1,64}"),
    "bunny": ("the number of a pull zone", r"\d{1,18}"),
}
PURGES_KIND = "an array of tables, each with kind and what that kind needs"
_URL = rf"https?://{HOST}{PORT}"
URL_KIND = "http(s)://HOST[:PORT]"
NAME_KIND = "a host name, maybe with a port"
ZONE_KIND = "the id of a service, zone or distribution"
TOKEN_KIND = "a token of at most 1,024 visible characters"


def _check_url(url: str) -> str:
    match = re.fullmatch(_URL, url)
    if not url:
        return url
    if match is None or not is_port(int((match["port"] or ":80")[1:])):
        raise ValueError(f"must be {URL_KIND}, without a path")
    if match["ipv6"] is not None:
        check_ipv6(match["ipv6"])
    return url


def _check_name(host: str) -> str:
    if re.fullmatch(r"([A-Za-z0-9.-]{1,253}(:\d{1,5})?)?", host) is None:
        raise ValueError(f"must be {NAME_KIND}")
    return host


ServerUrl = Annotated[str, Validator(_check_url), ValueKind(URL_KIND), TextPattern(f"({_URL})?")]


class PurgedCache(Table):
    """A cache in front of the gateway that is purged."""

    checks_defaults = True

    kind: Driver = setting(description="What kind of cache it is.")
    url: ServerUrl = setting(
        "",
        description="URL of the server, for nginx and varnish: one table for each server. For "
        "cloudflare-worker the address that readers use; for others the vendor's API by default.",
    )
    host: Annotated[str, Validator(_check_name), ValueKind(NAME_KIND)] = setting(
        "",
        description="Host in the requests of clients to nginx, if its cache key has it; by default "
        "that of url.",
    )
    zone: Annotated[str, ValueKind(ZONE_KIND)] = setting(
        "",
        description="Id of the service of fastly, the zone of cloudflare, the distribution of "
        "cloudfront or the pull zone of bunny.",
    )
    token_file: FilePath = setting(
        "",
        description="File with the token of the vendor's API, which should only be allowed to "
        "purge; for cloudfront ACCESS_KEY_ID:SECRET_ACCESS_KEY, for cloudflare-worker its "
        "PURGE_TOKEN. Other users must not be able to read it; it is read at start.",
    )

    @checks("url")
    @classmethod
    def _check_url(cls, url: str, context: ValueContext) -> str:
        kind = context.values.get("kind")
        if kind is not None and kind not in APIS and not url:
            raise ValueError(f"must be the {URL_KIND} of the server")
        if (
            kind in TAKE_TOKENS
            and url.startswith("http:")
            and not is_loopback(urlsplit(url).hostname or "")
        ):
            raise ValueError("must be https: the token is sent there")
        return url or APIS.get(str(kind), "")

    @checks("host")
    @classmethod
    def _check_kind_has_hosts(cls, host: str, context: ValueContext) -> str:
        if host and context.values.get("kind") not in {"nginx", None}:
            raise ValueError(f"must be left out: {context.values['kind']} goes by tags")
        return host

    @checks("zone")
    @classmethod
    def _check_zone(cls, zone: str, context: ValueContext) -> str:
        kind = context.values.get("kind")
        if kind in APIS:
            words, pattern = ZONES[kind]
            if re.fullmatch(pattern, zone, re.ASCII) is None:
                raise ValueError(f"must be {words}")
        elif kind is not None and zone:
            raise ValueError(f"must be left out: {kind} has no zones")
        return zone

    @checks("token_file")
    @classmethod
    def _check_token_file(cls, path: str, context: ValueContext) -> str:
        kind = context.values.get("kind")
        if kind is None:
            return path
        if kind not in TAKE_TOKENS and path:
            raise ValueError(f"must be left out: {kind} asks for no token")
        if kind in TAKE_TOKENS and not path:
            raise ValueError(f"must be given for {kind}")
        if path and isinstance(context.look, files.Look):
            read_token(path)
        return path

    def secret(self) -> str:
        """Return the token, "" if none is needed. Raises ValueError for a file without one."""
        return read_token(self.token_file) if self.token_file else ""


def read_token(path: str) -> str:
    """Return the token in a file. Raises ValueError, which does not show the file's text."""
    text = files.secret_text(path, 1026)
    if re.fullmatch(r"[!-~]{1,1024}", text) is None:
        raise ValueError(f"must be a file with {TOKEN_KIND}")
    return text
