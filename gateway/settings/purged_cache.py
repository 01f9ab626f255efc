"""The settings of caches in front that are told what to forget: servers of one's own, and CDNs."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
    ValidationInfo,
    field_validator,
)

from gateway.settings import files
from gateway.settings.hosts import HOST, PORT, check_ipv6, is_loopback, is_port
from gateway.settings.kinds import FilePath, Kind, refuse_yes_and_no

Driver = Literal["nginx", "varnish", "fastly", "cloudflare", "bunny"]
# Where a vendor takes purges, and what its calls name besides a token.
APIS = {
    "fastly": "https://api.fastly.com",
    "cloudflare": "https://api.cloudflare.com",
    "bunny": "https://api.bunny.net",
}
ZONES = {
    "fastly": ("the id of a service", r"[A-Za-z0-9]{1,64}"),
    "cloudflare": ("the id of a zone", r"[A-Za-z0-9]{1,64}"),
    "bunny": ("the number of a pull zone", r"\d{1,18}"),
}
PURGES_KIND = "an array of tables, each with kind and what that kind needs"
URL_KIND = "http(s)://HOST[:PORT]"
NAME_KIND = "a host name, maybe with a port"
ZONE_KIND = "the id of a service or zone"
TOKEN_KIND = "a token of at most 1,024 visible characters"
TO_WORKERS = "to workers"  # the context in which secrets are written out


def _check_url(url: str) -> str:
    match = re.fullmatch(rf"https?://{HOST}{PORT}", url)
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


def _check_token(secret: SecretStr) -> SecretStr:
    if re.fullmatch(r"[!-~]{0,1024}", secret.get_secret_value()) is None:
        raise ValueError(f"must be {TOKEN_KIND}")
    return secret


def _written(secret: SecretStr, info: SerializationInfo) -> str:
    return secret.get_secret_value() if info.context == TO_WORKERS else str(secret)


class PurgedCache(BaseModel):
    """A cache in front of the gateway, which keeps copies of its answers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True
    )

    kind: Driver = Field(description="What it is, and so how it is told.")
    url: Annotated[str, AfterValidator(_check_url), Kind(URL_KIND)] = Field(
        "",
        description="The server, of nginx and varnish: one table for each. Of the others it is "
        "the vendor's API unless it is given.",
    )
    host: Annotated[str, AfterValidator(_check_name), Kind(NAME_KIND)] = Field(
        "",
        description="Host that clients ask nginx for, where its cache key has it; else that of "
        "url.",
    )
    zone: Annotated[str, Kind(ZONE_KIND)] = Field(
        "",
        description="Id of the service of fastly, the zone of cloudflare or the pull zone of "
        "bunny.",
    )
    token: Annotated[
        SecretStr, AfterValidator(_check_token), PlainSerializer(_written), Kind(TOKEN_KIND)
    ] = Field(
        "",  # type: ignore[assignment] # as it is written: it is validated like any other
        description="Token of the vendor's API, which may purge and nothing else.",
    )
    token_file: FilePath = Field(
        "", description="File with the token, instead of token; it is read at start."
    )

    _no_booleans = field_validator("*", mode="before")(refuse_yes_and_no)

    @field_validator("url")
    @classmethod
    def _is_where_it_is(cls, url: str, info: ValidationInfo) -> str:
        kind = info.data.get("kind")
        if kind is not None and kind not in APIS and not url:
            raise ValueError(f"must be the {URL_KIND} of the server")
        if (
            kind in APIS
            and url.startswith("http:")
            and not is_loopback(urlsplit(url).hostname or "")
        ):
            raise ValueError("must be https: the token is sent there")
        return url or APIS.get(str(kind), "")

    @field_validator("host")
    @classmethod
    def _is_for_nginx(cls, host: str, info: ValidationInfo) -> str:
        if host and info.data.get("kind") not in {"nginx", None}:
            raise ValueError(f"must be left out: {info.data['kind']} goes by tags")
        return host

    @field_validator("zone")
    @classmethod
    def _is_of_the_vendor(cls, zone: str, info: ValidationInfo) -> str:
        kind = info.data.get("kind")
        if kind in APIS:
            words, pattern = ZONES[kind]
            if re.fullmatch(pattern, zone, re.ASCII) is None:
                raise ValueError(f"must be {words}")
        elif kind is not None and zone:
            raise ValueError(f"must be left out: {kind} has no zones")
        return zone

    @field_validator("token_file")
    @classmethod
    def _has_one_token(cls, path: str, info: ValidationInfo) -> str:
        kind, token = info.data.get("kind"), info.data.get("token")
        given = bool(path) + bool(token)
        if kind is None or token is None:
            return path
        if kind not in APIS and given:
            raise ValueError(f"must be left out, as must token: {kind} asks for none")
        if kind in APIS and given != 1:
            raise ValueError(f"must be given for {kind}, or token, but not both")
        if path and isinstance(info.context, files.Look):
            read_token(path)
        return path

    def secret(self) -> str:
        """The token, empty where none is needed; raises ValueError for a file without one."""
        return read_token(self.token_file) if self.token_file else self.token.get_secret_value()


def read_token(path: str) -> str:
    """What a file has as its only line; raises ValueError, which tells nothing of it."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - Path raises on odd names
            text = file.read(1026).strip()
    except UnicodeDecodeError:
        text = ""
    except (OSError, ValueError) as cause:
        why = cause.strerror if isinstance(cause, OSError) else "this is no name of one"
        raise ValueError(f"must be a file that can be read: {why}") from cause
    if re.fullmatch(r"[!-~]{1,1024}", text) is None:
        raise ValueError(f"must be a file with {TOKEN_KIND}")
    return text
