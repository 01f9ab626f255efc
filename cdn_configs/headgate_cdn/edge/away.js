// The response while the gateway is away.

const AWAY = "the gateway is away"

const SMALL_BODY = 16 * 1024 // bytes, which come with the head or right after it

/**
 * Return for how many milliseconds a gateway may take to answer before it counts as down.
 *
 * Infinity for requests that wait for news (live reads and views, paths of no route), and for longer
 * bodies, whose client decides how fast they arrive: these wait until the gateway is found to hang.
 */
export function patienceFor(request, url, { paths, answer_s }) {
  const waits = url.searchParams.has("live") || url.searchParams.has("view")
  const length = request.headers.get("Content-Length") ?? (request.body ? Infinity : 0)
  const isLong = waits || Number(length) > SMALL_BODY || !new RegExp(paths).test(url.pathname)
  return isLong ? Infinity : answer_s * 1000
}

/** Whether a request is for events (SSE); such a request may be held. */
export function isForEvents(request, url) {
  return request.method === "GET" && url.searchParams.get("live") === "sse"
}

/**
 * Return the response while the gateway is away: an error, or a 200 that makes an EventSource
 * reconnect.
 *
 * An EventSource gives up for good at any status other than 200. It sends both header fields; other
 * clients of SSE handle the status.
 */
export function away(request, { again_s, again_most_s, sites }, status = 502) {
  const wait_s = again_s + Math.random() * (again_most_s - again_s) // so that not all come at once
  const headers = new Headers({ "Cache-Control": "no-store", "Retry-After": wait_s.toFixed() })
  const site = sites ? request.headers.get("Origin") : "*"
  if (site !== null) headers.set("Access-Control-Allow-Origin", site) // else pages do not see the status
  if (site !== null && sites) headers.set("Access-Control-Allow-Credentials", "true")
  if (sites) headers.set("Vary", "Origin")
  headers.set("Access-Control-Expose-Headers", "Retry-After")
  const [accept, caching] = ["Accept", "Cache-Control"].map((name) => request.headers.get(name) ?? "")
  const isEventSource = accept.includes("text/event-stream") && caching.includes("no-cache")
  if (!isEventSource || !isForEvents(request, new URL(request.url))) {
    return new Response(`${AWAY}\n`, { status, headers })
  }
  headers.set("Content-Type", "text/event-stream")
  return new Response(`: ${AWAY}\nretry: ${(wait_s * 1000).toFixed()}\n\n`, { headers })
}
