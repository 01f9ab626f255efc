"""The header fields of requests that said the same, and what was made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.protocol.requests import parse_append_head

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.access.contract import Admitted
    from gateway.protocol.requests import Append, AppendHead


class RequestFields:
    """`headers` as they were parsed, of one request, or of all whose fields are the same.

    `are_known` where others are to come that share them. Of those that came with a bearer token,
    `admitted` says whose it was, and `headers` is what is left without it. `is_plain_write` is None
    until somebody has looked whether they ask for anything that takes a closer look.
    """

    __slots__ = ("_append_head", "admitted", "are_known", "headers", "is_plain_write")

    def __init__(
        self,
        headers: MultiMapping[str],
        *,
        are_known: bool = False,
        admitted: Admitted | None = None,
    ) -> None:
        self.headers = headers
        self.are_known = are_known
        self.admitted = admitted
        self.is_plain_write: bool | None = None
        self._append_head: AppendHead | None = None

    def append(self, body: bytes, seq: str | None = None) -> Append:
        """An append with these fields, but for another Producer-Seq; raises BadRequest."""
        head = self._append_head
        if head is None:
            head = self._append_head = parse_append_head(self.headers)
        return head.append(body, seq)
