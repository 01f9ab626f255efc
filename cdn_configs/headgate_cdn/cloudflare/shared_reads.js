// Reads that are under way: one for all equal requests.
//
// They share the status, headers and bytes. A Response or its stream belongs to the request that
// made it, and the runtime lets no other use it.

import { LATE, within } from "../edge/within.js"

const MOST_READS = 10_000 // under way or just ended; some hundred bytes each without their bodies
const MOST_HELD_BYTES = 32 * 1024 * 1024 // of bodies: a quarter of the memory of an isolate

/** A response for the one request that caused it; its body may have any length. */
export class Unshared {
  constructor(response) {
    this.response = response
  }
}

export class SharedReads {
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
    const headers = new Headers(response.headers)
    const began_ms = Date.now()
    const body = await response.arrayBuffer()
    const passed_s = Math.floor((Date.now() - began_ms) / 1000) // since the head, whose Age it is
    if (passed_s > 0) headers.set("Age", String(Number(headers.get("Age") ?? 0) + passed_s))
    return { status: response.status, headers: [...headers], body }
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
