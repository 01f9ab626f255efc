"""The header fields that equal requests share, with what was parsed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import istr

from gateway.protocol.requests import is_closing, parse_append_head

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.access.contract import AuthenticatedClient
    from gateway.protocol.requests import Append, AppendHead


# The fields by which reads with the same response differ: proxies add an `X-Request-Id` to each
# request, and browsers revalidate with `If-None-Match`.
OWN_LINES = ("X-Request-Id", "If-None-Match")
_ORIGIN, _CONTENT_ENCODING = istr("Origin"), istr("Content-Encoding")


class RequestFields:
    """The parsed `headers` of one request, or of all requests with the same fields.

    `are_known` says that later requests may share them. If they came with a bearer token,
    `client` has sent it, and `headers` lacks the token. What every request needs is computed
    once: its `origin` (of a web page), and whether it `closes` its stream.
    """

    __slots__ = ("_append_head", "are_known", "client", "closes", "headers", "is_coded", "origin")

    def __init__(
        self,
        headers: MultiMapping[str],
        *,
        are_known: bool = False,
        client: AuthenticatedClient | None = None,
    ) -> None:
        self.headers = headers
        self.are_known = are_known
        self.client = client
        self.closes = is_closing(headers)
        self.origin = headers.get(_ORIGIN)
        self.is_coded = _CONTENT_ENCODING in headers
        self._append_head: AppendHead | None = None

    def append(self, body: bytes, seq: str | None = None) -> Append:
        """Return an append with these fields, and its own Producer-Seq; raises BadRequest."""
        head = self._append_head
        if head is None:
            head = self._append_head = parse_append_head(self.headers)
        return head.append(body, seq)
