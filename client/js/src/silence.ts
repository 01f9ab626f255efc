/** Whether events come: `connecting` until a connection is there, `lost` from its loss until the next attempt. */
export type ConnectionState = "connecting" | "live" | "lost"

export const CUT = "the connection is lost"
// Six times the interval at which Headgate writes to a silent connection; and it ends each after 60 s.
const STALE_AFTER_MS = 90_000
const FIRST_HEAD_MS = 2000 // a new connection, its TLS and a head over a slow path
const LEAST_MS = 1000 // who says less means seconds, and would connect all the time
const MOST_MS = 2 ** 31 - 1 // a timer of more runs out at once

/** Why a connection brings nothing more. Another one may. */
export class Lost extends Error {
  constructor(
    reason: string,
    /** Whether it is lost because nothing has come. */
    readonly isSilence = false,
    /** The status that was answered, if one was. */
    readonly status?: number,
  ) {
    super(reason)
  }
}

/** Return the option of this name, or its default; throw a RangeError where it is no time. */
export function checkedStaleAfter(staleAfter: number = STALE_AFTER_MS): number {
  if (typeof staleAfter === "number" && staleAfter >= LEAST_MS && staleAfter <= MOST_MS) return staleAfter
  throw new RangeError(
    `staleAfter is a time in milliseconds, from ${LEAST_MS} to ${MOST_MS}, such as ${STALE_AFTER_MS}, ` +
      `and not ${String(staleAfter)}`,
  )
}

/** Return what is awaited; throw `Lost` when it takes longer than so many milliseconds. */
export async function unlessSilent<Value>(awaited: Promise<Value>, staleAfter: number): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const silence = new Promise<never>((_, reject) => {
    const reason = `nothing has come for ${staleAfter / 1000} s`
    timer = setTimeout(() => reject(new Lost(reason, true)), staleAfter)
  })
  try {
    return await Promise.race([awaited, silence])
  } finally {
    clearTimeout(timer)
  }
}

/** Return the next piece of a body; undefined at its end. Throw `Lost` where it is cut, or falls silent. */
export async function nextPiece(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  staleAfter: number,
): Promise<Uint8Array | undefined> {
  const reading = reader.read().catch(() => {
    throw new Lost(CUT)
  })
  return (await unlessSilent(reading, staleAfter)).value
}

/**
 * How long the head of an answer is waited for: less right after a silence.
 *
 * A browser keeps connections for further requests, and those of a path that has fallen silent are
 * silent as well. Each attempt that is given up takes one of them away.
 */
export class Patience {
  /** Milliseconds for the next head. */
  ms: number
  #isShort = false

  constructor(private readonly staleAfter: number) {
    this.ms = staleAfter
  }

  /** Wait for less the next time, and then for twice as long after each silence. */
  shorten(): void {
    this.ms = Math.min(this.staleAfter, this.#isShort ? 2 * this.ms : FIRST_HEAD_MS)
    this.#isShort = true
  }

  /** Wait for as long as before: an answer has begun. */
  reset(): void {
    this.ms = this.staleAfter
    this.#isShort = false
  }
}

/** Call a function of the page, whose errors are its own. */
export function callPage(call: () => void): void {
  try {
    call()
  } catch (error) {
    // Node.js has no `reportError`: there it is an uncaught exception, as it would be of a listener.
    if (typeof reportError === "function") reportError(error)
    else
      queueMicrotask(() => {
        throw error
      })
  }
}
