"""Explain how a request would be answered, without carrying it out."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from multidict import CIMultiDict

from headgate_gateway.access.credentials import request_credential
from headgate_gateway.access.operations import needs
from headgate_gateway.errors import (
    BadRequest,
    Forbidden,
    HeadgateError,
    StreamNotFound,
    Unauthenticated,
)
from headgate_gateway.features.console.inspected_streams import ExplainedRequest, streams_of
from headgate_gateway.features.questions.streams import ExplainStep, Explanation
from headgate_gateway.protocol.http.paths import canonical_target, split
from headgate_gateway.web.requests.request_head import is_host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from headgate_gateway.access.operations import Need
    from headgate_gateway.features.questions.streams import ExplainRequest
    from headgate_gateway.routes.contract import StreamRoute
    from headgate_gateway.routes.router import Router

_WHO = "Who is admitted"
# RFC 9110 section 5.6.2.
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


async def explain(routes: Router, question: ExplainRequest) -> Explanation:
    """Return the steps up to the answer or the refusal. Nothing is counted or cached for it.

    Raises BadRequest if the question cannot be an HTTP request at all.
    """
    target, headers = _request(question)
    steps: list[ExplainStep] = []
    try:
        async for step in _steps(routes, question.method, target, headers):
            steps.append(step)
    except HeadgateError as refusal:
        steps.append(
            ExplainStep("The next answer", f"{refusal.status} {refusal.code}", refusal.detail)
        )
    return Explanation(tuple(steps), steps[-1].outcome)


def _request(question: ExplainRequest) -> tuple[str, CIMultiDict[str]]:
    """Return target and headers. A whole URL sets the Host field, as a browser does."""
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in question.headers:
        if not name or not _TOKEN.issuperset(name):
            raise BadRequest(f"{name[:64]!r} cannot be the name of a header")
        if any(character in value for character in "\r\n\0"):
            raise BadRequest(f"the value of {name[:64]} has a line break in it")
        headers.add(name, value.strip())
    if not question.method or not _TOKEN.issuperset(question.method):
        raise BadRequest("the method must be one word, such as GET")
    target = question.target.partition("#")[0].strip()
    if not target.startswith("/"):
        try:
            parts = urlsplit(target)
        except ValueError as error:
            raise BadRequest(f"this is no URL: {error}") from error
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise BadRequest("give a path such as /v1/stream/NAME?offset=-1, or a whole URL")
        headers.setdefault("Host", parts.netloc.rpartition("@")[2])
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    return target, headers


async def _steps(
    routes: Router, method: str, target: str, headers: CIMultiDict[str]
) -> AsyncIterator[ExplainStep]:
    if not is_host(headers.get("Host", "")):
        raise BadRequest("Host names no host")
    target = canonical_target(target)
    path, _ = split(target)
    if path == "/":
        yield ExplainStep("Route", "none", "this is no stream, but the server's own page")
        yield ExplainStep("The next answer", "BYPASS", "it is made anew for each who asks")
        return
    route, name = routes.find(path)
    yield ExplainStep("Route", route.prefix, "the longest prefix that fits")
    client_request = ExplainedRequest(method, target, headers, name)
    if route.access.guard is not None:
        client_request, needed = _presented(client_request, path)
        yield await _admission(route, client_request, needed)
    async for step in streams_of(route).explain(client_request):
        yield step


def _presented(
    client_request: ExplainedRequest, path: str
) -> tuple[ExplainedRequest, tuple[Need, ...]]:
    """Return the request with a query token moved to Authorization, and what it needs."""
    token, target = request_credential(
        client_request.method, client_request.target, client_request.headers
    )
    headers = CIMultiDict(client_request.headers)
    if token is not None and target != client_request.target and "Authorization" not in headers:
        headers["Authorization"] = f"Bearer {token}"
    needed = needs(client_request.method, path, headers, split(target)[1])
    return client_request._replace(target=target, headers=headers), needed


async def _admission(
    route: StreamRoute, client_request: ExplainedRequest, needed: Sequence[Need]
) -> ExplainStep:
    """Explain the guard's decision. Raises the error that a client would get."""
    guard, now = route.access.guard, route.clock()
    assert guard is not None, "looked at before"
    token, _ = request_credential(
        client_request.method, client_request.target, client_request.headers
    )
    principal = guard.known_principal(client_request.headers, token, needed, now)
    if principal is None and guard.delegation:
        outcome = "whom the origin lets read, which is not asked now"
        return ExplainStep(_WHO, outcome, guard.delegation)
    try:
        principal = principal or await guard.admit(client_request.headers, token, needed, now)
    except (Unauthenticated, Forbidden) as refusal:
        if route.access.conceals:
            detail = f"{refusal.detail}; conceal = on makes it look like no stream"
            raise StreamNotFound(detail) from None
        raise
    asked_for = ", ".join(sorted({it for need in needed for it in need.operations}))
    if principal.is_anybody:
        return ExplainStep(_WHO, "everybody", f"nobody is asked for a credential to {asked_for}")
    lasting = "until it is revoked"
    if principal.until < inf:
        lasting = f"for {principal.until - now:.0f} s more"
    name = principal.name or "whom the origin lets read"
    return ExplainStep(_WHO, f"{name}, {lasting}", f"the credential permits {asked_for} here")
