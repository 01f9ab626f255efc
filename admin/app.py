"""The application of the admin listener: health, readiness and metrics."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.aiohttp import make_aiohttp_handler

from gateway.telemetry import metrics
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Handler

    from admin.source import Source

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "Headgate",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


SOURCE: web.AppKey[Source] = web.AppKey("source")


def build(source: Source) -> web.Application:
    """The admin application, reading from `source` at each request."""
    app = web.Application(middlewares=[problems])
    app[SOURCE] = source
    app.on_response_prepare.append(add_security_headers)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics)
    return app


async def healthz(_request: web.Request) -> web.Response:
    """200 while the event loop turns; what it depends on is `readyz`'s to tell."""
    return web.json_response({"status": "ok"}, dumps=line)


async def readyz(request: web.Request) -> web.Response:
    """200 when every check is fine, else 503; `?verbose` answers one line a check."""
    health = await request.app[SOURCE].health()
    ready = all(reason is None for reason in health.checks.values())
    checks = {**health.checks, **health.notes}
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    verdict = "ready" if ready else "not ready"
    if "verbose" in request.query:
        lines = [
            f"[+] {name} ok" if reason is None else f"[-] {name} {reason}"
            for name, reason in checks.items()
        ]
        return web.Response(text="\n".join([*lines, verdict, ""]), status=status)
    answers = {name: reason or "ok" for name, reason in checks.items()}
    return web.json_response({"status": verdict, "checks": answers}, status=status, dumps=line)


async def show_metrics(request: web.Request) -> web.StreamResponse:
    """All numbers, in the format that the scraper asks for."""
    registry = metrics.registry(await request.app[SOURCE].measure())
    return await make_aiohttp_handler(registry)(request)


def line(value: object) -> str:
    """JSON with a line end, so that a shell's prompt does not run into it."""
    return json.dumps(value) + "\n"


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """These pages are for nobody's cache, frame or script."""
    response.headers.update(SECURITY_HEADERS)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as RFC 9457 problems."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as refusal:
        allowed = ", ".join(sorted(refusal.allowed_methods))
        detail = f"{request.path} answers {allowed}."
        return problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": allowed})
    except web.HTTPNotFound:
        known = sorted({route.canonical for route in request.app.router.resources()})
        return problem(HTTPStatus.NOT_FOUND, f"The admin listener has {', '.join(known)}.")
    except Exception:  # noqa: BLE001 - the edge: a fault becomes an answer and a log line
        log.exception("admin request failed", path=request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The log tells what went wrong.")


def problem(
    status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An RFC 9457 answer."""
    return web.json_response(
        {"title": status.phrase, "status": status.value, "detail": detail},
        status=status,
        headers=headers,
        content_type="application/problem+json",
        dumps=line,
    )
