// Whether the gateway hangs: it accepts connections, and answers nobody.

import { LATE, within } from "./within.js"

const SILENT_MS = 8_000 // without a byte, until a response that may wait for news is doubted
const PROBE_MS = 4_000 // for the response to a probe, which waits for nothing: with 8 s, within 15 s
const AGAIN_MS = 500 // that a reader waits for a gateway that hung
const LOST_MS = PROBE_MS + 100 // after which a probe has no result any more
const NO_PROBE = { began_ms: -Infinity, isHung: null }

/** What this isolate, or instance of a function, knows of its gateway. Each finds out by itself. */
export class GatewayWatch {
  #probed // the URL of probes, which the gateway answers at once
  #heard_ms = 0 // when it last sent anything here
  #hung_ms = 0 // when it was last found to hang; 0 if it has answered since
  // The last probes. A reader leaves its own after a moment, so nobody else waits for that to the end.
  #probes = { ofReader: NO_PROBE, ofWaiting: NO_PROBE }

  constructor({ origin }) {
    this.#probed = `${origin}/healthz`
  }

  /** Return whether the gateway hung, and still does. Readers meanwhile share one probe. */
  async hangs() {
    if (this.#hung_ms === 0) return false
    if (Date.now() < this.#hung_ms + AGAIN_MS) return true
    return (await resultOf(this.#probing("ofReader"), AGAIN_MS)) !== false
  }

  /**
   * Return the response to a request of `send`, a function of the signal that ends it; LATE if no head
   * comes within `patience_ms`, or, if that is Infinity, once the gateway hangs.
   */
  async answer(send, { patience_ms, signal }) {
    const late = new AbortController()
    const sent = send(AbortSignal.any([late.signal, signal].filter(Boolean)))
    const answer = await (patience_ms === Infinity ? this.#news(sent) : within(sent, patience_ms))
    if (answer !== LATE) return this.#heard(answer)
    this.#hung_ms = Date.now()
    late.abort()
    return LATE
  }

  /** Return a body that relays another one, and is cut off once the gateway hangs. */
  body(body) {
    const reader = body.getReader()
    const pull = async (controller) => {
      const part = await this.#news(reader.read())
      if (part === LATE) {
        reader.cancel().catch(() => {})
        throw new Error("the gateway hangs")
      }
      if (part.done) return controller.close()
      controller.enqueue(this.#heard(part).value)
    }
    return new ReadableStream({ pull, cancel: (reason) => reader.cancel(reason) })
  }

  // Wait for what may take long; LATE once the gateway sends nothing to anybody and answers no probe.
  async #news(promise) {
    const began_ms = Date.now()
    for (;;) {
      const doubtedAt_ms = () => Math.max(began_ms, this.#heard_ms) + SILENT_MS
      const result = await within(promise, doubtedAt_ms() - Date.now())
      if (result !== LATE) return result
      if (Date.now() >= doubtedAt_ms() && (await this.#isHung())) return LATE
    }
  }

  async #isHung() {
    for (;;) {
      const probe = this.#probing("ofWaiting")
      const isHung = await resultOf(probe, LOST_MS)
      if (isHung !== LATE) return isHung
      if (this.#probes.ofWaiting === probe) this.#probes.ofWaiting = NO_PROBE
    }
  }

  #probing(whose) {
    if (Date.now() >= this.#probes[whose].began_ms + PROBE_MS) {
      this.#probes[whose] = { began_ms: Date.now(), isHung: this.#findsHung() }
    }
    return this.#probes[whose]
  }

  async #findsHung() {
    const send = (signal) => fetch(this.#probed, { signal, cache: "no-store", redirect: "manual" })
    try {
      const answer = await this.answer(send, { patience_ms: PROBE_MS })
      if (answer === LATE) return true
      await answer.body?.cancel()
    } catch {
      this.#heard(null) // it refuses, at once: it does not hang
    }
    return false
  }

  #heard(what) {
    this.#heard_ms = Date.now()
    this.#hung_ms = 0
    return what
  }
}

/**
 * Return the result of a probe; LATE if it has none `ms` after it began, or is lost.
 *
 * A probe is lost when the request that began it ends. For other requests, some releases of the runtime
 * then reject its promise, and in others it never settles.
 */
function resultOf({ began_ms, isHung }, ms) {
  return within(isHung, began_ms + ms - Date.now()).catch(() => LATE)
}
