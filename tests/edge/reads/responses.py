"""Responses written as text, and what the policy keeps of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict

from headgate_gateway.edge.reads.variants import Variant
from headgate_gateway.protocol.http.forwarding import IdentityHeaders
from headgate_gateway.rules.cached_response import CachedResponse
from headgate_gateway.rules.policy import ResponseMetadata, Times, storable
from headgate_gateway.telemetry.traffic import Hits

if TYPE_CHECKING:
    from headgate_gateway.rules.repair import StreamRead

NOW = 784_111_777.0
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"  # NOW
MINUTE_AGO = "Sun, 06 Nov 1994 08:48:37 GMT"
HOUR_AGO = "Sun, 06 Nov 1994 07:49:37 GMT"
YEAR_AGO = "Sat, 06 Nov 1993 08:49:37 GMT"
IN_AN_HOUR = "Sun, 06 Nov 1994 09:49:37 GMT"
AT_ONCE = Times(NOW, NOW)


def in_store(
    stored: ResponseMetadata, body: bytes = b"", facts: StreamRead | None = None
) -> Variant:
    return Variant(
        CachedResponse(
            status=200,
            lines=b"",
            body=body,
            stored=stored,
            facts=facts,
            identity=IdentityHeaders(),
            is_storable=True,
            joinable=True,
            is_for_one_client=False,
            is_public=True,
            is_ours=False,
            is_tail=False,
            origin_directives=[],
            own_date=True,
            own_cors=True,
            tagged_as=None,
        ),
        Hits(),
    )


def fields(text: str) -> CIMultiDict[str]:
    """Header fields, one in a line, or several with a bar between them."""
    lines = (line.partition(":") for line in text.replace("|", "\n").splitlines() if line.strip())
    return CIMultiDict((name.strip(), value.strip()) for name, _, value in lines)


def keep(
    response: str,
    *,
    request: str = "",
    method: str = "GET",
    status: int = 200,
    times: Times = AT_ONCE,
    stale_if_error: int = 0,
) -> ResponseMetadata | None:
    return storable(method, fields(request), status, fields(response), times, stale_if_error)


def kept(response: str, **given: object) -> ResponseMetadata:
    stored = keep(response, **given)  # type: ignore[arg-type] # what `keep` takes
    assert stored is not None
    return stored
