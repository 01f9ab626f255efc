"""Servers that commands go to, their streams and admin APIs, and the credentials for each."""

from __future__ import annotations

import os
import re
import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from headgate.names import (
    AUTHORIZATION_VARIABLE,
    BASE_VARIABLE,
    DEFAULT_BASE,
    NOT_IN_FIELDS,
    authorization_of,
    is_quoted,
    with_scheme,
    without_secrets,
)
from headgate_gateway.errors import StartError
from headgate_gateway.text_files import MARK, unmarked

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping
    from pathlib import Path

TOKEN_VARIABLE = "STREAM_ADMIN_TOKEN"
TOKEN_BYTES = 4096  # no header field may be longer at most servers
LIKE_THIS = f'{AUTHORIZATION_VARIABLE}="Bearer TOKEN"'
CERTIFICATE = "admin.tls.certificate"  # the setting
ANOTHER_SERVER = "answers, and is no admin listener of this version"  # follows its URL
# What a read asks for by options of its command.
READ_KEYS = re.compile(r"(?:^|&)(offset|live|cursor)=")


@dataclass(frozen=True, slots=True)
class TargetServer:
    """The server that names of streams mean, and the credentials for it.

    Those of a context, and those beside a STREAM_URL, are for that server alone (`is_bound`).
    `named_by` and `authorized_by` say for messages where both are from. `admin` is the URL of the
    admin listener, where it is known, and `certificate` the file of its certificate, if it runs
    here and speaks TLS. With `routes`, the URLs of several, a name could mean a stream of each.
    """

    base: str = field(default=DEFAULT_BASE, repr=False)
    authorization: str | None = field(default=None, repr=False)
    is_bound: bool = False
    named_by: str = BASE_VARIABLE
    authorized_by: str = AUTHORIZATION_VARIABLE
    ca_file: str = ""
    admin: str = field(default="", repr=False)
    admin_token_file: str = ""
    certificate: str = ""
    routes: tuple[str, ...] = ()

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> TargetServer:
        """Return the server of STREAM_URL, or the default. Raises ValueError for what is no URL."""
        given = environment.get(BASE_VARIABLE)
        base = _server_url(given or DEFAULT_BASE, BASE_VARIABLE)
        return cls(base, authorization_of(environment), is_bound=bool(given))

    def stream(self, name: str) -> StreamTarget:
        """Return the stream called `name`, a whole URL or a name here. Raises ValueError."""
        if is_whole_url(name):
            url = _server_url(name, "it")
        else:
            check_stream_name(name)
            if self.routes:
                raise ValueError(_which(f"the server {self.base} has several routes", self.routes))
            url = f"{self.base.rstrip('/')}/{quote(os.fsencode(name.strip('/')), safe='/')}"
        parts = urlsplit(url)
        if not parts.path.strip("/") or not name.strip("/"):
            raise ValueError(f"a stream has a name, as in {DEFAULT_BASE}/chat")
        if match := READ_KEYS.search(parts.query):
            raise ValueError(
                f"the URL has {match[1]}= in its query: give an offset by --offset, and leave the "
                "rest to the command"
            )
        # The authorization belongs to the server at the base URL; another one must not learn it.
        if self.is_bound and not self.has(url):
            return StreamTarget(url, server=self)
        return StreamTarget(url, self.authorization, server=self, ca_file=self.ca_file)

    def has(self, url: str) -> bool:
        """Return whether a stream is on this server."""
        return _origin_of(self.base) == _origin_of(url)


@dataclass(frozen=True, slots=True)
class StreamTarget:
    """The URL of a stream or an admin API, which may hold secrets, and its `Authorization`.

    `server` is the one that names mean, whose authorization no other server gets. With a `ca_file`
    only the authorities in it are trusted, else with a `certificate` only that one.
    """

    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)
    server: TargetServer = field(default=TargetServer(), repr=False)
    ca_file: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    is_admin: bool = field(default=False, repr=False)

    @property
    def shown(self) -> str:
        """The URL as it may be printed: without password and query."""
        return without_secrets(self.url)

    @property
    def advice(self) -> str:
        """The advice for a 401: what to do about the authorization."""
        if self.is_admin:
            kind = "a" if self.authorization is None else "another"
            return f"give {kind} token of admin.tokens by {TOKEN_VARIABLE} or --admin-token FILE"
        source, named_by = self.server.authorized_by, self.server.named_by
        if self.authorization is None and self.server.authorization is not None:
            return f"{source} is sent to the server of {named_by} only"
        if self.authorization is None and named_by != BASE_VARIABLE:
            return f"add {named_by} again with --auth-file FILE"
        if self.authorization is None:
            return f"set {LIKE_THIS} in the environment"
        if " " not in self.authorization.strip():
            return f"{source} must be a scheme and a token, as in {LIKE_THIS}"
        return f"put another into {source}"

    def trusted(self) -> ssl.SSLContext | None:
        """Return whom to trust, or None without TLS. Raises StartError for an unusable file."""
        from headgate_gateway import trust

        if not self.url.startswith("https:"):
            return None
        if self.ca_file or not self.certificate:
            return trust.context(self.ca_file, named_by="--cacert")
        try:
            return trust.own_listener(self.certificate)
        except OSError as cause:
            why = trust.why_not(cause)
            raise StartError(f"cannot use {self.certificate} ({CERTIFICATE}): {why}") from cause

    @property
    def certificate_advice(self) -> str:
        """The advice for a certificate that is not trusted."""
        if self.ca_file or not self.certificate:
            return "name the file of the authority that issued it by --cacert"
        return (
            f"it is not the one in {self.certificate} ({CERTIFICATE}): if the server has not read "
            "a new one yet, give the former one by --cacert FILE, or send it SIGHUP"
        )

    @property
    def path(self) -> str:
        """The path of the URL, as forks name their source."""
        return urlsplit(self.url).path

    def is_beside(self, other: StreamTarget) -> bool:
        """Return whether both streams are on one server, as a fork and its source must be."""
        return _origin_of(self.url) == _origin_of(other.url)


def _origin_of(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def admin_api(
    url: str, token_file: Path | None, environment: Mapping[str, str], named_by: str = "--admin"
) -> StreamTarget:
    """Return the URL of a gateway's admin API and its token. Raises ValueError for a bad URL."""
    if not is_whole_url(url):
        meant = with_scheme(url)
        hint = f": write {meant}" if meant else " such as http://127.0.0.1:4439"
        raise ValueError(f"{named_by} must be a URL{hint}")
    api = TargetServer().stream(f"{url.partition('?')[0].rstrip('/')}/api").url
    token = _token(token_file) if token_file is not None else environment.get(TOKEN_VARIABLE, "")
    if NOT_IN_FIELDS.search(token):
        raise ValueError("the token must be one line of text")
    if is_quoted(token):
        source = token_file or TOKEN_VARIABLE
        raise ValueError(f"the token in {source} has quotes around it: leave them out")
    return StreamTarget(api, f"Bearer {token}" if token else None, is_admin=True)


def _token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(len(MARK) + TOKEN_BYTES + 1)
        token = unmarked(data).decode("ascii").strip()
    except OSError as cause:
        raise ValueError(f"the token in {path} cannot be read: {cause.strerror}") from cause
    except UnicodeError as cause:
        raise ValueError(f"what is in {path} is no token") from cause
    except ValueError as cause:
        raise ValueError(f"{path} {cause}") from cause
    if not token or len(token) > TOKEN_BYTES:
        raise ValueError(f"what is in {path} is no token")
    return token


def is_whole_url(name: str) -> bool:
    """Return whether the name of a stream is a URL, which needs no base."""
    return re.match("https?://", name, re.IGNORECASE) is not None


def several_servers(bases: Iterable[str], or_by: str) -> ValueError:
    """Return the error that several servers could be meant; `or_by` is another way to say which."""
    return ValueError(_which("several servers run here", bases, or_by))


def _which(several: str, bases: Iterable[str], or_by: str = "a whole URL") -> str:
    return f"{several}: say which by {or_by}, or {BASE_VARIABLE}: {', '.join(bases)}"


def checked_base(url: str, subject: str) -> str:
    """Return a URL that names can be put behind. Raises ValueError about `subject` for others."""
    checked = _server_url(url, subject)
    if "?" in url or "#" in url or NOT_IN_FIELDS.search(url):
        raise ValueError(f"{subject} has a query or fragment, behind which no name can be put")
    return checked.rstrip("/")


def _server_url(url: str, subject: str) -> str:
    """Return the URL, percent-encoded where its path or query cannot be sent as it is."""
    if meant := with_scheme(url):
        raise ValueError(f"{subject} must be a URL: write {meant}")
    wrong = f"{subject} must be a URL such as {DEFAULT_BASE}"
    try:
        parts = urlsplit(url)
        has_host = parts.hostname is not None and parts.hostname.encode("idna") != b""
        has_port = parts.port != 0
    except UnicodeError as cause:
        raise ValueError(f"{wrong}: no server can have this host name") from cause
    except ValueError:
        # The cause repeats what it takes for a port, which may be a part of a password.
        raise ValueError(f"{wrong}: a port goes up to 65535, IPv6 is in brackets") from None
    if parts.scheme not in {"http", "https"} or not has_host or not has_port:
        raise ValueError(wrong)
    if "\\" in parts.netloc:  # RFC 3986 has none there, and browsers take it for a slash
        raise ValueError(f"{wrong}: there is no backslash before its path")
    path, query = (
        quote(os.fsencode(text), safe=string.punctuation) for text in (parts.path, parts.query)
    )
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def check_stream_name(name: str) -> None:
    """Raise ValueError for what was probably meant as a URL.

    A slash in front makes anything a name.
    """
    if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://|https?:", name, re.IGNORECASE):
        raise ValueError(f"{match[0]} is no way to reach a stream: write http://HOST:PORT/...")
    if meant := with_scheme(name):
        raise ValueError(
            f"{name!r} looks like a host and a port: write {meant}, or /{name} for a name"
        )
