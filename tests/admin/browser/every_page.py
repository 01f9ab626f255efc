"""The pages of the console as tests open them: each path that the site has, with its states."""

from __future__ import annotations

from aiohttp import web

from headgate_admin.pages.site import Site

STREAM = "/streams/one?route=/v1/stream&name=chat/0000"
# A path that is not among these is opened as it is, so that no new page is left out.
STATES = {
    "/streams": ["/streams", "/streams?route=/v1/audit"],
    "/streams/one": [
        STREAM,
        *(f"{STREAM}&text={it}" for it in ("some", "nothing")),
        *(f"{STREAM}&tab={it}" for it in ("readers", "producers", "metadata", "change")),
    ],
    "/clients": [
        "/clients",
        *(f"/clients?by={it}" for it in ("principal", "address", "stream")),
        *(f"/clients?show={it}" for it in ("usage", "refusals", "tokens", "bans")),
    ],
    "/subscriptions": [
        "/subscriptions",
        *(f"/subscriptions?route=/v1/stream&id={it}" for it in ("orders", "pool", "more-0")),
    ],
    "/events": [
        "/events",
        "/events?route=/v1/stream&stream=chat/0000",
        "/events?show=refusals",
        "/events?show=alerts",
    ],
    "/caches": ["/caches?target=/v1/stream/chat/0000"],
    "/caches/cdn": ["/caches/cdn?target=nginx&host=streams.example.com"],
}
NO_PAGES = {
    "/caches/cdn/file": "a download",
    "/static/{name}": "files",
    "/sign-in": "leads on who may look",
}
# Pages whose parts are alike others', of which only `make torture` opens all.
KNOWN = {"/routes", "/runs", "/events", "/gateways", "/configuration"}


def paths() -> list[str]:
    """Return the paths of all pages: what the site answers to GET, but for what is no page."""
    router = web.UrlDispatcher()
    Site(lambda: 0.0, ()).add_to(router)
    found = {it.resource.canonical for it in router.routes() if it.method == "GET" and it.resource}
    missing = NO_PAGES.keys() - found
    assert not missing, f"{missing} are not there any more"
    return sorted(found - NO_PAGES.keys())


PATHS = paths()
PAGES = [state for path in PATHS for state in STATES.get(path, [path])]
