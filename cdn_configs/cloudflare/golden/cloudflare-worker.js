// headgate cdn cloudflare-worker {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
import { WorkerEntrypoint } from "cloudflare:workers"

const CONFIG = {
  "again_s": 2,
  "credentials": "bypass",
  "digest": "cloudflare-worker/8598dd7eb61aa201",
  "hold_s": 30,
  "identity_headers": [
    "Authorization",
    "Cookie"
  ],
  "moment_s": 1,
  "origin": "http://gateway.example.com:4437",
  "own_paths": "^(?:/v1/stream)/",
  "own_targets": "^(?:/v1/stream)/",
  "parameters": "offset|live|cursor|view|batch_ms|lastEventId|rk|token",
  "patience_s": 30,
  "poll_data_s": 20,
  "purges": false,
  "read_keys": [],
  "reader_cookie": "__Secure-headgate",
  "sites": false,
  "stale_if_error_s": 0,
  "timeout_s": 65,
  "token_age_s": 900,
  "usual_path": "^(?:[A-Za-z0-9._~!$\u0026\u0027()*+,;=:@/-]|%(?!2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AE])[0-9A-F][0-9A-F])*"
}

// What a request to a stream is, and which requests are the same read.

// Repeated, they mean something else to each server that reads them: nobody may share the answer.
const SINGLE = ["offset", "live", "cursor", "rk"]
const TOKEN = "token" // of the query: a credential, for EventSource, which can set no header

/** The mode of a request: write, head, sse, poll, now, catch-up; or other, which nobody shares. */
function modeOf(request, url) {
  if (request.method === "HEAD") return "head"
  if (request.method !== "GET") return "write"
  const query = url.searchParams
  if (SINGLE.some((name) => query.getAll(name).length > 1)) return "other"
  if (request.headers.has("Range")) return "other"
  const live = query.get("live")
  if (live === "sse") return "sse"
  if (live === "long-poll") return "poll"
  return query.get("offset") === "now" ? "now" : "catch-up"
}

/**
 * The query with whole `name=value` pairs in order, so that another order makes no other key.
 *
 * Streams of own logs ignore all but `parameters`: in the key, each value would be another copy.
 */
function sortedQuery(url, { own_paths, parameters }) {
  const isOwn = new RegExp(own_paths).test(url.pathname) && url.searchParams.has("offset")
  const ignored = new RegExp(`^(?!(?:${parameters})=)[A-Za-z0-9_.~-]+=`)
  const isLeftOut = (pair) => pair.startsWith(`${TOKEN}=`) || (isOwn && ignored.test(pair))
  // A credential is in no key.
  const pairs = url.search.slice(1).split("&").filter((pair) => pair && !isLeftOut(pair))
  return pairs.length ? `?${pairs.sort().join("&")}` : ""
}

/** Whether a request says who asks, by one of these headers or by a token in its URL. */
function saysWho(request, url, config) {
  const says = (name) => identityOf(request, url, name, config) !== null
  return url.searchParams.has(TOKEN) || config.identity_headers.some(says)
}

/**
 * The value of a header by which readers are told apart, or null.
 *
 * The streams of the gateway's own storage know readers by one cookie. Another, as of web statistics,
 * does not keep its reader from the copies of all.
 */
function identityOf(request, url, name, { own_targets, reader_cookie }) {
  const value = request.headers.get(name)
  if (value === null || name.toLowerCase() !== "cookie") return value
  if (!new RegExp(own_targets).test(url.pathname)) return value
  return value.match(new RegExp(`(?:^|[;,])\\s*(${reader_cookie}=[^;,]*)`))?.[1] ?? null
}

/** Whether If-None-Match names this ETag: a list, `*`, and weak comparison (RFC 9110, 13.1.2). */
function isNotModified(request, etag) {
  const field = request.headers.get("If-None-Match")
  if (field === null || etag === null) return false
  const tags = field.match(/"[^"]*"/g) ?? []
  return field.trim() === "*" || tags.includes(etag.replace(/^W\//, ""))
}

/** The directives of a Cache-Control field: names in lower case, values as text, "" without one. */
function directivesOf(field) {
  const parts = (field ?? "").toLowerCase().replaceAll('"', "").split(",")
  const pairs = parts.map((part) => part.trim().split("=")).filter(([name]) => name)
  return new Map(pairs.map(([name, value]) => [name, value ?? ""]))
}

/** Whether an answer only says that there is no more yet: the next append makes it untrue. */
function isEmptyTail(headers, body) {
  if (headers.get("Stream-Up-To-Date") !== "true") return false
  return body.byteLength === 0 || (body.byteLength === 2 && new TextDecoder().decode(body) === "[]")
}

// Waiting for no longer than so long.

const LATE = Symbol("nothing came in time")

/** What a promise gives, or LATE when it takes longer. */
async function within(promise, ms) {
  if (ms === Infinity) return promise // a timer of so many milliseconds would end at once
  let timer
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms), LATE)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

// What is answered while the gateway is away.

const AWAY = "the gateway is away"

/** Whether a request is for events, which may be held. */
function isForEvents(request, url) {
  return request.method === "GET" && url.searchParams.get("live") === "sse"
}

/**
 * The answer while the gateway is away: 502, or to an EventSource when to ask again.
 *
 * It closes for good at any status but 200. The standard has it send both fields; whoever sets Accept
 * by itself goes by the status.
 */
function away(request, { again_s, sites }) {
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

// Reads that are under way, one for all who ask the same.
//
// What is shared is status, headers and bytes. A Response or its stream belongs to the request
// that made it, and the runtime refuses it to any other.


const MOST_READS = 10_000 // under way or just ended; some hundred bytes each without their bodies
const MOST_HELD_BYTES = 32 * 1024 * 1024 // of their bodies: a quarter of what an isolate may have

/** An answer that only the reader who caused it may have; its body may be of any length. */
class Unshared {
  constructor(response) {
    this.response = response
  }
}

class SharedReads {
  #reads = new Map() // key to Read
  #heldBytes = 0

  /**
   * The answer that `load` gives under this key, and "MISS" for who began it, else "COLLAPSED".
   *
   * It is null when too much is under way, or nothing has come within `patience_ms`: the request
   * that began it may be gone with its machine. Whoever leaves, `ctx` keeps the read alive.
   * `mayShare` is asked of a response's head. `store` is given what others may have, too, and says
   * for how long it is kept here, in milliseconds: for those who come while it is being stored.
   */
  async join(key, load, { ctx, patience_ms, mayShare, store }) {
    const begun = this.#current(key)
    if (begun) {
      const answer = await within(begun.answer, patience_ms)
      if (answer !== LATE) return [answer, "COLLAPSED"]
      this.#drop(begun)
      return [null, "COLLAPSED"]
    }
    if (this.#isFull()) return [null, "BYPASS"]
    const read = { key, until_ms: Infinity, bytes: 0, isDropped: false }
    read.answer = this.#load(read, load, mayShare)
    this.#reads.set(key, read)
    ctx.waitUntil(this.#end(read, store))
    return [await read.answer, "MISS"]
  }

  /** Whether a read is under way, or has ended so lately that its answer is still here. */
  has(key) {
    return this.#current(key) !== undefined
  }

  #current(key) {
    const read = this.#reads.get(key)
    if (!read || read.until_ms >= Date.now()) return read
    this.#drop(read)
    return undefined
  }

  async #load(read, load, mayShare) {
    const response = await load()
    const length = response.body ? Number(response.headers.get("Content-Length") ?? NaN) : 0
    if (!mayShare(response) || !this.#hold(read, length)) return new Unshared(response)
    const body = await response.arrayBuffer()
    return { status: response.status, headers: [...response.headers], body }
  }

  // All of it under waitUntil: what a request that has ended stores may be stored empty.
  async #end(read, store) {
    try {
      const answer = await read.answer
      if (answer instanceof Unshared) return this.#drop(read)
      const { kept_ms, stored } = store(answer)
      read.until_ms = Date.now() + kept_ms
      await stored
      if (!kept_ms) this.#drop(read)
    } catch {
      this.#drop(read) // those who wait are told by `answer` itself
    }
  }

  #hold(read, bytes) {
    if (this.#heldBytes + bytes > MOST_HELD_BYTES) this.#dropOld()
    // Bytes whose number nobody knows (NaN) are not held, nor those of a read that was given up.
    if (read.isDropped || !(this.#heldBytes + bytes <= MOST_HELD_BYTES)) return false
    read.bytes = bytes
    this.#heldBytes += bytes
    return true
  }

  #isFull() {
    if (this.#reads.size >= MOST_READS) this.#dropOld()
    return this.#reads.size >= MOST_READS
  }

  #dropOld() {
    for (const read of this.#reads.values()) if (read.until_ms < Date.now()) this.#drop(read)
  }

  #drop(read) {
    if (read.isDropped) return
    read.isDropped = true
    this.#heldBytes -= read.bytes
    this.#reads.delete(read.key)
  }
}

// For how long an answer may be given to others, and what the Cache API is told of it.


const NEVER = { fresh_s: 0, stale_s: 0, error_s: 0 }
const FORBID_STALE = ["s-maxage", "must-revalidate", "proxy-revalidate"] // RFC 9111, 4.2.4

const OF_ALL_SLOTS = /\b(origin|accept-encoding)\b/gi
const OF_ITS_SLOT = /\b(origin|accept-encoding|authorization|cookie)\b/gi
// All else may be what one reader is told, and others not; 502 is that the gateway is not reached.
const ALIKE = [200, 204, 410, 502]

/**
 * Whether others may have this answer: `isOwnSlot` says that they may have what is private, and
 * `isOfMany` that they have other credentials.
 */
function mayShare(response, isOwnSlot, isOfMany) {
  const { headers, status } = response
  if (isOfMany && !ALIKE.includes(status)) return false
  const known = isOwnSlot ? OF_ITS_SLOT : OF_ALL_SLOTS
  const varies = (headers.get("Vary") ?? "").replace(known, "")
  if (headers.has("Set-Cookie") || status === 206 || /[^\s,]/.test(varies)) return false
  const said = governing(headers)
  if (said.has("private") && !isOwnSlot) return false
  // A 204 of a long-poll and a failure are alike for all who wait, whatever browsers are told.
  return status !== 200 || !said.has("no-store")
}

/**
 * How long an answer is fresh, and how long it may be given out while a new one is fetched
 * (`stale_s`), or nobody answers (`error_s`).
 */
function lifetimeOf(mode, answer, isOwnSlot, { moment_s, poll_data_s, stale_if_error_s }) {
  const error_s = mode === "catch-up" ? stale_if_error_s : 0
  const headers = new Headers(answer.headers)
  const said = governing(headers)
  if (mode === "poll" && answer.status === 204) return { ...NEVER, fresh_s: moment_s }
  if (answer.status !== 200 || headers.has("Set-Cookie")) return NEVER
  if (said.has("private") && !isOwnSlot) return NEVER
  if (said.has("no-store")) return NEVER
  // What is private says nothing to shared caches of what reached the tail.
  if (said.has("no-cache")) return said.has("private") ? { fresh_s: moment_s, stale_s: 0, error_s } : NEVER
  const age_s = Number(headers.get("Age") ?? 0)
  const left_s = Number(said.get("s-maxage") ?? said.get("max-age") ?? 0) - age_s
  const isEmpty = isEmptyTail(headers, answer.body)
  const most_s = isEmpty ? moment_s : mode === "poll" ? poll_data_s : Infinity
  const fresh_s = Math.min(left_s, most_s)
  if (!(fresh_s > 0)) return NEVER // nor when it is no number
  const mayBeStale = most_s === Infinity && !FORBID_STALE.some((one) => said.has(one))
  const stale_s = (mayBeStale && Number(said.get("stale-while-revalidate"))) || 0
  return { fresh_s, stale_s, error_s }
}

function governing(headers) {
  return directivesOf(headers.get("CDN-Cache-Control") ?? headers.get("Cache-Control"))
}

// The Cache API obeys these fields, and has no stale-while-revalidate: so what is stored says how
// long it may be kept in all, and a field of our own keeps what its reader is told.
const SPOKEN = ["Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Age"]
const KEPT = "Headgate-Kept"

/** An answer as the Cache API keeps it. */
function toStored(answer, { fresh_s, stale_s, error_s }) {
  const headers = new Headers(answer.headers)
  const spoken = SPOKEN.map((name) => headers.get(name))
  for (const name of SPOKEN) headers.delete(name)
  headers.set("Cache-Control", `public, max-age=${fresh_s + Math.max(stale_s, error_s)}`)
  headers.set(KEPT, JSON.stringify({ at_ms: Date.now(), fresh_s, stale_s, error_s, spoken }))
  return new Response(answer.body.slice(0), { status: answer.status, headers })
}

/** The answer that a stored one keeps, how long it is fresh yet, and may be given out after that. */
function fromStored(stored) {
  const response = new Response(stored.body, stored)
  const { at_ms, fresh_s, stale_s, error_s, spoken } = JSON.parse(response.headers.get(KEPT))
  const passed_s = Math.floor((Date.now() - at_ms) / 1000)
  for (const name of [KEPT, "CF-Cache-Status"]) response.headers.delete(name)
  SPOKEN.forEach((name, at) => {
    if (spoken[at] === null) response.headers.delete(name)
    else response.headers.set(name, spoken[at])
  })
  response.headers.set("Age", String(Number(spoken[3] ?? 0) + passed_s))
  const left_s = fresh_s - passed_s
  const over_s = Math.min(0, left_s)
  return { response, fresh_s: left_s, stale_s: stale_s + over_s, error_s: error_s + over_s }
}

// Read tokens (JWT by Ed25519), verified here: whoever has one may have the copies of all.
//
// Whatever is not as expected is no admission. Its request goes to the gateway, which says why.

const PREFIX = "token=" // in the query, for EventSource, which can set no header
const COOKIE = /(?:^|;)\s*__Secure-headgate="?([A-Za-z0-9._~+/=-]+)"?\s*(?=;|$)/g
const IN_QUERY = /^[A-Za-z0-9._~+/-]+=*$/ // as Authorization can have it, and nothing decoded
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i
const TYPE = "hg-read+jwt"
const LONGEST_TOKEN = 8 * 1024
const BELOW = "/*"

/** The tokens in a query as they are spelled there, as the gateway takes them. */
function tokensIn(url) {
  const pairs = url.search.slice(1).split("&")
  return pairs.filter((one) => one.startsWith(PREFIX)).map((one) => one.slice(PREFIX.length))
}

/** Whether the tokens in a query say nothing plain: what becomes of them is the gateway's to say. */
function isOddlyAsked(url) {
  const asked = tokensIn(url)
  const isPlain = url.searchParams.getAll("token").length === asked.length // none is %74oken
  return !isPlain || asked.length > 1 || !asked.every((token) => IN_QUERY.test(token))
}

/** The token that a read presents: of Authorization, else of its query, else of its cookie. */
function tokenOf(request, url) {
  const asked = tokensIn(url)
  const given = request.headers.get("Authorization")
  if (given !== null) return given.match(BEARER)?.[1] ?? null
  if (asked.length) return asked[0]
  const cookies = [...(request.headers.get("Cookie") ?? "").matchAll(COOKIE)]
  return cookies.length === 1 ? cookies[0][1] : null
}

/** Whether a token lets its bearer read the stream at this path now. */
async function mayRead(token, path, { read_keys, usual_path, own_paths, token_age_s }) {
  if (token === null || token.length > LONGEST_TOKEN) return false
  // In another spelling than the gateway's own it may be of another stream, or of another route.
  if (!new RegExp(`${usual_path}$`).test(path) || !new RegExp(own_paths).test(path)) return false
  const parts = token.split(".")
  const [header, claims] = parts.map(decoded)
  if (parts.length !== 3 || !header || !claims) return false
  if (header.alg !== "EdDSA" || header.typ !== TYPE || "crit" in header) return false
  if (!permits(claims, path, token_age_s)) return false
  const key = read_keys.find(({ kid }) => kid === header.kid)
  const signature = bytesOf(parts[2])
  if (!key || signature?.length !== 64) return false
  const signed = new TextEncoder().encode(`${parts[0]}.${parts[1]}`)
  return crypto.subtle.verify("Ed25519", await imported(key), signature, signed)
}

function permits({ ver, ops = ["read"], streams, iat, exp }, path, token_age_s) {
  const now = Date.now() / 1000
  if (ver !== 1 || !Array.isArray(ops) || !ops.includes("read")) return false
  if (typeof iat !== "number" || typeof exp !== "number" || typeof streams !== "string") return false
  if (!(now < exp) || exp - iat > token_age_s) return false
  if (!streams.endsWith(BELOW)) return path === streams
  const above = streams.slice(0, -1)
  return path.startsWith(above) && path.length > above.length
}

function decoded(part) {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytesOf(part)))
    return typeof value === "object" ? value : null
  } catch {
    return null
  }
}

function bytesOf(part) {
  if (!/^[A-Za-z0-9_-]+$/.test(part)) return null
  try {
    const text = atob(part.replaceAll("-", "+").replaceAll("_", "/"))
    return Uint8Array.from(text, (character) => character.charCodeAt(0))
  } catch {
    return null
  }
}

const importing = new Map() // key id to CryptoKey: as many as the file has

function imported({ kid, x }) {
  if (!importing.has(kid)) {
    const jwk = { kty: "OKP", crv: "Ed25519", x }
    importing.set(kid, crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["verify"]))
  }
  return importing.get(kid)
}

// Who comes, and what nobody shares: a gateway that runs for every request.


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
async function gateway(request, share) {
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
  return isNotModified(request, response.headers.get("ETag")) ? unchanged(response) : response
}

/** Say of a response that its reader has it already. */
async function unchanged(response) {
  await response.body?.cancel()
  response.headers.delete("Content-Length")
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
function load(read) {
  const { pathname, search } = new URL(read.url)
  const headers = new Headers({ "Accept-Encoding": "identity" })
  const origin = read.headers.get("Origin")
  if (origin !== null) headers.set("Origin", origin)
  for (const [name, kept] of IDENTITY) {
    if (read.headers.has(kept)) headers.set(name, read.headers.get(kept))
  }
  const signal = AbortSignal.timeout(CONFIG.timeout_s * 1000)
  const options = { headers, signal, cache: "no-store", redirect: "manual" }
  return reach(read, CONFIG.origin + pathname + search, options)
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

async function reached(target, options) {
  const answer = await fetch(target, options).catch(() => null)
  if (answer === null || !UNREACHED.includes(answer.status)) return answer
  await answer.body?.cancel()
  return null
}

/** Whether a read is in a slot in which what is private is for everybody who comes to it. */
function isOwnSlot(read) {
  return CONFIG.credentials !== "reader-key" && hasCredentials(read)
}

/** Whether others in its slot may be refused what this read is answered, or the other way. */
function isOfMany(read) {
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
  if (isOddlyAsked(url)) return null
  const { credentials, identity_headers } = CONFIG
  // Its URL is known to those only whom the gateway has let read, and the gateway has every miss.
  if (credentials === "reader-key" && url.searchParams.get("rk")) return ANYBODY
  if (credentials === "verified") {
    return (await mayRead(tokenOf(request, url), url.pathname, CONFIG)) ? "admitted" : null
  }
  if (credentials !== "per-credential" || tokensIn(url).length) return null
  return identity_headers.map((name) => identityOf(request, url, name, CONFIG)) // in no key but as its hash
}

async function sha256(text) {
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
function marked(response, how) {
  response.headers.set("X-Cache", how)
  response.headers.append("Cache-Status", `headgate-worker; ${STATUS[how]}`)
  return response
}

// The answer to a read that many ask: a copy, or one answer for all who ask at the same time.


// Who waits for longer than a poll may last asks again: the request that began it is gone.
const PATIENCE_MS = CONFIG.patience_s * 1000
const KEPT_MS = CONFIG.moment_s * 1000

/** Answer a read; `loadOnce` gets it where there is no copy, `key` is all that it depends on. */
async function cachedRead(read, key, { reads, ctx, loadOnce }) {
  const mode = modeOf(read, new URL(read.url))
  // Once for an answer: a thousand may get it at the same moment.
  const own = isOwnSlot(read)
  const lifetime = (answer) => (answer.lifetime ??= lifetimeOf(mode, answer, own, CONFIG))
  const store = (answer) => storeFor(key, answer, lifetime(answer))
  const join = () => joinedRead(read, key, { reads, ctx, loadOnce, store })
  // Who polls waits for what is under way. It is not in the cache yet, so that is not asked. What
  // is purged is kept by Workers Cache alone: no other can be purged in all data centres.
  const isAsked = !CONFIG.purges && !(mode === "poll" && reads.has(key))
  const stored = isAsked ? await caches.default.match(key) : null
  const copy = stored && fromStored(stored)
  if (copy?.fresh_s > 0) return told(marked(copy.response, "HIT"), copy)
  if (copy?.stale_s > 0) {
    ctx.waitUntil(join()) // a new copy, while this one is given out
    return told(marked(copy.response, "STALE"), NEVER)
  }
  const { response, answer } = await join()
  if (response.status >= 500 && copy?.error_s > 0) {
    await response.body?.cancel()
    return told(marked(copy.response, "STALE"), NEVER)
  }
  const whole = told(response, answer ? lifetime(answer) : NEVER)
  // Workers Cache asks so for what was marked as stale. Who reads was answered before, by gateway.js.
  return isNotModified(read, whole.headers.get("ETag")) ? unchanged(whole) : whole
}

/** The response to one of those who ask the same, and the `answer` that they share, if they may. */
async function joinedRead(read, key, { reads, ctx, loadOnce, store }) {
  const may = (response) => mayShare(response, isOwnSlot(read), isOfMany(read))
  const options = { ctx, patience_ms: PATIENCE_MS, mayShare: may, store }
  const [answer, how] = await reads.join(key, loadOnce, options)
  if (answer instanceof Unshared || answer === null) {
    const alone = answer !== null && how === "MISS" ? answer.response : await load(read)
    return { response: marked(new Response(alone.body, alone), "BYPASS") }
  }
  const { status, headers, body } = answer
  const response = new Response(status === 204 ? null : body.slice(0), { status, headers })
  return { response: marked(response, how), answer }
}

// What may not be kept, such as a refusal, is shared only by those who wait for it.
function storeFor(key, answer, lifetime) {
  if (!(lifetime.fresh_s > 0)) return { kept_ms: 0 }
  // Here it would outlast a purge, and be stored once more.
  if (CONFIG.purges) return { kept_ms: answer.status === 200 ? 0 : KEPT_MS }
  const isStorable = answer.status === 200 // the Cache API keeps no 204, so it is only kept here
  const stored = isStorable && caches.default.put(key, toStored(answer, lifetime))
  return { kept_ms: KEPT_MS, stored }
}

/** What an object keeps of its one read: polls that may be kept, whose readers go on to another key. */
function keepPoll(read, answer) {
  const mode = modeOf(read, new URL(read.url))
  const isPurged = CONFIG.purges && answer.status === 200
  const mayKeep = mode === "poll" && !isPurged && lifetimeOf(mode, answer, isOwnSlot(read), CONFIG).fresh_s > 0
  return { kept_ms: mayKeep ? KEPT_MS : 0 }
}

// Workers Cache keeps what says nothing for two hours, and gives it out for good when this fails:
// so it is told each time, of what is left of the lifetime.
function told(response, { fresh_s, stale_s, error_s }) {
  const stale = `stale-while-revalidate=${stale_s}, stale-if-error=${error_s}`
  const left = `public, max-age=${fresh_s}, ${stale}`
  response.headers.set("Cloudflare-CDN-Cache-Control", fresh_s > 0 ? left : "no-store")
  return response
}

// ---------------------------------------------------------------- entrypoints

const reads = new SharedReads() // of this isolate: there are some in each data centre

/** Reads that many ask. wrangler.jsonc puts Workers Cache before this entrypoint, and no other. */
export class CachedReads extends WorkerEntrypoint {
  async fetch(read) {
    const { slot, host } = this.ctx.props // both are part of the key of Workers Cache, too
    const { pathname, search } = new URL(read.url)
    const key = `https://${host}/${slot}${pathname}${search}`
    const loadOnce = () => load(read)
    return cachedRead(read, key, { reads, ctx: this.ctx, loadOnce })
  }
}

export default {
  async fetch(request, env, ctx) {
    const { host } = new URL(request.url)
    const share = (read, slot) => ctx.exports.CachedReads({ props: { slot, host } }).fetch(read)
    const response = await gateway(request, share)
    // By which the doctor tells whether this file is what its settings ask for.
    response.headers.set("Headgate-Config", CONFIG.digest)
    return response
  },
}
