// Requests passed on to the origin, with what Vercel's CDN may keep of the answers.

import { away, fetchWithin, patienceFor } from "../edge/away.js"
import { directivesOf, modeOf, saysWho } from "../edge/reads.js"
import { eventsUntil } from "../edge/bodies.js"

const HOP_BY_HOP = ["Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Host"]

/** Pass a request on with its method and its body, and the answer as it comes. */
export async function gateway(request) {
  const url = new URL(request.url)
  const mode = modeOf(request, url)
  const answer = await reach(request, CONFIG.origin + url.pathname + url.search)
  if (answer === null) return away(request, CONFIG)
  const headers = new Headers(answer.headers)
  // The runtime has unpacked the body, and sends it in its own way.
  for (const name of [...HOP_BY_HOP, "Content-Encoding", "Content-Length"]) headers.delete(name)
  // Without this field Vercel would go by s-maxage, and give the tail out when it is long stale.
  headers.set("Vercel-CDN-Cache-Control", keptByVercel(request, mode, answer))
  const place = headers.get("Location") ?? ""
  if (place.startsWith(`${CONFIG.origin}/`)) {
    headers.set("Location", url.origin + place.slice(CONFIG.origin.length))
  }
  const isEvents = mode === "sse" && answer.status === 200 && answer.body
  const body = isEvents ? eventsUntil(answer.body, CONFIG.events) : answer.body
  const hasBody = ![204, 304].includes(answer.status)
  return new Response(hasBody ? body : null, { status: answer.status, headers })
}

/** What the gateway answers; null while it is away. */
async function reach(request, target) {
  const { method, signal } = request
  const headers = new Headers(request.headers)
  for (const name of HOP_BY_HOP) headers.delete(name)
  // For the server that the client speaks to (curl sends it above 1 MiB); a fetch with it fails.
  headers.delete("Expect")
  // Vercel writes X-Forwarded-For. What a client says of itself would give it its quota twice.
  headers.delete("Forwarded")
  const body = ["GET", "HEAD"].includes(method) ? null : request.body
  try {
    const options = { method, headers, body, signal, duplex: "half", redirect: "manual" }
    return await fetchWithin(patienceFor(request, new URL(request.url), CONFIG), target, options)
  } catch {
    return null
  }
}

// Only whole chunks, and the end of a closed stream, that are for everybody: they never change.
// Vercel keeps no 204, so it cannot make one of equal long-polls; and an open tail that it gave out
// for a while longer would hide appends.
function keptByVercel(request, mode, { status, headers }) {
  const said = directivesOf(headers.get("Cache-Control")) // what is for edges only is too short
  const isOfOne = saysWho(request, new URL(request.url), CONFIG)
  const isForOne = isOfOne || headers.has("Set-Cookie") || headers.has("Vary")
  const isOpenTail = headers.has("Stream-Up-To-Date") && !headers.has("Stream-Closed")
  const mayChange = isOpenTail || said.has("no-cache") || !said.has("public")
  const left_s =
    Number(said.get("s-maxage") ?? said.get("max-age") ?? 0) - Number(headers.get("Age") ?? 0)
  const isKept = mode === "catch-up" && status === 200 && !isForOne && !mayChange && left_s > 0
  if (!isKept) return "no-store"
  const stale_s = Number(said.get("stale-while-revalidate") ?? 0) || 0
  return `public, max-age=${left_s}, stale-while-revalidate=${stale_s}`
}
