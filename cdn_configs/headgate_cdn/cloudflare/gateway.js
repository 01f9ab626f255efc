// The code that runs for every request: it checks credentials, and decides what may be shared.

import { hasUnusualToken, mayRead, tokenOf, tokensIn } from "./read_tokens.js"
import { toReader } from "./history.js"
import { away, isForEvents, patienceFor } from "../edge/away.js"
import { relocate, removeUnsent } from "../edge/passing.js"
import { identityOf, isNotModified, modeOf, hasCredentials, sortedQuery } from "../edge/reads.js"
import { GatewayWatch } from "../edge/watch.js"
import { LATE } from "../edge/within.js"

const watch = new GatewayWatch(CONFIG)

// The headers that identify readers. Workers Cache is bypassed by requests with Authorization, so these
// headers are sent to it under other names, and the key has their hash as `slot`.
const IDENTITY = CONFIG.identity_headers.map((name) => [name, `Headgate-${name}`])

/**
 * Answer a request; `share(read, slot)` answers reads that may be shared.
 *
 * Responses of this code must never be cached: a copy would be served without a check of credentials,
 * and a HEAD would be answered from the copy of a GET. So they have no-store in
 * Cloudflare-CDN-Cache-Control, which only Cloudflare reads.
 */
export async function gateway(request, share) {
  const url = new URL(request.url)
  const isRead = ["poll", "catch-up"].includes(modeOf(request, url))
  const whose = isRead ? await readerOf(request, url) : null
  if (whose === null) return pass(request, url)
  const question = url.origin + url.pathname + sortedQuery(url, CONFIG)
  const read = new Request(question, { headers: neededBy(request, url) })
  // With a list of web sites, each site has its own copies, since their CORS fields differ.
  const site = CONFIG.sites ? request.headers.get("Origin") : null
  const isAnybody = whose === ANYBODY && site === null
  const shared = await share(read, isAnybody ? ANYBODY : await sha256(JSON.stringify([whose, site])))
  const response = new Response(shared.body, shared)
  response.headers.set("Cloudflare-CDN-Cache-Control", "no-store")
  toReader(request, url, response, whose === ANYBODY && !url.searchParams.has("rk"))
  return isNotModified(request, response.headers.get("ETag")) ? unchanged(response) : response
}

/** Return the 304 for a response that its reader has already. */
export async function unchanged(response) {
  await response.body?.cancel()
  for (const name of ["Content-Length", "Content-Encoding"]) response.headers.delete(name)
  return new Response(null, { status: 304, headers: response.headers })
}

/** Pass a request on with its method and body, and return the response as it arrives. */
async function pass(request, url) {
  // By default Cloudflare caches paths with some endings (.js, .css).
  const forwarded = new Request(CONFIG.origin + url.pathname + url.search, request)
  removeUnsent(forwarded.headers)
  const isEvents = isForEvents(request, url)
  const send = (signal) => {
    // Each try to get events has a request of its own.
    const target = isEvents ? new Request(forwarded) : forwarded
    return fetch(target, { signal, cache: "no-store", redirect: "manual" })
  }
  const options = { patience_ms: patienceFor(request, url, CONFIG) }
  const answer = await (isEvents ? fetchOnceBack : fetchOrAway)(request, send, options)
  const response = marked(new Response(answer.body, answer), "BYPASS")
  relocate(response.headers, url, CONFIG)
  return response
}

/**
 * Return the response to a read that many readers may share. `send` sends it to the gateway.
 *
 * While the gateway hangs, only a probe is sent to it, and the reader gets a copy, or 503, at once.
 */
export async function fetchShared(read, send = sendShared) {
  if (await watch.isHung()) return away(read, CONFIG, 503)
  const patience_ms = patienceFor(read, new URL(read.url), CONFIG)
  const options = { patience_ms, signal: AbortSignal.timeout(CONFIG.timeout_s * 1000) }
  return fetchOrAway(read, (signal) => send(read, signal), options)
}

function sendShared(read, signal) {
  const url = new URL(read.url)
  const headers = new Headers({ "Accept-Encoding": "identity" })
  const origin = read.headers.get("Origin")
  if (origin !== null) headers.set("Origin", origin)
  for (const [name, kept] of IDENTITY) {
    if (read.headers.has(kept)) headers.set(name, read.headers.get(kept))
  }
  const options = { headers, signal, cache: "no-store", redirect: "manual" }
  return fetch(CONFIG.origin + url.pathname + url.search, options)
}

// Statuses of Cloudflare's network for a server that it cannot reach, or whose certificate it refuses.
// In workerd such a fetch fails.
const UNREACHED = [520, 521, 522, 523, 525, 526, 530]

async function fetchOrAway(request, send, options) {
  const answer = await fetchOrNull(send, options)
  return answer instanceof Response ? answer : away(request, CONFIG)
}

/** Return a response with events, which end if the gateway hangs. Wait while it refuses connections. */
async function fetchOnceBack(request, send, options) {
  const end_ms = Date.now() + CONFIG.hold_s * 1000
  while (Date.now() < end_ms && !request.signal?.aborted) {
    const answer = await fetchOrNull(send, options)
    if (answer instanceof Response) return new Response(answer.body && watch.body(answer.body), answer)
    if (answer === LATE) break
    // At random, so that a thousand waiting requests do not ask at the same moment.
    await new Promise((resolve) => setTimeout(resolve, 500 + 1000 * Math.random()))
  }
  return away(request, CONFIG)
}

/** Return the gateway's response; null if it cannot be reached, and LATE if it hangs. */
async function fetchOrNull(send, options) {
  const answer = await watch.answer(send, options).catch(() => null)
  if (!UNREACHED.includes(answer?.status)) return answer
  await answer.body?.cancel()
  return null
}

/** Whether all readers that share this read's slot may get private responses. */
export function isOwnSlot(read) {
  return CONFIG.credentials !== "reader-key" && isOfReader(read)
}

/** Whether the readers that share this read's slot may have different credentials. */
export function isOfMany(read) {
  // A reader with only the reader key has the same slot as one with a credential, too.
  if (CONFIG.credentials === "reader-key") return true
  return CONFIG.credentials !== "per-credential" && isOfReader(read)
}

function isOfReader(read) {
  return IDENTITY.some(([, kept]) => read.headers.has(kept))
}

function neededBy(request, url) {
  const sent = [...IDENTITY, ["Origin", "Origin"]].map(([name, kept]) => [
    kept,
    identityOf(request, url, name, CONFIG),
  ])
  const fields = sent.filter(([, value]) => value !== null)
  const [token] = tokensIn(url)
  if (token === undefined || request.headers.has("Authorization")) return fields
  return [...fields, ["Headgate-Authorization", `Bearer ${token}`]]
}

const ANYBODY = "anybody"

/** Return the slot of the copies for a read; null for a read that is passed on. */
async function readerOf(request, url) {
  if (!hasCredentials(request, url, CONFIG)) return ANYBODY
  if (hasUnusualToken(url)) return null
  const { credentials, identity_headers } = CONFIG
  // Only readers with permission know the key in this URL, and the gateway checks each miss.
  if (credentials === "reader-key" && url.searchParams.get("rk")) return ANYBODY
  if (credentials === "verified") {
    return (await mayRead(tokenOf(request, url), url.pathname, CONFIG)) ? "admitted" : null
  }
  if (credentials !== "per-credential" || tokensIn(url).length) return null
  return identity_headers.map((name) => identityOf(request, url, name, CONFIG)) // the key has only its hash
}

export async function sha256(text) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("")
}

const STATUS = {
  HIT: "hit",
  STALE: "hit; detail=stale",
  MISS: "fwd=uri-miss",
  COLLAPSED: "fwd=uri-miss; collapsed",
  BYPASS: "fwd=bypass",
}

/** Add X-Cache and Cache-Status (RFC 9211) to a response: whether it is a copy. */
export function marked(response, how) {
  response.headers.set("X-Cache", how)
  const found = { MISS: "miss", BYPASS: "pass" }[how] ?? "hit" // COLLAPSED, too: it asked nobody
  response.headers.set("Server-Timing", `cache;desc=${found}`) // for pages (Resource Timing)
  response.headers.append("Cache-Status", `headgate-worker; ${STATUS[how]}`)
  return response
}
