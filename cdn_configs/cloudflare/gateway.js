// Who comes, and what nobody shares: a gateway that runs for every request.

import { hasUnusualToken, mayRead, tokenOf, tokensIn } from "./read_tokens.js"
import { toReader } from "./history.js"
import { away, fetchWithin, isForEvents, patienceFor } from "../edge/away.js"
import { identityOf, isNotModified, modeOf, saysWho, sortedQuery } from "../edge/reads.js"

// What a reader is known by. A request with Authorization would go around Workers Cache, so these
// headers travel under other names, and are part of the key as `slot`.
const IDENTITY = CONFIG.identity_headers.map((name) => [name, `Headgate-${name}`])

/**
 * The answer to a request; `share(read, slot)` answers reads that many ask.
 *
 * The gateway itself must never be cached: a copy would be given out before anybody asked who
 * comes, and a HEAD would be answered by the copy of a GET. So its answers say no-store, in the one
 * field that Cloudflare takes for itself.
 */
export async function gateway(request, share) {
  const url = new URL(request.url)
  const isRead = ["poll", "catch-up"].includes(modeOf(request, url))
  const whose = isRead ? await readerOf(request, url) : null
  if (whose === null) return pass(request, url)
  const question = url.origin + url.pathname + sortedQuery(url, CONFIG)
  const read = new Request(question, { headers: neededBy(request, url) })
  // Two sites do not share, either: what CORS lets the pages of each read is in the headers.
  const site = request.headers.get("Origin")
  const isAnybody = whose === ANYBODY && site === null
  const shared = await share(read, isAnybody ? ANYBODY : await sha256(JSON.stringify([whose, site])))
  const response = new Response(shared.body, shared)
  response.headers.set("Cloudflare-CDN-Cache-Control", "no-store")
  toReader(request, url, response, whose === ANYBODY && !url.searchParams.has("rk"))
  return isNotModified(request, response.headers.get("ETag")) ? unchanged(response) : response
}

/** Say of a response that its reader has it already. */
export async function unchanged(response) {
  await response.body?.cancel()
  for (const name of ["Content-Length", "Content-Encoding"]) response.headers.delete(name)
  return new Response(null, { status: 304, headers: response.headers })
}

/** Pass on a request with its method and body, and the answer as it comes; neither is read here. */
async function pass(request, url) {
  // Cloudflare caches some paths by their ending (.js, .css) unless it is told not to.
  const forwarded = new Request(CONFIG.origin + url.pathname + url.search, request)
  // Cloudflare writes X-Forwarded-For. What a client says of itself would give it its quota twice.
  forwarded.headers.delete("Forwarded")
  // For the server that the client speaks to (curl sends it above 1 MiB); a fetch with it fails.
  forwarded.headers.delete("Expect")
  const options = { cache: "no-store", redirect: "manual" }
  options.patience_ms = patienceFor(request, url, CONFIG)
  const hold = () => reachAgain(request, forwarded, options)
  const answer = await (isForEvents(request, url) ? hold() : reach(request, forwarded, options))
  const response = marked(new Response(answer.body, answer), "BYPASS")
  const place = answer.headers.get("Location") ?? ""
  if (place.startsWith(`${CONFIG.origin}/`)) {
    response.headers.set("Location", url.origin + place.slice(CONFIG.origin.length))
  }
  return response
}

/** What the origin answers to a read that many may share. */
export function load(read) {
  const url = new URL(read.url)
  const headers = new Headers({ "Accept-Encoding": "identity" })
  const origin = read.headers.get("Origin")
  if (origin !== null) headers.set("Origin", origin)
  for (const [name, kept] of IDENTITY) {
    if (read.headers.has(kept)) headers.set(name, read.headers.get(kept))
  }
  const signal = AbortSignal.timeout(CONFIG.timeout_s * 1000)
  const patience_ms = patienceFor(read, url, CONFIG)
  const options = { headers, signal, patience_ms, cache: "no-store", redirect: "manual" }
  return reach(read, CONFIG.origin + url.pathname + url.search, options)
}

// What Cloudflare's network answers where a server refuses, resets or does not take a connection, has
// no address, or no certificate that counts. In workerd such a fetch fails.
const UNREACHED = [520, 521, 522, 523, 525, 526, 530]

async function reach(request, target, options) {
  return (await reached(target, options)) ?? away(request, CONFIG)
}

/** As `reach`, but what is asked waits while the gateway is away. */
async function reachAgain(request, target, options) {
  const end_ms = Date.now() + CONFIG.hold_s * 1000
  while (Date.now() < end_ms && !request.signal?.aborted) {
    const answer = await reached(new Request(target), options)
    if (answer !== null) return answer
    // Not all at the same moment: a thousand may wait.
    await new Promise((resolve) => setTimeout(resolve, 500 + 1000 * Math.random()))
  }
  return away(request, CONFIG)
}

async function reached(target, { patience_ms, ...options }) {
  const answer = await fetchWithin(patience_ms, target, options).catch(() => null)
  if (answer === null || !UNREACHED.includes(answer.status)) return answer
  await answer.body?.cancel()
  return null
}

/** Whether a read is in a slot in which what is private is for everybody who comes to it. */
export function isOwnSlot(read) {
  return CONFIG.credentials !== "reader-key" && hasCredentials(read)
}

/** Whether others in its slot may be refused what this read is answered, or the other way. */
export function isOfMany(read) {
  // Who has only the key is told apart by nothing from those who have a credential, too.
  if (CONFIG.credentials === "reader-key") return true
  return CONFIG.credentials !== "per-credential" && hasCredentials(read)
}

function hasCredentials(read) {
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

/** Whose answers a read has to do with; null for one that only the gateway answers. */
async function readerOf(request, url) {
  if (!saysWho(request, url, CONFIG)) return ANYBODY
  if (hasUnusualToken(url)) return null
  const { credentials, identity_headers } = CONFIG
  // Its URL is known to those only whom the gateway has let read, and the gateway has every miss.
  if (credentials === "reader-key" && url.searchParams.get("rk")) return ANYBODY
  if (credentials === "verified") {
    return (await mayRead(tokenOf(request, url), url.pathname, CONFIG)) ? "admitted" : null
  }
  if (credentials !== "per-credential" || tokensIn(url).length) return null
  return identity_headers.map((name) => identityOf(request, url, name, CONFIG)) // in no key but as its hash
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

/** A response that says what was done here: X-Cache, and Cache-Status (RFC 9211). */
export function marked(response, how) {
  response.headers.set("X-Cache", how)
  const found = { HIT: "hit", STALE: "hit", BYPASS: "pass" }[how] ?? "miss"
  response.headers.set("Server-Timing", `cache;desc=${found}`) // for pages (Resource Timing)
  response.headers.append("Cache-Status", `headgate-worker; ${STATUS[how]}`)
  return response
}
