// headgate cdn cloudflare-worker {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
import { WorkerEntrypoint } from "cloudflare:workers"

const CONFIG = {
  "again_most_s": 3,
  "again_s": 1,
  "answer_s": 10,
  "compressed": "^(?:text/plain|text/csv|text/html|text/markdown|application/json|application/x-ndjson|application/ndjson) *(?:;|$)",
  "compresses_private": false,
  "credentials": "bypass",
  "digest": "cloudflare-worker/02a6b2c8e1d77d39",
  "hold_s": 30,
  "identity_headers": [
    "Authorization",
    "Cookie"
  ],
  "least_compressed": 1024,
  "moment_s": 1,
  "origin": "http://gateway.example.com:4437",
  "own_paths": "^(?:/v1/stream)/",
  "own_targets": "^(?:/v1/stream)/",
  "parameters": "offset|live|cursor|view|batch_ms|lastEventId|rk|token",
  "paths": "^(?:/v1/stream)/",
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

// The mode of a request to a stream, and which requests are equal reads.

// Servers do not agree on the value of a repeated parameter: nobody shares the response then.
const SINGLE = ["offset", "live", "cursor", "rk"]
const TOKEN = "token" // in the query: a credential, since an EventSource cannot set headers

/** Return the mode of a request: write, head, sse, poll, now, catch-up, or other (never shared). */
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
 * Return the query with its `name=value` pairs sorted, so that their order makes no other key.
 *
 * The gateway's own streams ignore all parameters but `parameters`: the key does not have these.
 */
function sortedQuery(url, { own_paths, parameters }) {
  const isOwn = new RegExp(own_paths).test(url.pathname) && url.searchParams.has("offset")
  const ignored = new RegExp(`^(?!(?:${parameters})=)[A-Za-z0-9_.~-]+=`)
  const isLeftOut = (pair) => pair.startsWith(`${TOKEN}=`) || (isOwn && ignored.test(pair))
  // No key has a credential.
  const pairs = url.search.slice(1).split("&").filter((pair) => pair && !isLeftOut(pair))
  return pairs.length ? `?${pairs.sort().join("&")}` : ""
}

/** Whether a request has credentials, in one of these headers or as a token in its URL. */
function hasCredentials(request, url, config) {
  const says = (name) => identityOf(request, url, name, config) !== null
  return url.searchParams.has(TOKEN) || config.identity_headers.some(says)
}

/**
 * Return the value of a header that identifies readers, or null.
 *
 * The gateway's own streams know readers by one cookie. Other cookies, such as those of web statistics,
 * do not keep a reader from shared copies.
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

// Wait for a promise for a limited time.

const LATE = Symbol("nothing came in time")

/** Return the result of a promise, or LATE if it takes longer than `ms` milliseconds. */
async function within(promise, ms) {
  if (ms === Infinity) return promise // setTimeout would fire at once
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

// The response while the gateway is away.

const AWAY = "the gateway is away"

const SMALL_BODY = 16 * 1024 // bytes, which come with the head or right after it

/**
 * For how many milliseconds a gateway may take to answer a request before it is taken for lost.
 *
 * Infinity for what waits for news (live reads and views, paths of no route), and for a longer body,
 * whose client decides how fast it comes.
 */
function patienceFor(request, url, { paths, answer_s }) {
  const waits = url.searchParams.has("live") || url.searchParams.has("view")
  const length = request.headers.get("Content-Length") ?? (request.body ? Infinity : 0)
  const isLong = waits || Number(length) > SMALL_BODY || !new RegExp(paths).test(url.pathname)
  return isLong ? Infinity : answer_s * 1000
}

/** What `fetch` gives; it fails when no head has come within `ms`, and lets the body take longer. */
async function fetchWithin(ms, target, options) {
  if (ms === Infinity) return fetch(target, options)
  const late = new AbortController()
  const timer = setTimeout(() => late.abort(), ms)
  const signals = [late.signal, options.signal].filter(Boolean)
  try {
    return await fetch(target, { ...options, signal: AbortSignal.any(signals) })
  } finally {
    clearTimeout(timer)
  }
}

/** Whether a request is for events (SSE); such a request may be held. */
function isForEvents(request, url) {
  return request.method === "GET" && url.searchParams.get("live") === "sse"
}

/**
 * Return the response while the gateway is away: 502, or a 200 that makes an EventSource reconnect.
 *
 * An EventSource gives up for good at any status other than 200. It sends both header fields; other
 * clients of SSE handle the status.
 */
function away(request, { again_s, again_most_s, sites }) {
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
    return new Response(`${AWAY}\n`, { status: 502, headers })
  }
  headers.set("Content-Type", "text/event-stream")
  return new Response(`: ${AWAY}\nretry: ${(wait_s * 1000).toFixed()}\n\n`, { headers })
}

// Reads that are under way: one for all equal requests.
//
// They share the status, headers and bytes. A Response or its stream belongs to the request that
// made it, and the runtime lets no other use it.


const MOST_READS = 10_000 // under way or just ended; some hundred bytes each without their bodies
const MOST_HELD_BYTES = 32 * 1024 * 1024 // of bodies: a quarter of the memory of an isolate

/** A response for the one request that caused it; its body may have any length. */
class Unshared {
  constructor(response) {
    this.response = response
  }
}

class SharedReads {
  #reads = new Map() // key to Read
  #heldBytes = 0

  /**
   * Return the answer under this key, and "MISS" to the request that began the read with `load`,
   * "COLLAPSED" to the others.
   *
   * The answer is null if too many reads are under way, or if none came within `patience_ms`: the
   * request that began the read may have been lost with its machine. `ctx` continues a read whose
   * client has disconnected. `mayShare` decides by the head of the response. `store` stores an
   * answer, and returns for how many milliseconds it stays here, for requests that come meanwhile.
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

  /** Whether a read is under way, or its answer is still here. */
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

  // All of it runs under waitUntil: after its request has ended, an empty body might be stored.
  async #end(read, store) {
    try {
      const answer = await read.answer
      if (answer instanceof Unshared) return this.#drop(read)
      const { kept_ms, stored } = store(answer)
      read.until_ms = Date.now() + kept_ms
      await stored
      if (!kept_ms) this.#drop(read)
    } catch {
      this.#drop(read) // requests that wait get the error from `answer`
    }
  }

  #hold(read, bytes) {
    if (this.#heldBytes + bytes > MOST_HELD_BYTES) this.#dropOld()
    // A body of unknown length (NaN) is not held, nor that of a read that was dropped.
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

// How long a response may be served to others, and how the Cache API stores it.


const NEVER = { fresh_s: 0, stale_s: 0, error_s: 0 }
const FORBID_STALE = ["s-maxage", "must-revalidate", "proxy-revalidate"] // RFC 9111, 4.2.4

const OF_ALL_SLOTS = /\b(origin|accept-encoding)\b/gi
const OF_ITS_SLOT = /\b(origin|accept-encoding|authorization|cookie)\b/gi
// Statuses that are the same for all readers; 502 means that the gateway cannot be reached.
const SAME_FOR_ALL = [200, 204, 410, 502]

/**
 * Whether other readers may get this response. With `isOwnSlot` they may get a private one, too;
 * with `isOfMany` their credentials may differ.
 */
function mayShare(response, isOwnSlot, isOfMany) {
  const { headers, status } = response
  if (isOfMany && !SAME_FOR_ALL.includes(status)) return false
  const known = isOwnSlot ? OF_ITS_SLOT : OF_ALL_SLOTS
  const varies = (headers.get("Vary") ?? "").replace(known, "")
  if (headers.has("Set-Cookie") || status === 206 || /[^\s,]/.test(varies)) return false
  const directives = governing(headers)
  if (directives.has("private") && !isOwnSlot) return false
  // A 204 of a long-poll, and an error, are the same for all, whatever their Cache-Control says.
  return status !== 200 || !directives.has("no-store")
}

/**
 * How long a response is fresh, and how long after that it may be served while a new one is fetched
 * (`stale_s`), or while the gateway does not answer (`error_s`).
 */
function lifetimeOf(mode, answer, isOwnSlot, { moment_s, poll_data_s, stale_if_error_s }) {
  const error_s = mode === "catch-up" ? stale_if_error_s : 0
  const headers = new Headers(answer.headers)
  const directives = governing(headers)
  if (mode === "poll" && answer.status === 204) return { ...NEVER, fresh_s: moment_s }
  if (answer.status !== 200 || headers.has("Set-Cookie")) return NEVER
  if (directives.has("private") && !isOwnSlot) return NEVER
  if (directives.has("no-store")) return NEVER
  // A private response that reached the tail has no s-maxage.
  if (directives.has("no-cache")) return directives.has("private") ? { fresh_s: moment_s, stale_s: 0, error_s } : NEVER
  const age_s = Number(headers.get("Age") ?? 0)
  const left_s = Number(directives.get("s-maxage") ?? directives.get("max-age") ?? 0) - age_s
  const isEmpty = isEmptyTail(headers, answer.body)
  const most_s = isEmpty ? moment_s : mode === "poll" ? poll_data_s : Infinity
  const fresh_s = Math.min(left_s, most_s)
  if (!(fresh_s > 0)) return NEVER // also if it is not a number
  const mayBeStale = most_s === Infinity && !FORBID_STALE.some((one) => directives.has(one))
  const stale_s = (mayBeStale && Number(directives.get("stale-while-revalidate"))) || 0
  return { fresh_s, stale_s, error_s }
}

function governing(headers) {
  return directivesOf(headers.get("CDN-Cache-Control") ?? headers.get("Cache-Control"))
}

// The Cache API obeys these fields, and knows no stale-while-revalidate. So the stored copy has a
// max-age for the whole time, and one field of our own with the values that the reader gets.
const REPLACED = ["Cache-Control", "CDN-Cache-Control", "Surrogate-Control", "Age"]
const KEPT = "Headgate-Kept"

/** Return an answer as the Cache API stores it. */
function toStored(answer, { fresh_s, stale_s, error_s }) {
  const headers = new Headers(answer.headers)
  const values = REPLACED.map((name) => headers.get(name))
  for (const name of REPLACED) headers.delete(name)
  headers.set("Cache-Control", `public, max-age=${fresh_s + Math.max(stale_s, error_s)}`)
  headers.set(KEPT, JSON.stringify({ at_ms: Date.now(), fresh_s, stale_s, error_s, values }))
  return new Response(answer.body.slice(0), { status: answer.status, headers })
}

/** Return the answer in a stored copy, and how long it is still fresh, and then may be stale. */
function fromStored(stored) {
  const response = new Response(stored.body, stored)
  const { at_ms, fresh_s, stale_s, error_s, values } = JSON.parse(response.headers.get(KEPT))
  const passed_s = Math.floor((Date.now() - at_ms) / 1000)
  for (const name of [KEPT, "CF-Cache-Status"]) response.headers.delete(name)
  REPLACED.forEach((name, at) => {
    if (values[at] === null) response.headers.delete(name)
    else response.headers.set(name, values[at])
  })
  response.headers.set("Age", String(Number(values[3] ?? 0) + passed_s))
  const left_s = fresh_s - passed_s
  const over_s = Math.min(0, left_s)
  return { response, fresh_s: left_s, stale_s: stale_s + over_s, error_s: error_s + over_s }
}

// Verify read tokens (JWT, signed by Ed25519). A reader with a valid one may get shared copies.
//
// A request with any other token goes to the gateway, which says what is wrong with it.

const PREFIX = "token=" // in the query: an EventSource cannot set headers
const COOKIE = /(?:^|;)\s*__Secure-headgate="?([A-Za-z0-9._~+/=-]+)"?\s*(?=;|$)/g
const IN_QUERY = /^[A-Za-z0-9._~+/-]+=*$/ // the characters of Authorization, without escapes
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i
const TYPE = "hg-read+jwt"
const LONGEST_TOKEN = 8 * 1024
const BELOW = "/*"

/** Return the tokens in a query, as they are spelled there. */
function tokensIn(url) {
  const pairs = url.search.slice(1).split("&")
  return pairs.filter((one) => one.startsWith(PREFIX)).map((one) => one.slice(PREFIX.length))
}

/** Whether a query has several tokens, or an escaped one: the gateway has to decide then. */
function hasUnusualToken(url) {
  const tokens = tokensIn(url)
  const isPlain = url.searchParams.getAll("token").length === tokens.length // no name is escaped, as %74oken
  return !isPlain || tokens.length > 1 || !tokens.every((token) => IN_QUERY.test(token))
}

/** Return the token of a read: from Authorization, else from its query, else from its cookie. */
function tokenOf(request, url) {
  const tokens = tokensIn(url)
  const given = request.headers.get("Authorization")
  if (given !== null) return given.match(BEARER)?.[1] ?? null
  if (tokens.length) return tokens[0]
  const cookies = [...(request.headers.get("Cookie") ?? "").matchAll(COOKIE)]
  return cookies.length === 1 ? cookies[0][1] : null
}

/** Whether a token permits to read the stream at this path now. */
async function mayRead(token, path, { read_keys, usual_path, own_paths, token_age_s }) {
  if (token === null || token.length > LONGEST_TOKEN) return false
  // A path in an unusual spelling may be that of another stream, or of another route.
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

const importing = new Map() // from key id to CryptoKey; as many as the file has

function imported({ kid, x }) {
  if (!importing.has(kid)) {
    const jwk = { kty: "OKP", crv: "Ed25519", x }
    importing.set(kid, crypto.subtle.importKey("jwk", jwk, "Ed25519", false, ["verify"]))
  }
  return importing.get(kid)
}

// Prepare a shared response for one reader: compression and Timing-Allow-Origin.


/** Prepare the response to a shared read; `isPublic` says that everybody may read it. */
function toReader(request, url, response, isPublic) {
  const { headers } = response
  const isPrivate = !isPublic || /private/i.test(headers.get("Cache-Control") ?? "")
  const site = headers.get("Access-Control-Allow-Origin")
  // Pages of other web sites see Server-Timing only for public streams that CORS lets them read.
  if (!isPrivate && site !== null) headers.set("Timing-Allow-Origin", site)
  // The length of a compressed private response can reveal its content.
  const mayBe = CONFIG.compresses_private || !isPrivate
  if (mayBe && modeOf(request, url) === "catch-up") compress(request, response)
}

// The runtime compresses the body according to Content-Encoding.
function compress({ headers: asked }, { status, headers }) {
  const isLong = Number(headers.get("Content-Length") ?? 0) >= CONFIG.least_compressed
  const isText = new RegExp(CONFIG.compressed, "i").test(headers.get("Content-Type") ?? "")
  if (status !== 200 || !isLong || !isText || headers.has("Content-Encoding")) return
  headers.append("Vary", "Accept-Encoding")
  const taken = (asked.get("Accept-Encoding") ?? "").toLowerCase().split(",").map((one) => one.trim())
  const coding = ["br", "gzip"].find((name) => taken.includes(name))
  const tag = headers.get("ETag") ?? ""
  if (tag.startsWith('"')) headers.set("ETag", `W/${tag}`) // one for all codings
  if (coding === undefined) return
  headers.set("Content-Encoding", coding)
  headers.delete("Content-Length")
}

// The code that runs for every request: it checks credentials, and decides what may be shared.


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
async function gateway(request, share) {
  const url = new URL(request.url)
  const isRead = ["poll", "catch-up"].includes(modeOf(request, url))
  const whose = isRead ? await readerOf(request, url) : null
  if (whose === null) return pass(request, url)
  const question = url.origin + url.pathname + sortedQuery(url, CONFIG)
  const read = new Request(question, { headers: neededBy(request, url) })
  // Web sites do not share copies, since their CORS fields differ.
  const site = request.headers.get("Origin")
  const isAnybody = whose === ANYBODY && site === null
  const shared = await share(read, isAnybody ? ANYBODY : await sha256(JSON.stringify([whose, site])))
  const response = new Response(shared.body, shared)
  response.headers.set("Cloudflare-CDN-Cache-Control", "no-store")
  toReader(request, url, response, whose === ANYBODY && !url.searchParams.has("rk"))
  return isNotModified(request, response.headers.get("ETag")) ? unchanged(response) : response
}

/** Return the 304 for a response that its reader has already. */
async function unchanged(response) {
  await response.body?.cancel()
  for (const name of ["Content-Length", "Content-Encoding"]) response.headers.delete(name)
  return new Response(null, { status: 304, headers: response.headers })
}

/** Pass a request on with its method and body, and return the response as it arrives. */
async function pass(request, url) {
  // By default Cloudflare caches paths with some endings (.js, .css).
  const forwarded = new Request(CONFIG.origin + url.pathname + url.search, request)
  // Cloudflare sets X-Forwarded-For. With a Forwarded of its own, a client could exceed its limits.
  forwarded.headers.delete("Forwarded")
  // fetch fails with this header, which curl sends with a body above 1 MiB.
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
function load(read) {
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

// Statuses of Cloudflare's network for a server that it cannot reach, or whose certificate it refuses.
// In workerd such a fetch fails.
const UNREACHED = [520, 521, 522, 523, 525, 526, 530]

async function reach(request, target, options) {
  return (await reached(target, options)) ?? away(request, CONFIG)
}

/** As `reach`, but wait while the gateway is away. */
async function reachAgain(request, target, options) {
  const end_ms = Date.now() + CONFIG.hold_s * 1000
  while (Date.now() < end_ms && !request.signal?.aborted) {
    const answer = await reached(new Request(target), options)
    if (answer !== null) return answer
    // At random, so that a thousand waiting requests do not ask at the same moment.
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

/** Whether all readers that share this read's slot may get private responses. */
function isOwnSlot(read) {
  return CONFIG.credentials !== "reader-key" && isOfReader(read)
}

/** Whether the readers that share this read's slot may have different credentials. */
function isOfMany(read) {
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

/** Add X-Cache and Cache-Status (RFC 9211) to a response: whether it is a copy. */
function marked(response, how) {
  response.headers.set("X-Cache", how)
  const found = { MISS: "miss", BYPASS: "pass" }[how] ?? "hit" // COLLAPSED, too: it asked nobody
  response.headers.set("Server-Timing", `cache;desc=${found}`) // for pages (Resource Timing)
  response.headers.append("Cache-Status", `headgate-worker; ${STATUS[how]}`)
  return response
}

// Answer a read that many clients send: from a stored copy, or with one response for all equal
// requests that wait at the same time.


// A request that has waited for longer than a long-poll lasts asks the gateway itself: the request
// whose response it waits for has probably been lost.
const PATIENCE_MS = CONFIG.patience_s * 1000
const KEPT_MS = CONFIG.moment_s * 1000

/** Answer a read from the copy under `key`; without one, `loadOnce` fetches the response. */
async function cachedRead(read, key, { reads, ctx, loadOnce }) {
  const mode = modeOf(read, new URL(read.url))
  // Computed once for each answer: a thousand requests may get it at the same moment.
  const own = isOwnSlot(read)
  const lifetime = (answer) => (answer.lifetime ??= lifetimeOf(mode, answer, own, CONFIG))
  const store = (answer) => storeFor(key, answer, lifetime(answer))
  const join = () => joinedRead(read, key, { reads, ctx, loadOnce, store })
  // A poll joins an equal one that is under way, whose response cannot be in the cache yet. With
  // --purge, only Workers Cache stores copies: the Cache API cannot purge in all data centres.
  const isAsked = !CONFIG.purges && !(mode === "poll" && reads.has(key))
  const stored = isAsked ? await caches.default.match(key) : null
  const copy = stored && fromStored(stored)
  if (copy?.fresh_s > 0) return withLifetime(marked(copy.response, "HIT"), copy)
  if (copy?.stale_s > 0) {
    ctx.waitUntil(join()) // fetch a new copy while this one is served
    return withLifetime(marked(copy.response, "STALE"), NEVER)
  }
  const { response, answer } = await join()
  if (response.status >= 500 && copy?.error_s > 0) {
    await response.body?.cancel()
    return withLifetime(marked(copy.response, "STALE"), NEVER)
  }
  const whole = withLifetime(response, answer ? lifetime(answer) : NEVER)
  // Workers Cache sends If-None-Match for a stale copy. That of the client was handled by gateway.js.
  return isNotModified(read, whole.headers.get("ETag")) ? unchanged(whole) : whole
}

/** Return the response to one of several equal requests, and the shared `answer` if there is one. */
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

// A response that may not be stored, such as an error, is shared only by requests that wait for it.
function storeFor(key, answer, lifetime) {
  if (!(lifetime.fresh_s > 0)) return { kept_ms: 0 }
  // A copy here would outlast a purge, and would then be stored again.
  if (CONFIG.purges) return { kept_ms: answer.status === 200 ? 0 : KEPT_MS }
  const isStorable = answer.status === 200 // the Cache API stores no 204: that stays in memory
  const stored = isStorable && caches.default.put(key, toStored(answer, lifetime))
  return { kept_ms: KEPT_MS, stored }
}

/** Return how long a Durable Object keeps the response to its read: a moment, if it is a poll. */
function keepPoll(read, answer) {
  const mode = modeOf(read, new URL(read.url))
  const isPurged = CONFIG.purges && answer.status === 200
  const mayKeep = mode === "poll" && !isPurged && lifetimeOf(mode, answer, isOwnSlot(read), CONFIG).fresh_s > 0
  return { kept_ms: mayKeep ? KEPT_MS : 0 }
}

// Without this field Workers Cache would store a response for two hours, and serve it without end
// while this Worker fails. So each response has the rest of its lifetime in it.
function withLifetime(response, { fresh_s, stale_s, error_s }) {
  const stale = `stale-while-revalidate=${stale_s}, stale-if-error=${error_s}`
  const rest = `public, max-age=${fresh_s}, ${stale}`
  response.headers.set("Cloudflare-CDN-Cache-Control", fresh_s > 0 ? rest : "no-store")
  return response
}

// ---------------------------------------------------------------- entrypoints

const reads = new SharedReads() // of this isolate; each data centre has several

/** Reads that may be shared. wrangler.jsonc puts Workers Cache before this entrypoint only. */
export class CachedReads extends WorkerEntrypoint {
  async fetch(read) {
    const { slot, host } = this.ctx.props // the key of Workers Cache has both, too
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
    // headgate doctor compares this digest of the file with the settings.
    response.headers.set("Headgate-Config", CONFIG.digest)
    return response
  },
}
