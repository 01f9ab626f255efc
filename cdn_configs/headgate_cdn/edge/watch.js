// Whether the gateway hangs: it accepts connections, and answers nobody.

import { LATE, within } from "./within.js"

const SILENT_MS = 8_000 // without a byte, until a response that may wait for news is doubted
const PROBE_MS = 4_000 // for the response to a probe, which waits for nothing: with 8 s, within 15 s
const AGAIN_MS = 500 // that a reader waits for a gateway that hung

/** What this isolate, or instance of a function, knows of its gateway. Each finds out by itself. */
export class GatewayWatch {
  #probed // the URL of probes, which the gateway answers at once
  #heard_ms = 0 // when it last sent anything here
  #hung_ms = 0 // when it was last found to hang; 0 if it has answered since
  #probe = { began_ms: -Infinity, isHung: null } // the last one

  constructor({ origin }) {
    this.#probed = `${origin}/healthz`
  }

  /** Return whether the gateway hung, and still does. Readers meanwhile share one probe. */
  async hangs() {
    if (this.#hung_ms === 0) return false
    if (Date.now() < this.#hung_ms + AGAIN_MS) return true
    const { began_ms, isHung } = this.#probing()
    return (await within(isHung, began_ms + AGAIN_MS - Date.now())) !== false
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
      if (Date.now() >= doubtedAt_ms() && (await this.#probing().isHung)) return LATE
    }
  }

  #probing() {
    if (Date.now() >= this.#probe.began_ms + PROBE_MS) {
      this.#probe = { began_ms: Date.now(), isHung: this.#findsHung() }
    }
    return this.#probe
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
