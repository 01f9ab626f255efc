const FIRST_MS = 500
const LONGEST_MS = 15_000 // a page that comes back is not kept waiting for longer

/** Waits between attempts: each twice as long as the one before, and random, so that not all come at once. */
export class Backoff {
  #next = FIRST_MS
  #attempts = 0

  constructor(private readonly most: number) {}

  /** Count an attempt that has failed, unless the device is offline; return whether there may be another. */
  fail(): boolean {
    return globalThis.navigator?.onLine === false || ++this.#attempts <= this.most
  }

  /** Forget the attempts, because one has brought something. */
  reset(): void {
    this.#next = FIRST_MS
    this.#attempts = 0
  }

  /** Return how many milliseconds to wait before the next attempt. */
  nextMs(): number {
    const longest = this.#next
    this.#next = Math.min(LONGEST_MS, 2 * longest)
    return longest * (0.5 + Math.random() / 2)
  }
}

/** Wait, unless it is left. */
export function paused(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const over = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener("abort", over)
      done()
    }
    const timer = setTimeout(over, ms)
    if (signal?.aborted) over()
    else signal?.addEventListener("abort", over)
  })
}
