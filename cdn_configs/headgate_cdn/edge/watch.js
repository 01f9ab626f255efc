// Whether the gateway hangs: it accepts connections and does not answer.

import { LATE, within } from "./within.js"

const SILENT_MS = 8_000 // without a byte from the gateway, before requests that wait for news send a probe
const PROBE_MS = 4_000 // for the response to a probe; with the 8 s, such requests end within 15 s
const AGAIN_MS = 500 // for which a reader waits for a gateway that has hung
const LOST_MS = PROBE_MS + 100 // after which a probe has no result any more
const NO_PROBE = { began_ms: -Infinity, isUnanswered: null } // the second is a promise

/** What this isolate, or instance of a function, has found out about its gateway. */
export class GatewayWatch {
  #probeUrl // the gateway answers it at once
  #received_ms = 0 // when anything last came from the gateway
  #hung_ms = 0 // when the gateway was last found to hang; 0 if it has answered since
  // The last probes. A reader abandons its probe after a moment, so requests that wait have another one.
  #probes = { ofReader: NO_PROBE, ofWaiting: NO_PROBE }

  constructor({ origin }) {
    this.#probeUrl = `${origin}/healthz`
  }

  /** Return whether the gateway has hung and still does not answer. All readers share one probe. */
  async isHung() {
    if (this.#hung_ms === 0) return false
    if (Date.now() < this.#hung_ms + AGAIN_MS) return true
    return (await resultOf(this.#latestProbe("ofReader"), AGAIN_MS)) !== false
  }

  /**
   * Return the response to a request of `send`, a function of the signal that ends it; LATE if no head
   * comes within `patience_ms`, or, if that is Infinity, once the gateway hangs.
   */
  async answer(send, { patience_ms, signal }) {
    const late = new AbortController()
    const sent = send(AbortSignal.any([late.signal, signal].filter(Boolean)))
    const answer = await (patience_ms === Infinity ? this.#orLate(sent) : within(sent, patience_ms))
    if (answer !== LATE) return this.#noteReceived(answer)
    this.#hung_ms = Date.now()
    late.abort()
    return LATE
  }

  /** Return a body that relays another one, and fails when the gateway hangs. */
  body(body) {
    const reader = body.getReader()
    const pull = async (controller) => {
      const part = await this.#orLate(reader.read())
      if (part === LATE) {
        reader.cancel().catch(() => {})
        throw new Error("the gateway hangs")
      }
      if (part.done) return controller.close()
      controller.enqueue(this.#noteReceived(part).value)
    }
    return new ReadableStream({ pull, cancel: (reason) => reader.cancel(reason) })
  }

  // Return the result of a promise that may take long; LATE if the gateway sends nothing to any request
  // meanwhile, and does not answer a probe.
  async #orLate(promise) {
    const began_ms = Date.now()
    for (;;) {
      const probeAt_ms = () => Math.max(began_ms, this.#received_ms) + SILENT_MS
      const result = await within(promise, probeAt_ms() - Date.now())
      if (result !== LATE) return result
      if (Date.now() >= probeAt_ms() && (await this.#isProbeUnanswered())) return LATE
    }
  }

  // Return whether a probe gets no answer in time; send another one if it is lost.
  async #isProbeUnanswered() {
    for (;;) {
      const probe = this.#latestProbe("ofWaiting")
      const isUnanswered = await resultOf(probe, LOST_MS)
      if (isUnanswered !== LATE) return isUnanswered
      if (this.#probes.ofWaiting === probe) this.#probes.ofWaiting = NO_PROBE
    }
  }

  // Return the probe that is under way, or was sent in the last seconds; else a new one.
  #latestProbe(whose) {
    if (Date.now() >= this.#probes[whose].began_ms + PROBE_MS) {
      this.#probes[whose] = { began_ms: Date.now(), isUnanswered: this.#sendProbe() }
    }
    return this.#probes[whose]
  }

  // Return whether a probe gets no answer in time.
  async #sendProbe() {
    const send = (signal) => fetch(this.#probeUrl, { signal, cache: "no-store", redirect: "manual" })
    try {
      const answer = await this.answer(send, { patience_ms: PROBE_MS })
      if (answer === LATE) return true
      await answer.body?.cancel()
    } catch {
      this.#noteReceived(null) // it refuses connections at once, so it does not hang
    }
    return false
  }

  #noteReceived(value) {
    this.#received_ms = Date.now()
    this.#hung_ms = 0
    return value
  }
}

/**
 * Return the result of a probe; LATE if it has none `ms` after it began, or is lost.
 *
 * A probe is lost when the request that began it ends. For other requests, some releases of the runtime
 * then reject its promise, and in others it never settles.
 */
function resultOf({ began_ms, isUnanswered }, ms) {
  return within(isUnanswered, began_ms + ms - Date.now()).catch(() => LATE)
}
