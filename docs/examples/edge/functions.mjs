// Three responses that stream, the same on every runtime that has the Web's own streams:
// no `Buffer`, no module of a platform, and nothing that holds a whole body.

const encoder = new TextEncoder()
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
// No cache stores such a body, and no proxy compresses it or collects its parts.
const PASSED_AT_ONCE = { "Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no" }

/**
 * Return a response whose body is the texts that `source(signal)` yields, each sent at once.
 *
 * A slow reader slows the source down. `signal` is aborted when the reader has left, and the body is
 * cut after `cut_ms`. `waitUntil` gets the promise of the body's end: a platform without it may stop
 * the work as soon as the reader has left.
 */
export function generated(request, source, { waitUntil, headers, cut_ms = Infinity }) {
  let body
  const { readable, writable } = new TransformStream({ start: (controller) => (body = controller) })
  waitUntil(pump(request, source, { body, writer: writable.getWriter(), cut_ms })) // not awaited
  const type = { "Content-Type": "text/plain; charset=utf-8" }
  return new Response(readable, { headers: { ...type, ...PASSED_AT_ONCE, ...headers } })
}

async function pump(request, source, { body, writer, cut_ms }) {
  const leaving = new AbortController()
  const cut = (reason) => body.error(new Error(reason)) // `writer.abort` would wait for the reader
  request.signal.addEventListener("abort", () => cut("the reader has left"))
  writer.closed.catch(() => leaving.abort())
  const timer = cut_ms < Infinity ? setTimeout(cut, cut_ms, "the reader is too slow") : undefined
  try {
    for await (const text of source(leaving.signal)) await writer.write(encoder.encode(text))
    await writer.close()
  } catch (error) {
    if (writer.desiredSize !== null) console.error(error) // the source has failed: no reader has left
    body.error(error) // the body is cut, and not ended
  } finally {
    clearTimeout(timer)
    leaving.abort()
  }
}

// ---------------------------------------------------------------- a body that is rewritten

/**
 * What is found in a text and what is put in its place. `find` matches at most `longest` characters,
 * and looks at nothing before them. `begun` matches the end of a text in which a match may have
 * begun; without it, the last `longest` characters are always held until more has come.
 */
export const REDACTED = {
  // E-mail addresses (RFC 5321 permits 64 characters before the @), and keys of model providers.
  find: /[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,3}|sk-[\w-]{16,200}/g,
  longest: 320,
  begun: /\S*$/, // a match has no blanks: leave this out if yours has
  put: () => "[redacted]",
}
export const LINKED = {
  find: /\[\d{1,3}\]/g, // the marks of sources, as models write them
  longest: 5,
  begun: /(\[\d*)?$/,
  put: (mark) => `${mark}(#source-${mark.slice(1, -1)})`,
}

const KEPT = ["Content-Type", "Vary", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"]
const TEXT = /^(text\/|application\/[\w.+-]*(json|xml))/i
const OTHER_CHARSET = /charset="?(?!"?(utf-?8|us-ascii))/i

/**
 * Return `upstream` with its text rewritten by `steps` while it streams.
 *
 * An upstream that fails or has no body is a 502 without one. So is one that is not text in UTF-8:
 * what cannot be searched is not passed on. Other refusals keep their status.
 */
export async function rewritten(upstream, steps) {
  const type = upstream.headers.get("Content-Type") ?? "text/plain"
  if (upstream.status !== 200 || !upstream.body || !TEXT.test(type) || OTHER_CHARSET.test(type)) {
    await upstream.body?.cancel()
    const isRefused = upstream.status >= 400 && upstream.status < 500
    return new Response(null, { status: isRefused ? upstream.status : 502 })
  }
  const headers = new Headers({ ...PASSED_AT_ONCE, "Content-Type": type })
  for (const name of KEPT) {
    if (upstream.headers.has(name)) headers.set(name, upstream.headers.get(name))
  }
  return new Response(upstream.body.pipeThrough(rewriting(steps)), { headers })
}

function rewriting(steps) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
  const replacers = steps.map(replacer)
  const send = (controller, text, isLast) => {
    for (const replace of replacers) text = replace(text, isLast)
    if (text) controller.enqueue(encoder.encode(text))
  }
  return new TransformStream({
    // `stream` keeps the first bytes of a character until the rest of it comes.
    transform: (part, controller) => send(controller, decoder.decode(part, { stream: true }), false),
    flush: (controller) => send(controller, decoder.decode(), true),
  })
}

/** Return a function from the next part of a text to what can be sent of it by now. */
function replacer({ find, longest, begun, put }) {
  let held = "" // between two calls at most `longest` characters, and half a pair
  return (text, isLast) => {
    held += text
    const end = held.slice(-longest)
    const open = isLast ? 0 : begun ? begun.exec(end)[0].length : end.length
    let safe = held.length - open // no match that begins before it can be longer than it is now
    if (/[\uDC00-\uDFFF]/.test(held[safe])) safe -= 1 // the second half of a character
    let [sent, at] = ["", 0]
    for (const match of held.matchAll(find)) {
      if (match.index >= safe) break
      sent += held.slice(at, match.index) + put(match[0])
      at = match.index + match[0].length
    }
    const until = Math.max(safe, at)
    sent += held.slice(at, until)
    held = held.slice(until)
    return sent
  }
}

// ---------------------------------------------------------------- server-sent events

/**
 * Return the events that `source(after, signal)` yields, objects with `id`, `event` and `data`.
 *
 * `after` is the id of the last event that the reader has, from its header or its query, or null. In
 * silence, a comment goes out every `keepAlive_ms`. After `end_ms` the response ends by the event
 * `reconnect`: an EventSource comes back by itself after `retry_ms`, and gets what follows. `done`
 * says that nothing follows.
 */
export function events(request, source, { waitUntil, end_ms, keepAlive_ms, retry_ms = 1000 }) {
  const after = request.headers.get("Last-Event-ID") ?? new URL(request.url).searchParams.get("after")
  const times = { ends: Date.now() + end_ms, keepAlive_ms, retry_ms }
  return generated(request, (signal) => framed(source(after, signal), after, times), {
    waitUntil,
    headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-cache, no-transform" },
    cut_ms: end_ms + 500, // a reader that takes nothing takes no last event either
  })
}

async function* framed(items, id, { ends, keepAlive_ms, retry_ms }) {
  yield `retry: ${retry_ms}\n\n`
  const iterator = items[Symbol.asyncIterator]()
  let next = iterator.next()
  try {
    for (let left = Infinity; (left = ends - Date.now()) > 0; ) {
      const item = await within(next, Math.min(keepAlive_ms, left))
      if (item === LATE) {
        if (left > keepAlive_ms) yield ":\n" // a blank line after it is an event to some clients
        continue
      }
      if (item.done) return yield "event: done\ndata: {}\n\n"
      id = item.value.id
      yield `id: ${id}\nevent: ${item.value.event}\ndata: ${JSON.stringify(item.value.data)}\n\n`
      next = iterator.next()
    }
    yield `${id === null ? "" : `id: ${id}\n`}retry: ${retry_ms}\nevent: reconnect\ndata: {}\n\n`
  } finally {
    next.catch(() => {}) // nobody waits for it any more
    iterator.return?.().catch(() => {}) // not awaited: the source may be waiting itself
  }
}

const LATE = Symbol("nothing came in time")

async function within(promise, ms) {
  let timer
  const late = new Promise((resolve) => (timer = setTimeout(resolve, ms, LATE)))
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// ---------------------------------------------------------------- the routes of the example

/** Answer /generated, /rewritten/STREAM or /events; `origin` is the URL below which streams are. */
export async function answer(request, { origin, ...given }) {
  const { pathname, searchParams } = new URL(request.url)
  const [, what, stream] = /^\/(?:(generated|events)|rewritten(\/.+))$/.exec(pathname) ?? []
  if (!what && !stream) return new Response(null, { status: 404 })
  if (request.method !== "GET") return new Response(null, { status: 405, headers: { Allow: "GET" } })
  if (stream) return rewritten(await asked(request, origin + stream), [REDACTED, LINKED])
  const number = (name, most, usual) => Math.min(Number(searchParams.get(name) ?? usual) || 0, most)
  const [count, wait_ms] = [number("count", 1000, 10), number("wait_ms", 1000, 200)] // of the client
  if (what === "generated") return generated(request, (signal) => texts(count, wait_ms, signal), given)
  return events(request, (after, signal) => ticks(after, count, wait_ms, signal), given)
}

/** Ask for the whole text: a read that begins at an offset could begin within what is redacted. */
async function asked(request, url) {
  const names = ["Authorization", "Origin"].filter((name) => request.headers.has(name))
  const headers = Object.fromEntries(names.map((name) => [name, request.headers.get(name)]))
  try {
    return await fetch(`${url}?view=text`, { headers, signal: request.signal })
  } catch (error) {
    console.error(error)
    return new Response(null, { status: 502 })
  }
}

async function* texts(count, wait_ms, signal) {
  for (let part = 0; part < count && !signal.aborted; part++) {
    if (part) await pause(wait_ms)
    yield `part ${part}\n`
  }
}

async function* ticks(after, count, wait_ms, signal) {
  for (let n = Number(after ?? -1) + 1; n < count && !signal.aborted; n++) {
    if (n) await pause(wait_ms)
    yield { id: n, event: "tick", data: { n } }
  }
}
