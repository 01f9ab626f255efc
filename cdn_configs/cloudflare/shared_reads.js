// Reads that are under way, one for all who ask the same.
//
// What is shared is status, headers and bytes. A Response or its stream belongs to the request
// that made it, and the runtime refuses it to any other.

import { LATE, within } from "../edge/within.js"

const MOST_READS = 10_000 // under way or just ended; some hundred bytes each without their bodies
const MOST_HELD_BYTES = 32 * 1024 * 1024 // of their bodies: a quarter of what an isolate may have

/** An answer that only the reader who caused it may have; its body may be of any length. */
export class Unshared {
  constructor(response) {
    this.response = response
  }
}

export class SharedReads {
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
