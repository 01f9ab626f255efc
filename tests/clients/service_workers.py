"""A service worker that passes requests on, as those do that keep pages for offline."""

WORKER = """
  addEventListener("install", () => skipWaiting());
  addEventListener("activate", (event) => event.waitUntil(clients.claim()));
  addEventListener("fetch", (event) => event.respondWith(fetch(event.request)));
"""
# What a page runs to be under it from the next request on.
ENABLED = """async () => {
  await navigator.serviceWorker.register("/worker.js");
  await navigator.serviceWorker.ready;
}"""
