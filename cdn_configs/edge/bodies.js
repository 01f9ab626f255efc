// Bodies that are sent while they come: generated, transformed, or events that end in time.
//
// Only what every edge runtime has: Web Streams, TextEncoder, Uint8Array. There is no `Buffer`.

import { LATE, within } from "./within.js"

const encoder = new TextEncoder()
const KEEP_ALIVE = encoder.encode(":\n") // with a blank line some clients would see an event

/**
 * A body of the texts that `source` gives, and `done`, which ends with it.
 *
 * The pump is not awaited before the answer is returned: that would hold the whole body back.
 * Each write is: so a slow reader slows the source down, and a reader who left ends it.
 */
export function generated(source) {
  const { readable, writable } = new TransformStream()
  return { body: readable, done: pump(source, writable.getWriter()) }
}

async function pump(source, writer) {
  try {
    for await (const text of source) await writer.write(encoder.encode(text))
    await writer.close()
  } catch (error) {
    await writer.abort(error).catch(() => {}) // the reader has left, or the source has failed
  }
}

/** A text body that is changed on its way, part by part, with characters kept whole. */
export function transformed(body, change) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
  const send = (text, controller) => text && controller.enqueue(encoder.encode(change(text)))
  return body.pipeThrough(
    new TransformStream({
      // `stream` keeps the first bytes of a character until the rest of it comes.
      transform: (part, controller) => send(decoder.decode(part, { stream: true }), controller),
      // A character that was never finished is not lost in silence.
      flush: (controller) => send(decoder.decode(), controller),
    }),
  )
}

/**
 * A body of a stream's events as they come, with comments in silence, that ends in time.
 *
 * A comment comes first, since some platforms give a function only so long to begin, and another
 * after every `keepAlive_s` seconds of silence. After `end_s` seconds the body ends behind the next
 * control event. That one says where to go on, so its reader loses nothing and gets nothing twice.
 * A body that is not there `grace_s` later is cut, as the platform would cut it.
 */
export function eventsUntil(body, { keepAlive_s, end_s = Infinity, grace_s = 2 }) {
  const { readable, writable } = new TransformStream()
  const reader = body.getReader()
  const writer = writable.getWriter()
  const ends = Date.now() + end_s * 1000
  const relayed = relay(reader, writer, { keepAlive_ms: keepAlive_s * 1000, ends })
  finish(relayed, reader, writer, ends + grace_s * 1000) // not awaited: the answer begins now
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
      // Inside an event a comment would become part of it.
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
    const left = writer.closed // rejected when the reader has left
    const isLate = (await within(Promise.race([relayed, left]), cutAt - Date.now())) === LATE
    await (isLate ? writer.abort("the answer has lasted too long") : writer.close())
  } catch (error) {
    await writer.abort(error).catch(() => {})
  } finally {
    await reader.cancel().catch(() => {}) // or the stream's server would go on sending
  }
}

const LONGEST_NAME = 32 // of a line, enough to know an `event:` line by

/** Where in an event stream its bytes have brought its reader. */
class EventPlace {
  #line = "" // the beginning of the line that has begun
  #event = null // the name of the event that has begun, "" for one without, null between events
  #wasControl = false // the last whole event

  get isBetweenEvents() {
    return this.#line === "" && this.#event === null
  }

  get isBehindControl() {
    return this.isBetweenEvents && this.#wasControl
  }

  /** Go on over `part`, at most to the next end of a control event if `isLast`; how far it went. */
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
