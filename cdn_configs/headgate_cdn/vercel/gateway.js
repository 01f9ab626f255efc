// Pass requests on to the gateway, and say which responses Vercel's CDN may store.

import { away, patienceFor } from "../edge/away.js"
import { relocate, removeUnsent } from "../edge/passing.js"
import { directivesOf, modeOf, hasCredentials } from "../edge/reads.js"
import { GatewayWatch } from "../edge/watch.js"
import { LATE } from "../edge/within.js"
import { eventsUntil } from "./events.js"

const watch = new GatewayWatch(CONFIG)

const HOP_BY_HOP = ["Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Host"]

/** Pass a request on with its method and body, and return the response as it arrives. */
export async function gateway(request) {
  const url = new URL(request.url)
  const mode = modeOf(request, url)
  // While the gateway hangs, a read of which Vercel's CDN has no copy gets an error at once.
  const mayBeCopied = mode === "catch-up" && !hasCredentials(request, url, CONFIG)
  if (mayBeCopied && (await watch.isHung())) return away(request, CONFIG, 503)
  const answer = await fetchOrNull(request, CONFIG.origin + url.pathname + url.search)
  if (answer === null) return away(request, CONFIG)
  const headers = new Headers(answer.headers)
  // fetch has decompressed the body, and the runtime frames it anew.
  for (const name of [...HOP_BY_HOP, "Content-Encoding", "Content-Length"]) headers.delete(name)
  // Without this field Vercel would use s-maxage, and serve the tail long after it is stale.
  const kept = keptByVercel(request, mode, answer)
  headers.set("Vercel-CDN-Cache-Control", kept)
  if (kept !== "no-store") headers.delete("X-Request-Id") // it would be that of the first reader
  relocate(headers, url, CONFIG)
  const isEvents = mode === "sse" && answer.status === 200 && answer.body
  const body = isEvents ? eventsUntil(watch.body(answer.body), CONFIG.events) : answer.body
  const hasBody = ![204, 304].includes(answer.status)
  return new Response(hasBody ? body : null, { status: answer.status, headers })
}

/** Return the gateway's response; null while it is away. */
async function fetchOrNull(request, target) {
  const { method, signal } = request
  const headers = new Headers(request.headers)
  for (const name of HOP_BY_HOP) headers.delete(name)
  removeUnsent(headers)
  const body = ["GET", "HEAD"].includes(method) ? null : request.body
  try {
    const options = { method, headers, body, duplex: "half", redirect: "manual" }
    const send = (signal) => fetch(target, { ...options, signal })
    const patience_ms = patienceFor(request, new URL(request.url), CONFIG)
    const answer = await watch.answer(send, { patience_ms, signal })
    return answer === LATE ? null : answer
  } catch {
    return null
  }
}

// Return the value of Vercel-CDN-Cache-Control. Only public whole chunks, and the end of a closed
// stream, are stored: they never change. Vercel stores no 204, and a stale tail would hide appends.
function keptByVercel(request, mode, { status, headers }) {
  const directives = directivesOf(headers.get("Cache-Control")) // what is for edges only is too short
  const isOfOne = hasCredentials(request, new URL(request.url), CONFIG)
  const isForOne = isOfOne || headers.has("Set-Cookie") || headers.has("Vary")
  const isOpenTail = headers.has("Stream-Up-To-Date") && !headers.has("Stream-Closed")
  const mayChange = isOpenTail || directives.has("no-cache") || !directives.has("public")
  const left_s =
    Number(directives.get("s-maxage") ?? directives.get("max-age") ?? 0) - Number(headers.get("Age") ?? 0)
  const isKept = mode === "catch-up" && status === 200 && !isForOne && !mayChange && left_s > 0
  if (!isKept) return "no-store"
  const stale_s = Number(directives.get("stale-while-revalidate") ?? 0) || 0
  return `public, max-age=${left_s}, stale-while-revalidate=${stale_s}`
}
