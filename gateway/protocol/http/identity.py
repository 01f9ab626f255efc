"""The request headers that identify a reader."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from multidict import MultiMapping

READER_COOKIE = "__Secure-headgate"  # a token; browsers take the name only with Secure
REMEMBERED_NAMES = 1024  # a few dozen are common; clients can send long ones, then this is 8 MB

# By what they are about, since each product has its own, and one that is missed gives a reader's
# answer to others, where one too many only costs a request. In turn: credentials; what stands for
# a session; who somebody is, as told by himself or by a proxy that has asked him (oauth2-proxy,
# IAP, Cloudflare Access, Easy Auth, Kong, Pomerium ...); on whose account.
_SAYS_WHO = re.compile(
    r"(^|-)("
    r"auth|authentication|authorization|authenticated|webauth|dpop|signature|assertion|jwt|oidc"
    r"|(access|id|auth|api|security|session|csrf|xsrf)?tokens?|secret|password|credentials?"
    r"|([a-z]*api|app|access|auth|functions?|license|master|service|subscription)-?key"
    r"|client-?(cert|id|secret)|cert|(client-)?(s-)?dn|cf-access|bearer|passport"
    r"|cookies?|session|session-?id|csrf|xsrf"
    r"|user(?!-agent)|userid|username|userinfo|login|e-?mail|principal|identity|consumer|claims?"
    r"|groups?|roles?|scopes?|permissions?|device-id|member|employee|guest|player|profile|student"
    r"|act-as|actor|impersonate|owner|sub|subject|subject-dn|subscriber|uid"
    r"|tenant|tenantid|org|organi[sz]ation|account|customer|company|workspace|team|project|realm"
    r"|merchant|shop"
    r")(-|$)"
)
# What browsers alone set (Sec-Fetch-User), and what is for the gateway and goes no further.
_SAYS_NOTHING = re.compile(r"sec-|proxy-")


class IdentityHeaders:
    """The identifying headers: by their names, plus those `added`, minus those `dropped`.

    Case does not count. Where the gateway verifies credentials itself, the origin does not get
    them: `withheld` are the headers, and `cookie` names the cookie, that hold credentials.
    """

    def __init__(
        self, added: Iterable[str] = (), dropped: Iterable[str] = (), *, verified_cookie: str = ""
    ) -> None:
        self.cookie = verified_cookie
        self.withheld = frozenset({"authorization"} if verified_cookie else ())
        self._added = frozenset(name.lower() for name in added)
        self.dropped = frozenset(name.lower() for name in dropped) | self.withheld
        self._are = lru_cache(REMEMBERED_NAMES)(self._is_one)

    def _is_one(self, name: str) -> bool:
        name = name.lower()
        if name in self._added or name in self.dropped:
            return name not in self.dropped
        return _SAYS_WHO.search(name) is not None and _SAYS_NOTHING.match(name) is None

    def has(self, name: str) -> bool:
        """Return whether a header identifies its sender."""
        return self._are(name)

    def identifying_names(self, headers: MultiMapping[str]) -> list[str]:
        """Return the identifying headers of a request, in lower case; none if it is anonymous."""
        if not self.identifies(headers):
            return []
        return sorted({name.lower() for name in headers if self._are(name)})

    def identifies(self, headers: MultiMapping[str]) -> bool:
        """Return whether a request identifies its sender."""
        if not any(map(self._are, headers)):
            return False
        return not self.cookie or any(map(self._are, self.without_cookie(headers)))

    def without_cookie(self, headers: MultiMapping[str]) -> MultiMapping[str]:
        """Return the headers of a request without the cookie that is withheld."""
        if not self.cookie or not any(self.cookie in line for line in headers.getall("Cookie", ())):
            return headers
        fields = CIMultiDict(headers)
        drop_cookies(fields, (self.cookie,))
        return fields


def drop_cookies(fields: CIMultiDict[str], names: Collection[str]) -> None:
    """Take cookies out of the fields of a request, and with the last one the header."""
    lines = fields.getall("Cookie", ())
    if not any(name in line for line in lines for name in names):
        return
    pairs = [pair.strip() for line in lines for pair in line.split(";")]
    others = [pair for pair in pairs if pair and pair.partition("=")[0].rstrip() not in names]
    del fields["Cookie"]
    if others:
        fields["Cookie"] = "; ".join(others)
