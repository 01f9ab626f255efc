// Events that end before a limit of the platform.

import { LATE, within } from "../edge/within.js"

const KEEP_ALIVE = new TextEncoder().encode(":\n") // with a blank line some clients would see an event

/**
 * Return a body that relays the events of a stream at once, and ends after `end_s` seconds.
 *
 * It begins with a comment, because some platforms limit the time until a function begins to answer,
 * and has another after every `keepAlive_s` seconds without an event. It ends after the first control
 * event that comes then, which has the offset at which its reader continues: nothing is lost and
 * nothing comes twice. If none comes within `grace_s` seconds, the body is cut off.
 */
export function eventsUntil(body, { keepAlive_s, end_s = Infinity, grace_s = 2 }) {
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
    if (left <= 0 && place.isAfterControl) return
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

  get isAfterControl() {
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
      if (isLast && this.isAfterControl) return at
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
