"""The application of the admin listener: health and metrics, and the console on demand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web
from multidict import CIMultiDict

from headgate_admin.access.check import Access
from headgate_admin.access.sign_in import SIGN_IN, SignIn
from headgate_admin.bodies import BOUNDS
from headgate_admin.console import CONSOLE, Console
from headgate_admin.errors import ConsoleError, problem_document
from headgate_admin.events import LISTENERS, Listeners
from headgate_admin.on_demand import OnDemand
from headgate_admin.record.recorder import Recorder
from headgate_admin.streams.client import StreamClient
from headgate_gateway.errors import HeadgateError
from headgate_gateway.telemetry import metrics
from headgate_gateway.telemetry.health import by_name
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from aiohttp.typedefs import Handler

    from headgate_gateway.features.questions.process_source import ProcessSource, Setup
    from headgate_gateway.settings import Settings

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; font-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Without any referrer a browser calls the origin of a form's request null.
    "Referrer-Policy": "same-origin",
    "Server": "Headgate",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

# Those of a refusal that the connection itself writes; the others it has in any case.
REFUSAL_LINES = "".join(
    f"{name}: {SECURITY_HEADERS[name]}\r\n"
    for name in (
        "Content-Security-Policy",
        "Cross-Origin-Opener-Policy",
        "Referrer-Policy",
        "Server",
        "X-Frame-Options",
    )
).encode()

SOURCE: web.AppKey[ProcessSource] = web.AppKey("source")


def build(source: ProcessSource, setup: Setup) -> web.Application:
    """Build the admin application; it reads from `source` at each request and every few seconds."""
    settings = setup.settings
    sign_in = SignIn(settings.admin.users, setup.clock)
    access = Access(sign_in, settings.admin.tokens, is_open=is_open(settings))
    recorder = Recorder(source, setup, f"{settings.listen}/{secrets.token_hex(8)}")
    streams = StreamClient(setup)
    console = OnDemand(setup.clock, settings)
    app = web.Application(middlewares=[problems, console.errors, access.check])
    app[SOURCE] = source
    app[BOUNDS] = setup.bounds
    app[CONSOLE] = application_console = Console(source, setup, recorder, streams)

    def follow(settings: Settings) -> None:
        console.use_settings(settings)
        sign_in.admit(settings.admin.users)
        access.admit(settings.admin.tokens, is_open=is_open(settings))
        recorder.use_settings(settings)

    setup.reloader.on_reload.append(follow)
    source.before_drain.append(recorder.announce_stop)
    source.watch_processes(recorder.wake)
    app[LISTENERS] = Listeners(setup.bounds.most_connections)
    app[SIGN_IN] = sign_in
    app.on_response_prepare.append(add_security_headers)
    app.cleanup_ctx.append(_running(recorder, streams, sign_in, application_console))
    app.on_shutdown.append(_end_listeners)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", show_metrics)
    app.router.register_resource(console)
    return app


def is_open(settings: Settings) -> bool:
    """Return whether everybody on this machine is an operator: there are no credentials."""
    return not settings.admin.users and not settings.admin.tokens


def _running(
    recorder: Recorder, streams: StreamClient, sign_in: SignIn, console: Console
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Return the context that starts and stops with the application."""

    async def run(_app: web.Application) -> AsyncIterator[None]:
        await streams.open()
        await recorder.bans.open()  # before the listener for streams, so that no client slips in
        recording = asyncio.create_task(recorder.run())
        yield
        recording.cancel()
        await console.deletions.close()
        with contextlib.suppress(asyncio.CancelledError):
            await recording
        await streams.close()
        sign_in.passwords.close()

    return run


async def _end_listeners(app: web.Application) -> None:
    app[LISTENERS].end_all()


async def healthz(_request: web.Request) -> web.Response:
    """Return a 200 while the event loop turns; `readyz` checks what the process depends on."""
    return web.json_response({"status": "ok"}, dumps=line)


async def readyz(request: web.Request) -> web.Response:
    """Return a 200 when every check is fine, else 503; `?verbose` answers one line a check.

    The status is "degraded" while a log serves reads alone.
    """
    health = (await request.app[SOURCE].health()).with_listener(request.app[BOUNDS])
    ready = all(check.cause is None for check in health.checks)
    checks = by_name((*health.checks, *health.notes))
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    verdict = ("degraded" if health.is_degraded else "ready") if ready else "not ready"
    if "verbose" in request.query:
        lines = [
            f"[+] {name} ok" if reason is None else f"[-] {name} {reason}"
            for name, reason in checks.items()
        ]
        return web.Response(text="\n".join([*lines, verdict, ""]), status=status)
    answers = {name: reason or "ok" for name, reason in checks.items()}
    return web.json_response({"status": verdict, "checks": answers}, status=status, dumps=line)


async def show_metrics(request: web.Request) -> web.StreamResponse:
    """Return all metrics, in the format that the scraper accepts."""
    from prometheus_client.aiohttp import make_aiohttp_handler

    from headgate_gateway.telemetry.exposition import preferred, registry

    console = request.app[CONSOLE]
    user_agent = request.headers.get("User-Agent", "")
    console.recorder.alerts.note_scrape(console.setup.clock(), user_agent)
    of_listener = request.app[BOUNDS].measure()
    snapshot = (metrics.build(), *await request.app[SOURCE].measure(), *of_listener)
    # Only these decide. In another field may be bytes that are no text, which cannot be cloned.
    headers = CIMultiDict(Accept=preferred(",".join(request.headers.getall("Accept", ()))))
    coding = request.headers.get("Accept-Encoding", "")
    if coding.isascii():
        headers["Accept-Encoding"] = coding
    return await make_aiohttp_handler(registry(snapshot))(request.clone(headers=headers))


def line(value: object) -> str:
    """Return JSON with a line end, so that a shell's prompt does not run into it."""
    return json.dumps(value) + "\n"


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Keep responses out of caches, frames and foreign scripts."""
    response.headers.update(SECURITY_HEADERS)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into RFC 9457 problems."""
    try:
        return await handler(request)
    except ConsoleError as refusal:
        return problem(refusal.status, refusal.reason, refusal.headers)
    except web.HTTPRedirection:
        raise
    except web.HTTPMethodNotAllowed as refusal:
        allowed = ", ".join(sorted(refusal.allowed_methods))
        detail = f"{request.path} answers {allowed}."
        return problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": allowed})
    except web.HTTPNotFound:
        detail = "The admin listener has /healthz, /metrics, /readyz and /api/v1/openapi.json."
        return problem(HTTPStatus.NOT_FOUND, detail)
    except web.HTTPException as refusal:  # such as a body that is too large
        return problem(refusal.status, f"{refusal.text}")
    except (ConnectionError, HeadgateError):  # with which the connection ends
        raise
    except Exception:  # noqa: BLE001 - the edge: a fault becomes an answer and a log line
        log.exception("admin.request_failed", path=request.path)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The log tells what went wrong.")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a problem (RFC 9457)."""
    return web.Response(
        body=problem_document(status, detail) + b"\n",  # as `line` ends it
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )
