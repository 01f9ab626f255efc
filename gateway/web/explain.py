"""Explains a request that is only asked about, from its first line to how it would be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from multidict import CIMultiDict

from gateway.errors import BadRequest, HeadgateError
from gateway.protocol.responses import STATUS
from gateway.protocol.target import canonical_target, split
from gateway.runtime.asked import AskedRequest
from gateway.telemetry.inspection import Explanation, Step
from gateway.web.request_head import is_host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.runtime.asked import ExplainSteps
    from gateway.runtime.route import StreamRoute
    from gateway.telemetry.inspection import ExplainRequest
    from gateway.web.router import Router

# RFC 9110 section 5.6.2.
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


async def explain(
    routes: Router, kinds: Mapping[type[StreamRoute], ExplainSteps], question: ExplainRequest
) -> Explanation:
    """The steps up to the answer, or up to what refuses it. Nothing is counted or kept for it.

    Raises BadRequest when it cannot be a request at all.
    """
    target, headers = _request(question)
    told: list[Step] = []
    try:
        async for step in _steps(routes, kinds, question.method, target, headers):
            told.append(step)
    except HeadgateError as refusal:
        told.append(
            Step("The next answer", f"{STATUS[type(refusal)]} {refusal.code}", refusal.detail)
        )
    return Explanation(tuple(told), told[-1].outcome)


def _request(question: ExplainRequest) -> tuple[str, CIMultiDict[str]]:
    """Target and headers. A whole URL names its host, as a browser would."""
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
    routes: Router,
    kinds: Mapping[type[StreamRoute], ExplainSteps],
    method: str,
    target: str,
    headers: CIMultiDict[str],
) -> AsyncIterator[Step]:
    if not is_host(headers.get("Host", "")):
        raise BadRequest("Host names no host")
    target = canonical_target(target)
    path, _ = split(target)
    if path == "/":
        yield Step("Route", "none", "this is no stream, but the server's own page")
        yield Step("The next answer", "BYPASS", "it is made anew for each who asks")
        return
    route, name = routes.find(path)
    yield Step("Route", route.prefix, "the longest prefix that fits")
    async for step in kinds[type(route)](route, AskedRequest(method, target, headers, name)):
        yield step
