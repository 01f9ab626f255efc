"""Decide through which proxy an outbound request goes, by the variables that curl and Go know.

`HTTPS_PROXY` and `HTTP_PROXY` name the proxy by the scheme of the request's URL, and `NO_PROXY` the
hosts that are connected to directly. Lower case comes first, and an empty variable is none.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from headgate.hosts import HOST, PORT, check_ipv6, is_port
from headgate_gateway.protocol.http.destinations import PORTS, literal_address, refused_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.protocol.http.destinations import AllowedHosts

PROXY_PATTERN = rf"(?P<scheme>https?)://((?P<user>[^/?#\s]*)@)?(?P<host>{HOST}){PORT}/?"
PROXY_KIND = "http(s)://[USER:PASSWORD@]HOST[:PORT]"
VARIABLES = {scheme: (f"{scheme}_proxy", f"{scheme.upper()}_PROXY") for scheme in PORTS}
EXCEPTIONS = ("no_proxy", "NO_PROXY")
SETTING = "outbound.proxy"

_PROXY = re.compile(PROXY_PATTERN, re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_BRACKETS = re.compile(r"\[([0-9a-f:.]+)\](?::(\d{1,5}))?")
_WITH_PORT = re.compile(r"([^:]+):(\d{1,5})")
_BEFORE_NAMES = re.compile(r"^(\*?\.)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, without the user and password of its URL.

    `authorization` is the value of Proxy-Authorization, or "". `source` is the variable or setting
    that names the proxy.
    """

    url: str
    source: str
    authorization: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """The proxy in words for operators."""
        return f"{self.url} ({self.source})"

    @property
    def name_for_clients(self) -> str:
        """The proxy in words for clients, who may name the servers behind that of the setting."""
        return f"the proxy of {SETTING}" if self.source == SETTING else f"the proxy {self.shown}"


class MalformedProxy(ValueError):
    """The refusal of a proxy's URL, as a sentence without its full stop and without the URL."""


def proxy_of(url: str, source: str) -> Proxy:
    """Return the proxy with a URL. Raises ValueError in words that continue "URL …"."""
    found = _PROXY.fullmatch(url)
    if found is None:
        raise ValueError(
            f"must be {PROXY_KIND}; percent-encode all but letters and digits in the user and the "
            "password, such as @ as %40"
        )
    scheme = found["scheme"].lower()
    port = int(found["port"][1:]) if found["port"] else PORTS[scheme]
    if not is_port(port):
        raise ValueError("must have a port from 1 to 65535")
    if found["ipv6"] is not None:
        check_ipv6(found["ipv6"])
    authorization = ""
    if found["user"]:
        user, _, password = found["user"].partition(":")
        pair = b":".join(map(unquote_to_bytes, (user, password)))
        authorization = f"Basic {b64encode(pair).decode()}"
    return Proxy(f"{scheme}://{found['host'].lower()}:{port}", source, authorization)


class DirectHosts:
    """The hosts of `NO_PROXY`, which are connected to directly.

    An entry is a name, which also covers the names below it, with or without a dot or `*.` before
    it; an address; or a network such as 10.0.0.0/8, for addresses that a URL names. A port after a
    colon makes it count for that port alone. `*` is every host. Entries are separated by commas or
    blanks. `unknown` are the numbers of those that are none of these, which cover nothing.
    """

    def __init__(self, text: str = "") -> None:
        self.unknown: list[int] = []
        self._is_every = False
        self._names: dict[str, set[int | None]] = {}
        self._networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
        for number, entry in enumerate(filter(None, re.split(r"[,\s]+", text.lower())), 1):
            if not self._add(entry):
                self.unknown.append(number)

    def _add(self, entry: str) -> bool:
        """Add an entry; return False if it is of no known form."""
        if entry == "*":
            self._is_every = True
            return True
        host, port = entry, None
        if (found := _BRACKETS.fullmatch(entry) or _WITH_PORT.fullmatch(entry)) is not None:
            host, port = found[1], None if found[2] is None else int(found[2])
        try:
            self._networks.append((ip_network(host, strict=False), port))
        except ValueError:
            name = _BEFORE_NAMES.sub("", host).removesuffix(".")
            if _NAME.fullmatch(name) is None:
                return False
            self._names.setdefault(name, set()).add(port)
        return True

    def cover(self, host: str, port: int) -> bool:
        """Return whether a host in lower case is connected to directly at a port."""
        if self._is_every:
            return True
        if (address := literal_address(host)) is not None:
            return any(at in {None, port} and address in one for one, at in self._networks)
        while host:
            if not {None, port}.isdisjoint(self._names.get(host, ())):
                return True
            _, _, host = host.partition(".")
        return False


class OutgoingProxies:
    """The proxy of each URL: by its scheme, unless its host is connected to directly.

    Never through a proxy go requests for loopback, names without a dot, and addresses that are not
    public, where the URL names one; nor those for hosts that may be inside by the settings.
    """

    def __init__(
        self,
        by_scheme: Mapping[str, Proxy | MalformedProxy],
        direct: DirectHosts,
        allowed: AllowedHosts | None = None,
    ) -> None:
        """Take the proxy of each scheme, or why there is none although one is named."""
        self._by_scheme = by_scheme
        self._direct = direct
        self._allowed = allowed

    def of(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy of requests to a host; None if they go there directly.

        Raises MalformedProxy if the proxy that is named cannot be used.
        """
        proxy = self._by_scheme.get(scheme)
        host = host.lower().removesuffix(".")
        if proxy is None or _is_near(host) or self._direct.cover(host, port):
            return None
        if self._allowed is not None and self._allowed.may_be_inside(host, port):
            return None
        if isinstance(proxy, MalformedProxy):
            raise proxy
        return proxy


def proxies_by_environment(environment: Mapping[str, str]) -> OutgoingProxies:
    """Return the proxies that the variables name."""
    found = {scheme: _first(environment, names) for scheme, names in VARIABLES.items()}
    proxies = {scheme: _of_variable(*one) for scheme, one in found.items() if one is not None}
    return OutgoingProxies(proxies, direct_hosts(environment))


def proxies_by_setting(
    url: str, environment: Mapping[str, str], allowed: AllowedHosts | None = None
) -> OutgoingProxies | None:
    """Return the proxy of a setting for hosts that clients name, or None for an empty one.

    `NO_PROXY` counts here as well. `allowed` has the hosts that may be inside.
    """
    if not url:
        return None
    proxy = proxy_of(url, SETTING)
    return OutgoingProxies(dict.fromkeys(PORTS, proxy), direct_hosts(environment), allowed)


def direct_hosts(environment: Mapping[str, str]) -> DirectHosts:
    """Return the hosts that the variables except from proxies."""
    found = _first(environment, EXCEPTIONS)
    return DirectHosts("" if found is None else found[1])


def has_proxy(environment: Mapping[str, str]) -> bool:
    """Return whether a variable names a proxy, which may be malformed."""
    return any(_first(environment, names) is not None for names in VARIABLES.values())


def warnings_of(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence, without a full stop, about entries of NO_PROXY that cover nothing."""
    found = _first(environment, EXCEPTIONS)
    unknown = [] if found is None else DirectHosts(found[1]).unknown
    if found is not None and unknown and has_proxy(environment):
        numbers = ", ".join(map(str, unknown))
        wrong = f"entry {numbers} has no effect, as it is not a host, address or network"
        if len(unknown) > 1:
            wrong = (
                f"entries {numbers} have no effect, as they are not hosts, addresses or networks"
            )
        yield (
            f"{found[0]}: {wrong}; write example.com, 10.0.0.0/8 or host.example.com:8443, without "
            "a scheme"
        )


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the first variable that is not empty, with its value."""
    values = ((name, environment.get(name, "").strip()) for name in names)
    return next((one for one in values if one[1]), None)


def _of_variable(name: str, text: str) -> Proxy | MalformedProxy:
    """Return the proxy of a variable; without a scheme it is http, as for curl and Go."""
    scheme, separator, _ = text.partition("://")
    try:
        return proxy_of(text if separator else f"http://{text}", name)
    except ValueError as refusal:
        is_other = bool(separator) and re.fullmatch(r"[a-z][a-z0-9]{0,9}", scheme) is not None
        value = f"begins with {scheme}://" if is_other else "is not shown here"
        return MalformedProxy(f"{name} {value}, but {refusal}; unset it to use no proxy")


def _is_near(host: str) -> bool:
    """Return whether a host of a URL is on this machine or network, as far as the URL tells."""
    if (address := literal_address(host)) is not None:
        return refused_kind(address) is not None
    *above, last = host.split(".")
    # Resolvers may read a number such as 127.1 as an address.
    return not above or last == "localhost" or _NUMBER.fullmatch(last) is not None
