// headgate cdn vercel {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
const CONFIG = {
  "again_most_s": 3,
  "again_s": 1,
  "answer_s": 10,
  "digest": "vercel/e4772cd2f9796c3d",
  "events": {
    "end_s": 240,
    "keepAlive_s": 15
  },
  "identity_headers": [
    "Authorization",
    "Cookie"
  ],
  "origin": "http://gateway.example.com:4437",
  "own_targets": "^(?:/v1/stream)/",
  "paths": "^(?:/v1/stream)/",
  "reader_cookie": "__Secure-headgate",
  "sites": false
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

// Streaming bodies: generated, transformed, or events that end before a limit of the platform.
//
// They use only what every edge runtime has: Web Streams, TextEncoder, Uint8Array, and no `Buffer`.


const encoder = new TextEncoder()
const KEEP_ALIVE = encoder.encode(":\n") // with a blank line some clients would see an event

/**
 * Return a body of the texts that `source` yields, and `done`, a promise that ends with it.
 *
 * Return the response without awaiting `done`, which would hold the whole body back. Each write is
 * awaited: a slow reader slows `source` down, and a reader that disconnects ends it.
 */
function generated(source) {
  const { readable, writable } = new TransformStream()
  return { body: readable, done: pump(source, writable.getWriter()) }
}

async function pump(source, writer) {
  try {
    for await (const text of source) await writer.write(encoder.encode(text))
    await writer.close()
  } catch (error) {
    await writer.abort(error).catch(() => {}) // the reader has disconnected, or the source has failed
  }
}

/** Return a text body whose parts are changed by `change`; no character is split between two parts. */
function transformed(body, change) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
  const send = (text, controller) => text && controller.enqueue(encoder.encode(change(text)))
  return body.pipeThrough(
    new TransformStream({
      // `stream` keeps the first bytes of a character until the rest of it comes.
      transform: (part, controller) => send(decoder.decode(part, { stream: true }), controller),
      // An unfinished character at the end becomes U+FFFD.
      flush: (controller) => send(decoder.decode(), controller),
    }),
  )
}

/**
 * Return a body that relays the events of a stream at once, and ends after `end_s` seconds.
 *
 * It begins with a comment, because some platforms limit the time until a function begins to answer,
 * and has another after every `keepAlive_s` seconds without an event. It ends after the first control
 * event that comes then, which has the offset at which its reader continues: nothing is lost and
 * nothing comes twice. If none comes within `grace_s` seconds, the body is cut off.
 */
function eventsUntil(body, { keepAlive_s, end_s = Infinity, grace_s = 2 }) {
  const { readable, writable } = new TransformStream()
  const reader = body.getReader()
  const writer = writable.getWriter()
  const ends = Date.now() + end_s * 1000
  const relayed = relay(reader, writer, { keepAlive_ms: keepAlive_s * 1000, ends })
  finish(relayed, reader, writer, ends + grace_s * 1000) // not awaited: the response begins now
  return readable
}

async function relay(reader, writer, { keepAlive_ms, ends }) {
  const place = new EventPlace()
  await writer.write(KEEP_ALIVE)
  let next = reader.read()
  for (;;) {
    const left = ends - Date.now()
    if (left <= 0 && place.isBehindControl) return
    const part = await within(next, left > 0 ? Math.min(keepAlive_ms, left) : keepAlive_ms)
    if (part === LATE) {
      // A comment inside an event would become part of it.
      if (place.isBetweenEvents && Date.now() < ends) await writer.write(KEEP_ALIVE)
      continue
    }
    if (part.done) return
    await writer.write(part.value.subarray(0, place.pass(part.value, Date.now() >= ends)))
    next = reader.read()
  }
}

async function finish(relayed, reader, writer, cutAt) {
  try {
    const left = writer.closed // rejected when the reader has disconnected
    const isLate = (await within(Promise.race([relayed, left]), cutAt - Date.now())) === LATE
    await (isLate ? writer.abort("the response has lasted too long") : writer.close())
  } catch (error) {
    await writer.abort(error).catch(() => {})
  } finally {
    await reader.cancel().catch(() => {}) // else the stream's server would go on sending
  }
}

const LONGEST_NAME = 32 // characters of a line that are kept: enough to recognise an `event:` line

/** The position in an event stream: inside an event, or after which kind of event. */
class EventPlace {
  #line = "" // the beginning of the current line
  #event = null // the name of the current event, "" without one, null between events
  #wasControl = false // whether the last whole event was a control event

  get isBetweenEvents() {
    return this.#line === "" && this.#event === null
  }

  get isBehindControl() {
    return this.isBetweenEvents && this.#wasControl
  }

  /** Move over `part`; if `isLast`, stop after a control event. Return the number of bytes passed. */
  pass(part, isLast) {
    let at = 0
    while (at < part.length) {
      const end = part.indexOf(10, at)
      const room = LONGEST_NAME - this.#line.length
      const text = part.subarray(at, Math.min(end < 0 ? part.length : end, at + room))
      this.#line += String.fromCharCode(...text)
      if (end < 0) break
      at = end + 1
      this.#endLine()
      if (isLast && this.isBehindControl) return at
    }
    return part.length
  }

  #endLine() {
    const line = this.#line.replace(/\r$/, "")
    this.#line = ""
    if (line.startsWith(":")) return
    if (line.startsWith("event:")) this.#event = line.slice(6).trim()
    else if (line !== "") this.#event ??= ""
    else if (this.#event !== null) {
      this.#wasControl = this.#event === "control"
      this.#event = null
    }
  }
}

// Pass requests on to the gateway, and say which responses Vercel's CDN may store.


const HOP_BY_HOP = ["Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Host"]

/** Pass a request on with its method and body, and return the response as it arrives. */
async function gateway(request) {
  const url = new URL(request.url)
  const mode = modeOf(request, url)
  const answer = await reach(request, CONFIG.origin + url.pathname + url.search)
  if (answer === null) return away(request, CONFIG)
  const headers = new Headers(answer.headers)
  // fetch has decompressed the body, and the runtime frames it anew.
  for (const name of [...HOP_BY_HOP, "Content-Encoding", "Content-Length"]) headers.delete(name)
  // Without this field Vercel would use s-maxage, and serve the tail long after it is stale.
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

/** Return the gateway's response; null while it is away. */
async function reach(request, target) {
  const { method, signal } = request
  const headers = new Headers(request.headers)
  for (const name of HOP_BY_HOP) headers.delete(name)
  // fetch fails with this header, which curl sends with a body above 1 MiB.
  headers.delete("Expect")
  // Vercel sets X-Forwarded-For. With a Forwarded of its own, a client could exceed its limits.
  headers.delete("Forwarded")
  const body = ["GET", "HEAD"].includes(method) ? null : request.body
  try {
    const options = { method, headers, body, signal, duplex: "half", redirect: "manual" }
    return await fetchWithin(patienceFor(request, new URL(request.url), CONFIG), target, options)
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

// ---------------------------------------------------------------- entrypoint

export default {
  async fetch(request) {
    const response = await gateway(request)
    // headgate doctor compares this digest of the file with the settings.
    response.headers.set("Headgate-Config", CONFIG.digest)
    return response
  },
}
