// What is answered while the gateway is away.

const AWAY = "the gateway is away"

/** Whether a request is for events, which may be held. */
export function isForEvents(request, url) {
  return request.method === "GET" && url.searchParams.get("live") === "sse"
}

/**
 * The answer while the gateway is away: 502, or to an EventSource when to ask again.
 *
 * It closes for good at any status but 200. The standard has it send both fields; whoever sets Accept
 * by itself goes by the status.
 */
export function away(request, { again_s, sites }) {
  const headers = new Headers({ "Cache-Control": "no-store", "Retry-After": String(again_s) })
  const site = sites ? request.headers.get("Origin") : "*"
  if (site !== null) headers.set("Access-Control-Allow-Origin", site) // so that pages see what it is
  if (site !== null && sites) headers.set("Access-Control-Allow-Credentials", "true")
  if (sites) headers.set("Vary", "Origin")
  headers.set("Access-Control-Expose-Headers", "Retry-After")
  const [accept, caching] = ["Accept", "Cache-Control"].map((name) => request.headers.get(name) ?? "")
  const isEventSource = accept.includes("text/event-stream") && caching.includes("no-cache")
  if (!isEventSource || !isForEvents(request, new URL(request.url))) {
    return new Response(`${AWAY}\n`, { status: 502, headers })
  }
  headers.set("Content-Type", "text/event-stream")
  return new Response(`: ${AWAY}\nretry: ${again_s}000\n\n`, { headers })
}
